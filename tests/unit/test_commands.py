"""A command of a host ends in one way, whatever became of it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    return importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.commands")


def test_a_command_reads_what_it_is_given_and_speaks_english(commands: Any, tmp_path: Path) -> None:
    script = 'cat; printf "\\377 $LC_ALL $MORE $PWD"'
    done = commands.run("sh", "-c", script, given="in ", directory=tmp_path, variables={"MORE": "more"})
    assert (done.returncode, done.stdout) == (0, f"in \ufffd C more {tmp_path}")
    assert commands.run("cat").stdout == ""


def test_a_failure_is_one_line(commands: Any) -> None:
    failed = commands.run("sh", "-c", "echo out; printf 'no\\n  room\\n' >&2; exit 3")
    assert failed.returncode == 3
    assert commands.failure(failed).endswith(" failed: no room")
    assert commands.failure(commands.run("sh", "-c", "echo out; false")).endswith(" failed: out")


def test_what_cannot_be_started_or_does_not_end_says_so(commands: Any) -> None:
    absent = commands.run("dlhost-no-such-program", "now")
    assert absent.returncode == commands.NOT_STARTED
    assert (
        commands.failure(absent)
        == "dlhost-no-such-program now failed: dlhost-no-such-program: No such file or directory"
    )
    endless = commands.run("sleep", "60", timeout_s=0.1)
    assert (endless.returncode, endless.stderr) == (commands.STOPPED, "sleep did not end within 0.1 s")
