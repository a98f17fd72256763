# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an idle host is to go on, to be warned, or to be stopped: one function of what was seen, and of the time."""

from __future__ import annotations

import dataclasses
import datetime
import math

MINUTE_S = 60
HOUR_S = 3600
# Looks are a minute apart; nobody knows what happened in a longer gap.
GAP_S = 5 * MINUTE_S
# What has not stopped the host by then is tried again.
RETRY_S = 15 * MINUTE_S
# Who wants longer than this changes the inventory.
LONGEST_KEPT_S = 7 * 24 * HOUR_S
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

WARN, CALL_OFF, STOP = "warn", "call off", "stop"


@dataclasses.dataclass(frozen=True)
class Window:
    """Hours of some days in which a host is not stopped; one that ends before it begins ends on the next day."""

    days: list[str]
    begin: str
    end: str

    def end_after(self, local: datetime.datetime) -> datetime.datetime | None:
        """When it ends, where it holds at that time of the host's own zone."""
        for day in (local.date(), local.date() - datetime.timedelta(days=1)):
            begin, end = _at(day, self.begin), _at(day, self.end)
            if end <= begin:
                end += datetime.timedelta(days=1)
            if DAYS[day.weekday()] in self.days and begin <= local < end:
                return end
        return None


def _at(day: datetime.date, clock: str) -> datetime.datetime:
    hours, minutes = (int(part) for part in clock.split(":"))
    return datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(hours=hours, minutes=minutes)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The role's variables; 0 minutes or hours are never."""

    after_minutes: int
    max_hours: int
    max_hours_stops_gpu: bool
    warning_minutes: int
    never_during: list[Window]


@dataclasses.dataclass(frozen=True)
class Seen:
    """One look at the host. `now` and `booted` are of a clock that only runs forward, in seconds."""

    now: float
    booted: float
    local: datetime.datetime
    # Why a GPU counts as busy, each a sentence; also that nobody knows.
    gpu: list[str] = dataclasses.field(default_factory=list)
    # What breaks where a host is switched off under it.
    breaks: list[str] = dataclasses.field(default_factory=list)
    # What else says that somebody or something works.
    work: list[str] = dataclasses.field(default_factory=list)
    # Until when somebody wants it to go on, and who; never one whose time has come, as clocks show an hour twice.
    kept_until: datetime.datetime | None = None
    kept_by: str = ""


@dataclasses.dataclass(frozen=True)
class State:
    """What one look leaves for the next; forgotten at a reboot."""

    looked: float = -math.inf
    idle_since: float = -math.inf
    warned: float | None = None
    stopped: float = -math.inf


@dataclasses.dataclass(frozen=True)
class Decision:
    """What to do, why the host is to be stopped, and what is said of it: the same as long as nothing changes."""

    state: State
    act: str
    due: str
    said: str


def decide(settings: Settings, seen: Seen, before: State) -> Decision:
    """What follows from a look, and from what the looks before it left."""
    at_work = [*seen.gpu, *seen.breaks, *seen.work]
    unwatched = seen.now - before.looked > GAP_S
    idle_since = seen.now if at_work or unwatched else before.idle_since
    due = _due(settings, seen, seen.now - idle_since if not at_work else None)
    held = _held(settings, seen) if due else ""
    state = dataclasses.replace(before, looked=seen.now, idle_since=idle_since)
    if not due or held:
        act = CALL_OFF if before.warned is not None else ""
        said = f"{due}, but {held}" if held else f"busy: {'; '.join(at_work)}" if at_work else "idle"
        return Decision(dataclasses.replace(state, warned=None), act, "", said)
    if seen.now - before.stopped < RETRY_S:
        return Decision(state, "", due, f"{due}; to be stopped")
    if before.warned is None or unwatched:
        return Decision(dataclasses.replace(state, warned=seen.now), WARN, due, f"{due}; warned")
    if seen.now - before.warned < settings.warning_minutes * MINUTE_S:
        return Decision(state, "", due, f"{due}; warned")
    return Decision(dataclasses.replace(state, warned=None, stopped=seen.now), STOP, due, f"{due}; to be stopped")


def _due(settings: Settings, seen: Seen, idle_s: float | None) -> str:
    """Why the host is to be stopped, whatever holds that up; empty where it is not."""
    # A switch in the middle of these leaves a host that does not come back as it was, or a training without its result.
    untouchable = seen.breaks or (seen.gpu and not settings.max_hours_stops_gpu)
    if settings.max_hours and not untouchable and seen.now - seen.booted >= settings.max_hours * HOUR_S:
        return f"up for {settings.max_hours} h"
    if settings.after_minutes and idle_s is not None and idle_s >= settings.after_minutes * MINUTE_S:
        return f"idle for {settings.after_minutes} minutes"
    return ""


def _held(settings: Settings, seen: Seen) -> str:
    if seen.kept_until is not None:
        return f"{seen.kept_by} keeps it up until {_clock(seen.kept_until, seen.local)}"
    ends = [end for window in settings.never_during if (end := window.end_after(seen.local))]
    return f"not to be stopped before {_clock(max(ends), seen.local)}" if ends else ""


def _clock(time: datetime.datetime, local: datetime.datetime) -> str:
    return time.strftime("%H:%M" if time.date() == local.date() else "%Y-%m-%d %H:%M")
