"""What a host's firewall lets in, as text for nft; that the kernel takes it, the role's scenario shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.python_environments import plugin

module = plugin("module_utils.firewall_rules")


def accepted(text: str) -> list[str]:
    """The rules that let somebody in besides what every host needs."""
    return [line.strip() for line in text.partition("DHCPv6")[2].splitlines()[1:] if "accept" in line]


def opening(port: str, **more: Any) -> Any:
    return module.Opening.from_argument({"port": port, "protocol": "tcp", "cidrs": [], "comment": "", **more})


def test_ssh_comes_first_and_everything_else_is_dropped() -> None:
    text = module.rules([2222, 22], [], [opening("443", comment="HTTPS")], ["virbr*", "wg0"])
    assert "elements = { 22, 2222 }" in text
    assert "type filter hook input priority filter; policy drop;" in text
    assert accepted(text) == [
        'tcp dport @ssh_ports accept comment "SSH"',
        'iifname "virbr*" accept comment "trusted"',
        'iifname "wg0" accept comment "trusted"',
        'tcp dport 443 accept comment "HTTPS"',
    ]


def test_only_our_own_table_is_replaced_and_in_one_transaction() -> None:
    text = module.rules([22], [], [], [])
    assert text.index("\ntable inet dlhost\ndelete table inet dlhost\n") < text.index("table inet dlhost {")
    assert "flush" not in text


def test_networks_are_told_apart_by_their_family_and_lie_in_no_other() -> None:
    text = module.rules(
        [22], ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"], [opening("53", protocol="udp", cidrs=["::1"])], []
    )
    assert accepted(text) == [
        'ip saddr { 10.0.0.0/8 } tcp dport @ssh_ports accept comment "SSH"',
        'ip6 saddr { fd00::/8 } tcp dport @ssh_ports accept comment "SSH"',
        "ip6 saddr { ::1/128 } udp dport 53 accept",
    ]


def test_sshd_may_come_to_a_further_port() -> None:
    text = module.rules([22], [], [opening("80-81")], [])
    assert module.with_ssh_ports(text, [22]) == text
    assert module.with_ssh_ports(text, [2222, 22]) == module.rules([22, 2222], [], [opening("80-81")], [])
    assert module.with_ssh_ports("", [2222]) == ""


@pytest.mark.parametrize("port", ["0", "0443", "80-090", "65536", "http", "90-80", "80,443", "-80", "80-", "", "1-2-3"])
def test_what_is_no_port_is_named(port: str) -> None:
    with pytest.raises(module.RefusedError, match=f"firewall_ports names port {port}; a port is 1 to 65535"):
        opening(port)


@pytest.mark.parametrize("comment", ['a "quoted" one', "two\nlines", "long " * 30])
def test_a_comment_cannot_be_more_than_a_comment(comment: str) -> None:
    with pytest.raises(module.RefusedError, match="comment of port 80 in firewall_ports"):
        opening("80", comment=comment)


@pytest.mark.parametrize("cidr", ["10.0.0.7/8", "home", "10.0.0.0/33", "fe80::1%eth0"])
def test_what_is_no_network_is_named(cidr: str) -> None:
    with pytest.raises(module.RefusedError, match=f"firewall_ports, port 80, names the network {cidr} "):
        opening("80", cidrs=[cidr])


@pytest.mark.parametrize("name", ["*", "", "a name", 'eth0"', "a*b", "longer-than-any-is", "../x"])
def test_what_is_no_interface_is_named(name: str) -> None:
    with pytest.raises(module.RefusedError, match="firewall_trusted_interfaces names"):
        module.require_interfaces([name])


def test_interfaces_may_end_in_any() -> None:
    module.require_interfaces(["docker0", "virbr*", "wg0"])


@pytest.mark.parametrize(
    ("address", "inside"),
    [("10.1.2.3", True), ("11.0.0.1", False), ("fe80::1%eth0", True), ("2001:db8::1", False)],
)
def test_an_address_is_looked_for_in_networks_of_both_families(address: str, inside: bool) -> None:
    assert module.is_within(address, ["10.0.0.0/8", "fe80::/10"]) is inside


def test_who_listens_beyond_loopback_and_is_not_let_in_is_told() -> None:
    host = plugin("module_utils.firewall_host")
    listeners = [
        host.Listener(address, port, "", program)
        for address, port, program in (
            ("*", 22, "sshd"),
            ("*", 3000, "grafana, process 7 of ada"),
            ("127.0.0.1", 8888, "jupyter-lab"),
            ("::1", 8889, "jupyter-lab"),
            ("::", 5353, "a program of avahi"),
            ("*", 8080, "docker-proxy, process 9 of root"),
            ("192.0.2.1", 8005, "python3"),
        )
    ]
    let_in = [opening("22"), opening("8000-8010"), opening("5353", protocol="udp")]
    assert [each.port for each in host.shut_out(listeners, let_in)] == [3000, 5353]
