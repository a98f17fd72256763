"""One value for Zabbix from a host, with servers that are the test's."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
SENDER = REPOSITORY / "roles/zabbix_agent/files/zabbix_sender.py"
TAKEN = {"response": "success", "info": "processed: 1; failed: 0; total: 1; seconds spent: 0.000055"}
UNKNOWN = {"response": "success", "info": "processed: 0; failed: 1; total: 1; seconds spent: 0.000055"}


@pytest.fixture
def sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("zabbix_sender", SENDER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "psk").write_text("8f" * 32 + "\n")
    (tmp_path / "dlhost.conf").write_text(
        f"# A comment = none\nHostname=rig\nServerActive=[::1]:20051\nAlias=one:two=3\nAlias=three:four\n"
        f"TLSPSKIdentity=dlhost rig\nTLSPSKFile={tmp_path}/psk\n"
    )
    monkeypatch.setattr(module, "CONFIGURATION", tmp_path / "dlhost.conf")
    monkeypatch.setattr(module, "LIBRARY", str(REPOSITORY / "plugins/module_utils"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return module


def answer(monkeypatch: pytest.MonkeyPatch, reply: str | None) -> list[Any]:
    """Have the server say this, or not be there; returns what it is asked."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "plugins/module_utils"))
    wire = importlib.import_module("zabbix_wire")
    asked: list[Any] = []

    def ask(*question: Any) -> str:
        asked.append(question)
        if reply is None:
            raise wire.WireError("Connection refused")
        return reply

    monkeypatch.setattr(wire, "ask", ask)
    return asked


@pytest.mark.parametrize(("reply", "code"), [(TAKEN, 0), (UNKNOWN, 2), ({"response": "failed", "info": "no"}, 2)])
def test_a_value_is_told_by_the_hosts_own_key(
    sender: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reply: dict[str, str],
    code: int,
) -> None:
    asked = answer(monkeypatch, json.dumps(reply))

    assert sender.main(["dlhost.drift", '{"result": "drift"}']) == code
    assert capsys.readouterr().out == f"{reply['info']}\n"
    address, port, message, _timeout_s, key = asked[0]
    assert (address, port, key) == ("::1", 20051, ("dlhost rig", "8f" * 32))
    assert json.loads(message) == {
        "request": "sender data",
        "data": [{"host": "rig", "key": "dlhost.drift", "value": '{"result": "drift"}'}],
    }


@pytest.mark.parametrize(("reply", "words"), [(None, "Connection refused"), ("SSH-2.0", "Expecting value")])
def test_a_server_that_does_not_answer_is_said(
    sender: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reply: str | None,
    words: str,
) -> None:
    answer(monkeypatch, reply)

    assert sender.main(["dlhost.drift", "1"]) == 1
    assert capsys.readouterr().err.startswith(f"[::1]:20051 does not answer: {words}")


def test_the_program_says_how_it_is_used() -> None:
    assert subprocess.run([sys.executable, SENDER], capture_output=True, check=False).returncode == 2
