"""Modules that ask Zabbix on another host: a host that is not reached, and a way that would leave a password behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.plays import results

LOST = "nobody, which is to ask Zabbix, is not reached: "
KEY = "ab" * 32


def asked(directory: Path, delegate: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """What each of the modules said, by its name."""
    access = {"url": "https://127.0.0.1:1/", "user": "Admin", "password": "secret", "host": "rig"}
    key = {"psk": KEY, "psk_identity": "dlhost rig"}
    tasks = [
        {"name": name, f"dlhost.host.zabbix_{name}": values, "delegate_to": delegate, "ignore_errors": True}
        for name, values in {"registration": access | key, "values": access | {"awaited": ["a"]}}.items()
    ]
    nobody = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    ran = results(directory, {"rig": {}, "nobody": nobody}, tasks, "--limit", "rig", *arguments)
    return {task: result for task, _host, result in ran}


def test_a_delegate_that_is_not_reached_is_said_and_loses_no_host(tmp_path: Path) -> None:
    said = asked(tmp_path, "nobody")

    assert not said["registration"].get("unreachable")
    assert said["registration"]["failed"] and said["registration"]["msg"].startswith(LOST)
    assert said["values"]["error"].startswith(LOST) and said["values"]["late"] == ["a"]


def test_in_a_dry_run_it_is_undetermined(tmp_path: Path) -> None:
    said = asked(tmp_path, "nobody", "--check")["registration"]

    assert not said.get("failed")
    assert said["dlhost_undetermined"].startswith(f"whether rig is registered: {LOST}")


def test_a_way_that_writes_the_password_to_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_KEEP_REMOTE_FILES", "1")

    said = asked(tmp_path, "localhost")

    assert all("A password shall reach a host on standard input only" in each["msg"] for each in said.values())
