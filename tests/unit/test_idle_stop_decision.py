"""Whether a host is stopped: every case is a run of looks a minute apart, with the time as a value."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

# A Monday.
NOON = datetime.datetime(2026, 11, 16, 12, 0)
BOOTED = 1000.0
GPU = {"gpu": ["GPU 0 computes"]}
UNKNOWN = {"gpu": ["nvidia-smi does not answer, so nobody knows what the GPUs do"]}
PACKAGES = {"breaks": ["packages are being installed"]}
LOGIN = {"work": ["ada types"]}
IDLE: dict[str, Any] = {}
WORKDAYS = {"days": ["mon", "tue", "wed", "thu", "fri"], "begin": "08:00", "end": "18:00"}
NIGHT = {"days": ["sun"], "begin": "22:00", "end": "06:00"}


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.idle_decision")


def settings(idle: ModuleType, **values: Any) -> Any:
    """Thirty idle minutes, and five of warning, unless it is said otherwise."""
    windows = [idle.Window(**window) for window in values.pop("never_during", [])]
    common = {"after_minutes": 30, "max_hours": 0, "max_hours_stops_gpu": False, "warning_minutes": 5}
    return idle.Settings(**{**common, **values}, never_during=windows)


def acts(
    idle: ModuleType,
    looks: Mapping[int, Mapping[str, Any]],
    minutes: Sequence[int] = range(121),
    start: datetime.datetime = NOON,
    **values: Any,
) -> list[tuple[int, str]]:
    """What is done in which minute; `looks` is what is seen from a minute on, until the next."""
    wanted, state, done = settings(idle, **values), idle.State(), []
    seen: Mapping[str, Any] = IDLE
    for minute in minutes:
        seen = looks.get(minute, seen)
        time = {"now": BOOTED + 60.0 * minute, "booted": BOOTED, "local": start + datetime.timedelta(minutes=minute)}
        decision = idle.decide(wanted, idle.Seen(**time, **seen), state)
        state = decision.state
        if decision.act:
            done.append((minute, decision.act))
    return done


def test_an_idle_host_is_warned_and_stopped_and_what_did_not_stop_it_is_tried_again(idle: ModuleType) -> None:
    assert acts(idle, {}, range(56)) == [(30, "warn"), (35, "stop"), (50, "warn"), (55, "stop")]


def test_a_host_that_was_idle_before_its_boot_is_no_longer(idle: ModuleType) -> None:
    # The clock runs since the boot, and the state is gone with it.
    assert acts(idle, {}, range(30)) == []


@pytest.mark.parametrize("seen", [GPU, UNKNOWN, PACKAGES, LOGIN], ids=["gpu", "unknown", "packages", "login"])
def test_work_holds_it_up_and_the_minutes_begin_anew_when_it_is_done(idle: ModuleType, seen: dict[str, Any]) -> None:
    assert acts(idle, {0: seen}) == []
    assert acts(idle, {0: seen, 100: IDLE}, range(137)) == [(129, "warn"), (134, "stop")]
    assert acts(idle, {29: seen, 30: IDLE}, range(65)) == [(59, "warn"), (64, "stop")]


@pytest.mark.parametrize("seen", [GPU, UNKNOWN, PACKAGES, LOGIN], ids=["gpu", "unknown", "packages", "login"])
def test_work_after_the_warning_calls_it_off(idle: ModuleType, seen: dict[str, Any]) -> None:
    assert acts(idle, {34: seen, 35: IDLE}, range(70)) == [(30, "warn"), (34, "call off"), (64, "warn"), (69, "stop")]


def test_what_nobody_looked_at_counts_as_work(idle: ModuleType) -> None:
    # The timer stood still for an hour, once before the warning and once after it.
    assert acts(idle, {}, [*range(20), *range(80, 110)]) == []
    assert acts(idle, {}, [*range(33), *range(93, 129)]) == [
        (30, "warn"),
        (93, "call off"),
        (123, "warn"),
        (128, "stop"),
    ]


def test_the_hard_limit_stops_whoever_works(idle: ModuleType) -> None:
    hard: dict[str, Any] = {"after_minutes": 0, "max_hours": 1}
    assert acts(idle, {0: LOGIN}, range(66), **hard) == [(60, "warn"), (65, "stop")]
    assert acts(idle, {}, range(60), **hard) == []


def test_after_a_gap_the_hard_limit_warns_once_more(idle: ModuleType) -> None:
    hard: dict[str, Any] = {"after_minutes": 0, "max_hours": 1}
    done = acts(idle, {0: LOGIN}, [*range(62), *range(90, 96)], **hard)
    assert done == [(60, "warn"), (90, "warn"), (95, "stop")]


@pytest.mark.parametrize("seen", [GPU, UNKNOWN, PACKAGES], ids=["gpu", "unknown", "packages"])
def test_the_hard_limit_waits_for_a_gpu_and_for_packages(idle: ModuleType, seen: dict[str, Any]) -> None:
    hard: dict[str, Any] = {"after_minutes": 0, "max_hours": 1}
    assert acts(idle, {0: seen}, **hard) == []
    assert acts(idle, {62: seen}, **hard) == [(60, "warn"), (62, "call off")]
    assert acts(idle, {0: seen, 90: LOGIN}, range(96), **hard) == [(90, "warn"), (95, "stop")]


@pytest.mark.parametrize("seen", [GPU, UNKNOWN], ids=["gpu", "unknown"])
def test_only_by_its_own_variable_does_the_hard_limit_stop_a_gpu(idle: ModuleType, seen: dict[str, Any]) -> None:
    hard: dict[str, Any] = {"after_minutes": 0, "max_hours": 1, "max_hours_stops_gpu": True}
    assert acts(idle, {0: seen}, range(66), **hard) == [(60, "warn"), (65, "stop")]
    assert acts(idle, {0: {**seen, **PACKAGES}}, **hard) == []
    # It says nothing of idle minutes.
    assert acts(idle, {0: seen}, after_minutes=30, max_hours=0, max_hours_stops_gpu=True) == []


@pytest.mark.parametrize("hard", [{}, {"after_minutes": 0, "max_hours": 1}], ids=["idle", "hard limit"])
def test_a_wish_holds_it_up_until_its_time(idle: ModuleType, hard: dict[str, Any]) -> None:
    kept = {"kept_until": NOON + datetime.timedelta(minutes=90), "kept_by": "ada"}
    assert acts(idle, {0: kept, 90: IDLE}, range(96), **hard) == [(90, "warn"), (95, "stop")]
    # At the end of summer time the clock shows that hour once more.
    earlier = {"kept_until": NOON - datetime.timedelta(minutes=15), "kept_by": "ada"}
    assert acts(idle, {0: earlier}, range(96), **hard) == []
    assert acts(idle, {62: kept}, range(90), **({**hard} or {"after_minutes": 60})) == [(60, "warn"), (62, "call off")]


@pytest.mark.parametrize("hard", [{}, {"after_minutes": 0, "max_hours": 1}], ids=["idle", "hard limit"])
def test_in_its_hours_it_is_not_stopped(idle: ModuleType, hard: dict[str, Any]) -> None:
    start = NOON.replace(hour=16, minute=30)
    assert acts(idle, {}, range(96), start, never_during=[WORKDAYS], **hard) == [(90, "warn"), (95, "stop")]
    saturday = start + datetime.timedelta(days=5)
    first = 60 if hard else 30
    assert acts(idle, {}, range(first + 1), saturday, never_during=[WORKDAYS], **hard) == [(first, "warn")]


@pytest.mark.parametrize(
    ("window", "local", "end"),
    [
        (WORKDAYS, "2026-11-16 07:59", None),
        (WORKDAYS, "2026-11-16 08:00", "2026-11-16 18:00"),
        (WORKDAYS, "2026-11-16 17:59", "2026-11-16 18:00"),
        (WORKDAYS, "2026-11-16 18:00", None),
        (WORKDAYS, "2026-11-15 12:00", None),
        # The night from Sunday to Monday belongs to Sunday.
        (NIGHT, "2026-11-15 23:00", "2026-11-16 06:00"),
        (NIGHT, "2026-11-16 05:59", "2026-11-16 06:00"),
        (NIGHT, "2026-11-16 06:00", None),
        (NIGHT, "2026-11-16 22:00", None),
        ({"days": ["mon"], "begin": "00:00", "end": "24:00"}, "2026-11-16 23:59", "2026-11-17 00:00"),
        ({"days": ["mon"], "begin": "00:00", "end": "24:00"}, "2026-11-17 00:00", None),
    ],
)
def test_hours_of_days(idle: ModuleType, window: dict[str, Any], local: str, end: str | None) -> None:
    expected = datetime.datetime.fromisoformat(end) if end else None
    assert idle.Window(**window).end_after(datetime.datetime.fromisoformat(local)) == expected


def test_it_says_the_same_as_long_as_nothing_changes(idle: ModuleType) -> None:
    wanted, state = settings(idle, never_during=[WORKDAYS]), idle.State()
    said: list[str] = []
    start = NOON.replace(hour=16, minute=30)
    for minute in range(110):
        seen = {0: GPU, 1: GPU, 2: {**GPU, **LOGIN}}.get(minute, IDLE)
        time = {"now": 60.0 * minute, "booted": 0.0, "local": start + datetime.timedelta(minutes=minute)}
        decision = idle.decide(wanted, idle.Seen(**time, **seen), state)
        state = decision.state
        if said[-1:] != [decision.said]:
            said.append(decision.said)
    assert said == [
        "busy: GPU 0 computes",
        "busy: GPU 0 computes; ada types",
        "idle",
        "idle for 30 minutes, but not to be stopped before 18:00",
        "idle for 30 minutes; warned",
        "idle for 30 minutes; to be stopped",
    ]


def test_a_state_survives_being_written_down(idle: ModuleType) -> None:
    state = idle.State(looked=1.5, idle_since=0.5, warned=1.0)
    assert idle.State(**dataclasses.asdict(state)) == state
