"""VNC's passwords, and a viewer's session with a server of the test's own."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from dlhost.adapters.ansible_env import collections_path
from plugins.module_utils import vnc_password

PASSWORD = "correct1"  # noqa: S105


def des(key: bytes, data: bytes) -> bytes:
    """What another implementation makes of it, by a key whose bytes VNC turns round."""
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    return Cipher(TripleDES(turned * 3), modes.ECB()).encryptor().update(data)  # noqa: S305


def test_a_password_is_kept_as_vncpasswd_keeps_it() -> None:
    # printf 'correct1\n' | tigervncpasswd -f, of 1.12 and of 1.15.
    assert vnc_password.kept(PASSWORD).hex() == "0f1650c97107ddfd"
    assert vnc_password.kept("correct1 and more") == vnc_password.kept(PASSWORD)
    assert vnc_password.kept("correct2") != vnc_password.kept(PASSWORD)


def test_an_answer_is_what_another_implementation_computes() -> None:
    for _ in range(50):
        key, challenge = os.urandom(4).hex(), os.urandom(16)
        assert vnc_password.answer(key, challenge) == des(key.encode(), challenge)


class Server:
    """A server of one screen of 3x2 pixels; the tests say in what it differs from a good one."""

    def __init__(self) -> None:
        self.greeting = b"RFB 003.008\n"
        self.offered = b"\1\2"
        self.takes: Callable[[bytes, bytes], bool] = lambda answer, challenge: (
            answer == des(PASSWORD.encode(), challenge)
        )
        self.screen = bytes(range(24))
        self.before = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:
                self._talk(stream)

    def _talk(self, stream: Any) -> None:
        def say(data: bytes) -> None:
            stream.write(data)
            stream.flush()

        say(self.greeting)
        if not stream.read(12):
            return
        say(self.offered)
        if stream.read(1) != b"\2":
            return
        challenge = os.urandom(16)
        say(challenge)
        if not self.takes(stream.read(16), challenge):
            say(struct.pack("!II", 1, 3) + b"no!")
            return
        say(struct.pack("!I", 0))
        # Who does not say this sends others away.
        if stream.read(1) != b"\1":
            return
        say(struct.pack("!HH16xI", 3, 2, 4) + b"name")
        assert len(stream.read(20 + 8 + 10)) == 38
        # In two parts, the lower one first.
        say(self.before + struct.pack("!BxHHHHHi", 0, 2, 0, 1, 3, 1, 0) + self.screen[12:])
        say(struct.pack("!HHHHi", 0, 0, 3, 1, 0) + self.screen[:12])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.listener.close()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.vnc_session")


def test_a_desktop_is_guarded_and_seen(session: Any, server: Server) -> None:
    seen = session.try_out("127.0.0.1", server.port, "correct1 and more")
    assert seen == {"guarded": True, "shows": True, "size": "3x2", "error": ""}


def test_a_picture_is_put_together(session: Any, server: Server) -> None:
    # A bell, a clipboard and a palette come in between.
    server.before = b"\2" + b"\3\0\0\0\0\0\0\2hi" + b"\1\0\0\0\0\1\0\0\0\0\0\0"
    viewer = session.Session("127.0.0.1", server.port)
    assert viewer.log_in(PASSWORD)
    picture = viewer.picture()
    viewer.close()
    assert (picture.width, picture.height, picture.pixels, picture.colours) == (3, 2, server.screen, 6)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "open to everybody": ({"offered": b"\1\1"}, "in place of VncAuth alone"),
    "open as well": ({"offered": b"\2\2\1"}, "in place of VncAuth alone"),
    "any password": ({"takes": lambda _answer, _challenge: True}, "it takes a wrong password"),
    "no password": ({"takes": lambda _answer, _challenge: False}, "it refuses the password"),
    "grey": ({"screen": bytes(24)}, "its screen is empty"),
    "something else": ({"greeting": b"SSH-2.0-Open"}, "what answers there is no VNC server"),
    "too many attempts": ({"offered": b"\0\0\0\0\4wait"}, "wait"),
    "end": ({"offered": b""}, "it says nothing more (timed out)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named(session: Any, server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(session, "TIMEOUT_S", 0.5)
    settings, words = BAD[name]
    for key, value in settings.items():
        setattr(server, key, value)
    seen = session.try_out("127.0.0.1", server.port, PASSWORD)
    assert seen["error"].startswith(f"127.0.0.1 port {server.port}: ")
    assert words in seen["error"]
    assert not seen["shows"]
    assert seen["guarded"] is (name in {"no password", "grey"})


def test_where_nobody_listens_there_is_no_desktop(session: Any, server: Server) -> None:
    server.listener.close()
    assert "it does not answer" in session.try_out("127.0.0.1", server.port, PASSWORD)["error"]
