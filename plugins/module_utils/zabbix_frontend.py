# SPDX-License-Identifier: GPL-3.0-or-later
"""Zabbix' frontend and server as their clients see them: pages through the socket of PHP, and an agent's question."""

from __future__ import annotations

import json
import socket
import struct

TIMEOUT_S = 30
# FastCGI 1.0: version, kind of record, request, length, padding.
HEADER = struct.Struct(">BBHHBx")
VERSION, REQUEST, RESPONDER = 1, 1, 1
BEGIN_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6
LONGEST = 65535
# Of an agent and its server: what every packet begins with, flags, length, reserved.
AGENT_HEADER = struct.Struct("<4sBII")
AGENT_MARK, AGENT_FLAGS = b"ZBXD", 1


class SilentError(Exception):
    """Why nothing that makes sense came back, in words for a sentence."""


def page(path: str, root: str, name: str, body: str = "") -> tuple[int, str]:
    """The status and the text of one of the frontend's pages, asked for with this body.

    Raises:
        SilentError: No page came back.
    """
    variables = {
        "REQUEST_METHOD": "POST" if body else "GET",
        "SCRIPT_FILENAME": f"{root}/{name}",
        "SCRIPT_NAME": f"/zabbix/{name}",
        "REQUEST_URI": f"/zabbix/{name}",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json-rpc",
        "CONTENT_LENGTH": str(len(body.encode())),
    }
    parameters = b"".join(_pair(key.encode(), value.encode()) for key, value in variables.items())
    request = _record(BEGIN_REQUEST, struct.pack(">HB5x", RESPONDER, 0))
    for kind, content in ((PARAMS, parameters), (STDIN, body.encode())):
        request += (_record(kind, content) if content else b"") + _record(kind, b"")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(path)
            connection.sendall(request)
            answer = _read_answer(connection)
    except OSError as error:
        raise SilentError(f"{path}: {error.strerror or error}") from None
    head, _blank, text = answer.partition("\r\n\r\n")
    status = [line.split()[1] for line in head.splitlines() if line.lower().startswith("status:")]
    return int(status[0]) if status else 200, text


def call(path: str, root: str, method: str, parameters: dict, token: str = "") -> object:
    """What a method of the frontend's API gives.

    Raises:
        SilentError: Nothing that makes sense.
        PermissionError: It is refused; the words are the frontend's.
    """
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    # Both versions take it here.
    request |= {"auth": token} if token else {}
    status, text = page(path, root, "api_jsonrpc.php", json.dumps(request))
    try:
        answer = json.loads(text)
    except ValueError:
        raise SilentError(f"the API answered {status} {' '.join(text.split())[:200]}") from None
    if "error" in answer:
        raise PermissionError(f"{answer['error'].get('message', '')} {answer['error'].get('data', '')}".strip())
    return answer["result"]


def log_in(path: str, root: str, user: str, password: str) -> None:
    """Log in and out again.

    Raises:
        SilentError: Nothing that makes sense came back.
        PermissionError: It is refused.
    """
    token = call(path, root, "user.login", {"username": user, "password": password})
    call(path, root, "user.logout", {}, str(token))


def active_checks(port: int, host: str) -> str:
    """What the server says to an unencrypted agent that asks for the checks of this host; empty where it gives them.

    Raises:
        SilentError: Nothing that makes sense.
    """
    question = json.dumps({"request": "active checks", "host": host, "version": "6.0"}).encode()
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
            connection.sendall(AGENT_HEADER.pack(AGENT_MARK, AGENT_FLAGS, len(question), 0) + question)
            mark, _flags, length, _reserved = AGENT_HEADER.unpack(_read(connection, AGENT_HEADER.size))
            answer = json.loads(_read(connection, length)) if mark == AGENT_MARK else {}
    except (OSError, ValueError) as error:
        raise SilentError(f"port {port}: {error}") from None
    if "response" not in answer:
        raise SilentError(f"what listens on port {port} is no server of Zabbix")
    return "" if answer["response"] == "success" else str(answer.get("info", "refused"))


def _record(kind: int, content: bytes) -> bytes:
    pieces = [content[at : at + LONGEST] for at in range(0, len(content), LONGEST)] or [b""]
    return b"".join(HEADER.pack(VERSION, kind, REQUEST, len(piece), 0) + piece for piece in pieces)


def _pair(key: bytes, value: bytes) -> bytes:
    lengths = [struct.pack(">B", n) if n < 128 else struct.pack(">I", n | 1 << 31) for n in (len(key), len(value))]
    return b"".join(lengths) + key + value


def _read_answer(connection: socket.socket) -> str:
    said = b""
    while True:
        _version, kind, _request, length, padding = HEADER.unpack(_read(connection, HEADER.size))
        content = _read(connection, length + padding)[:length]
        if kind == STDOUT:
            said += content
        elif kind == END_REQUEST:
            return said.decode("utf-8", "replace")


def _read(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        piece = connection.recv(length - len(found))
        if not piece:
            raise ConnectionError("the connection was closed")
        found += piece
    return found
