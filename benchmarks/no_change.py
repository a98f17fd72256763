"""A run that finds nothing to do: dlhost, its playbook alone, the peer's tasks, pyinfra, and one SSH round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks import contenders
from benchmarks.contenders import Peers, Ran
from benchmarks.end_state import EndState
from benchmarks.estate import Estate
from benchmarks.hosts import Hosts, require_unchanged
from benchmarks.result import Figure, in_turn, ratio


def measure(estate: Estate, hosts: Hosts, state: EndState, rounds: int, rtts_ms: list[int]) -> Iterator[Figure]:
    """Near, and as far away as each round-trip time says."""
    for rtt_ms in rtts_ms:
        with hosts.far_away(rtt_ms) as seen:
            yield from _measure(estate, seen, state, rounds, f", RTT {rtt_ms} ms")


def _measure(estate: Estate, hosts: Hosts, state: EndState, rounds: int, where: str) -> Iterator[Figure]:
    inventory = estate.inventory(hosts.dlhost)

    def unchanged(run: Callable[[], Ran]) -> Callable[[], None]:
        return lambda: require_unchanged(run())

    seconds = in_turn(
        {
            "dlhost": unchanged(lambda: contenders.dlhost("provision", inventory)),
            "site": unchanged(lambda: contenders.site(inventory)),
            "peer": unchanged(Peers.of(estate.inventory(hosts.peer), state).tasks),
            "pyinfra": unchanged(Peers.of(estate.inventory(hosts.pyinfra), state).pyinfra),
            "trip": lambda: contenders.round_trip(hosts.dlhost, inventory),
        },
        rounds,
    )
    yield ratio(f"no change: `dlhost provision` / peer's tasks{where}", seconds["dlhost"], seconds["peer"], 0.6)
    yield ratio(f"no change: our playbook / peer's tasks{where}", seconds["site"], seconds["peer"], 0.6)
    yield ratio(f"no change: `dlhost provision` / pyinfra{where}", seconds["dlhost"], seconds["pyinfra"])
    yield ratio(f"no change: `dlhost provision` / cold SSH round trip{where}", seconds["dlhost"], seconds["trip"])
    yield ratio(f"no change: `dlhost provision` / our playbook{where}", seconds["dlhost"], seconds["site"])
