# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: where a Zabbix server has other values of a host's GPUs than the host itself says."""

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
  newer_than:
    description: Seconds since the epoch. A value that is not younger is none.
    type: int
    required: true
"""

EXAMPLES = r"""
problems: "{{ read['items'] | dlhost.host.zabbix_read_back(probe.cards, probe.time - 120) }}"
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


def zabbix_awaited(cards: list) -> list[str]:
    """Keys of the items that get a value with every look at these cards."""
    kept = (_key(card, name) for card in cards for name in card if name not in TEXTS and card[name] is not None)
    return ["dlhost.gpu.count", *kept]


def zabbix_read_back(items: dict, cards: list, newer_than: int) -> list[str]:
    def new(key: str) -> str:
        item = items.get(key, {})
        return item.get("value", "") if item.get("time", 0) > newer_than else ""

    found = []
    count = new("dlhost.gpu.count")
    if count != str(len(cards)):
        found.append(f"dlhost.gpu.count {_is(count)}, and the host has {len(cards)}")
    for card in cards:
        for name, value in card.items():
            if name in TEXTS:
                continue
            key = _key(card, name)
            text = new(key)
            # What a card does not have, or has no longer, does not come.
            if value is None and text == "":
                continue
            if value is None or text == "" or abs(float(text) - value) > TOLERANCES.get(name, ANYTHING):
                found.append(f"{key} {_is(text)}, and the host says {value}")
    return found


def _key(card: dict, name: str) -> str:
    return f"dlhost.gpu.{name}[{card['uuid']}]"


def _is(text: str) -> str:
    return f"is {text}" if text else "has no new value"


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"zabbix_awaited": zabbix_awaited, "zabbix_read_back": zabbix_read_back}
