"""A frontend and a server of Zabbix, each played by a socket of the test that speaks their protocol."""

from __future__ import annotations

import importlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

RECORD = struct.Struct(">BBHHBx")
STDOUT, END = 6, 3


@pytest.fixture
def frontend(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.zabbix_frontend")


def serve(listening: socket.socket, is_whole: Callable[[bytes], bool], answer: Callable[[bytes], bytes]) -> None:
    """Answer each connection once, when the client has sent all of its question."""

    def work() -> None:
        while True:
            try:
                connection, _address = listening.accept()
            except OSError:
                return
            with connection:
                said = b""
                while not is_whole(said):
                    said += connection.recv(65536)
                connection.sendall(answer(said))

    threading.Thread(target=work, daemon=True).start()


def stream(said: bytes, kind: int) -> bytes:
    """What a client has sent in records of one kind."""
    found = b""
    while said:
        _version, this, _request, length, padding = RECORD.unpack(said[:8])
        found += said[8 : 8 + length] if this == kind else b""
        said = said[8 + length + padding :]
    return found


def records(text: str) -> bytes:
    """A page in two padded records, with a word to another stream in between, as PHP may send it."""
    content = text.encode()
    pieces = [(STDOUT, content[:10]), (7, b"PHP Notice"), (STDOUT, content[10:]), (END, b"\0" * 8)]
    return b"".join(RECORD.pack(1, kind, 1, len(piece), 3) + piece + b"xxx" for kind, piece in pieces)


@pytest.fixture
def pages(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """The socket of a frontend, and what it answers to each method of the API."""
    answers: dict[str, Any] = {"asked": []}

    def answer(said: bytes) -> bytes:
        body = stream(said, 5)
        if not body:
            return records(f"Status: {answers['status']}\r\nX: y\r\n\r\npage")
        asked = json.loads(body)
        answers["asked"].append(asked)
        return records("Content-type: application/json\r\n\r\n" + json.dumps(answers[asked["method"]]))

    path = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    # An empty record of standard input ends a question.
    serve(listening, lambda said: said.endswith(RECORD.pack(1, 5, 1, 0, 0)), answer)
    return path, answers


def test_who_logs_in_logs_out_again(frontend: Any, pages: tuple[str, dict[str, Any]]) -> None:
    path, answers = pages
    answers |= {"user.login": {"result": "token"}, "user.logout": {"result": True}}
    frontend.log_in(path, "/usr/share/zabbix", "Admin", "x" * 70_000)
    login, logout = answers["asked"]
    # Longer than one record can be.
    assert login["params"] == {"username": "Admin", "password": "x" * 70_000}
    assert (logout["method"], logout["auth"]) == ("user.logout", "token")


def test_who_is_refused_is_told_in_the_frontends_words(frontend: Any, pages: tuple[str, dict[str, Any]]) -> None:
    path, answers = pages
    answers["user.login"] = {"error": {"message": "Invalid params.", "data": "Incorrect user name or password."}}
    with pytest.raises(PermissionError, match="Incorrect user name"):
        frontend.log_in(path, "/usr/share/zabbix", "Admin", "wrong")


def test_a_page_has_its_status(frontend: Any, pages: tuple[str, dict[str, Any]]) -> None:
    path, answers = pages
    answers["status"] = "404 Not Found"
    assert frontend.page(path, "/usr/share/zabbix", "setup.php") == (404, "page")


def test_a_frontend_that_is_not_there_is_said(frontend: Any, tmp_path: Path) -> None:
    with pytest.raises(frontend.SilentError, match="socket: No such file"):
        frontend.page(str(tmp_path / "socket"), "/usr/share/zabbix", "setup.php")


AGENT = struct.Struct("<4sBII")


def zabbix(text: bytes) -> bytes:
    return AGENT.pack(b"ZBXD", 1, len(text), 0) + text


def is_whole(said: bytes) -> bool:
    return len(said) >= AGENT.size and len(said) == AGENT.size + AGENT.unpack(said[: AGENT.size])[2]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (zabbix(b'{"response":"success","data":[]}'), ""),
        (zabbix(b'{"response":"failed","info":"host [x] not found"}'), "host [x] not found"),
        (zabbix(b'{"response":"failed"}'), "refused"),
    ],
)
def test_what_a_server_answers_an_agent(frontend: Any, answer: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serve(listening, is_whole, lambda _said: answer)
        assert frontend.active_checks(listening.getsockname()[1], "x") == said


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2p1\r\n", zabbix(b"{}"), zabbix(b"nonsense")])
def test_what_is_no_server_is_said_to_be_none(frontend: Any, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serve(listening, is_whole, lambda _said: answer)
        with pytest.raises(frontend.SilentError, match=r"^(port|what listens on port) \d+"):
            frontend.active_checks(listening.getsockname()[1], "x")
