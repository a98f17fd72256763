# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: where a Zabbix server has other values of a host's GPUs than the host itself says."""

from __future__ import annotations

DOCUMENTATION = r"""
name: zabbix_read_back
short_description: Where a Zabbix server has other values of a host's GPUs than the host itself says
description:
  - Compares the items of template C(dlhost GPU) with what the collector said half a minute before or after. Loads and
    clocks that change within the second have only to be there.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The C(items) that M(dlhost.host.zabbix_values) read.
    type: dict
    required: true
  cards:
    description: The C(cards) that M(dlhost.host.zabbix_agent_probe) saw.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
problems: "{{ read.items | dlhost.host.zabbix_read_back(probe.cards) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each difference.
  type: list
  elements: str
"""

GIB = 2**30
# How far a value may be from one of half a minute ago; of the rest it is enough that there is one.
TOLERANCES = {
    "memory_total": 0,
    "power_limit": 0,
    "mig": 0,
    "ecc_corrected": 0,
    "ecc_uncorrected": 0,
    "retired_pages": 0,
    "remap_failure": 0,
    "memory_used": 4 * GIB,
    "temperature": 15,
    "memory_temperature": 15,
    "fan": 30,
}
ANYTHING = float("inf")
TEXTS = ("uuid", "index", "name", "bus_id", "throttle")


def zabbix_read_back(items: dict, cards: list) -> list[str]:
    found = []
    count = items.get("dlhost.gpu.count", {}).get("value", "")
    if count != str(len(cards)):
        found.append(f"dlhost.gpu.count is {count or 'without a value'}, and the host has {len(cards)}")
    for card in cards:
        for name, value in card.items():
            if name in TEXTS:
                continue
            key = f"dlhost.gpu.{name}[{card['uuid']}]"
            text = items.get(key, {}).get("value", "")
            # What a card does not have never comes.
            if value is None and text == "":
                continue
            if value is None or text == "" or abs(float(text) - value) > TOLERANCES.get(name, ANYTHING):
                found.append(f"{key} is {text or 'without a value'}, and the host says {value}")
    return found


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"zabbix_read_back": zabbix_read_back}
