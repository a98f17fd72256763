# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the host: without a shell, in English, and never with the standard input that the module itself came by.

A secret belongs in `given`: a command's words are seen by every process, and said where it fails.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

STOPPED, NOT_STARTED = 124, 127  # As timeout(1) and a shell end.


def run(
    *command: str,
    given: str = "",
    directory: Path | None = None,
    timeout_s: float | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command's end; of one that cannot be started, or does not end in time, stderr says so."""
    try:
        return subprocess.run(
            command,
            cwd=directory,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C", **(variables or {})},
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, NOT_STARTED, "", f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, STOPPED, "", f"{command[0]} did not end within {timeout_s:g} s")


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """That a command failed, and with which words."""
    return f"{' '.join(done.args)} failed: {' '.join((done.stderr or done.stdout).split())}"
