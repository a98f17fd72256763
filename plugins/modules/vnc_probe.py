# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what the desktops of a host give to a viewer. An action plugin adds what the controller reaches."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vnc_probe
short_description: Log in to desktops as a viewer does
description:
  - Tries a wrong password and the right one over RFB, and looks at the screen beside whoever else does. Of a desktop
    that takes the password, session and picture may still be on their way; it waits half a minute for them.
  - The controller tries whether it reaches the ports past SSH.
author: dlhost maintainers (@dlhost)
options:
  desktops:
    description: The desktops.
    type: list
    elements: dict
    required: true
    suboptions:
      user:
        description: Whose it is.
        type: str
        required: true
      port:
        description: Its port on loopback.
        type: int
        required: true
      password:
        description: Its password.
        type: str
        required: true
  web_port:
    description: The port on loopback of what shows them in a browser; 0 for none.
    type: int
    default: 0
  closed_ports:
    description: Ports that nobody should reach from outside of the host.
    type: list
    elements: int
    default: []
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Look at the desktops
  dlhost.host.vnc_probe:
    desktops:
      - user: ada
        port: 5901
        password: "{{ vnc_password }}"
    closed_ports: [5901]
  register: __vnc_probe
"""

RETURN = r"""
desktops:
  description:
    - User to what was seen. guarded (nobody comes in with another password), shows (with the right one there is a
      picture), size (of the screen), programs (what runs in it), error (what the server did instead), web (what keeps a
      browser from it; empty for nothing).
  type: dict
  returned: always
reachable:
  description: Those of the closed ports that the controller reached.
  type: list
  elements: int
  returned: always
closed_skipped_because:
  description: Why the closed ports were not tried; empty where they were.
  type: str
  returned: always
"""

import socket
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils.nginx_front import ask
from ansible_collections.dlhost.host.plugins.module_utils.service_host import find_units
from ansible_collections.dlhost.host.plugins.module_utils.vnc_host import programs_of, unit_of_user
from ansible_collections.dlhost.host.plugins.module_utils.vnc_session import VERSION, try_out

SESSION = "xfce4-session"
PATIENCE_S = 30
POLL_S = 1
TIMEOUT_S = 20
OK = 200
# RFC 6455, with the key that stands there.
UPGRADE = """\
GET /vnc/{user}/websockify HTTP/1.1
Host: localhost
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "desktops": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "user": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                },
            },
            "web_port": {"type": "int", "default": 0},
            "closed_ports": {"type": "list", "elements": "int", "default": []},
        },
        supports_check_mode=True,
    )
    seen = look({each["user"]: each for each in module.params["desktops"]})
    web = module.params["web_port"]
    desktops = {user: {**found, "web": lacks_in_browser(user, web) if web else ""} for user, found in seen.items()}
    module.exit_json(changed=False, desktops=desktops)


def look(desktops: dict[str, dict]) -> dict[str, dict[str, object]]:
    """What each user's desktop gives, when it has had the time that a desktop takes to come up."""
    seen: dict[str, dict[str, object]] = {}
    coming, deadline = list(desktops), time.monotonic() + PATIENCE_S
    while True:
        units = find_units([unit_of_user(user) for user in coming])
        for user in coming:
            found = try_out("127.0.0.1", desktops[user]["port"], desktops[user]["password"])
            seen[user] = {**found, "programs": sorted(programs_of(units[unit_of_user(user)]))}
        coming = [user for user in coming if is_coming(seen[user])]
        if not coming or time.monotonic() > deadline:
            return seen
        time.sleep(POLL_S)


def is_coming(seen: dict) -> bool:
    """Whether the server lets its user in to a screen on which something is missing that needs a moment."""
    return bool(seen["size"]) and not (seen["shows"] and SESSION in seen["programs"])


def lacks_in_browser(user: str, port: int) -> str:
    """What keeps a browser from the user's desktop; empty where it gets noVNC, and through it the VNC server."""
    try:
        status = ask("127.0.0.1", "localhost", f"/vnc/{user}/vnc.html", None, port).status
        if status != OK:
            return f"noVNC for {user}: HTTP status {status}"
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as stream:
            stream.sendall(UPGRADE.format(user=user).replace("\n", "\r\n").encode())
            reply = b""
            while VERSION not in reply and (part := stream.recv(4096)):
                reply += part
    except OSError as error:
        return f"noVNC for {user}: {error}"
    return "" if VERSION in reply else f"noVNC for {user} does not lead to a VNC server"


if __name__ == "__main__":
    main()
