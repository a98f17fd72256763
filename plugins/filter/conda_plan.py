# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what role conda is to keep on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conda_plan
short_description: What role conda is to keep on a host
description:
  - Reads the locks on the controller and compares them with what is declared. No host is asked.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The settings of role conda, under their names without the prefix.
    type: dict
    required: true
  build:
    description: Whether environments are to be built, for which everything is needed that a comparison does without.
    type: bool
    default: false
  prove:
    description: Whether what environments have is to be proved, for which it is said what they import.
    type: bool
    default: false
  inventory:
    description: What the inventory is called, for commands that a refusal names.
    type: str
    required: true
"""

EXAMPLES = r"""
__conda_plan: "{{ settings | dlhost.host.conda_plan(inventory_dir | basename) }}"
"""

RETURN = r"""
_value:
  description:
    - C(refusal), one sentence or empty; C(look), the environments as M(dlhost.host.conda_environments) takes them to
      compare, and with O(build) C(build), to build; C(kernels), those that are to be one; and with
      O(prove) C(imports), distributions of each with their modules.
  type: dict
"""


def conda_plan(settings: dict, inventory: str, build: bool = False, prove: bool = False) -> dict[str, object]:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils.conda_plan import Settings, plan

    return plan(Settings(**settings), inventory, build, prove)


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"conda_plan": conda_plan}
