"""A service of a host in the user's browser: at the host's web front, or through a tunnel."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from dlhost.adapters import network, openssh, runner
from dlhost.errors import ExitCode, UsageError
from dlhost.operations.remote import Ask, reached
from dlhost.values.inventory import Host
from dlhost.values.services import Offer, Service, choose, listed

HTTPS = 443
Say = Callable[[str], None]


def open_service(inventory: str, host: str, name: str, user: str, ask: Ask, ready: Say, say: Say) -> int:
    """Tell `ready` the address of a service, where need be with a tunnel that lasts until Ctrl-C.

    Raises:
        UsageError: The host offers no such service, or to several users.
    """
    at, offer, service = _find(inventory, host, name, user, ask)
    url = offer.url(service)
    why_not = _unanswered(url) if url else f"{at.name} has no web front that serves it"
    if not why_not:
        ready(url)
        return ExitCode.DONE
    say(f"{why_not}; going through SSH.")
    return _tunnel(at, service, None, ready, say)


def tunnel_service(
    inventory: str, host: str, name: str, user: str, local_port: int | None, ask: Ask, ready: Say, say: Say
) -> int:
    """The same always through a tunnel; without a `local_port`, from the service's own where it is free, else any.

    Raises:
        UsageError: As above, or the local port is taken.
    """
    at, _, service = _find(inventory, host, name, user, ask)
    return _tunnel(at, service, local_port, ready, say)


def _find(inventory: str, host: str, name: str, user: str, ask: Ask) -> tuple[Host, Offer, Service]:
    at = reached(inventory, host, ask)
    offer = openssh.offer(at, runner.control_path_dir())
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


def _tunnel(host: Host, service: Service, local_port: int | None, ready: Say, say: Say) -> int:
    if local_port and not network.is_free(local_port):
        raise UsageError(f"Port {local_port} of this machine is taken; choose another, or leave out --local-port.")
    local = local_port or network.free_port(service.port)

    def announce() -> None:
        ready(f"http://{network.LOOPBACK}:{local}{service.path}")
        say("Ctrl-C ends the tunnel.")

    code = openssh.forward(host.connection, local, service.port, announce)
    return ExitCode.UNREACHABLE if code else ExitCode.DONE
