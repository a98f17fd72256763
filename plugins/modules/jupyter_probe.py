# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, host side: what the servers give to a browser, and systemd to them. The action plugin adds more."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: jupyter_probe
short_description: Use Jupyter servers as a browser would
description:
  - Asks each server without a password, with a wrong one and, where it is known, with the right one, and then has a
    kernel of its own compute a cell over the websocket. On the host, and from the controller through O(public_url).
  - Tries from the controller whether a loopback port can be reached past the proxy. Needs an SSH connection.
  - Never fails; the caller judges. Leaves no kernel behind.
author: dlhost maintainers (@dlhost)
options:
  servers:
    description: The servers.
    type: list
    elements: dict
    required: true
    suboptions:
      user:
        description: Whose it is.
        type: str
        required: true
      unit:
        description: Its systemd unit.
        type: str
        required: true
      url:
        description: Its base URL on the host, which ends with a slash.
        type: str
        required: true
      password:
        description: Its password; empty where only the hash is known.
        type: str
        default: ""
  public_url:
    description: The address of the proxy as the controller reaches it, such as C(https://rig.example.org).
    type: str
    default: ""
  authority:
    description:
      - PEM certificate of the authority that O(public_url) must lead to, and no other. Empty for those that the
        controller trusts.
    type: str
    default: ""
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
- name: Verify | Use the servers
  dlhost.host.jupyter_probe:
    servers:
      - user: ada
        unit: dlhost-jupyter@ada.service
        url: http://127.0.0.1:8888/jupyter/ada/
        password: "{{ jupyter_password }}"
    closed_ports: [8888]
  register: __jupyter_probe
"""

RETURN = r"""
servers:
  description:
    - User to what was seen on the host. guarded (nobody comes in without the password), password_known, computes,
      devices (files of GPUs), refused_devices (those that a kernel cannot open, with the reason), error (what the
      server did instead), exposure (C(systemd-analyze security); -1 where it says none), complaints (settings that
      Jupyter does not know).
  type: dict
  returned: always
public:
  description: User to what was seen through the proxy; as RV(servers), without what only the host knows.
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

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils.jupyter_session import Trust, try_out
from ansible_collections.dlhost.host.plugins.module_utils.service_host import log_of, run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "servers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "user": {"type": "str", "required": True},
                    "unit": {"type": "str", "required": True},
                    "url": {"type": "str", "required": True},
                    "password": {"type": "str", "default": "", "no_log": True},
                },
            },
            "public_url": {"type": "str", "default": ""},
            "authority": {"type": "str", "default": ""},
            "closed_ports": {"type": "list", "elements": "int", "default": []},
        },
        supports_check_mode=True,
    )
    seen = {
        # On the host itself nobody can be in between, so a certificate proves nothing more.
        server["user"]: try_out(server["url"], server["password"], Trust(anybody=True)) | opinions(server["unit"])
        for server in module.params["servers"]
    }
    module.exit_json(changed=False, servers=seen)


def opinions(unit: str) -> dict[str, object]:
    """What systemd and Jupyter itself say of a unit and its configuration."""
    level = re.search(
        r"exposure level for \S+: ([\d.]+)", run("systemd-analyze", "security", "--no-pager", unit).stdout
    )
    return {
        "exposure": float(level[1]) if level else -1,
        "complaints": sorted({*re.findall(r"Config option (.*not recognized.*)", "\n".join(log_of(unit)))}),
    }


if __name__ == "__main__":
    main()
