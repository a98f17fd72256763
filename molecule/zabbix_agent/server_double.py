#!/usr/bin/python3
"""A double of Zabbix's server behind stunnel, which has the keys: it asks an agent for two items and takes the values.

Requests are as in Zabbix's manual, "Zabbix agent protocol". What came is a line of JSON in /run/zabbix-server-double.
A host called `stranger` is not known to it.
"""

from __future__ import annotations

import json
import socketserver
import struct
import zlib
from pathlib import Path

COMPRESSED = 2
CAME = Path("/run/zabbix-server-double")
ITEMS = [
    {"key": key, "key_orig": key, "itemid": number, "delay": "2s", "lastlogsize": 0, "mtime": 0, "timeout": "30s"}
    for number, key in enumerate(("dlhost.gpu", "dlhost.host"), 1)
]


class Request(socketserver.StreamRequestHandler):
    """One message and its answer."""

    def handle(self) -> None:
        head = self.rfile.read(13)
        if len(head) < 13:
            return
        text = self.rfile.read(struct.unpack("<I", head[5:9])[0])
        message = json.loads(zlib.decompress(text) if head[4] & COMPRESSED else text)
        with CAME.open("a") as came:
            came.write(json.dumps(message) + "\n")
        if message.get("host") == "stranger":
            answer = {"response": "failed", "info": "host [stranger] not found"}
        elif message.get("request") == "active checks":
            answer = {"response": "success", "data": ITEMS, "config_revision": 1}
        else:
            answer = {"response": "success", "info": "processed: 1; failed: 0; total: 1"}
        body = json.dumps(answer).encode()
        self.wfile.write(b"ZBXD\1" + struct.pack("<II", len(body), 0) + body)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


Server(("127.0.0.1", 10052), Request).serve_forever()
