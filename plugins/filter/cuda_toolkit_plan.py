# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what role cuda_toolkit is to do on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cuda_toolkit_plan
short_description: What role cuda_toolkit is to do on a host
description:
  - Decides from what was seen on the host, the role's settings and the compatibility table. No host is asked.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: What the role's own look printed, as pairs of name and value.
    type: list
    elements: list
    required: true
  facts:
    description: What M(dlhost.host.nvidia_facts) found; empty where nothing is wanted.
    type: dict
    required: true
  settings:
    description: The settings of role cuda_toolkit, under their names without the prefix.
    type: dict
    required: true
"""

EXAMPLES = r"""
plan: "{{ pairs | dlhost.host.cuda_toolkit_plan(look.nvidia, settings) }}"
"""

RETURN = r"""
_value:
  description:
    - C(refusal), one sentence or empty; C(packages), those C(missing) and those to be C(dropped); the C(default), its
      C(home), and whether the link is to be set; what verify compares and computes with.
  type: dict
"""


def cuda_toolkit_plan(pairs: list, facts: dict, settings: dict) -> dict[str, object]:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils import compatibility
    from ansible_collections.dlhost.host.plugins.plugin_utils.cuda_toolkit_plan import Settings, plan

    return plan(facts or None, pairs, Settings(**settings), compatibility.load())


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"cuda_toolkit_plan": cuda_toolkit_plan}
