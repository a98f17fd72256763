"""A bare host, provisioned: dlhost against the least that works."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

from benchmarks import contenders
from benchmarks.end_state import EndState
from benchmarks.estate import Estate, Host, Inventory
from benchmarks.result import Figure, ratio

Contestant = Callable[[Host, Inventory], object]


def measure(estate: Estate, state: EndState, rounds: int) -> Iterator[Figure]:
    """Everything is fetched as on any bare host, by both."""
    medians = on_bare_hosts(
        estate,
        state,
        rounds,
        {
            "dlhost": lambda _, inventory: contenders.dlhost("provision", inventory),
            "script": lambda host, inventory: contenders.shell_script(host, inventory, state.shell_script()),
        },
    )
    yield ratio(
        "first provision: `dlhost provision` / one-transaction script", medians["dlhost"], medians["script"], 1.5
    )


def on_bare_hosts(
    estate: Estate,
    state: EndState,
    rounds: int,
    contestants: Mapping[str, Contestant],
    image: str = "",
    settings: Mapping[str, object] | None = None,
) -> dict[str, float]:
    """Run them in turn, each time on a new host from the same image; returns each one's median in seconds.

    The clock runs until the front answers, since not everybody waits for what it starts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            host = estate.host(image)
            inventory = estate.inventory(host, settings=settings)
            started = time.perf_counter()
            run(host, inventory)
            state.await_front(host.container)
            seconds[name].append(time.perf_counter() - started)
            state.require(host.container, name)
            estate.discard(host)
    return {name: statistics.median(values) for name, values in seconds.items()}
