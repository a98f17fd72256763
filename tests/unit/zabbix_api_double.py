"""A double of Zabbix's API: a frontend needs a database and PHP. Answers over HTTP or HTTPS what a test tells it to."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

Json = dict[str, Any]
ACCESS: Json = {"ca": "", "address": "", "token": "", "user": "Admin", "password": "open sesame"}
TOKEN = "0123456789abcdef" * 4


class ZabbixApiDouble:
    """Keeps what was asked. `answers` maps a method to its result, an error's data, or what makes one of the params."""

    def __init__(self, version: str = "7.0.22", answers: Mapping[str, Any] | None = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[tuple[str | None, str | None]] = []
        self.page = ""
        self.answers: dict[str, Any] = {
            "apiinfo.version": version,
            "user.login": TOKEN,
            "user.logout": True,
            **(answers or {}),
        }

    @property
    def methods(self) -> list[str]:
        return [method for method, _params in self.asked]

    def answer(self, body: Json, bearer: str | None) -> str:
        self.asked.append((body["method"], body["params"]))
        self.headers.append((body.get("auth"), bearer))
        if self.page:
            return self.page
        wanted = self.answers[body["method"]]
        found = wanted(body["params"]) if callable(wanted) else wanted
        key = "error" if isinstance(found, Refused) else "result"
        return json.dumps({"jsonrpc": "2.0", "id": body["id"], key: found})


class Refused(Json):
    def __init__(self, data: str) -> None:
        super().__init__({"code": -32500, "message": "Application error.", "data": data})


@contextlib.contextmanager
def served(double: ZabbixApiDouble, pair: Path | None = None) -> Iterator[int]:
    """Serve it on a port of the loopback address; with a PEM file of key and certificate, by TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # One answer is one packet.

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = double.answer(body, self.headers["Authorization"]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    # What goes wrong with one connection is the client's matter here.
    server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
