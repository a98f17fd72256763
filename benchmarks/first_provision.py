"""The first run on a bare host: dlhost, and a shell script with one apt transaction over one SSH connection."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks import contenders
from benchmarks.end_state import EndState
from benchmarks.estate import Estate, Host, Inventory
from benchmarks.result import Figure, ratio


def measure(estate: Estate, state: EndState, rounds: int) -> Iterator[Figure]:
    """Each run has a new host of its own, from the same image."""
    contestants: dict[str, Callable[[Host, Inventory], object]] = {
        "dlhost": lambda _, inventory: contenders.dlhost("provision", inventory),
        "script": lambda host, inventory: contenders.shell_script(host, inventory, state.shell_script()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            host = estate.host()
            inventory = estate.inventory(host)
            started = time.perf_counter()
            run(host, inventory)
            seconds[name].append(time.perf_counter() - started)
            require(state, host, name)
            estate.discard(host)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    yield ratio(
        "first provision: `dlhost provision` / one-transaction script", medians["dlhost"], medians["script"], 1.5
    )


def require(state: EndState, host: Host, name: str) -> None:
    """Raises RuntimeError where a contender did not bring the host to the end state."""
    if lacking := state.differences(host.container):
        raise RuntimeError(f"{name} left the host without: {', '.join(lacking)}.")
