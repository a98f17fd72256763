"""The hosts on which contenders find nothing to do: each has its own, which it brought to the end state by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import contenders
from benchmarks.contenders import Peers, Ran
from benchmarks.end_state import EndState
from benchmarks.estate import Estate, Host
from benchmarks.relay import far_away


@dataclass(frozen=True, slots=True)
class Hosts:
    """One for each contender."""

    dlhost: Host
    peer: Host
    pyinfra: Host

    @contextlib.contextmanager
    def far_away(self, rtt_ms: int) -> Iterator[Hosts]:
        """The same hosts as they are reached over a longer way, for as long as the context lasts."""
        with far_away([self.dlhost, self.peer, self.pyinfra], rtt_ms) as seen:
            yield Hosts(*seen)


def settle(estate: Estate, dlhost: Host, state: EndState) -> Hosts:
    """Let the other contenders bring bare hosts to the end state, and require that a second run changes nothing.

    Raises:
        RuntimeError: One does not reach the end state, or goes on changing it.
    """
    hosts = Hosts(dlhost, estate.host(), estate.host())
    inventory = estate.inventory(dlhost)
    runs: tuple[tuple[str, Host, Callable[[], Ran]], ...] = (
        ("dlhost", hosts.dlhost, lambda: contenders.dlhost("provision", inventory)),
        ("The peer's tasks", hosts.peer, Peers.of(estate.inventory(hosts.peer), state).tasks),
        ("pyinfra", hosts.pyinfra, Peers.of(estate.inventory(hosts.pyinfra), state).pyinfra),
    )
    for name, host, run in runs:
        run()
        state.require(host.container, name)
        require_unchanged(run())
    return hosts


def require_unchanged(ran: Ran) -> None:
    """Raises RuntimeError where the run changed something."""
    if ran.changed:
        raise RuntimeError(f"A run that should change nothing did:\n{ran.output}")
