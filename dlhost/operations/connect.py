"""What an editor needs to know of a host: its block of ssh_config(5), and its Jupyter servers."""

from __future__ import annotations

from dataclasses import dataclass

from dlhost.adapters import content, inventory_source, openssh, runner, tunnels
from dlhost.operations.remote import Ask, reached
from dlhost.values.inventory import Connection
from dlhost.values.services import WayIn, ways_in
from dlhost.values.ssh_config import block

JUPYTER = "jupyter"


@dataclass(frozen=True, slots=True)
class Server:
    """A user's Jupyter server, its address through the tunnel that is there, if any, and the command that makes one.

    Plain HTTP on this machine asks for no certificate; VS Code's extension does not trust all that its system does.
    """

    way: WayIn
    tunnelled: str
    tunnel_command: str


@dataclass(frozen=True, slots=True)
class ForVSCode:
    """The host as Remote-SSH knows it, and as the Jupyter extension does; `unknown` says why that is not known.

    `address` is where ssh goes by the block.
    """

    alias: str
    address: str
    block: str
    servers: tuple[Server, ...]
    unknown: str


def vscode(inventory: str, host: str, ask: Ask) -> ForVSCode:
    """Ask ssh how it connects, and the host what it offers; a host that does not answer has its block all the same."""
    at = reached(inventory, host, ask)
    location = inventory_source.find(inventory)
    alias = f"dlhost-{at.name}" if location.name == at.name else f"dlhost-{location.name}-{at.name}"
    # What holds for any other host is in the user's configuration, and stays there.
    effective = openssh.effective(at.connection)
    address, told = effective["hostname"][0], block(alias, effective, openssh.effective(None))
    offer = openssh.offers([at], runner.control_path_dir()).get(at.name)
    if offer is None or offer.error:
        return ForVSCode(alias, address, told, (), offer.error if offer else "")
    where = f"-i {inventory}" + (f" --host {host}" if host else "")
    ways = [way for way in ways_in(at, offer, content.role_schemas(), where) if way.service == JUPYTER]
    with tunnels.held() as held:
        living = {
            tunnel.user: tunnel.url
            for tunnel in held.living()
            if (tunnel.inventory, tunnel.host, tunnel.service) == (location.key, at.name, JUPYTER)
        }
    servers = [
        Server(way, living.get(way.user, ""), f"{way.command.replace(' open ', ' tunnel ', 1)} --background")
        for way in ways
    ]
    return ForVSCode(alias, address, told, tuple(servers), "")


def is_in_use(told: ForVSCode) -> bool:
    """Whether ssh goes by the block; it alone knows which files it reads, and for which hosts."""
    return openssh.effective(Connection(address=told.alias))["hostname"] == [told.address]
