"""Several hosts at once: what each costs the controller, and what the wrapper adds to a run without changes."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks import contenders
from benchmarks.contenders import Peers, Ran
from benchmarks.end_state import EndState
from benchmarks.estate import Estate, Host, Inventory
from benchmarks.hosts import Hosts, require_unchanged
from benchmarks.result import Figure, in_turn, ratio

# On more hosts than that, what the wrapper adds is not seen any more.
FEW = 5


def measure(estate: Estate, hosts: Hosts, state: EndState, rounds: int, sizes: Sequence[int]) -> Iterator[Figure]:
    """On copies of a host on which the contender changes nothing."""
    fleet = _copies(estate, hosts.dlhost, state, max(sizes))
    inventories = {size: estate.inventory(*fleet[:size]) for size in sizes}
    ours = _margin({size: partial(contenders.dlhost, "provision", each) for size, each in inventories.items()})
    added = [_wrapper(size, inventory, rounds) for size, inventory in inventories.items() if size <= FEW]
    estate.discard(*fleet)

    fleet = _copies(estate, hosts.peer, state, max(sizes))
    theirs = _margin({size: Peers.of(estate.inventory(*fleet[:size]), state).tasks for size in sizes})
    estate.discard(*fleet)

    yield ratio("controller CPU for one host more: dlhost / peer's tasks", ours, theirs, unit="CPU-s")
    yield from added


def _copies(estate: Estate, host: Host, state: EndState, number: int) -> list[Host]:
    image = estate.snapshot(host)
    copies = [estate.host(image) for _ in range(number)]
    for copy in copies:
        state.await_front(copy.container)
    return copies


def _margin(runs: dict[int, Callable[[], Ran]]) -> float:
    """CPU seconds that one host more costs the controller."""
    return statistics.linear_regression([*runs], [cpu_seconds(run) for run in runs.values()]).slope


def _wrapper(size: int, inventory: Inventory, rounds: int) -> Figure:
    seconds = in_turn(
        {
            "wrapper": lambda: require_unchanged(contenders.dlhost("provision", inventory)),
            "alone": lambda: require_unchanged(contenders.site(inventory)),
        },
        rounds,
    )
    hosts = "1 host" if size == 1 else f"{size} hosts"
    return ratio(f"no change, {hosts}: `dlhost provision` / our playbook", seconds["wrapper"], seconds["alone"])


def cpu_seconds(run: Callable[[], Ran]) -> float:
    """CPU time of all processes that the run starts here and waits for; the hosts' own are not among them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    require_unchanged(run())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
