"""What a host's role idle_stop says: whether it works, and who keeps it up until when."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

# Minutes, hours or days, a week at most, as the host's program takes them.
TIME = re.compile(r"([1-9][0-9]{0,4})([mhd])")
UNITS_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}
LONGEST_MINUTES = 7 * UNITS_MINUTES["d"]
ABSENT = "absent"
ANSWER = re.compile(r"^dlhost-idle=(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose wish it is that the host stays up, and until when, in seconds of the epoch."""

    user: str
    until: int


@dataclass(frozen=True, slots=True)
class Idle:
    """One host. `error` says why nothing is known; one without the role is not `watched`, and never stopped by it."""

    host: str
    error: str = ""
    watched: bool = True
    said: str = ""
    idle_s: int = 0
    dry_run: bool = False
    wishes: tuple[Wish, ...] = ()
    reached: bool = True


def is_time(text: str) -> bool:
    """Whether a host can be kept up for it."""
    found = TIME.fullmatch(text)
    return found is not None and int(found[1]) * UNITS_MINUTES[found[2]] <= LONGEST_MINUTES


def idle_from(host: str, printed: str) -> Idle:
    """What a host's program printed, as a value."""
    found = ANSWER.search(printed)
    text = found[1].strip() if found else ""
    if text == ABSENT:
        return Idle(host, watched=False)
    try:
        shown = json.loads(text)
        wishes = tuple(Wish(str(wish["user"]), int(wish["until"])) for wish in shown["kept"])
        return Idle(
            host,
            said=str(shown["said"]),
            idle_s=int(shown["idle_s"]),
            dry_run=bool(shown["dry_run"]),
            wishes=wishes,
        )
    except (ValueError, KeyError, TypeError):
        return Idle(host, error=text or "its idle-stop says nothing")
