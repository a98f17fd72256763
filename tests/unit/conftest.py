"""Every test has directories of its own for the user's files, and an inventory called rig."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.world import World, fake_content, write

# The plugins import each other by the collection's name, whichever test comes first in its process.
sys.path.append(str(collections_path()))

HOSTS = """
    all:
      hosts:
        alpha: {ansible_host: 192.0.2.1}
        beta: {ansible_host: 192.0.2.2}
      children:
        gpu:
          hosts: {alpha: }
    """


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("ANSIBLE_", "DLHOST_"))]:
        monkeypatch.delenv(name)
    # Set and unset again at the end, whatever the wrapper does to its own process.
    monkeypatch.setenv("ANSIBLE_CONFIG", "")
    monkeypatch.setenv("DLHOST_VAULT_PASSWORD_FILE", "")
    for name in ("config", "state", "cache"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # What the terminal of the tests has is no matter of theirs.
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """An inventory of two hosts, found by its name."""
    return write(tmp_path / "work" / "inventories" / "rig" / "hosts.yml", HOSTS).parent


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rig: Path) -> World:
    """The wrapper's command line in a world where everything goes well, until the test says otherwise."""
    assert rig.is_dir()
    fake_content(monkeypatch, tmp_path / "content")
    return World(monkeypatch)
