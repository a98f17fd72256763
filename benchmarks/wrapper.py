"""What the wrapper adds to the run that users wait for: a first provision, without what depends on the network."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import at_hand, contenders
from benchmarks.end_state import EndState
from benchmarks.estate import Estate
from benchmarks.first_provision import on_bare_hosts
from benchmarks.result import Figure, ratio

# It is held to its target on runs of at least this length.
LONG_RUN_S = 7.0


def measure(estate: Estate, state: EndState, rounds: int) -> Iterator[Figure]:
    """In turn with its playbook alone, which has the same settings."""
    seconds = on_bare_hosts(
        estate,
        state,
        rounds,
        {
            "wrapper": lambda _, inventory: contenders.dlhost("provision", inventory),
            "alone": lambda _, inventory: contenders.site(inventory),
        },
        at_hand.image(estate, state),
        at_hand.SETTINGS,
    )
    target = 1.06 if seconds["alone"] >= LONG_RUN_S else None
    name = "first provision, nothing to fetch: `dlhost provision` / our playbook"
    yield ratio(name, seconds["wrapper"], seconds["alone"], target)
