"""Zabbix's protocol with servers of the test's own: what is whole, what is not, and who has the key."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from plugins.module_utils import zabbix_wire
from plugins.module_utils.zabbix_wire import WireError, ask

KEY = "8f" * 32
TEXT = json.dumps({"response": "success", "data": ["☃"] * 9000})


def message(text: bytes, flags: int = 1) -> bytes:
    form = "<QQ" if flags & zabbix_wire.LARGE else "<II"
    return b"ZBXD" + bytes([flags]) + struct.pack(form, len(text), 0) + text


class Server:
    """Answers one connection with these bytes, and ends it at once or with the test."""

    def __init__(self, reply: bytes, ends: bool = True) -> None:
        self.reply, self.ends, self.heard = reply, ends, b""
        self.asked = threading.Event()

    def __enter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.asked.set()
        self.thread.join()
        self.listener.close()

    def _serve(self) -> None:
        connection, _address = self.listener.accept()
        with connection:
            self.heard = connection.recv(1000)
            connection.sendall(self.reply)
            if not self.ends:
                self.asked.wait()


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize(
    "reply",
    [
        message(TEXT.encode()),
        message(zlib.compress(TEXT.encode()), 3),
        message(TEXT.encode(), 5),
        message(zlib.compress(TEXT.encode()), 7),
    ],
)
def test_every_form_of_an_answer_is_read(reply: bytes, ends: bool) -> None:
    with Server(reply, ends) as server:
        assert ask("127.0.0.1", server.port, "agent.ping", 10) == TEXT
    assert server.heard == b"ZBXD\1\x0a\0\0\0\0\0\0\0agent.ping"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"", "it ended the connection without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what it answers is not Zabbix's protocol"),
        (b"ZBXD\1", "what it answers is not Zabbix's protocol"),
        (message(TEXT.encode())[:-1], "its answer was cut off"),
    ],
)
def test_what_is_no_answer_is_said(reply: bytes, said: str) -> None:
    with Server(reply) as server, pytest.raises(WireError, match=said):
        ask("127.0.0.1", server.port, "agent.ping", 10)


def test_nobody_there() -> None:
    with pytest.raises(WireError, match="Connection refused"):
        ask("127.0.0.1", 1, "agent.ping", 10)


@pytest.fixture
def encrypted() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """OpenSSL's own server, which takes one key and sends what it is given; its port, and itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = f"openssl s_server -nocert -quiet -psk_identity rig -psk {KEY} -accept 127.0.0.1:{port}"
    with subprocess.Popen(command.split(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                continue
        yield port, process
        process.kill()


def test_who_has_the_key_is_answered(encrypted: tuple[int, subprocess.Popen[bytes]]) -> None:
    port, process = encrypted
    assert process.stdin
    assert process.stdout
    answers: list[str] = []
    asker = threading.Thread(target=lambda: answers.append(ask("127.0.0.1", port, "agent.ping", 10, ("rig", KEY))))
    asker.start()
    assert process.stdout.read(23) == b"ZBXD\1\x0a\0\0\0\0\0\0\0agent.ping"
    process.stdin.write(message(b"1"))
    process.stdin.flush()
    asker.join()

    assert answers == ["1"]


@pytest.mark.parametrize("key", [("rig", "8e" * 32), ("rig", "8f" * 16)])
def test_another_key_is_refused(encrypted: tuple[int, subprocess.Popen[bytes]], key: tuple[str, str]) -> None:
    with pytest.raises(WireError, match="it does not take this pre-shared key"):
        ask("127.0.0.1", encrypted[0], "agent.ping", 10, key)


def test_a_host_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(zabbix_wire, "LIBRARY", str(tmp_path / "libssl.so"))

    with Server(b"") as server, pytest.raises(WireError, match=r"libssl\.so is not on this host"):
        ask("127.0.0.1", server.port, "agent.ping", 10, ("rig", KEY))
