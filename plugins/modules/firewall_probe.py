# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: who listens on the host and should not be reached. The action plugin tries it from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall_probe
short_description: Try from the controller what a host's firewall lets in
description:
  - A port that is let in answers, if only to refuse; one that is not is silent. Tries the ports that should answer,
    those on which the host listens beyond loopback and that should not, and one on which nobody listens. Published
    ports of containers are forwarded and not tried. Never fails; the caller judges.
  - Nothing is tried where that would say nothing of the host's own firewall, as behind a router that forwards its port,
    or over an interface from which everything is let in.
author: dlhost maintainers (@dlhost)
options:
  open_ports:
    description: TCP ports that should answer.
    type: list
    elements: int
    required: true
  let_in:
    description: TCP ports and ranges, such as C(8000-8010), that somebody may reach; these are not among the others.
    type: list
    elements: str
    required: true
  trusted_interfaces:
    description: Interfaces from which everything is let in; C(*) stands at the end for any others.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Try the ports from the controller
  dlhost.host.firewall_probe:
    open_ports: [22, 443]
    let_in: ["22", "443", "8000-8010"]
    trusted_interfaces: [docker0]
  register: __firewall_probe
"""

RETURN = r"""
shut_ports:
  description: What the controller tried besides.
  type: list
  elements: int
  returned: always
address:
  description: The host's own address of this connection.
  type: str
  returned: always
trusted_interface:
  description: The interface that has it, where everything is let in from there; else empty.
  type: str
  returned: always
skipped_because:
  description: Why nothing was tried; empty where it was.
  type: str
  returned: always
silent:
  description: Ports that should answer and do not.
  type: list
  elements: int
  returned: always
answering:
  description: Ports that should not answer and do.
  type: list
  elements: int
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.firewall_host import shut_out
from ansible_collections.dlhost.host.plugins.module_utils.firewall_rules import LAST_PORT, Opening, lets_in
from ansible_collections.dlhost.host.plugins.module_utils.service_host import RefusedError, find_listeners
from ansible_collections.dlhost.host.plugins.module_utils.sshd_host import find_connection

# The dynamic ports of RFC 6335 begin here; one on which nobody listens is refused unless it is dropped.
FIRST_DYNAMIC_PORT = 49152


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "open_ports": {"type": "list", "elements": "int", "required": True},
            "let_in": {"type": "list", "elements": "str", "required": True},
            "trusted_interfaces": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        shut = shut_ports([Opening(port) for port in module.params["let_in"]])
    except RefusedError as error:
        module.fail_json(msg=str(error))
    address = find_connection().address
    trusted = trusted_interface(address, module.params["trusted_interfaces"])
    module.exit_json(changed=False, shut_ports=shut, address=address, trusted_interface=trusted)


def shut_ports(let_in: list[Opening]) -> list[int]:
    """Ports that somebody listens on and that nobody should reach, and one without a listener."""
    listeners = find_listeners()
    taken = {each.port for each in listeners}
    free = (port for port in range(FIRST_DYNAMIC_PORT, LAST_PORT) if port not in taken and not lets_in(let_in, port))
    return sorted({*(each.port for each in shut_out(listeners, let_in)), next(free)})


def trusted_interface(address: str, trusted: list[str]) -> str:
    """The interface that has the address, where it is one of the trusted; else empty."""
    shown = run("ip", "-oneline", "address", "show", "to", address.partition("%")[0]).stdout.split()
    name = shown[1].partition("@")[0] if shown else ""
    held = [each for each in trusted if name == each or (each.endswith("*") and name.startswith(each[:-1]))]
    return name if held else ""


if __name__ == "__main__":
    main()
