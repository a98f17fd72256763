"""What happens in each round, by seed alone: the same seed and number always mean the same trouble."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Start(StrEnum):
    """What the run that is hit finds."""

    BARE = "bare"
    DAMAGED = "damaged"


class Trouble(StrEnum):
    """What befalls a run that is under way."""

    # The wrapper alone is killed; whatever it had started may go on.
    WRAPPER_KILLED = "wrapper killed"
    # As when the controller loses its power: wrapper, Ansible and ssh.
    CONTROLLER_KILLED = "controller killed"
    # The run's own processes on the host.
    HOST_SIDE_KILLED = "host side killed"
    INTERRUPTED = "interrupted"
    NETWORK_CUT = "network cut"
    HOST_RESTARTED = "host restarted"
    DISK_FULL = "disk full"
    # Nothing but the damages that were there before.
    NONE = "none"


KILLS = (Trouble.WRAPPER_KILLED, Trouble.CONTROLLER_KILLED, Trouble.HOST_SIDE_KILLED)
# Out of so many, in this order. Whoever kills the most has the most to say about cut runs.
WEIGHTS = {
    **dict.fromkeys(KILLS, 4),
    Trouble.INTERRUPTED: 1,
    Trouble.NETWORK_CUT: 2,
    Trouble.HOST_RESTARTED: 2,
    Trouble.DISK_FULL: 2,
}
# Most calls are over in a tenth of a second; those that install packages take half a minute.
DELAYS_S = (0.0, 0.02, 0.1, 0.5, 2.0, 6.0, 15.0)
# Shorter than what ssh bears, and longer.
CUTS_S = (5.0, 100.0)
# What is left of a full disk.
FREE_KIB = (0, 4, 64, 1024, 16384)


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the trouble comes `delay_s` after the run's call number `call` on the host has begun."""

    seed: int
    number: int
    start: Start
    trouble: Trouble
    call: int
    delay_s: float
    cut_s: float
    free_kib: int

    @property
    def name(self) -> str:
        return f"{self.seed}.{self.number}"

    def choice(self) -> random.Random:
        """Chance for what cannot be known before the host is: which of its files are damaged, and how."""
        return random.Random(f"damages {self.name}")  # noqa: S311

    def __str__(self) -> str:
        """As a report has it."""
        more = {
            Trouble.NETWORK_CUT: f" for {self.cut_s:.0f} s",
            Trouble.DISK_FULL: f" but for {self.free_kib} KiB",
        }.get(self.trouble, "")
        when = "" if self.trouble is Trouble.NONE else f" {self.delay_s:g} s into call {self.call}"
        return f"{self.name}: {self.start} host, {self.trouble}{more}{when}"


def plan(
    seed: int,
    numbers: Sequence[int],
    calls: int,
    starts: Sequence[Start] = tuple(Start),
    troubles: Sequence[Trouble] = tuple(Trouble),
) -> Iterator[Round]:
    """The rounds of these numbers; `calls` is how many calls an undisturbed run makes."""
    for number in numbers:
        yield _round(seed, number, calls, starts, troubles)


def _round(seed: int, number: int, calls: int, starts: Sequence[Start], troubles: Sequence[Trouble]) -> Round:
    chance = random.Random(f"round {seed}.{number}")  # noqa: S311
    start = chance.choice(starts)
    possible = WEIGHTS | ({Trouble.NONE: 4} if start is Start.DAMAGED else {})
    weights = {trouble: weight for trouble, weight in possible.items() if trouble in troubles}
    return Round(
        seed,
        number,
        start,
        chance.choices([*weights], [*weights.values()])[0],
        chance.randint(1, calls),
        chance.choice(DELAYS_S),
        chance.choice(CUTS_S),
        chance.choice(FREE_KIB),
    )
