# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what a Zabbix server has of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zabbix_values
short_description: Read the last values of a host's items from a Zabbix server
description:
  - Reads values with their times through the API, and waits for newer ones where that is asked. Never fails; the caller
    judges.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.zabbix_api
options:
  host:
    description: The host's technical name.
    type: str
    required: true
  keys:
    description: Keys of items, in which C(*) stands for anything.
    type: list
    elements: str
    default: ["dlhost.*"]
  newer_than:
    description: Seconds since the epoch. The values of O(awaited) have to be younger than that.
    type: int
    default: 0
  awaited:
    description: Keys, without C(*), that must have a value younger than O(newer_than) before the answer is given.
    type: list
    elements: str
    default: []
  timeout_s:
    description: How long that is waited for.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Read what the server has
  dlhost.host.zabbix_values:
    url: https://localhost/zabbix/
    password: "{{ zabbix_server_admin_password }}"
    host: rig
    newer_than: "{{ start }}"
    awaited: [dlhost.gpu.count]
    timeout_s: 60
"""

RETURN = r"""
items:
  description:
    - For each item, by its key, C(value) (a text, as Zabbix keeps it), C(time) (seconds since the epoch; 0 and an empty
      value where none came yet), C(units), C(name), and C(error), which says why it is not supported.
  type: dict
  returned: always
late:
  description: Keys of O(awaited) without a younger value.
  type: list
  elements: str
  returned: always
error:
  description: One sentence where nothing could be read; empty otherwise.
  type: str
  returned: always
"""

import re
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils.zabbix_api import (
    ACCESS_ARGUMENTS,
    ZabbixApi,
    ZabbixError,
    session,
)

POLL_S = 1


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ACCESS_ARGUMENTS,
            "host": {"type": "str", "required": True},
            "keys": {"type": "list", "elements": "str", "default": ["dlhost.*"], "no_log": False},
            "newer_than": {"type": "int", "default": 0},
            "awaited": {"type": "list", "elements": "str", "default": []},
            "timeout_s": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **look(module.params))


def look(request: dict[str, Any]) -> dict[str, Any]:
    """The module's result."""
    deadline = time.monotonic() + request["timeout_s"]
    try:
        with session(request) as api:
            while True:
                items = _read(api, request["host"])
                late = [key for key in request["awaited"] if items.get(key, {}).get("time", 0) <= request["newer_than"]]
                if not late or time.monotonic() >= deadline:
                    break
                time.sleep(POLL_S)
    except ZabbixError as error:
        return {"items": {}, "late": request["awaited"], "error": str(error)}
    # No shell pattern: brackets are part of a key.
    wanted = re.compile("|".join(re.escape(key).replace(r"\*", ".*") for key in request["keys"]))
    items = {key: item for key, item in items.items() if wanted.fullmatch(key)}
    return {"items": items, "late": late, "error": ""}


def _read(api: ZabbixApi, host: str) -> dict[str, dict[str, Any]]:
    hosts = api.call("host.get", {"filter": {"host": [host]}, "output": ["hostid"]})
    if not hosts:
        raise ZabbixError(f"Zabbix has no host {host}, or this user may not see it.")
    output = ["key_", "name", "lastvalue", "lastclock", "units", "error"]
    items = api.call("item.get", {"hostids": hosts[0]["hostid"], "output": output})
    return {
        item["key_"]: {
            # Of a number that never came the API says 0.
            "value": item["lastvalue"] if item["lastclock"] != "0" else "",
            "time": int(item["lastclock"]),
            "units": item["units"],
            "name": item["name"],
            "error": item["error"],
        }
        for item in items
    }


if __name__ == "__main__":
    main()
