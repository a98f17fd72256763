# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a host's Zabbix server and frontend, as those who use them see them. An action plugin calls it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zabbix_server_probe
short_description: Log in to a host's Zabbix frontend, and ask its server as an agent would
description:
  - Asks the frontend through the socket of its processes, as a web server on the host does, and through that web
    server, as people do; and the server without encryption. Ends the sessions that it had to begin, and changes
    nothing else.
author: dlhost maintainers (@dlhost)
options:
  admin_password:
    description: The password that has to open the frontend to the user Admin.
    type: str
    required: true
  socket:
    description: Where the frontend's processes listen.
    type: path
    required: true
  root:
    description: The directory of the frontend's pages.
    type: path
    required: true
  url:
    description:
      - The frontend's URL at the web server, which is asked for on this host, whatever the name in it resolves to;
        empty where there is none.
    type: str
    default: ""
  ca:
    description: PEM certificate of the authority that O(url) must lead to; empty for those that the host trusts.
    type: str
    default: ""
  group:
    description: The group of the hosts that may not be answered without encryption.
    type: str
    required: true
  backups:
    description: The directory of the nightly backups; empty where none are made.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Look at the server as its users do
  dlhost.host.zabbix_server_probe:
    admin_password: "{{ zabbix_server_admin_password }}"
    socket: /run/dlhost-zabbix-frontend/socket
    root: /usr/share/zabbix
    group: dlhost
"""

RETURN = r"""
problems:
  description:
    - Of C(connected), C(unencrypted), C(login), C(default_login), C(front), C(guest), C(setup) and C(backup), what is
      wrong.
  type: dict
  returned: always
unasked:
  description: Those that could not be tried, and why.
  type: dict
  returned: always
"""

import contextlib
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import zabbix_database
from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.zabbix_api import ZabbixError, session
from ansible_collections.dlhost.host.plugins.module_utils.zabbix_frontend import (
    SilentError,
    active_checks,
    log_in,
    page,
)

PORT = 10051
# A host that no server knows.
NOBODY = "dlhost verify"
DEFAULT_PASSWORD = "zabbix"  # noqa: S105
ADMIN, GUEST = "Admin", "guest"
NOT_FOUND = 404
HOSTS = """
SELECT host FROM hosts JOIN hosts_groups USING (hostid) JOIN hstgrp USING (groupid)
  WHERE hstgrp.name = :'group' AND status = 0 ORDER BY host;
"""
BACKUP, TIMER = "dlhost-zabbix-backup.service", Path("/etc/systemd/system/dlhost-zabbix-backup.timer")
WHY = "journalctl -u dlhost-zabbix-backup tells why"
# A night, the timer's own delay, and what the backup takes.
DAY_S = 26 * 3600


def main() -> None:
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "admin_password": {"type": "str", "required": True, "no_log": True},
            "socket": path,
            "root": path,
            "url": {"type": "str", "default": ""},
            "ca": {"type": "str", "default": ""},
            "group": {"type": "str", "required": True},
            "backups": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    problems, unasked = {}, {}
    for problem, why in (
        look_at_server(given["group"]),
        look_at_frontend(given),
        look_at_front(given),
        look_at_backups(given["backups"]),
    ):
        problems |= problem
        unasked |= why
    module.exit_json(changed=False, problems=problems, unasked=unasked)


Looks = tuple[dict[str, str], dict[str, str]]


def look_at_server(group: str) -> Looks:
    """Whether it answers out of its database, and gives nothing away without encryption."""
    try:
        if not active_checks(PORT, NOBODY):
            return {"connected": f"it knows a host {NOBODY}"}, {"unencrypted": "another check failed"}
        hosts = hosts_of(group)
        answered = [host for host in hosts if not active_checks(PORT, host)]
    except SilentError as error:
        return {"connected": str(error)}, {"unencrypted": "the server does not answer"}
    if answered:
        return {"unencrypted": f"it answers who calls itself {', '.join(answered)} without a key"}, {}
    return {}, ({} if hosts else {"unencrypted": f"no host of group {group} is registered yet"})


def hosts_of(group: str) -> list[str]:
    """The hosts of a group.

    Raises:
        SilentError: The database does not answer.
    """
    asked = zabbix_database.psql(
        zabbix_database.OWNER,
        zabbix_database.NAME,
        zabbix_database.variable("group", group) + HOSTS,
    )
    if asked.returncode != 0:
        raise SilentError(zabbix_database.words(asked.stderr))
    return asked.stdout.splitlines()


def look_at_frontend(given: dict) -> Looks:
    """Whom it lets in."""
    problems = {}
    socket, root = given["socket"], given["root"]
    try:
        # Where strangers have tried five passwords, one more shuts Admin out for half a minute, and ours would be one.
        with contextlib.suppress(PermissionError):
            log_in(socket, root, ADMIN, given["admin_password"])
        for check, user, password, said in (
            ("default_login", ADMIN, DEFAULT_PASSWORD, "Admin comes in with the password that everybody knows"),
            ("guest", GUEST, "", "guest comes in without a password"),
        ):
            try:
                log_in(socket, root, user, password)
                problems[check] = said
            except PermissionError:
                continue
        status, _text = page(socket, root, "setup.php")
        if status != NOT_FOUND:
            problems["setup"] = f"setup.php answers {status}"
        # The last, since it makes good for a login that was refused.
        log_in(socket, root, ADMIN, given["admin_password"])
    except PermissionError as error:
        problems["login"] = f"it said: {error}"
    except SilentError as error:
        checks = {"default_login", "guest", "setup"} - problems.keys()
        return {**problems, "login": str(error)}, dict.fromkeys(checks, "the frontend does not answer")
    return problems, {}


def look_at_front(given: dict) -> Looks:
    """Whether it lets in the same people, over HTTPS with a certificate that is trusted."""
    if not given["url"]:
        return {}, {"front": "zabbix_server_public_url is empty"}
    access = {"url": given["url"], "ca": given["ca"], "address": "127.0.0.1", "token": "", "user": ADMIN}
    with contextlib.suppress(ZabbixError), session({**access, "password": DEFAULT_PASSWORD}):
        return {"front": "Admin comes in with the password that everybody knows"}, {}
    # That nobody came in says something only where somebody does. It makes good for the login that was refused, too.
    try:
        with session({**access, "password": given["admin_password"]}):
            return {}, {}
    except ZabbixError as error:
        return {"front": str(error).rstrip(".")}, {}


def look_at_backups(directory: str) -> Looks:
    """Whether there is one of the last night."""
    if not directory:
        return {}, {"backup": "zabbix_server_backups is 0"}
    ended = run("systemctl", "show", "--property=Result", "--value", BACKUP).stdout.strip()
    if ended != "success":
        return {"backup": f"the last one failed ({ended}); {WHY}"}, {}
    ages = [time.time() - path.stat().st_mtime for path in Path(directory).glob("zabbix-*.dump")]
    if ages and min(ages) < DAY_S:
        return {}, {}
    # A boot forgets how a unit ended, and every try renews the timer's stamp; its file is as old as the wish.
    if not TIMER.exists() or time.time() - TIMER.stat().st_mtime < DAY_S:
        return {}, {"backup": "no night has passed yet"}
    newest = f"the newest is {min(ages) / 3600:.0f} hours old" if ages else "there is none"
    return {"backup": f"{newest}; {WHY}"}, {}


if __name__ == "__main__":
    main()
