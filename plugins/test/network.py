# SPDX-License-Identifier: GPL-3.0-or-later
"""Test: whether a text is an address or a network that nginx takes."""

from __future__ import annotations

DOCUMENTATION = r"""
name: network
short_description: Whether a text is an address or a network that nginx takes
description:
  - An address of IPv4 or IPv6, or a network such as C(192.0.2.0/24). As in nginx, bits behind the prefix may be set,
    and no mask such as C(255.255.255.0) stands for it.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
__vnc_bad_cidrs: "{{ vnc_web_allow_cidrs | reject('dlhost.host.network') }}"
"""

RETURN = r"""
_value:
  description: Whether it is one.
  type: bool
"""


def network(text: object) -> bool:
    # Whoever uses one test of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.module_utils.networks import read_network

    try:
        read_network(str(text), strict=False)
    except ValueError:
        return False
    return "." not in str(text).partition("/")[2]


class TestModule:
    def tests(self) -> dict[str, object]:
        return {"network": network}
