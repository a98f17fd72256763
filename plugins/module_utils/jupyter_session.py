# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser's session with a Jupyter server: a password, a kernel, a cell over its websocket.

On the standard library alone, so that a controller can look through the proxy without another package. The websocket
is the client's half of RFC 6455 without extensions.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.cookiejar
import json
import os
import socket
import ssl
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

TIMEOUT_S = 60
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


# Computes, and opens each device file of a GPU, which is the first thing that CUDA does.
CELL = """
import glob, json, os, stat
def refusal(path):
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        return f"{path}: {error.strerror}"
devices = [path for path in glob.glob("/dev/nvidia*") if stat.S_ISCHR(os.stat(path).st_mode)]
print(json.dumps({"product": 6 * 7, "devices": devices, "refused": [*filter(None, map(refusal, devices))]}))
"""
PRODUCT = 42


class SessionError(Exception):
    """One sentence: what the server did instead."""


@dataclasses.dataclass(frozen=True)
class Trust:
    """Whose certificates count: those of the authority (PEM), the machine's own where that is empty, or any."""

    authority: str = ""
    anybody: bool = False

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority or None)
        if self.anybody:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def try_out(url: str, password: str, trust: Trust) -> dict[str, object]:
    """What the server at a base URL gives to who has no password, a wrong one, and the right one where it is known.

    `error` says what it did instead of refusing, letting in and computing; empty where it did all that could be tried.
    """
    seen: dict[str, object] = {
        "guarded": False,
        "password_known": bool(password),
        "computes": False,
        "devices": [],
        "refused_devices": [],
        "error": "",
    }
    try:
        session = Session(url, trust)
        status = session.status("api/contents?content=0")
        if status != 403:
            raise SessionError(f"{url} answers HTTP {status} to who has no password")
        if session.log_in(uuid.uuid4().hex):
            raise SessionError(f"{url} takes a wrong password")
        seen["guarded"] = True
        if password:
            if not session.log_in(password):
                raise SessionError(f"{url} refuses the password")
            printed = json.loads(session.compute(CELL))
            seen["computes"] = printed["product"] == PRODUCT
            seen |= {"devices": printed["devices"], "refused_devices": printed["refused"]}
    except SessionError as error:
        seen["error"] = str(error)
    except (ValueError, KeyError, TypeError) as error:
        seen["error"] = f"{url} is not answered by Jupyter ({error})"
    return seen


class Session:
    """A session with the server at a base URL, which ends with a slash. No proxy of the environment is asked."""

    def __init__(self, url: str, trust: Trust) -> None:
        self.url = url
        self._parts = urllib.parse.urlsplit(url)
        self._trust = trust
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=trust.context()),
            urllib.request.HTTPCookieProcessor(self._cookies),
        )

    def status(self, path: str) -> int:
        """The HTTP status of a GET.

        Raises:
            SessionError: There is no connection.
        """
        return self._request("GET", path)[0]

    def log_in(self, password: str) -> bool:
        """Whether the login form takes the password.

        Raises:
            SessionError: There is no connection.
        """
        self._request("GET", "login")
        form = urllib.parse.urlencode({"_xsrf": self._cookie("_xsrf"), "password": password})
        self._request("POST", "login", form.encode())
        return self.status("api/contents?content=0") == 200

    def compute(self, code: str) -> str:
        """What a cell prints in a kernel of its own, which is gone afterwards.

        Raises:
            SessionError: There is no kernel, or the cell fails.
        """
        status, body = self._request("POST", "api/kernels", b"{}", "application/json")
        if status != 201:
            raise SessionError(f"no kernel was started (HTTP {status})")
        kernel = urllib.parse.quote(json.loads(body)["id"])
        try:
            channels = f"api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}"
            with contextlib.closing(self._websocket(channels)) as websocket:
                return _run_cell(websocket, code)
        finally:
            self._request("DELETE", f"api/kernels/{kernel}")

    def _request(self, method: str, path: str, data: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
        headers = {"X-XSRFToken": self._cookie("_xsrf"), **({"Content-Type": kind} if kind else {})}
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except urllib.error.URLError as error:
            raise SessionError(f"{self.url} does not answer: {error.reason}") from None
        except OSError as error:
            raise SessionError(f"{self.url} does not answer: {error}") from None

    def _cookie(self, name: str) -> str:
        return next((cookie.value or "" for cookie in self._cookies if cookie.name == name), "")

    def _websocket(self, path: str) -> Websocket:
        secure = self._parts.scheme == "https"
        host = self._parts.hostname or ""
        try:
            stream = socket.create_connection((host, self._parts.port or (443 if secure else 80)), TIMEOUT_S)
            if secure:
                stream = self._trust.context().wrap_socket(stream, server_hostname=host)
            cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._cookies)
            origin = f"{self._parts.scheme}://{self._parts.netloc}"
            return Websocket(stream, self._parts.netloc, self._parts.path + path, {"Cookie": cookies, "Origin": origin})
        except OSError as error:
            raise SessionError(f"there is no websocket: {error}") from None


class Websocket:
    """An open websocket for texts."""

    def __init__(self, stream: socket.socket, host: str, path: str, headers: dict[str, str]) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self._stream = stream
        self._stream.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        self._reader = stream.makefile("rb")
        status = self._reader.readline().decode("latin-1").split()
        if status[1:2] != ["101"]:
            self._stream.close()
            raise SessionError(f"the server opens no websocket (HTTP {' '.join(status[1:]) or 'nothing'})")
        while self._reader.readline().strip():
            pass

    def close(self) -> None:
        """Close it without a word; what it led to is gone anyway."""
        self._reader.close()
        self._stream.close()

    def send(self, payload: bytes, kind: int = TEXT) -> None:
        """Send one message in one frame, masked as a client must."""
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | kind, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._stream.sendall(head + mask + masked)

    def receive(self, deadline: float) -> str:
        """The next message, by that time.monotonic(); pings are answered.

        Raises:
            SessionError: The server has closed the websocket, or says nothing.
        """
        message = b""
        try:
            while True:
                self._stream.settimeout(max(0.01, deadline - time.monotonic()))
                first, second = self._read(2)
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(self._read(2 if size == 126 else 8), "big")
                payload, kind = self._read(size), first & 0x0F
                if kind == PING:
                    self.send(payload, PONG)
                elif kind == CLOSE:
                    raise SessionError("the server closed the websocket")
                elif kind != PONG:
                    message += payload
                    if first & 0x80:
                        return message.decode("utf-8", "replace")
        except OSError as error:
            raise SessionError(f"the websocket broke off: {error}") from None

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise SessionError("the server closed the websocket")
        return data


def _run_cell(websocket: Websocket, code: str) -> str:
    """Send the code as Jupyter's execute_request; returns what it printed by the time the kernel was idle again."""
    header = {"msg_id": uuid.uuid4().hex, "username": "", "session": uuid.uuid4().hex, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "user_expressions": {}}
    request = {"header": {**header, "msg_type": "execute_request"}, "parent_header": {}, "metadata": {}}
    message = {**request, "content": content, "channel": "shell", "buffers": []}
    websocket.send(json.dumps(message).encode())
    printed, deadline = "", time.monotonic() + TIMEOUT_S
    while True:
        answer = json.loads(websocket.receive(deadline))
        if answer["content"].get("execution_state") in ("restarting", "dead"):
            raise SessionError("the kernel died")
        if answer["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        match answer["msg_type"], answer["content"]:
            case "stream", {"name": "stdout", "text": text}:
                printed += text
            case "error", {"ename": name, "evalue": value}:
                raise SessionError(f"the cell failed: {name}: {value}")
            case "status", {"execution_state": "idle"}:
                return printed
