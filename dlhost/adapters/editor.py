"""The user's editor, for a text that must not lie about."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

from dlhost.adapters.xdg import private_place
from dlhost.errors import UsageError


def edit(text: str, name: str) -> str:
    """What the user makes of the text, which meanwhile is a file called name in a place of its own.

    Raises:
        UsageError: The editor failed, or there is no terminal for one that nobody chose.
    """
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not chosen and not sys.stdin.isatty():
        raise UsageError("There is no terminal for an editor; nothing was changed. `dlhost secrets set` needs none.")
    command = shlex.split(chosen or "vi")
    with private_place() as directory:
        path = directory / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        try:
            subprocess.run([*command, str(path)], check=True)
        except (OSError, subprocess.CalledProcessError):
            raise UsageError(f"The editor {command[0]} failed; nothing was changed.") from None
        return path.read_text(encoding="utf-8")
