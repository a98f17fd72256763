"""Hosts as nvidia_facts and the roles' own looks have seen them, for what roles cuda_toolkit and cudnn decide from."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.apt_host import PLUGINS

# PCI device ids: a GTX 1070 (Pascal), an RTX 4090 (Ada), a B200 (Blackwell), and one that nobody knows.
PASCAL, ADA, BLACKWELL, UNKNOWN = "1b81", "2684", "2901", "ffff"


def plugin(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """One of the collection's Python files, under the name by which Ansible imports it."""
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(f"{PLUGINS}.{name}")


def facts(*cards: str, driver: str = "", platform: str = "debian-12", held: bool = False, **packages: str) -> Any:
    """What nvidia_facts would find; a package's underscores are hyphens, its value the version."""
    distribution, _, version = platform.partition("-")
    return {
        "platform": platform,
        "distribution": distribution,
        "version": version,
        "gpus": [{"device_id": card, "bound_driver": ""} for card in cards],
        "module": {"loaded": driver},
        "user_space": driver,
        "dpkg_was_cut": False,
        "packages": {
            name.replace("_", "-"): {"version": version, "status": "installed", "held": held}
            for name, version in packages.items()
        },
    }


def manifest(role: str, *installed: str) -> tuple[str, str]:
    """The line of a look with what the role has brought."""
    owned = {"files": [], "packages": list(installed), "installed": list(installed)}
    return "manifest", json.dumps({"schema_version": 1, "roles": {role: owned}})


def alternatives(value: str, *choices: str, status: str = "manual") -> list[tuple[str, str]]:
    """The lines of a look with the group cuda of update-alternatives --query."""
    lines = ["Name: cuda", "Link: /usr/local/cuda", f"Status: {status}", f"Best: {choices[-1]}", f"Value: {value}", ""]
    for priority, choice in enumerate(choices):
        lines += [f"Alternative: {choice}", f"Priority: {priority}", ""]
    return [("alternatives", line) for line in lines]
