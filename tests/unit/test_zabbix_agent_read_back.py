"""What a server has of a host's cards, held against what the host says."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.filter.zabbix_read_back import zabbix_awaited, zabbix_read_back

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


NOW, THEN = 1000, 900


def items(time: int = NOW, **values: Any) -> dict[str, dict[str, Any]]:
    """What zabbix_values reads where all is well, and these in its place."""
    common = {"mig": "0", "utilisation": "12", "memory_total": f"{2**35}", "memory_used": "0", "temperature": "65"}
    read = {f"dlhost.gpu.{name}[GPU-1]": {"value": value, "time": time} for name, value in {**common, **values}.items()}
    return {"dlhost.gpu.count": {"value": "1", "time": time}, **read}


def test_what_agrees_agrees() -> None:
    assert zabbix_read_back(items(), [CARD], THEN) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("mig", "1"), ("memory_total", "1"), ("temperature", "40"), ("memory_used", f"{2**33}"), ("fan", "0")],
)
def test_another_value_is_said(name: str, value: str) -> None:
    said = zabbix_read_back(items(NOW, **{name: value}), [CARD], THEN)

    assert said == [f"dlhost.gpu.{name}[GPU-1] is {value}, and the host says {CARD[name]}"]


def test_a_value_that_does_not_come_is_said() -> None:
    assert zabbix_read_back(items(utilisation=""), [CARD], THEN) == [
        "dlhost.gpu.utilisation[GPU-1] has no new value, and the host says 93"
    ]
    assert zabbix_read_back({}, [], THEN)[0] == "dlhost.gpu.count has no new value, and the host has 0"


def test_values_of_yesterday_are_none() -> None:
    said = zabbix_read_back(items(time=THEN), [CARD], THEN)

    assert said[0] == "dlhost.gpu.count has no new value, and the host has 1"
    assert len(said) == 1 + len(zabbix_awaited([CARD])[1:])


def test_what_a_card_no_longer_tells_may_be_there_from_before() -> None:
    divided = {**CARD, "utilisation": None}
    stale = items() | {"dlhost.gpu.utilisation[GPU-1]": {"value": "12", "time": THEN}}

    assert zabbix_read_back(stale, [divided], THEN) == []


def test_every_value_that_a_card_has_is_awaited() -> None:
    names = ("mig", "utilisation", "memory_total", "memory_used", "temperature")

    assert zabbix_awaited([CARD]) == ["dlhost.gpu.count", *(f"dlhost.gpu.{name}[GPU-1]" for name in names)]
