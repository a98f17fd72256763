"""What a server has of a host's cards, held against what the host says."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter.zabbix_read_back import zabbix_read_back

CARD: dict[str, Any] = {
    "uuid": "GPU-1",
    "index": 0,
    "name": "NVIDIA RTX A6000",
    "bus_id": "00000000:01:00.0",
    "mig": False,
    "utilisation": 93,
    "memory_total": 2**35,
    "memory_used": 2**30,
    "temperature": 71,
    "fan": None,
    "throttle": ["sw_power_cap"],
}


def items(**values: str) -> dict[str, dict[str, str]]:
    """What zabbix_values reads where all is well, and these in its place."""
    common = {"mig": "0", "utilisation": "12", "memory_total": f"{2**35}", "memory_used": "0", "temperature": "65"}
    read = {f"dlhost.gpu.{name}[GPU-1]": {"value": value} for name, value in {**common, **values}.items()}
    return {"dlhost.gpu.count": {"value": "1"}, **read}


def test_what_agrees_agrees() -> None:
    assert zabbix_read_back(items(), [CARD]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("mig", "1"), ("memory_total", "1"), ("temperature", "40"), ("memory_used", f"{2**33}"), ("fan", "0")],
)
def test_another_value_is_said(name: str, value: str) -> None:
    said = zabbix_read_back(items(**{name: value}), [CARD])

    assert said == [f"dlhost.gpu.{name}[GPU-1] is {value}, and the host says {CARD[name]}"]


def test_a_value_that_does_not_come_is_said() -> None:
    assert zabbix_read_back(items(utilisation=""), [CARD]) == [
        "dlhost.gpu.utilisation[GPU-1] is without a value, and the host says 93"
    ]
    assert zabbix_read_back({}, [])[0] == "dlhost.gpu.count is without a value, and the host has 0"
