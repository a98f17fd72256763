# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what role nvidia_driver is to do on a host."""

from __future__ import annotations

import datetime

DOCUMENTATION = r"""
name: nvidia_driver_plan
short_description: What role nvidia_driver is to do on a host
description:
  - Decides from what was seen on the host, the role's settings and the compatibility table. No host is asked.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: What M(dlhost.host.nvidia_facts) found.
    type: dict
    required: true
  settings:
    description: The settings of role nvidia_driver, under their names without the prefix.
    type: dict
    required: true
"""

EXAMPLES = r"""
__nvidia_driver_plan: "{{ __nvidia_driver_look.nvidia | dlhost.host.nvidia_driver_plan(__nvidia_driver_settings) }}"
"""

RETURN = r"""
_value:
  description:
    - C(refusal), one sentence or empty; C(skip), why nothing is done here; C(warnings); C(to_ask_apt), the packages
      whose candidates have to be known first; the driver that was chosen; its
      packages and what of them is due; what the kernel needs until it runs the driver, each part empty where it does.
  type: dict
"""


def nvidia_driver_plan(facts: dict, settings: dict) -> dict[str, object]:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils import compatibility
    from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_driver_plan import Settings, plan

    return plan(facts, Settings(**settings), compatibility.load(), datetime.date.today())


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"nvidia_driver_plan": nvidia_driver_plan}
