"""What other programs need to know: an editor a host's block of ssh_config(5), Zabbix the hosts' names and keys."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dlhost.adapters import content, inventory_source, monitoring, openssh, runner, tunnels
from dlhost.errors import InventoryError, UsageError
from dlhost.operations.remote import Ask, reached
from dlhost.values import monitoring as monitored
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
    offer = openssh.offers([at], runner.control_path_dir(location.path)).get(at.name)
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


@dataclass(frozen=True, slots=True)
class ForZabbix:
    """A monitored host as its server has to know it."""

    name: str
    psk_identity: str
    psk: str = field(repr=False)


def zabbix(inventory: str, limit: tuple[str, ...], ask: Ask) -> list[ForZabbix]:
    """Every monitored host; none is connected to.

    Raises:
        UsageError: No host is monitored.
        InventoryError: A host has no key.
    """
    location = inventory_source.find(inventory)
    password = inventory_source.vault_password(location, ask)
    hosts = [host for host in inventory_source.load(location, password, limit).hosts if monitored.is_monitored(host)]
    if not hosts:
        raise UsageError(f"No host of inventory {location.name} is monitored: none is in group {monitored.GROUP}.")
    found = [
        ForZabbix(
            monitored.name_of(host),
            monitored.psk_identity_of(host),
            str(host.variables.get("zabbix_agent_psk") or monitoring.derived_key(host)),
        )
        for host in hosts
    ]
    if lacking := [host.name for host in found if not host.psk]:
        raise InventoryError(
            f"{', '.join(lacking)}: there is no key. "
            f"Make one: dlhost secrets set -i {inventory} zabbix_agent_psk_secret --generate"
        )
    return found


def zabbix_template(version: str) -> str:
    """The file to import into a server of this version: the newest that is not newer than that.

    Raises:
        UsageError: It is no version, or there is none for it.
    """
    versions = monitoring.template_versions()
    if not re.fullmatch(r"\d+\.\d+", version):
        raise UsageError(f"{version} is no version of Zabbix, such as {versions[-1]}.")
    older = [known for known in versions if _numbers(known) <= _numbers(version)]
    if not older:
        raise UsageError(f"There are no templates for Zabbix {version}; {versions[0]} is the oldest that they are for.")
    return monitoring.template(max(older, key=_numbers))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
