"""Values that role firewall refuses before any of them reaches a host: one run, in which each has a host of its own."""

from __future__ import annotations

import pytest

from tests.unit.plays import refusals

VALUES: dict[str, tuple[dict[str, object], str]] = {
    "port": ({"firewall_ports": [{"port": 70000}]}, "firewall_ports names port 70000; a port is 1 to 65535"),
    "range": ({"firewall_ports": [{"port": 22}, {"port": "8000-7000"}]}, "firewall_ports names port 8000-7000;"),
    "comment": ({"firewall_ports": [{"port": 80, "comment": 'a "b"'}]}, "The comment of port 80 in firewall_ports"),
    "port-network": (
        {"firewall_ports": [{"port": 80, "cidrs": ["10.0.0.1/40"]}]},
        "firewall_ports, port 80, names the network 10.0.0.1/40 (",
    ),
    "network": ({"firewall_ssh_cidrs": ["::1", "10.0.0.7/8"]}, "firewall_ssh_cidrs names the network 10.0.0.7/8 ("),
    "interface": ({"firewall_trusted_interfaces": ["a b"]}, "firewall_trusted_interfaces names 'a b'; an interface"),
    "seconds": ({"firewall_guard_timeout_s": 59}, "firewall_guard_timeout_s is 59, and a login needs at least 60"),
    "type": (
        {"firewall_ports": [{"cidrs": []}]},
        "not of their types: missing required arguments: port found in ports.",
    ),
    "good": ({}, ""),
    "good-texts": (
        {
            "firewall_guard_timeout_s": "60",
            "firewall_ssh_cidrs": "10.0.0.0/8,::1",
            "firewall_trusted_interfaces": "wg0",
        },
        "",
    ),
    "good-everything": (
        {
            "firewall_ports": [
                {"port": 80},
                {
                    "port": "8000-8010",
                    "protocol": "udp",
                    "cidrs": ["192.168.0.0/16", "fd00::/8"],
                    "comment": "workshops",
                },
            ],
            "firewall_ssh_cidrs": ["0.0.0.0/0"],
        },
        "",
    ),
    "good-absent": ({"firewall_state": "absent", "firewall_ports": [{"port": 70000}]}, ""),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role said to each value; nothing to a good one."""
    hosts = {name: {"firewall_state": "present"} | variables for name, (variables, _words) in VALUES.items()}
    return refusals(tmp_path_factory.mktemp("values"), "firewall", hosts)


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if words])
def test_a_bad_value_is_refused_in_one_sentence(said: dict[str, str], name: str) -> None:
    assert VALUES[name][1] in said[name]


def test_a_good_value_passes(said: dict[str, str]) -> None:
    assert said.keys() == {name for name, (_variables, words) in VALUES.items() if words}
