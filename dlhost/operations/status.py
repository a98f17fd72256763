"""What the hosts of an inventory are doing: once, or over and over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from dlhost.adapters import content, inventory_source, openssh
from dlhost.adapters import status as adapter
from dlhost.adapters.xdg import private_place
from dlhost.errors import ExitCode
from dlhost.values.inventory import Host
from dlhost.values.status import Status, units_of

# Between the end of one look at a host and the next.
PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Outside:
    """What it takes of the world beyond values; `ask` is None where nobody can be asked for the vault's password."""

    look: Callable[[Host, Path, Sequence[str], bool], Status] = adapter.look
    close_connections: Callable[[Iterable[Host], Path], None] = openssh.close_connections
    ask: Callable[[str], str] | None = None


Look = Callable[[Host, bool], Status]


def status(inventory: str, limit: tuple[str, ...], outside: Outside) -> list[Status]:
    """Look at every host at once.

    Raises:
        UsageError: No such inventory or host.
        InventoryError: The inventory cannot be read.
    """
    with _reach(inventory, limit, outside) as (hosts, look), ThreadPoolExecutor(openssh.AT_ONCE) as pool:
        return list(pool.map(lambda host: look(host, True), hosts))


def watch(
    inventory: str, limit: tuple[str, ...], outside: Outside, show: Callable[[Sequence[Status | None]], None]
) -> None:
    """Look again and again, until `show` raises; each host at its own pace, so that none waits for another.

    `show` gets the latest of every host, in the inventory's order, and None for one that has not answered yet.

    Raises:
        UsageError: No such inventory or host.
        InventoryError: The inventory cannot be read.
    """
    with _reach(inventory, limit, outside) as (hosts, look):
        seen: SimpleQueue[Status | Exception] = SimpleQueue()
        over = Event()
        for host in hosts:
            # At the end nobody waits for a host that does not answer.
            Thread(target=_follow, args=(host, look, seen.put, over), daemon=True).start()
        latest: dict[str, Status] = {}
        try:
            while True:
                found = seen.get()
                if isinstance(found, Exception):
                    raise found
                latest[found.host] = found
                show([latest.get(host.name) for host in hosts])
        finally:
            over.set()


def exit_code(found: Sequence[Status]) -> ExitCode:
    """Nobody is judged by how busy he is; only a host that was not reached counts."""
    return ExitCode.UNREACHABLE if any(one.error for one in found) else ExitCode.DONE


def _follow(host: Host, look: Look, tell: Callable[[Status | Exception], None], over: Event) -> None:
    """Look at one host again and again; what ends that is told too, for a thread has nobody else to tell it to."""
    ask_gpus = True
    try:
        while not over.is_set():
            found = look(host, ask_gpus)
            ask_gpus = not found.driver_hangs
            tell(found)
            over.wait(PAUSE_S)
    except Exception as error:
        tell(error)


@contextmanager
def _reach(inventory: str, limit: tuple[str, ...], outside: Outside) -> Iterator[tuple[Sequence[Host], Look]]:
    """The hosts, and how to look at one; the connections are closed at the end."""
    location = inventory_source.find(inventory)
    password = inventory_source.vault_password(location, outside.ask)
    hosts = inventory_source.load(location, password, limit).hosts
    schemas = content.role_schemas()
    # Connections of its own: at the end they are closed, and a run's must not be.
    with private_place() as sockets:
        try:
            yield hosts, lambda host, ask_gpus: outside.look(host, sockets, units_of(host, schemas), ask_gpus)
        finally:
            outside.close_connections(hosts, sockets)
