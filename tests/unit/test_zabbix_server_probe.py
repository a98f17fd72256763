"""What zabbix_server_probe makes of the backups that are there, and of how the last one ended."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from dlhost.adapters.ansible_env import collections_path

HOUR = 3600
WHY = "journalctl -u dlhost-zabbix-backup tells why"


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(collections_path()))
    found = importlib.import_module("ansible_collections.dlhost.host.plugins.modules.zabbix_server_probe")
    monkeypatch.setattr(found, "TIMER", tmp_path / "timer")
    return found


@pytest.mark.parametrize(
    ("ended", "timer_h", "dump_h", "problem", "unasked"),
    [
        ("success", 1, None, "", "no night has passed yet"),
        ("success", 999, 20, "", ""),
        ("success", 999, 50, f"the newest is 50 hours old; {WHY}", ""),
        # Nights have passed, and a boot has made systemd forget that every one of them failed.
        ("success", 999, None, f"there is none; {WHY}", ""),
        ("exit-code", 20, None, f"the last one failed (exit-code); {WHY}", ""),
        ("exit-code", 999, 25, f"the last one failed (exit-code); {WHY}", ""),
        # Backups were off for a while.
        ("success", 1, 50, "", "no night has passed yet"),
    ],
)
def test_a_night_without_a_backup_is_not_overlooked(
    probe: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ended: str,
    timer_h: int,
    dump_h: int | None,
    problem: str,
    unasked: str,
) -> None:
    monkeypatch.setattr(probe, "run", lambda *_words: SimpleNamespace(stdout=f"{ended}\n"))
    for name, hours in (("timer", timer_h), ("zabbix-1.dump", dump_h)):
        if hours is not None:
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (time.time() - hours * HOUR,) * 2)
    seen = probe.look_at_backups(str(tmp_path))
    assert seen == ({"backup": problem} if problem else {}, {"backup": unasked} if unasked else {})


def test_without_backups_nobody_misses_one(probe: ModuleType) -> None:
    assert probe.look_at_backups("") == ({}, {"backup": "zabbix_server_backups is 0"})
