# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why conda environments do not come from some channels."""

from __future__ import annotations

DOCUMENTATION = r"""
name: conda_channels_refusal
short_description: Why conda environments do not come from some channels
description:
  - Channels that role conda gives no host, and that no lock is made from. Neither a lock nor a host is looked at.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The channels, by name or address.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
__conda_channels_refusal: "{{ conda_channels | dlhost.host.conda_channels_refusal }}"
"""

RETURN = r"""
_value:
  description: One sentence, which names no password; empty where nothing speaks against them.
  type: str
"""


def conda_channels_refusal(channels: list[str]) -> str:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.plugin_utils import conda_lock

    return conda_lock.channels_refusal(channels)


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"conda_channels_refusal": conda_channels_refusal}
