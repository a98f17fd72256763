# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why no host can have what the variables of role firewall say."""

from __future__ import annotations

DOCUMENTATION = r"""
name: firewall_refusal
short_description: Why no host can have what the variables of role firewall say
description:
  - Ports, networks and interfaces that are none, as M(dlhost.host.firewall) would refuse them. No host is asked.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: Arguments of M(dlhost.host.firewall).
    type: dict
    required: true
"""

EXAMPLES = r"""
__firewall_refusal: "{{ {'ports': firewall_ports} | dlhost.host.firewall_refusal }}"
"""

RETURN = r"""
_value:
  description: One sentence; empty where nothing speaks against it.
  type: str
"""


def firewall_refusal(arguments: dict) -> str:
    # Whoever uses one filter of the collection loads all of them.
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
    from ansible_collections.dlhost.host.plugins.module_utils.firewall_rules import require_values
    from ansible_collections.dlhost.host.plugins.module_utils.guarded_module import ARGUMENTS as GUARDED
    from ansible_collections.dlhost.host.plugins.module_utils.service_host import RefusedError
    from ansible_collections.dlhost.host.plugins.modules.firewall import ARGUMENTS

    # As the module itself gets them: a number is text there, and what is left out has its default.
    known = {**ARGUMENTS, **GUARDED}
    read = ArgumentSpecValidator({name: known[name] for name in arguments}).validate(arguments)
    if read.error_messages:
        return f"The variables of role firewall are not of their types: {'; '.join(read.error_messages)}."
    try:
        require_values(read.validated_parameters)
    except RefusedError as error:
        return str(error)
    return ""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"firewall_refusal": firewall_refusal}
