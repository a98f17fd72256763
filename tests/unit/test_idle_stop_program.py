"""The program of role idle_stop, laid out as on a host: what it imports is there, and what users wish is heard."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from dlhost.adapters.ansible_env import collections_path

REPOSITORY = Path(__file__).parents[2]
PROGRAM = REPOSITORY / "roles/idle_stop/files/__main__.py"
ME = str(os.getuid())


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module, with places of its own, no GPU, and nobody who works."""
    monkeypatch.syspath_prepend(str(collections_path()))
    spec = importlib.util.spec_from_file_location("idle_stop", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "WISHES", tmp_path / "wishes")
    monkeypatch.setattr(module, "STATE", tmp_path / "state.json")
    monkeypatch.setattr(module, "CONFIG", tmp_path / "config.json")
    monkeypatch.setattr(module, "look_around", lambda _config, _earlier: (nothing(module), {}))
    (tmp_path / "wishes").mkdir()
    configure(module)
    return module


def nothing(program: ModuleType, **more: Any) -> Any:
    now = time.monotonic()
    return program.Seen(now=now, booted=now - 7200, local=program.datetime.datetime.now(), **more)


def configure(program: ModuleType, **more: Any) -> None:
    config: dict[str, Any] = {"after_minutes": 30, "max_hours": 0, "max_hours_stops_gpu": False, "warning_minutes": 5}
    config |= {"never_during": [], "load": 0, "ignored_programs": [], "command": "true", "dry_run": False}
    program.CONFIG.write_text(json.dumps(config | more))


def leave(program: ModuleType, **state: float | None) -> None:
    """What a look a minute ago left."""
    now = time.monotonic()
    left = {"looked": now - 60, "idle_since": now - 3600, "warned": None, "stopped": -1e9}
    program.STATE.write_text(json.dumps({"state": left | state, "said": "idle"}))


def test_its_modules_are_those_that_the_role_installs(tmp_path: Path) -> None:
    modules = yaml.safe_load((REPOSITORY / "roles/idle_stop/vars/main.yml").read_text())["__idle_stop_modules"]
    place = tmp_path / "ansible_collections/dlhost/host/plugins/module_utils"
    place.mkdir(parents=True)
    shutil.copy(PROGRAM, tmp_path)
    for name in modules:
        shutil.copy(REPOSITORY / f"plugins/module_utils/{name}.py", place)

    def show() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-IB", str(tmp_path), "show"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert show().stderr == ""
    for name in modules:
        (place / f"{name}.py").rename(tmp_path / "away")
        assert show().returncode != 0, f"{name} is not needed"
        (tmp_path / "away").rename(place / f"{name}.py")


def test_it_warns_and_then_stops(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(program, command=f"echo stopped >> {tmp_path}/stopped")
    told: list[str] = []
    monkeypatch.setattr(program.idle_host, "tell", lambda _running, sentence: told.append(sentence))
    leave(program)
    program.main(["look"])
    assert "idle for 30 minutes, and is stopped in 5 min" in told[0]
    assert not (tmp_path / "stopped").exists()
    leave(program, warned=time.monotonic() - 301)
    program.main(["look"])
    program.main(["look"])
    assert (tmp_path / "stopped").read_text() == "stopped\n"
    assert capsys.readouterr().out.splitlines() == [
        "idle for 30 minutes; warned",
        "idle for 30 minutes; to be stopped",
    ]


def test_a_load_above_the_limit_is_work(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.__spec__
    assert program.__spec__.loader
    # Looks around for itself again.
    program.__spec__.loader.exec_module(program)
    monkeypatch.setattr(program, "WISHES", tmp_path / "wishes")
    for name in (
        "busy_gpus",
        "at_packages",
        "inhibited",
        "over_ssh",
        "at_desktops",
        "programs",
        "typing",
        "in_services",
    ):
        monkeypatch.setattr(program.idle_host, name, lambda *_: [])
    monkeypatch.setattr(program.idle_host, "in_jupyter", lambda *_: {})
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 0, 0))

    seen, _ = program.look_around({"ignored_programs": [], "load": 2.5}, {})
    assert seen.work == ["the load is 2.5 or more"]


def test_it_says_that_the_command_failed(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    configure(program, command="exit 3")
    leave(program, warned=time.monotonic() - 301)
    program.main(["look"])
    assert "idle_stop_command ended with status 3; the host stays up" in capsys.readouterr().out


def test_a_dry_run_only_says_so(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(program, command=f"touch {tmp_path}/stopped", dry_run=True)
    monkeypatch.setattr(program.idle_host, "tell", lambda *_told: pytest.fail("it told somebody"))
    for warned in (None, time.monotonic() - 301):
        leave(program, warned=warned)
        program.main(["look"])
    assert not (tmp_path / "stopped").exists()
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["idle for 30 minutes; warned", "dry run: would warn"]
    assert said[2:] == ["idle for 30 minutes; to be stopped", "dry run: would stop"]
    # The settings are root's, and whoever asks is told.
    program.CONFIG.unlink()
    program.main(["show"])
    assert json.loads(capsys.readouterr().out)["dry_run"] is True


def test_a_wish_is_kept_shown_and_taken_back(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["keep", "4h"]) == 0
    (wish,) = json.loads(capsys.readouterr().out)["kept"]
    assert 0 <= wish["until"] - time.time() - 4 * 3600 < 60
    assert program.main(["keep", "30m"]) == 0
    (wish,) = json.loads(capsys.readouterr().out)["kept"]
    assert wish["until"] - time.time() < 1801
    assert program.main(["end"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == []


@pytest.mark.parametrize("text", ["", "4", "h", "0h", "8d", "169h", "-1h", "1w", "4h\n"])
def test_what_is_no_time_is_refused(program: ModuleType, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["keep", "--", text]) == 1
    assert "a week at most" in capsys.readouterr().err
    assert list(program.WISHES.iterdir()) == []


def test_what_a_user_may_have_put_there_instead_is_no_wish(program: ModuleType, tmp_path: Path) -> None:
    until = str(int(time.time()) + 3600)
    mine = program.WISHES / ME
    for content in ("", "soon", str(int(time.time()) - 1), str(int(time.time()) + 30 * 86400), "9" * 5000):
        mine.write_text(content)
        assert program.wishes() == {}
    mine.unlink()
    (tmp_path / "elsewhere").write_text(until)
    mine.symlink_to(tmp_path / "elsewhere")
    assert program.wishes() == {}
    mine.unlink()
    # Nobody writes to it, and nobody waits for that.
    os.mkfifo(mine)
    assert program.wishes() == {}
    mine.unlink()
    (program.WISHES / f"{ME}0").write_text(until)
    assert program.wishes() == {}
    mine.write_text(until)
    assert list(program.wishes().values()) == [int(until)]
