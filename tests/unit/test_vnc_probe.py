"""When vnc_probe has seen enough of a desktop; what it sees is test_vnc_session's matter."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

NOTHING = {"guarded": False, "shows": False, "size": "", "error": "it does not answer"}
EMPTY = {"guarded": True, "shows": False, "size": "800x600", "error": "its screen is empty"}
PICTURE = {"guarded": True, "shows": True, "size": "800x600", "error": ""}
REFUSED = {"guarded": True, "shows": False, "size": "", "error": "it refuses the password"}
BARE, WHOLE = {"Xtigervnc"}, {"Xtigervnc", "xfce4-session"}
LATE = [(EMPTY, BARE), (EMPTY, WHOLE), (PICTURE, BARE), (PICTURE, WHOLE)]


@pytest.mark.parametrize(
    ("looks", "patience", "taken"),
    [
        ([(PICTURE, WHOLE)], 30, 1),
        (LATE, 30, 4),
        # What waiting does not mend is told at once.
        ([(NOTHING, set()), (PICTURE, WHOLE)], 30, 1),
        ([(REFUSED, BARE), (PICTURE, WHOLE)], 30, 1),
        (LATE, -1, 1),
    ],
)
def test_a_desktop_that_comes_up_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, looks: list[tuple[dict[str, Any], set[str]]], patience: int, taken: int
) -> None:
    monkeypatch.syspath_prepend(str(collections_path()))
    probe = importlib.import_module("ansible_collections.dlhost.host.plugins.modules.vnc_probe")
    asked: list[int] = []

    def try_out(_address: str, port: int, _password: str) -> dict[str, Any]:
        asked.append(port)
        return looks[asked.count(5901) - 1][0] if port == 5901 else PICTURE

    for name, double in {
        "PATIENCE_S": patience,
        "POLL_S": 0,
        "try_out": try_out,
        "find_units": lambda names: {unit: SimpleNamespace(name=unit) for unit in names},
        "programs_of": lambda unit: looks[asked.count(5901) - 1][1] if "ada" in unit.name else WHOLE,
    }.items():
        monkeypatch.setattr(probe, name, double)
    password = "horse/battery"  # noqa: S105
    seen = probe.look({"ada": {"port": 5901, "password": password}, "grace": {"port": 5907, "password": password}})
    assert asked.count(5901) == taken
    assert asked.count(5907) == 1
    assert seen == {
        "ada": {**looks[taken - 1][0], "programs": sorted(looks[taken - 1][1])},
        "grace": {**PICTURE, "programs": sorted(WHOLE)},
    }
