"""A service of a host in the user's browser: at the host's web front, or through a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from dlhost.adapters import content, inventory_source, network, openssh, runner
from dlhost.errors import ExitCode, UsageError
from dlhost.operations.remote import Ask, reached
from dlhost.values.inventory import Host
from dlhost.values.services import Offer, Service, choose, listed, ways_in

HTTPS = 443
Say = Callable[[str], None]


def open_service(inventory: str, host: str, name: str, user: str, ask: Ask, ready: Say, say: Say) -> int:
    """Tell `ready` the address of a service, where need be with a tunnel that lasts until Ctrl-C.

    Raises:
        UsageError: The host offers no such service, or to several users.
    """
    at, offer, service = find_service(inventory, host, name, user, ask)
    url = offer.url(service)
    why_not = _unanswered(url) if url else f"{at.name} has no web front that serves it"
    if not why_not:
        ready(url)
        return ExitCode.DONE
    say(f"{why_not}; going through SSH.")
    return _tunnel(inventory, at, service, None, ready, say)


def tunnel_service(
    inventory: str, host: str, name: str, user: str, local_port: int | None, ask: Ask, ready: Say, say: Say
) -> int:
    """The same always through a tunnel; without a `local_port`, from the service's own where it is free, else any.

    Raises:
        UsageError: As above, or the local port is taken.
    """
    at, _, service = find_service(inventory, host, name, user, ask)
    return _tunnel(inventory, at, service, local_port, ready, say)


def find_service(inventory: str, host: str, name: str, user: str, ask: Ask) -> tuple[Host, Offer, Service]:
    """The one service that is meant, the host that has it, and what else that host offers.

    Raises:
        UsageError: The host offers no such service, or to several users.
    """
    at = reached(inventory, host, ask)
    offer = openssh.offer(at, runner.control_path_dir(inventory_source.find(inventory).path))
    found = choose(offer.services, name, user)
    if not found:
        whose = f" for {user}" if user else ""
        there = f"It offers {listed(offer.services)}" if offer.services else "It offers nothing yet"
        raise UsageError(
            f"{at.name} offers no {name}{whose}. {there}; "
            f"`dlhost provision -i {inventory}` sets up what the inventory says."
        )
    if len(found) > 1:
        raise UsageError(f"Whose? {at.name} offers {listed(found)}; choose with --user.")
    return at, offer, found[0]


def _unanswered(url: str) -> str:
    """Why the front cannot be reached from here; empty where it can."""
    front = urlsplit(url)
    reason = network.unanswered(front.hostname or "", front.port or HTTPS)
    return f"{front.scheme}://{front.netloc} cannot be reached from here ({reason})" if reason else ""


def local_port_for(service: Service, wanted: int | None) -> int:
    """Where a service's tunnel begins: at the wanted port, else at the service's own where it is free, else any.

    Raises:
        UsageError: The wanted port is taken.
    """
    if wanted and not network.is_free(wanted):
        raise UsageError(f"Port {wanted} of this machine is taken; choose another, or leave out --local-port.")
    return wanted or network.free_port(service.port)


def url_through_tunnel(service: Service, local_port: int) -> str:
    """Where a service is for this machine's programs, once a tunnel leads there; a desktop's viewer knows no paths."""
    path = "/" if service.scheme == "vnc" else service.path
    return f"{service.scheme}://{network.LOOPBACK}:{local_port}{path}"


def tell_password(inventory: str, host: Host, service: Service, say: Say) -> None:
    """Say which command shows a service's password, where it has one."""
    (way,) = ways_in(host, Offer((service,)), content.role_schemas(), f"-i {inventory} --host {host.name}")
    if way.password:
        say(f"`{way.password}` shows its password.")


def _tunnel(inventory: str, host: Host, service: Service, local_port: int | None, ready: Say, say: Say) -> int:
    local = local_port_for(service, local_port)

    def announce() -> None:
        ready(url_through_tunnel(service, local))
        tell_password(inventory, host, service, say)
        say("Ctrl-C ends the tunnel.")

    code = openssh.forward(host.connection, local, service.port, announce)
    return ExitCode.UNREACHABLE if code else ExitCode.DONE
