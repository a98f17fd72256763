"""A run that finds nothing to do: dlhost, its playbook alone, the peer's tasks, pyinfra, and one SSH round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks import contenders
from benchmarks.contenders import Peers, Ran
from benchmarks.end_state import EndState
from benchmarks.estate import Estate, Host
from benchmarks.relay import far_away
from benchmarks.result import Figure, in_turn, ratio


def measure(estate: Estate, host: Host, state: EndState, rounds: int, rtts_ms: list[int]) -> Iterator[Figure]:
    """On a host that every contender leaves as it is, near and as far away as each round-trip time says."""
    for rtt_ms in rtts_ms:
        with far_away([host], rtt_ms) as (seen,):
            yield from _measure(estate, seen, state, rounds, f", RTT {rtt_ms} ms")


def settle(estate: Estate, host: Host, state: EndState) -> None:
    """Bring the host to where no contender changes anything.

    Raises:
        RuntimeError: One still does, so that they cannot be compared on one host.
    """
    inventory = estate.inventory(host)
    peers = Peers.of(inventory, state)
    runs: tuple[Callable[[], Ran], ...] = (
        lambda: contenders.dlhost("provision", inventory),
        peers.tasks,
        peers.pyinfra,
    )
    for run in runs:
        run()
    for run in runs:
        require_unchanged(run())


def require_unchanged(ran: Ran) -> None:
    """Raises RuntimeError where the run changed something."""
    if ran.changed:
        raise RuntimeError(f"A run that should change nothing did:\n{ran.output}")


def _measure(estate: Estate, host: Host, state: EndState, rounds: int, where: str) -> Iterator[Figure]:
    inventory = estate.inventory(host)
    peers = Peers.of(inventory, state)

    def unchanged(run: Callable[[], Ran]) -> Callable[[], None]:
        return lambda: require_unchanged(run())

    seconds = in_turn(
        {
            "dlhost": unchanged(lambda: contenders.dlhost("provision", inventory)),
            "site": unchanged(lambda: contenders.site(inventory)),
            "peer": unchanged(peers.tasks),
            "pyinfra": unchanged(peers.pyinfra),
            "trip": lambda: contenders.round_trip(host, inventory),
        },
        rounds,
    )
    yield ratio(f"no change: `dlhost provision` / peer's tasks{where}", seconds["dlhost"], seconds["peer"], 0.6)
    yield ratio(f"no change: our playbook / peer's tasks{where}", seconds["site"], seconds["peer"], 0.6)
    yield ratio(f"no change: `dlhost provision` / pyinfra{where}", seconds["dlhost"], seconds["pyinfra"])
    yield ratio(f"no change: `dlhost provision` / cold SSH round trip{where}", seconds["dlhost"], seconds["trip"])
    yield ratio(
        f"no change: `dlhost provision` / `ansible-playbook dlhost.host.site`{where}",
        seconds["dlhost"],
        seconds["site"],
    )
