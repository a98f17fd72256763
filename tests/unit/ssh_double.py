"""A double of OpenSSH's ssh for tests: a master in the background takes connections, and what it was told is kept.

What it cannot show, a real login and real forwarding, is for tests/e2e/test_ways_to_a_host.py.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

KEPT = Path(os.environ["SSH_DOUBLE"])


def value(option: str) -> str:
    return sys.argv[sys.argv.index(option) + 1]


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def main() -> int:
    with (KEPT / "commands").open("a", encoding="utf-8") as commands:
        commands.write(" ".join(sys.argv[1:]) + "\n")
    master = Path(value("-S"))
    if "-O" in sys.argv:
        if (KEPT / "stopped").exists():
            time.sleep(60)
        if (KEPT / "asks").exists() and value("-O") == "exit":
            return 255
        process, listens_at = map(int, master.read_text().split())
        if value("-O") == "exit":
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
            while answers(listens_at):
                time.sleep(0.01)
            master.unlink()
            return 0
        return 0 if answers(listens_at) else 255
    if (KEPT / "refuses").exists():
        Path(value("-E")).write_text((KEPT / "refuses").read_text())
        return 255
    address, port, *_ = value("-L").split(":")
    listener = socket.create_server((address, int(port)))
    if child := os.fork():
        master.write_text(f"{child} {port}")
        return 0
    os.setsid()
    time.sleep(60)
    listener.close()
    return 0


sys.exit(main())
