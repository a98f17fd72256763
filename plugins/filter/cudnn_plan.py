# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what role cudnn is to do on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cudnn_plan
short_description: What role cudnn is to do on a host
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
    description: The settings of role cudnn, under their names without the prefix.
    type: dict
    required: true
"""

EXAMPLES = r"""
plan: "{{ pairs | dlhost.host.cudnn_plan(look.nvidia, settings) }}"
"""

RETURN = r"""
_value:
  description:
    - C(refusal), one sentence or empty; C(packages), those C(unmet), C(unheld) and to be C(dropped); which
      C(alternatives) are to be set; what verify compares and computes with.
  type: dict
"""


def cudnn_plan(pairs: list, facts: dict, settings: dict) -> dict[str, object]:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils import compatibility
    from ansible_collections.dlhost.host.plugins.plugin_utils.cudnn_plan import Settings, plan

    return plan(facts or None, pairs, Settings(**settings), compatibility.load())


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"cudnn_plan": cudnn_plan}
