"""What a Zabbix server has of a host, and how long that is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.tls_world import plugin
from tests.unit.zabbix_api_double import ACCESS, Json, Refused, ZabbixApiDouble, served

FAN = "dlhost.gpu.fan[GPU-1]"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = plugin(monkeypatch, "modules.zabbix_values")
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    return module


def item(key: str, value: str, clock: int) -> Json:
    return {"key_": key, "name": key, "lastvalue": value, "lastclock": str(clock), "units": "%", "error": ""}


def look(module: Any, double: ZabbixApiDouble, **request: Any) -> Json:
    asked = {"host": "rig", "keys": ["dlhost.*"], "newer_than": 0, "awaited": [], "timeout_s": 0, **request}
    with served(double) as port:
        seen: Json = module.look({**ACCESS, "url": f"http://localhost:{port}/", **asked})
    return seen


def test_values_come_by_key_and_what_never_came_is_no_zero(module: Any) -> None:
    items = [item(FAN, "62", 100), item("dlhost.gpu.count", "0", 0), item("agent.ping", "1", 100)]
    double = ZabbixApiDouble(answers={"host.get": [{"hostid": "7"}], "item.get": items})

    assert look(module, double)["items"] == {
        FAN: {"value": "62", "time": 100, "units": "%", "name": FAN, "error": ""},
        "dlhost.gpu.count": {"value": "", "time": 0, "units": "%", "name": "dlhost.gpu.count", "error": ""},
    }
    assert list(look(module, double, keys=[FAN])["items"]) == [FAN]
    assert list(look(module, double, keys=["dlhost.gpu.f"])["items"]) == []


def test_a_younger_value_is_waited_for(module: Any) -> None:
    clocks = iter([100, 100, 130])
    double = ZabbixApiDouble(
        answers={"host.get": [{"hostid": "7"}], "item.get": lambda _asked: [item(FAN, "62", next(clocks))]}
    )

    seen = look(module, double, awaited=[FAN], newer_than=100, timeout_s=60)

    assert seen["late"] == [] and seen["items"][FAN]["time"] == 130


def test_what_does_not_come_in_time_is_late(module: Any) -> None:
    double = ZabbixApiDouble(answers={"host.get": [{"hostid": "7"}], "item.get": [item(FAN, "62", 100)]})

    assert look(module, double, awaited=[FAN, "other"], newer_than=100)["late"] == [FAN, "other"]


@pytest.mark.parametrize(
    ("hosts", "sentence"), [([], "Zabbix has no host rig"), (Refused("Error connecting to database."), "no database")]
)
def test_what_cannot_be_read_is_said_and_fails_nothing(module: Any, hosts: Any, sentence: str) -> None:
    seen = look(module, ZabbixApiDouble(answers={"host.get": hosts}), awaited=[FAN])

    assert sentence in seen["error"] and seen["late"] == [FAN]
