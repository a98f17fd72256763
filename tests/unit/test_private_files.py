"""Plain texts of secrets: where they lie, and that none outlives its process for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import editor
from dlhost.adapters.xdg import private_directory, private_place
from dlhost.cli import app as program
from tests.unit.plays import results

HOLD = """
from dlhost.adapters.xdg import private_place
with private_place() as place:
    (place / "secret").write_text("hunter2")
    print(place, flush=True)
    input()
"""
EDIT = """
import sys
from dlhost.adapters import editor
from dlhost.cli import app
def edit():
    editor.edit("password: hunter2", "vault.yml")
app.app = edit
app.main()
"""


def test_a_place_is_for_this_user_alone_and_gone_after() -> None:
    with private_place() as place:
        assert place.stat().st_mode & 0o777 == 0o700
    assert not place.exists()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_needs_is_not() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().decode().strip())
        with private_place():
            assert (place / "secret").exists()
        process.kill()
        process.wait()
        assert (place / "secret").exists()

        with private_place():
            assert not place.exists()


def _works(process: int) -> bool:
    """Whether it runs; what was killed and only waits to be collected does not (proc(5): state Z or X)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_child_that_outlives_its_killed_parent_is_ended_by_the_next_run() -> None:
    hold = (
        "import subprocess, time; from dlhost.adapters.xdg import private_place\n"
        "with private_place() as place:\n"
        "    child = subprocess.Popen(['sleep', '60'], cwd=place)\n"
        "    print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    with private_place():
        deadline = time.monotonic() + 20
        while _works(child):
            assert time.monotonic() < deadline, "the orphan works on"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_leaves_no_plain_text(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "editor"
    script.write_text("#!/bin/sh\necho open; exec sleep 60\n")
    script.chmod(0o755)
    environment = {**os.environ, "VISUAL": str(script)}
    with subprocess.Popen(
        [sys.executable, "-c", EDIT],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Under nohup, the tests have it ignored, and dlhost would outlive it as well.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert list(private_directory().rglob("vault.yml"))
        process.send_signal(number)
        assert process.wait() == 130
    assert not list(private_directory().rglob("vault.yml"))


def test_who_asked_to_outlive_the_terminal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(program, "app", lambda: signal.raise_signal(signal.SIGHUP))
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert ended.value.code == 0
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_the_edited_text_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\necho more >> "$1"\n')
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(script))

    assert editor.edit("text\n", "vault.yml") == "text\nmore\n"


def test_a_result_does_not_tell_a_sensitive_content(tmp_path: Path) -> None:
    """Results are on the screen from -vvv on, and in the files of whatever drives Ansible."""
    file = {"path": str(tmp_path / "hook"), "content": "token=hunter2hunter2", "sensitive": True}
    tasks: list[dict[str, Any]] = [
        {"name": "write", "dlhost.host.owned_files": {"role": "any", "files": [file]}, "register": "seen"},
        {"name": "show", "ansible.builtin.debug": {"msg": "{{ seen }}"}},
    ]

    said = list(results(tmp_path, {"rig": {"ansible_python_interpreter": sys.executable}}, tasks, "--check"))

    assert "'changed': True" in str(said)
    assert "hunter2hunter2" not in str(said)
