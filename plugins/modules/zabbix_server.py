# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a Zabbix server with its database, frontend and backups on one host. An action plugin calls it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zabbix_server
short_description: Run a Zabbix server whose database nobody enters without the inventory's password
description:
  - Compares the role's files, the units and what the database says about access and age of values with what is wanted.
    A database or settings of somebody else, a release without a supported Zabbix, or a port that another program holds
    is refused by name before any change.
  - The database is filled in one transaction, in which its user Admin gets the password and what guests could do is
    shut. An import that is cut leaves an empty database, which the next run fills.
  - A password that somebody has set in the frontend is replaced by the wanted one, which ends all sessions of Admin.
  - The password travels on standard input only; the database keeps a hash.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  releases:
    description:
      - What to run on which release of a distribution. In files, C(@php@) and C(@keywords@) become those of the host's
        release, and C(@time_zone@) its time zone.
    type: list
    elements: dict
    required: true
    suboptions:
      os:
        description: ID and VERSION_ID of C(/etc/os-release), with a blank between.
        type: str
        required: true
      version:
        description: Zabbix' version there.
        type: str
        required: true
      php:
        description: PHP's version there.
        type: str
        required: true
      keywords:
        description: What the configuration of its server says beyond the others'.
        type: str
        required: true
      packages:
        description: Debian packages that the role is about to install.
        type: list
        elements: str
        required: true
  units:
    description: What runs and comes back after a reboot.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      sources:
        description: Files for which it is restarted when they are newer than its start.
        type: list
        elements: path
        default: []
  admin_password:
    description: Password of the user Admin.
    type: str
    default: ""
  settings:
    description: Columns of Zabbix' table config with their values.
    type: dict
    default: {}
  mark:
    description: Comment by which the database is known again.
    type: str
    required: true
  database_terms:
    description: What CREATE DATABASE is told of it.
    type: str
    required: true
  drop_database:
    description: With V(state=absent), drop the database too.
    type: bool
    default: false
  brought_packages:
    description: Packages that came just now. PHP's own service, which nobody asked for, is then switched off.
    type: list
    elements: str
    default: []
  state:
    description: With V(absent), the units are stopped and every file of the role removed. The database stays.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing.
  diff_mode:
    support: full
    description: One diff per file, and one line per unit and per thing in the database.
"""

EXAMPLES = r"""
- name: Run the server
  dlhost.host.zabbix_server:
    role: zabbix_server
    releases:
      - {os: debian 12, version: "6.0", php: "8.2", keywords: "", packages: [php8.2-fpm, zabbix-server-pgsql]}
    files:
      - path: /etc/zabbix/zabbix_server.conf.d/dlhost.conf
        content: "{{ lookup('ansible.builtin.template', 'zabbix_server.conf.j2') }}"
    units:
      - {name: zabbix-server.service, sources: [/etc/zabbix/zabbix_server.conf.d/dlhost.conf]}
    admin_password: "{{ zabbix_server_admin_password }}"
    settings: {hk_history_global: 1, hk_history: 31d}
    mark: Made by dlhost.
    database_terms: OWNER zabbix TEMPLATE template0 ENCODING 'UTF8'
"""

RETURN = r"""
version:
  description: Zabbix' version on this host.
  type: str
  returned: always
packages:
  description: The packages that the host has to have.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Those of them that are not installed.
  type: list
  elements: str
  returned: always
changed_paths:
  description: Files written or removed.
  type: list
  elements: str
  returned: always
unit_problems:
  description: How units differ from enabled and running, one sentence each.
  type: list
  elements: str
  returned: always
outdated:
  description: Units that started before what they run from.
  type: list
  elements: str
  returned: always
database_problems:
  description: How the database differs from what is wanted, one sentence each.
  type: list
  elements: str
  returned: always
due:
  description: Whether anything is to be done.
  type: bool
  returned: always
"""

import dataclasses
import os
import platform
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import owned_files, zabbix_database
from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    AGAIN,
    UNIT_DIRECTORY,
    RefusedError,
    Unit,
    find_listeners,
    find_units,
    in_the_way,
    is_newer,
    is_of,
    make_startable,
    must,
    stop_units,
    wait_until_listening,
)

SERVER = "zabbix-server.service"
LOCAL_TIME = Path("/etc/localtime")
EVERYWHERE, PORT = "0.0.0.0", 10051  # noqa: S104
USUAL_PORT = "5432"
FOREIGN = (
    "PostgreSQL has a database zabbix that dlhost did not make, and it is left alone. Take this host out of group "
    "monitoring_server, or save that database with pg_dump --format=custom and drop it; dlhost-zabbix-restore brings "
    f"it back when the role is there. Do that {AGAIN}"
)
CONFIGURATION = Path("/etc/zabbix")
# What the setup of a frontend leaves, of the distribution's and of Zabbix' own packages, and of no package itself.
FRONTENDS = ("zabbix.conf.php", "web/zabbix.conf.php")
SERVERS = ("zabbix_server.conf", "zabbix_server.conf.d/*.conf")
# A server that is told more than what the packages say has another database than the host's own zabbix.
ELSEWHERE = re.compile(r"^ *(?:DBHost *= *(?!localhost *$)|DBName *= *(?!zabbix *$)|DBPassword *= *)\S", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What differs from what is wanted."""

    release: dict
    missing: list[str]
    owned: owned_files.Plan
    units: dict[str, Unit]
    problems: list[str]
    outdated: list[str]
    database: zabbix_database.Found
    database_problems: list[str]

    @property
    def due(self) -> bool:
        return bool(self.missing or self.owned.paths or self.problems or self.outdated or self.database_problems)

    def result(self) -> dict[str, object]:
        lines = [f"package {name}: not installed" for name in self.missing] + self.database_problems + self.problems
        lines += [f"{name}: older than what it runs from" for name in self.outdated]
        return {
            "changed": self.due,
            "due": self.due,
            "version": self.release["version"],
            "packages": self.release["packages"],
            "missing_packages": self.missing,
            "changed_paths": self.owned.paths,
            "unit_problems": self.problems,
            "outdated": self.outdated,
            "database_problems": self.database_problems,
            "diff": [*self.owned.diffs, *({"prepared": f"{line}\n"} for line in lines)],
        }


def main() -> None:
    text = {"type": "str", "required": True}
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "role": text,
            "files": owned_files.FILES_ARGUMENT,
            "releases": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    **dict.fromkeys(("os", "version", "php", "keywords"), text),
                    "packages": {"type": "list", "elements": "str", "required": True},
                },
            },
            "units": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": text, "sources": {**texts, "elements": "path"}},
            },
            "admin_password": {"type": "str", "default": "", "no_log": True},
            "settings": {"type": "dict", "default": {}},
            "mark": text,
            "database_terms": text,
            "drop_database": {"type": "bool", "default": False},
            "brought_packages": texts,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        if os.geteuid() != 0:
            raise RefusedError(f"Units and their files are root's. Set ansible_become to true {AGAIN}")
        plan = make_plan(module.params)
        if plan.due and not module.check_mode:
            act = remove if module.params["state"] == "absent" else apply
            act(module.params, plan)
        result = plan.result()
        if plan.database.kind == "down" and module.check_mode:
            result["dlhost_undetermined"] = (
                f"what the database holds, because PostgreSQL does not answer: {plan.database.why}"
            )
    except (RefusedError, owned_files.OwnedFilesError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(**result)


def wish_of(request: dict) -> zabbix_database.Wish:
    return zabbix_database.Wish(request["mark"], request["admin_password"], request["settings"])


def make_plan(request: dict) -> Plan:
    """Compare everything with the host.

    Raises:
        RefusedError: The host cannot have it.
        OwnedFilesError: The record of what the role owns is damaged.
    """
    absent = request["state"] == "absent"
    release = find_release(request["releases"], absent)
    packages = release["packages"]
    own = [] if absent else [owned_files.OwnedFile.from_argument(filled_in(file, release)) for file in request["files"]]
    owned = owned_files.plan(request["role"], own, packages, absent)
    wanted = {} if absent else {unit["name"]: set(map(Path, unit["sources"])) for unit in request["units"]}
    units = find_units(sorted(ours(request["role"]) | wanted.keys()))
    database = zabbix_database.Found("absent")
    if not absent or request["drop_database"]:
        database = zabbix_database.look(wish_of(request))
    if absent:
        going = [f"{name} is there" for name, unit in units.items() if unit.active or unit.enabled]
        dropping = {"ours": ["the database is there"], "down": [f"PostgreSQL does not answer: {database.why}"]}
        return Plan(release, [], owned, units, going, [], database, dropping.get(database.kind, []))
    if database.kind == "foreign":
        raise RefusedError(FOREIGN)
    if database.kind != "ours":
        refuse_settings_of_others(request["role"])
    refuse_taken_port(units[SERVER])
    rewritten = {file.path for file in owned.write if owned_files.find(file.path).content != file.content}
    surplus = [name for name in units if name not in wanted and (units[name].active or units[name].enabled)]
    return Plan(
        release=release,
        missing=owned_files.missing_packages(packages),
        owned=owned,
        units=units,
        problems=[problem for name in wanted for problem in problems_of(units[name])]
        + [f"{name} is there and nobody asks for it" for name in surplus],
        outdated=[name for name in wanted if units[name].active and is_outdated(units[name], wanted[name], rewritten)],
        database=database,
        database_problems=problems_within(database, wish_of(request)),
    )


def find_release(releases: list[dict], absent: bool) -> dict:
    """What this host's release has.

    Raises:
        RefusedError: It has no Zabbix that is supported.
    """
    found = platform.freedesktop_os_release()
    name = f"{found.get('ID', '')} {found.get('VERSION_ID', '')}"
    for release in releases:
        if release["os"] == name:
            return release
    if absent:
        return {"version": "", "packages": []}
    known = ", ".join(f"{release['version']} on {release['os'].title()}" for release in releases)
    raise RefusedError(
        f"dlhost runs Zabbix' long-term releases as distributions have them: {known}. This host has "
        f"{found.get('PRETTY_NAME', name)}. Put another into group monitoring_server, which may watch this one, {AGAIN}"
    )


def filled_in(file: dict, release: dict) -> dict:
    """A file as this host has it."""
    content = file["content"]
    for name, value in {**release, "time_zone": time_zone()}.items():
        content = content.replace(f"@{name}@", str(value))
    return {**file, "content": content}


def time_zone() -> str:
    """The host's time zone, which PHP does not ask for."""
    return str(LOCAL_TIME.resolve()).partition("/zoneinfo/")[2] or "UTC"


def ours(role: str) -> set[str]:
    """The units that the role has brought so far, the distribution's server among them."""
    owned = owned_files.read_manifest().get(role, owned_files.NOTHING)["files"]
    written = {Path(path).name for path in owned if Path(path).parent == UNIT_DIRECTORY}
    timed = {f"{Path(name).stem}.service" for name in written if name.endswith(".timer")}
    return written - timed | ({SERVER} if written else set())


def refuse_settings_of_others(role: str) -> None:
    """Raises RefusedError where somebody has set up a Zabbix whose database is another."""
    written = {Path(path) for path in owned_files.read_manifest().get(role, owned_files.NOTHING)["files"]}
    found = [path for name in FRONTENDS if (path := CONFIGURATION / name).exists()]
    for path in (path for pattern in SERVERS for path in CONFIGURATION.glob(pattern)):
        found += [path] if ELSEWHERE.search(path.read_text(errors="replace")) else []
    if found and written.isdisjoint(CONFIGURATION / name for name in FRONTENDS):
        raise RefusedError(
            f"{found[0]} is of a Zabbix that dlhost did not set up, and it is left alone. Take this host out of group "
            f"monitoring_server, or move that file away if nobody needs it any more. Do that {AGAIN}"
        )


def refuse_taken_port(server: Unit) -> None:
    """Raises RefusedError where another program has the server's port."""
    others = [found for found in in_the_way(find_listeners(), EVERYWHERE, PORT) if not is_of(found, server)]
    if others:
        raise RefusedError(f"Port {PORT}, where agents send to, is held by {others[0].program}. Stop that {AGAIN}")


def problems_of(unit: Unit) -> list[str]:
    """How a unit differs from enabled and running."""
    found = [] if unit.enabled else [f"{unit.name} does not start with the host"]
    return found if unit.active else [*found, f"{unit.name} does not run"]


def is_outdated(unit: Unit, sources: set[Path], rewritten: set[Path]) -> bool:
    # Of what has no process, such as a timer, systemd does not tell when it started.
    since = any(is_newer(path, unit.started) for path in sources) if unit.process else False
    return since or not rewritten.isdisjoint(sources)


def problems_within(database: zabbix_database.Found, wish: zabbix_database.Wish) -> list[str]:
    """How the database differs from the wish.

    Raises:
        RefusedError: Its user Admin is gone.
    """
    if database.kind == "down":
        return [f"PostgreSQL does not answer: {database.why}"]
    if database.kind != "ours":
        return [{"absent": "there is no database", "empty": "the database is empty"}[database.kind]]
    if database.admin is None:
        raise RefusedError(f"The database has no user Admin any more. Rename it back in the frontend {AGAIN}")
    found = [] if zabbix_database.is_of(wish.password, database.admin) else ["Admin has another password"]
    found += [] if database.guest_is_shut_out else ["guests can come in"]
    return found + [f"{name} is {database.settings[name]}" for name in differing(database, wish)]


def differing(database: zabbix_database.Found, wish: zabbix_database.Wish) -> list[str]:
    return [name for name, value in wish.settings.items() if str(database.settings.get(name)) != str(value)]


def apply(request: dict, plan: Plan) -> None:
    """Make it so."""
    php = f"php{plan.release['php']}-fpm"
    if php in request["brought_packages"]:
        must("systemctl", "disable", "--quiet", "--now", f"{php}.service")
    filled = bring_database(plan.database, wish_of(request), request["database_terms"])
    wanted = {unit["name"] for unit in request["units"]}
    stop_units(plan.units, [*plan.units.keys() - wanted], [*plan.units.keys() - wanted])
    owned_files.carry_out(plan.owned)
    must("systemctl", "daemon-reload")
    units = find_units(sorted(wanted))
    make_startable(units)
    restarting = sorted({*plan.outdated, *([SERVER] if filled else [])})
    if restarting:
        must("systemctl", "restart", *restarting)
    starting = [name for name, unit in units.items() if not unit.active and name not in restarting]
    if starting:
        must("systemctl", "start", *starting)
    wait_until_listening({SERVER: (EVERYWHERE, PORT)})


def bring_database(database: zabbix_database.Found, wish: zabbix_database.Wish, terms: str) -> bool:
    """Have it hold what is wanted; returns whether it held nothing before.

    Raises:
        RefusedError: PostgreSQL cannot be started, or does not do it.
    """
    if database.kind == "down":
        database = wake_up(wish)
    if database.kind == "ours":
        zabbix_database.change(
            wish,
            admin=not zabbix_database.is_of(wish.password, database.admin),
            guest=not database.guest_is_shut_out,
            settings=differing(database, wish),
        )
        return False
    if database.kind == "absent":
        zabbix_database.create(terms)
    zabbix_database.fill(wish)
    return True


def wake_up(wish: zabbix_database.Wish) -> zabbix_database.Found:
    """Start PostgreSQL and look again.

    Raises:
        RefusedError: It does not answer.
    """
    # Version, name, port: the one at the usual port is the one that everybody asks.
    listed = run("pg_lsclusters", "--no-header")
    rows = [line.split() for line in listed.stdout.splitlines()]
    names = [f"postgresql@{version}-{name}.service" for version, name, port, *_rest in rows if port == USUAL_PORT]
    if not names:
        why = zabbix_database.words(
            listed.stderr or f"it has no cluster at port {USUAL_PORT}; pg_createcluster makes one"
        )
        raise RefusedError(f"PostgreSQL does not answer: {why}. Mend that {AGAIN}")
    for name, unit in find_units(names).items():
        if unit.masked:
            must("systemctl", "unmask", "--quiet", name)
    # A start that was tried too often is not tried again.
    run("systemctl", "reset-failed", *names)
    run("systemctl", "start", *names)
    database = zabbix_database.look(wish)
    if database.kind == "down":
        raise RefusedError(
            f"PostgreSQL does not answer, and starting it has not helped: {database.why}. journalctl -u {names[0]} "
            "tells more; run again when it is mended."
        )
    if database.kind == "foreign":
        raise RefusedError(FOREIGN)
    return database


def remove(_request: dict, plan: Plan) -> None:
    """Stop everything and take it away."""
    going = [name for name, unit in plan.units.items() if unit.active or unit.enabled]
    stop_units(plan.units, going, going)
    owned_files.carry_out(plan.owned)
    must("systemctl", "daemon-reload")
    if plan.database.kind == "down":
        raise RefusedError(
            f"The database was not dropped, because {plan.database_problems[0]}. Start it and run again."
        )
    if plan.database_problems:
        zabbix_database.drop()


if __name__ == "__main__":
    main()
