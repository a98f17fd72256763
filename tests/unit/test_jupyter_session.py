"""A session with a server that answers as Jupyter does, and with ones that do not."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from plugins.module_utils import jupyter_session
from plugins.module_utils.jupyter_session import PRODUCT, Session, SessionError, Trust, try_out

PASSWORD = "correct horse"  # noqa: S105
LONG = "x" * 70_000


class Jupyter(BaseHTTPRequestHandler):
    """As much of Jupyter as a session needs; `faults` are what it does wrong."""

    protocol_version = "HTTP/1.1"
    faults: ClassVar[set[str]] = set()
    kernels: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        if "Upgrade" in self.headers and "no websocket" not in self.faults:
            self.close_connection = True
            self._talk()
        elif self.path.startswith("/ada/login"):
            self._answer(200, cookies=["_xsrf=2|token"])
        else:
            allowed = "session=ada" in self.headers.get("Cookie", "") or "open" in self.faults
            self._answer(200 if allowed else 403)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/ada/login":
            good = "password=correct+horse" in body or "any password" in self.faults
            good = good and "_xsrf=2%7Ctoken" in body
            self._answer(200, cookies=["session=ada"] if good else [])
        elif "session=ada" in self.headers["Cookie"] and self.headers["X-XSRFToken"] == "2|token":
            self.kernels.add("k1")
            self._answer(500 if "no kernel" in self.faults else 201, b'{"id": "k1"}')
        else:
            self._answer(403)

    def do_DELETE(self) -> None:
        self.kernels.discard(self.path.rpartition("/")[2])
        self._answer(204)

    def log_message(self, *_arguments: object) -> None:
        """Nothing to see."""

    def _answer(self, status: int, body: bytes = b"", cookies: tuple[str, ...] | list[str] = ()) -> None:
        if "not Jupyter" in self.faults and body:
            body = b"<html>"
        self.send_response(status)
        for cookie in cookies:
            self.send_header("Set-Cookie", f"{cookie}; Path=/ada/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _talk(self) -> None:
        """Answer one request on a websocket as a kernel would: in frames of all sizes, with a ping in between."""
        accept = hashlib.sha1(f"{self.headers['Sec-WebSocket-Key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode())  # noqa: S324
        self.send_response(101)
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept.digest()).decode())
        self.end_headers()
        request = json.loads(self._frame())
        parent = {"parent_header": {"msg_id": request["header"]["msg_id"]}}
        stdout = {"name": "stdout"}
        code = request["content"]["code"]
        text = json.dumps({"product": PRODUCT, "devices": [], "refused": []}) if "6 * 7" in code else code
        self._say({"parent_header": {}, "msg_type": "status", "content": {"execution_state": "idle"}})
        self._send(0x9, b"\xff\x00ping")
        assert self._frame() == b"\xff\x00ping"
        if "closes" in self.faults:
            self._send(0x8, b"")
        elif "breaks off" in self.faults:
            self.wfile.write(struct.pack("!BB", 0x81, 100))
        elif "dies" in self.faults:
            self._say({"parent_header": {}, "msg_type": "status", "content": {"execution_state": "restarting"}})
        elif "says nothing" in self.faults:
            for _ in range(20):
                self._send(0x9, b"")
                time.sleep(0.02)
        elif "fails" in self.faults:
            self._say({**parent, "msg_type": "error", "content": {"ename": "ValueError", "evalue": "no"}})
        else:
            middle = len(text) // 2
            whole = json.dumps({**parent, "msg_type": "stream", "content": {**stdout, "text": text[:middle]}}).encode()
            # One message in two frames.
            self._send(0x1, whole[:5], last=False)
            self._send(0x0, whole[5:])
            self._say({**parent, "msg_type": "stream", "content": {"name": "stderr", "text": "not this"}})
            self._say({**parent, "msg_type": "stream", "content": {**stdout, "text": text[middle:]}})
            self._say({**parent, "msg_type": "status", "content": {"execution_state": "idle"}})

    def _say(self, message: dict[str, Any]) -> None:
        self._send(0x1, json.dumps(message).encode())

    def _send(self, kind: int, payload: bytes, last: bool = True) -> None:
        size = len(payload)
        short = size if size < 126 else 126 if size < 1 << 16 else 127
        extended = b"" if size < 126 else struct.pack("!H" if size < 1 << 16 else "!Q", size)
        self.wfile.write(struct.pack("!BB", (0x80 if last else 0) | kind, short) + extended + payload)

    def _frame(self) -> bytes:
        first, second = self.rfile.read(2)
        # A client has to mask what it sends.
        assert first & 0x80
        assert second & 0x80
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self.rfile.read(2 if size == 126 else 8), "big")
        mask, payload = self.rfile.read(4), self.rfile.read(size)
        return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


@pytest.fixture
def url() -> Iterator[str]:
    """The base URL of a server without faults."""
    Jupyter.faults.clear()
    Jupyter.kernels.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Jupyter) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/ada/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("code", ["hello", "☃" * 50, LONG])
def test_a_cell_of_any_size_is_computed_and_its_kernel_ended(url: str, code: str) -> None:
    session = Session(url, Trust())
    assert session.log_in(PASSWORD)
    assert session.compute(code) == code
    assert Jupyter.kernels == set()


def test_a_good_server_is_seen_as_one(url: str) -> None:
    seen = try_out(url, PASSWORD, Trust())
    assert (seen["guarded"], seen["computes"], seen["error"]) == (True, True, "")


def test_only_the_guard_can_be_tried_without_the_password(url: str) -> None:
    seen = try_out(url, "", Trust())
    assert (seen["guarded"], seen["password_known"], seen["computes"], seen["error"]) == (True, False, False, "")


@pytest.mark.parametrize(
    ("fault", "guarded", "words"),
    [
        ("open", False, "answers HTTP 200 to who has no password"),
        ("any password", False, "takes a wrong password"),
        ("no kernel", True, r"no kernel was started \(HTTP 500\)"),
        ("no websocket", True, r"the server opens no websocket \(HTTP 200 OK\)"),
        ("closes", True, "the server closed the websocket"),
        ("breaks off", True, "the server closed the websocket"),
        ("dies", True, "the kernel died"),
        ("says nothing", True, "the websocket broke off: timed out"),
        ("fails", True, "the cell failed: ValueError: no"),
        ("not Jupyter", True, "is not answered by Jupyter"),
    ],
)
def test_what_a_server_does_instead_is_said(
    url: str, monkeypatch: pytest.MonkeyPatch, fault: str, guarded: bool, words: str
) -> None:
    monkeypatch.setattr(jupyter_session, "TIMEOUT_S", 0.2 if fault == "says nothing" else 60)
    Jupyter.faults.add(fault)
    seen = try_out(url, PASSWORD, Trust())
    assert (seen["guarded"], seen["computes"]) == (guarded, False)
    with pytest.raises(SessionError, match=words):
        raise SessionError(seen["error"])


def test_a_password_that_is_refused_is_said(url: str) -> None:
    assert try_out(url, "another password", Trust())["error"] == f"{url} refuses the password"


def test_no_server_at_all_is_said(url: str) -> None:
    nobody = url.replace(url.split(":")[2].partition("/")[0], "1")
    assert "does not answer" in str(try_out(nobody, PASSWORD, Trust())["error"])


def test_no_proxy_of_the_environment_is_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert try_out(url, PASSWORD, Trust())["error"] == ""
