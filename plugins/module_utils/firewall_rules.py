"""The rules of a host's firewall as text for nft(8), from values; nothing of the host is asked here.

Numbers stand where nft would look a name up: a bare host has neither /etc/services nor /etc/protocols.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Sequence

from ansible_collections.dlhost.host.plugins.module_utils.networks import read_network
from ansible_collections.dlhost.host.plugins.module_utils.service_host import AGAIN, RefusedError

LAST_PORT = 65535
# Three tries to log in, each of which may wait 10 s for an answer, with 3 s between them, and room for a slow host.
MINIMUM_TIMEOUT_S = 60
# nft takes a number that begins with 0 for an octal one.
PORT = re.compile(r"[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?")
INTERFACE = re.compile(r"[^\s\"/*]{1,14}[^\s\"/]?")
COMMENT_BYTES = 127  # nft keeps 128, the last of which ends it.

# By ICMP, IPv6 finds neighbours and routers, and a sender hears why a packet was lost.
TEXT = """\
# Written by dlhost, role firewall. It is loaded in one piece: systemctl reload dlhost-firewall
# What this table drops is dropped, whatever others accept; what others drop, it does not bring back.
table inet dlhost
delete table inet dlhost

table inet dlhost {{
	set ssh_ports {{
		type inet_service
		elements = {{ {ssh_ports} }}
	}}

	# What is forwarded, such as to published ports of containers, does not come by here.
	chain input {{
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state vmap {{ established : accept, related : accept, invalid : drop }}
		icmp type {{ echo-request, destination-unreachable, time-exceeded, parameter-problem }} accept
		icmpv6 type {{ echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} accept
		icmpv6 type {{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query }} accept
		udp sport 67 udp dport 68 accept comment "DHCP client"
		ip6 saddr fe80::/10 udp dport 546 accept comment "DHCPv6 client"
{openings}
	}}
}}
"""
SSH_PORTS = re.compile(r"(?<=\t\telements = \{ )[0-9, ]+(?= \})")


@dataclasses.dataclass(frozen=True)
class Opening:
    """A TCP or UDP port, or FIRST-LAST, for everybody or for those of `cidrs`."""

    port: str
    protocol: str = "tcp"
    cidrs: Sequence[str] = ()
    comment: str = ""

    @classmethod
    def from_argument(cls, argument: dict) -> Opening:
        """One element of an inventory's list.

        Raises:
            RefusedError: It is no port, no network or no comment.
        """
        port, comment = argument["port"], argument["comment"]
        first, last = _bounds(port) if PORT.fullmatch(port) else (0, 0)
        if not 0 < first <= last <= LAST_PORT:
            raise RefusedError(
                f"firewall_ports names port {port}; a port is 1 to {LAST_PORT}, or a range such as 8000-8010. "
                f"Correct it {AGAIN}"
            )
        if '"' in comment or not comment.isprintable() or len(comment.encode()) > COMMENT_BYTES:
            raise RefusedError(
                f"The comment of port {port} in firewall_ports is one line of at most {COMMENT_BYTES} bytes without "
                f"double quotes. Correct it {AGAIN}"
            )
        require_networks(f"firewall_ports, port {port},", argument["cidrs"])
        return cls(port, argument["protocol"], tuple(argument["cidrs"]), comment)

    @property
    def range(self) -> range:
        first, last = _bounds(self.port)
        return range(first, last + 1)


def with_ssh_ports(text: str, ports: Iterable[int]) -> str:
    """A text of rules() that lets SSH in on these ports, too."""
    return SSH_PORTS.sub(lambda found: _listed({*map(int, found[0].split(",")), *ports}), text, count=1)


def require_values(request: dict) -> None:
    """Raises RefusedError where an argument of the module can be meant on no host."""
    if request["guard_timeout_s"] < MINIMUM_TIMEOUT_S:
        raise RefusedError(
            f"firewall_guard_timeout_s is {request['guard_timeout_s']}, and a login needs at least "
            f"{MINIMUM_TIMEOUT_S} seconds. Raise it {AGAIN}"
        )
    require_networks("firewall_ssh_cidrs", request["ssh_cidrs"])
    require_interfaces(request["trusted_interfaces"])
    for port in request["ports"]:
        Opening.from_argument(port)


def require_networks(where: str, cidrs: Iterable[str]) -> None:
    """Raises RefusedError where one of them is no network."""
    for cidr in cidrs:
        try:
            read_network(cidr)
        except ValueError as error:
            raise RefusedError(f"{where} names the network {cidr} ({error}). Correct it {AGAIN}") from None


def require_interfaces(names: Iterable[str]) -> None:
    """Raises RefusedError where one of them is no name of an interface."""
    for name in names:
        if not INTERFACE.fullmatch(name):
            raise RefusedError(
                f"firewall_trusted_interfaces names {name!r}; an interface has up to 15 characters, and a * may stand "
                f"at the end for any others. Correct it {AGAIN}"
            )


def is_within(address: str, cidrs: Iterable[str]) -> bool:
    """Whether one of the networks has the address, which may name its interface (fe80::1%eth0)."""
    host = ipaddress.ip_address(address.partition("%")[0])
    return any(host in ipaddress.ip_network(cidr) for cidr in cidrs)


def lets_in(openings: Iterable[Opening], port: int) -> bool:
    """Whether somebody may reach a TCP port."""
    return any(port in opening.range for opening in openings if opening.protocol == "tcp")


def rules(
    ssh_ports: Iterable[int], ssh_cidrs: Sequence[str], openings: Iterable[Opening], trusted: Sequence[str]
) -> str:
    """The file for nft, which replaces the table in one transaction."""
    lines = _accept("tcp dport @ssh_ports", ssh_cidrs, "SSH")
    # nft before 1.0.3 knows no * within a set.
    lines += [f'iifname "{name}" accept comment "trusted"' for name in trusted]
    for opening in openings:
        lines += _accept(f"{opening.protocol} dport {opening.port}", opening.cidrs, opening.comment)
    return TEXT.format(ssh_ports=_listed(ssh_ports), openings="\n".join(f"\t\t{line}" for line in lines))


def _accept(what: str, cidrs: Sequence[str], comment: str) -> list[str]:
    """One rule, or one for each family of addresses."""
    said = f' comment "{comment}"' if comment else ""
    if not cidrs:
        return [f"{what} accept{said}"]
    found = []
    for version, family in ((4, "ip"), (6, "ip6")):
        networks = [network for network in map(ipaddress.ip_network, cidrs) if network.version == version]
        if networks:
            # nft before 1.0.6 takes no network that lies in another one.
            named = ", ".join(map(str, ipaddress.collapse_addresses(networks)))
            found.append(f"{family} saddr {{ {named} }} {what} accept{said}")
    return found


def _bounds(port: str) -> tuple[int, int]:
    first, _, last = port.partition("-")
    return int(first), int(last or first)


def _listed(ports: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(ports))))
