# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the libraries of a Jupyter environment can answer: whether a password is the one of a hash, who computes.

Runs with the environment's own interpreter, as a text given to `python -c`: one question as JSON on standard input, so
that no password is in a process list, and one answer on standard output. Ansible's interpreter only reads this text.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time

# What `jupyter server password` makes (jupyter_server.auth.security.passwd).
KIND = "argon2:"
COSTS = {"memory_cost": 10240, "time_cost": 10, "parallelism": 8}


def hashes(known: dict[str, list[str]]) -> dict[str, str]:
    """User to a hash of the password; `known` is user to password and the hash so far, which stays where it fits."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    hasher = PasswordHasher(**COSTS)
    answer = {}
    for user, (password, present) in known.items():
        fits = False
        with contextlib.suppress(InvalidHashError, VerificationError):
            fits = present.startswith(KIND) and hasher.verify(present[len(KIND) :], password)
        answer[user] = present if fits else KIND + hasher.hash(password)
    return answer


def silent_kernels(connection_files: list[str], patience_s: float) -> list[str]:
    """Those whose kernel does not answer on its shell channel: it computes, for that channel waits its turn.

    A file whose kernel has ended, so that nobody listens on its port, counts as nobody's.
    """
    from jupyter_client import BlockingKernelClient

    waiting = {}
    for name in connection_files:
        client = BlockingKernelClient(connection_file=name)
        try:
            client.load_connection_file()
            if client.transport == "tcp":
                socket.create_connection((client.ip, client.shell_port), patience_s).close()
        except (OSError, ValueError, KeyError):
            continue
        client.start_channels(iopub=False, stdin=False, hb=False, control=False)
        waiting[name] = (client, client.kernel_info())
    deadline = time.monotonic() + patience_s
    silent = [name for name, (client, request) in waiting.items() if not _answers(client, request, deadline)]
    for client, _request in waiting.values():
        client.stop_channels()
    return silent


def _answers(client, request: str, deadline: float) -> bool:
    """Whether the request is answered by that time.monotonic()."""
    from queue import Empty

    with contextlib.suppress(Empty):
        while True:
            # What has already come is taken also when no time is left.
            message = client.get_shell_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == request:
                return True
    return False


if __name__ == "__main__":
    question, arguments = json.load(sys.stdin)
    answers = {"hashes": hashes, "silent_kernels": silent_kernels}
    json.dump(answers[question](*arguments), sys.stdout)
