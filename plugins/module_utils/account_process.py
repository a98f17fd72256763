# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes with the rights of an account: in directories of users, nobody else looks at or changes anything."""

from __future__ import annotations

import inspect
import json
import os
import subprocess

from ansible_collections.dlhost.host.plugins.module_utils.service_host import Account, RefusedError

# For an interpreter to start on a loaded machine, and for an answer that takes no time itself.
ANSWER_TIMEOUT_S = 60


class FailedError(Exception):
    """The last that a command said, or what became of it."""


def ask(
    user: Account | None,
    interpreter: list[str],
    module,
    question: str,
    *arguments,
    timeout_s: int | None = ANSWER_TIMEOUT_S,
):
    """Have a function of a module answered by another interpreter, with the rights of the user where one is given.

    Raises:
        RefusedError: It does not answer.
    """
    command = [*interpreter, "-c", inspect.getsource(module)]
    try:
        return json.loads(run_as(user, command, [question, arguments], timeout_s))
    except (FailedError, ValueError) as error:
        whose = f" as {user.name}" if user else ""
        raise RefusedError(f"{interpreter[0]} does not run{whose} ({error}).") from None


def run_as(
    user: Account | None, command: list[str], question: object = None, timeout_s: int | None = ANSWER_TIMEOUT_S
) -> str:
    """What a command answers to a question on standard input, with the rights of the user where one is given.

    Raises:
        FailedError: It fails, or takes too long.
    """
    rights = {}
    if user is not None:
        rights = {
            "user": user.uid,
            "group": user.gid,
            "extra_groups": os.getgrouplist(user.name, user.gid),
            "env": {"HOME": user.home, "USER": user.name, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        }
    try:
        return subprocess.run(
            command,
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_s,
            cwd="/",
            **rights,
        ).stdout
    except subprocess.CalledProcessError as error:
        raise FailedError((error.stderr.strip().splitlines() or ["no word"])[-1]) from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise FailedError(type(error).__name__) from None
