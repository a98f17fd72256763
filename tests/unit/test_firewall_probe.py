"""Where trying a host's ports tells something of its own firewall, and where it does not."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.python_environments import plugin

SHOWN = "2: eth0    inet 192.0.2.1/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever\n"
DIRECT = {"address": "192.0.2.1", "trusted_interface": ""}


@pytest.mark.parametrize(
    ("shown", "trusted", "found"),
    [
        (SHOWN, ["docker0", "virbr*"], ""),
        (SHOWN, ["eth0"], "eth0"),
        (SHOWN, ["eth"], ""),
        (SHOWN, ["et*"], "eth0"),
        (SHOWN.replace("eth0 ", "tailscale0 "), ["tailscale0"], "tailscale0"),
        ("", ["eth0", "*"], ""),
    ],
)
def test_the_interface_that_the_controller_comes_in_by(
    monkeypatch: pytest.MonkeyPatch, shown: str, trusted: list[str], found: str
) -> None:
    probe = plugin("modules.firewall_probe")
    monkeypatch.setattr(probe, "run", lambda *command: subprocess.CompletedProcess(command, 0, shown, ""))
    assert probe.trusted_interface("192.0.2.1", trusted) == found


@pytest.mark.parametrize(
    ("dialled", "seen", "reason"),
    [
        ("192.0.2.1", DIRECT, ""),
        ("203.0.113.9", DIRECT, "203.0.113.9 is not the host's own address, which is 192.0.2.1"),
        ("no.such.invalid", DIRECT, "no.such.invalid is not the host's own address"),
        ("fe80::1%eth0", {**DIRECT, "address": "fe80::1%eth1"}, ""),
        ("192.0.2.1", {**DIRECT, "trusted_interface": "tailscale0"}, "by tailscale0, from which everything is let in"),
    ],
)
def test_ports_are_tried_only_where_the_hosts_own_firewall_answers(
    monkeypatch: pytest.MonkeyPatch, dialled: str, seen: dict[str, Any], reason: str
) -> None:
    probe = plugin("action.firewall_probe")

    def addresses(name: str, _port: None) -> list[Any]:
        if name.endswith(".invalid"):
            raise OSError
        return [(0, 0, 0, "", (name.partition("%")[0], 0))]

    monkeypatch.setattr(probe, "socket", SimpleNamespace(getaddrinfo=addresses))
    said = probe.hindrance_on_the_way(dialled, seen)
    assert reason in said
    assert bool(said) is bool(reason)
