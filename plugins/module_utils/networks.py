"""Networks as an inventory names them."""

from __future__ import annotations

import ipaddress


def read_network(text: str, *, strict: bool = True) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An address, or a network in CIDR notation; unless strict, bits behind its prefix may be set.

    Raises:
        ValueError: It is neither. With a zone (fe80::1%eth0) it is an address on one machine only.
    """
    if "%" in text:
        raise ValueError(f"{text!r} names an interface")
    return ipaddress.ip_network(text, strict=strict)
