"""Values that role idle_stop refuses before any of them reaches a host: in one run, each on a host of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.plays import refusals, results, rules_of

NIGHT = {"begin": "22:00", "end": "06:00"}
VALUES: dict[str, tuple[dict[str, object], str]] = {
    "soon": ({"idle_stop_after_minutes": 4}, "idle_stop_after_minutes is 5 or more, or 0 for never, not 4"),
    "before-now": ({"idle_stop_after_minutes": -1}, "or 0 for never, not -1"),
    "hours": ({"idle_stop_max_hours": -2}, "idle_stop_max_hours is 1 or more, or 0 for never, not -2"),
    "no-warning": ({"idle_stop_warning_minutes": 0}, "idle_stop_warning_minutes is 1 to 60, not 0"),
    "long-warning": ({"idle_stop_warning_minutes": 61}, "idle_stop_warning_minutes is 1 to 60, not 61"),
    "load": ({"idle_stop_load": -0.5}, "idle_stop_load is a load such as 0.5"),
    "hours-as-text": ({"idle_stop_never_during": "08:00"}, "unable to convert to dict"),
    "programs-as-text": (
        {"idle_stop_ignored_programs": "ollama"},
        "is a list; as an extra variable it is given as JSON",
    ),
    "clock-without-quotes": ({"idle_stop_never_during": [{"begin": 480, "end": "10:00"}]}, "are 480 to 10:00"),
    "clock": ({"idle_stop_never_during": [NIGHT, {"begin": "8:00", "end": "25:00"}]}, "these are 8:00 to 25:00"),
    "clock-lines": ({"idle_stop_never_during": [{"begin": "08:00", "end": "10:00\n"}]}, "these are 08:00 to 10:00"),
    "begins-at-the-end": ({"idle_stop_never_during": [{"begin": "24:00", "end": "06:00"}]}, "are 24:00 to 06:00"),
    "no-time-at-all": ({"idle_stop_never_during": [{"begin": "08:00", "end": "08:00"}]}, "are 08:00 to 08:00"),
    "good-off": ({"idle_stop_after_minutes": 0}, ""),
    "good-absent": ({"idle_stop_state": "absent", "idle_stop_after_minutes": 1}, ""),
    "good": (
        {
            "idle_stop_never_during": [NIGHT, {"begin": "00:00", "end": "24:00", "days": ["sat", "sun"]}],
            "idle_stop_max_hours": "8",
            "idle_stop_load": "0",
            "idle_stop_dry_run": "yes",
        },
        "",
    ),
}
RULES = rules_of("idle_stop")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role said to each value; nothing to a good one."""
    hosts = {name: {"idle_stop_after_minutes": 30} | variables for name, (variables, _words) in VALUES.items()}
    return refusals(tmp_path_factory.mktemp("values"), "idle_stop", hosts)


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if words])
def test_a_bad_value_is_refused_in_one_sentence(said: dict[str, str], name: str) -> None:
    assert VALUES[name][1] in said[name]


def test_a_good_value_passes(said: dict[str, str]) -> None:
    assert said.keys() == {name for name, (_variables, words) in VALUES.items() if words}


def test_values_reach_the_program_as_what_they_are(tmp_path: Path) -> None:
    shown = {"ansible.builtin.debug": {"msg": "{{ __idle_stop_settings | to_json }}"}}
    hosts = {"good": VALUES["good"][0] | {"idle_stop_after_minutes": "45", "idle_stop_command": "aws 'ec2' \"stop\""}}
    *_rules, (_task, _host, result) = results(tmp_path, hosts, [RULES, shown])
    found = result["msg"] if isinstance(result["msg"], dict) else json.loads(result["msg"])
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    assert found["never_during"] == [
        {"days": week, "begin": "22:00", "end": "06:00"},
        {"days": ["sat", "sun"], "begin": "00:00", "end": "24:00"},
    ]
    assert (found["after_minutes"], found["max_hours"], found["load"], found["dry_run"]) == (45, 8, 0.0, True)
    assert found["command"] == "aws 'ec2' \"stop\""


# What look.sh saw, and what the inventory says.
ALONE = "container=none\ndlhost:machine=none\ndlhost:wakes="
WAYS: dict[str, tuple[str, dict[str, object], str]] = {
    "virtual": ("container=none\ndlhost:machine=kvm\ndlhost:wakes=", {}, ""),
    "wakes": (f"{ALONE}enabled", {}, ""),
    "own-command": (ALONE, {"idle_stop_command": "rig-off"}, ""),
    "dry-run": (ALONE, {"idle_stop_dry_run": True}, ""),
    "accepted": (ALONE, {"idle_stop_accept_no_way_back": True}, ""),
    "off": (ALONE, {"idle_stop_after_minutes": 0}, ""),
    "rig": (ALONE, {}, "rig would be switched off with no way back: it is no virtual machine"),
    "container": ("container=docker\ndlhost:machine=kvm\ndlhost:wakes=", {}, "with no way back: it is a container"),
}


def test_a_host_without_a_way_back_is_asked_for(tmp_path: Path) -> None:
    shown = {"ansible.builtin.debug": {"msg": "said: {{ __idle_stop_no_way_back }}"}}
    common = {"idle_stop_after_minutes": 30}
    hosts = {
        name: common | values | {"__idle_stop_look": {"stdout": f"dlhost:left=\ndlhost:timer=\ndlhost:{seen}\n"}}
        for name, (seen, values, _words) in WAYS.items()
    }
    said = {host: result["msg"] for _task, host, result in results(tmp_path, hosts, [RULES, shown]) if "msg" in result}
    for name, (_seen, _values, words) in WAYS.items():
        assert words in said[name], name
        assert bool(words) == (said[name] != "said: "), name
        # Roles before it may have changed something.
        assert not words or said[name].endswith("; role idle_stop has changed nothing."), name
