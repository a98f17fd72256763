"""What is said of environments that run, and of such that do not; kernels are started in molecule/conda."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from tests.unit.python_environments import ALPHA, BETA, plugin


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = plugin("modules.conda_probe")
    # Nobody may not read the test's directories.
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    return module


def environment(directory: Path, script: str) -> Path:
    """An environment whose Python is that script."""
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return directory


def test_a_python_is_asked_where_it_is(probe: Any, tmp_path: Path) -> None:
    right = environment(tmp_path / "right", f"echo {tmp_path}/right")
    moved = environment(tmp_path / "moved", "echo /somewhere/else")
    broken = environment(tmp_path / "broken", "echo no libpython >&2; exit 3")

    assert probe.runs("right", right) == ""
    assert probe.runs("moved", moved) == "the Python of moved believes to be in /somewhere/else"
    assert probe.runs("broken", broken) == "the Python of broken ended with status 3: no libpython"
    assert probe.runs("gone", tmp_path / "gone") == "the Python of gone does not start: No such file or directory"


def test_a_kernel_has_to_compute_in_its_own_environment(probe: Any, tmp_path: Path) -> None:
    right = environment(tmp_path / "right", f'test "$5" = dlhost-right && echo 42 {tmp_path}/right {tmp_path}/right')
    other = environment(tmp_path / "other", "echo 42 /usr")

    assert probe.computes("right", right) == ""
    assert probe.computes("other", other) == (
        f"the kernel of other says '42 /usr' in place of 42 {tmp_path}/other {tmp_path}/other"
    )


def test_a_distribution_that_lacks_another_is_named(probe: Any, tmp_path: Path) -> None:
    subprocess.run([find_uv_bin(), "venv", "--quiet", f"--python={sys.executable}", tmp_path / "lab"], check=True)
    [site] = tmp_path.glob("lab/lib/python3*/site-packages")
    for wheel in (BETA, ALPHA):
        with zipfile.ZipFile(BytesIO(wheel.content)) as archive:
            archive.extractall(site)
        said = probe.consistent("lab", tmp_path / "lab", find_uv_bin())
        assert ("The package `beta` requires `alpha`" in said) == (wheel is BETA)
    assert said == ""


def test_nobody_else_can_leave_anything_in_the_home_of_what_runs(probe: Any, tmp_path: Path) -> None:
    lab = environment(tmp_path / "lab", 'stat -c %a "$HOME"')
    assert probe.runs("lab", lab) == "the Python of lab believes to be in 700"


def test_a_program_that_hangs_is_ended(probe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT_S", 0.1)
    hanging = environment(tmp_path / "lab", "exec sleep 60")
    assert probe.runs("lab", hanging) == "the Python of lab did not end within 0.1 s"
