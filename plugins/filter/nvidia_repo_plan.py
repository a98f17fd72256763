# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: what role nvidia_repo is to do on a host."""

from __future__ import annotations

import datetime

DOCUMENTATION = r"""
name: nvidia_repo_plan
short_description: Which package sources a host needs for NVIDIA's software
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
    description: The settings of role nvidia_repo, under their names without the prefix.
    type: dict
    required: true
"""

EXAMPLES = r"""
__nvidia_repo_plan: "{{ __nvidia_repo_look.nvidia | dlhost.host.nvidia_repo_plan(__nvidia_repo_settings) }}"
"""

RETURN = r"""
_value:
  description:
    - C(refusal), one sentence or empty; C(skip), why the host needs no source, or empty; C(source) of the driver and
      C(toolkit_source) of CUDA and cuDNN, each distro or nvidia; and the arguments of M(dlhost.host.apt_source).
  type: dict
"""


def nvidia_repo_plan(facts: dict, settings: dict) -> dict[str, object]:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils import compatibility
    from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_repo_plan import Settings, plan

    return plan(facts, Settings(**settings), compatibility.load(), datetime.date.today())


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"nvidia_repo_plan": nvidia_repo_plan}
