"""keepalive: have hosts that stop when they are idle stay up for a time, take that back, or see what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dlhost.adapters import inventory_source, openssh
from dlhost.adapters.xdg import private_place
from dlhost.errors import ExitCode, UsageError
from dlhost.values.inventory import Host
from dlhost.values.keepalive import ABSENT, Idle, idle_from, is_time
from dlhost.values.preflight import Contact

TIMEOUT_S = 30
SHOW, END = "show", "end"
SCRIPT = """
program=/usr/lib/dlhost/idle-stop
printf 'dlhost-idle='
if [ -x "$program" ]; then "$program" ORDER 2>&1; else echo ABSENT; fi
echo complete=yes
"""


@dataclass(frozen=True, slots=True)
class Outside:
    """What it takes of the world beyond values; `ask` is None where nobody can be asked for the vault's password."""

    ask_host: Callable[[Host, Path, str, float], openssh.Answer] = openssh.ask
    close_connections: Callable[[Iterable[Host], Path], None] = openssh.close_connections
    ask: Callable[[str], str] | None = None


def keep(time: str) -> str:
    """The order to keep a host up for a time.

    Raises:
        UsageError: It is no time.
    """
    if not is_time(time):
        raise UsageError(
            f"{time} is no time to keep a host up for: give minutes, hours or days, like 30m, 4h or 2d, a week at most."
        )
    return f"keep {time}"


def tell(inventory: str, limit: tuple[str, ...], order: str, outside: Outside) -> list[Idle]:
    """Give every host an order at once: SHOW, END, or what `keep` makes; returns what each is then up to.

    Raises:
        UsageError: No such inventory or host.
        InventoryError: The inventory cannot be read.
    """
    location = inventory_source.find(inventory)
    hosts = inventory_source.load(location, inventory_source.vault_password(location, outside.ask), limit).hosts
    script = SCRIPT.replace("ORDER", order).replace("ABSENT", ABSENT)
    with private_place() as sockets, ThreadPoolExecutor(openssh.AT_ONCE) as pool:
        try:
            return list(pool.map(lambda host: _told(host, outside.ask_host(host, sockets, script, TIMEOUT_S)), hosts))
        finally:
            outside.close_connections(hosts, sockets)


def exit_code(found: Sequence[Idle]) -> ExitCode:
    """A host that refused weighs more than one that was not reached, as in a run."""
    if any(one.error for one in found if one.reached):
        return ExitCode.TASK_FAILED
    return ExitCode.DONE if all(one.reached for one in found) else ExitCode.UNREACHABLE


def _told(host: Host, answer: openssh.Answer) -> Idle:
    if answer.contact is not Contact.REACHED:
        return Idle(host.name, error=answer.why, reached=False)
    return idle_from(host.name, answer.printed)
