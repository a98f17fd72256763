"""Several hosts at once: what each costs the controller, and what the wrapper adds to a run of some length."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks import contenders
from benchmarks.contenders import Peers, Ran
from benchmarks.end_state import EndState
from benchmarks.estate import Estate, Host, Inventory
from benchmarks.no_change import require_unchanged
from benchmarks.relay import far_away
from benchmarks.result import Figure, in_turn, ratio

# The wrapper is held to its target on runs of at least this length.
LONG_RUN_S = 7.0
RTTS_MS = (0, 100, 300)


def measure(estate: Estate, host: Host, state: EndState, rounds: int, sizes: Sequence[int]) -> Iterator[Figure]:
    """On copies of a host on which no contender changes anything."""
    snapshot = estate.snapshot(host)
    hosts = [estate.host(snapshot) for _ in range(max(sizes))]
    inventories = {size: estate.inventory(*hosts[:size]) for size in sizes}
    cpu: dict[str, list[float]] = {"dlhost": [], "peer": []}
    for inventory in inventories.values():
        cpu["dlhost"].append(cpu_seconds(partial(contenders.dlhost, "provision", inventory)))
        cpu["peer"].append(cpu_seconds(Peers.of(inventory, state).tasks))
    margins = {name: statistics.linear_regression(sizes, spent).slope for name, spent in cpu.items()}
    yield ratio(
        "controller CPU for one host more: dlhost / peer's tasks", margins["dlhost"], margins["peer"], unit="CPU-s"
    )

    yield wrapper(estate, hosts, rounds)
    estate.discard(*hosts)


def wrapper(estate: Estate, hosts: Sequence[Host], rounds: int) -> Figure:
    """On the nearest hosts whose run is long enough."""
    for rtt_ms in RTTS_MS:
        with far_away(hosts, rtt_ms) as seen:
            inventory = estate.inventory(*seen)
            contestants = {"wrapper": _provision(inventory), "alone": _play(inventory)}
            if in_turn(contestants, 1)["alone"] < LONG_RUN_S and rtt_ms < max(RTTS_MS):
                continue
            seconds = in_turn(contestants, rounds)
            break
    where = f"{len(hosts)} hosts, no change, RTT {rtt_ms} ms"
    name = f"`dlhost provision` / `ansible-playbook dlhost.host.site`, {where}"
    return ratio(name, seconds["wrapper"], seconds["alone"], 1.06 if seconds["alone"] >= LONG_RUN_S else None)


def _provision(inventory: Inventory) -> Callable[[], None]:
    return lambda: require_unchanged(contenders.dlhost("provision", inventory))


def _play(inventory: Inventory) -> Callable[[], None]:
    return lambda: require_unchanged(contenders.site(inventory))


def cpu_seconds(run: Callable[[], Ran]) -> float:
    """CPU time of all processes that the run starts here and waits for; the hosts' own are not among them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    require_unchanged(run())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
