"""Tunnels that outlive the command: a service's or those of -L, each there once, until it is told to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dlhost.adapters import inventory_source, network, tunnels
from dlhost.errors import UsageError
from dlhost.operations.remote import Ask, reached
from dlhost.operations.services import Say, find_service, local_port_for, tell_password, url_through_tunnel
from dlhost.values.inventory import Host
from dlhost.values.services import Service
from dlhost.values.tunnels import Tunnel


def to_service(
    inventory: str, host: str, name: str, user: str, local_port: int | None, ask: Ask, ready: Say, say: Say
) -> tuple[Tunnel, bool]:
    """A tunnel to a service, whose address `ready` is told, and whether it is new; the one that is there stays.

    Raises:
        UsageError: The host offers no such service, or to several users; the local port is taken, or is not that of
            the tunnel that is there.
    """
    at, _, service = find_service(inventory, host, name, user, ask)
    key = inventory_source.find(inventory).key
    with tunnels.held() as held:
        unplaced = Tunnel(key, at.name, (), service.name, service.user)
        there = next((tunnel for tunnel in held.living() if tunnel.key == unplaced.key), None)
        if there and local_port not in {None, there.local_port}:
            raise UsageError(
                f"{there.name} has its tunnel at port {there.local_port} already; end it first, with --stop."
            )
        if there:
            now = _placed(unplaced, service, there.local_port)
        else:
            now = _placed(unplaced, service, local_port_for(service, local_port))
        if now != there:
            if there:
                held.stop(there)  # The service has moved: to another port, or to another path.
            held.start(now, at.connection)
    ready(now.url)
    tell_password(inventory, at, service, say)
    return now, now != there


def forwarding(inventory: str, host: str, forwards: Sequence[str], ask: Ask) -> tuple[Tunnel, bool]:
    """A tunnel of -L's ports, and whether it is new."""
    at: Host = reached(inventory, host, ask)
    tunnel = Tunnel(inventory_source.find(inventory).key, at.name, tuple(sorted(forwards)))
    with tunnels.held() as held:
        if tunnel in held.living():
            return tunnel, False
        held.start(tunnel, at.connection)
    return tunnel, True


def stop(inventory: str, host: str, service: str, user: str, forwards: Sequence[str]) -> list[Tunnel]:
    """End those of an inventory's tunnels that are meant: all where nothing narrows it. No host is asked.

    Raises:
        DlhostError: One does not end.
    """
    key = inventory_source.find(inventory).key
    with tunnels.held() as held:
        meant = [
            tunnel
            for tunnel in held.living()
            if tunnel.inventory == key
            and host in {"", tunnel.host}
            and service in {"", tunnel.service}
            and user in {"", tunnel.user}
            and (not forwards or tunnel.forwards == tuple(sorted(forwards)))
        ]
        held.stop(*meant)
    return meant


def _placed(tunnel: Tunnel, service: Service, local_port: int) -> Tunnel:
    """The same with its beginning and its end."""
    forward = f"{network.LOOPBACK}:{local_port}:{network.LOOPBACK}:{service.port}"
    url = url_through_tunnel(service, local_port)
    return replace(tunnel, forwards=(forward,), url=url, local_port=local_port)
