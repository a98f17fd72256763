"""This machine's own ports, and whether another machine's port answers."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"
ANSWER_TIMEOUT_S = 3


def free_port(wanted: int = 0) -> int:
    """The wanted port of the loopback address where nobody has it and we may, else a free one."""
    return wanted if wanted and is_free(wanted) else _bound(0)


def is_free(port: int) -> bool:
    """Whether a program of this user could listen there now."""
    try:
        return bool(_bound(port))
    except OSError:
        return False


def unanswered(host: str, port: int) -> str:
    """Why the port takes no connection from here; empty where it does."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT_S):
            return ""
    except OSError as error:
        return error.strerror or str(error) or "no answer"


def _bound(port: int) -> int:
    with socket.socket() as listener:
        # As ssh does: what remains of closed connections keeps nobody out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        return int(listener.getsockname()[1])
