# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at and made with the rights of an account itself, in directories that are its own.

Root following a symbolic link that a user put there would make or give away what is not the user's. So this text is
given to `python -c` of a process that is that user: one question as JSON on standard input, one answer on standard
output. Ansible's process only reads the text.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

# Jupyter's configuration in a home directory that a server of dlhost reads beneath its own, and that it does not read.
READ = ("jupyter_config.py", "jupyter_config.json")
UNREAD = ("jupyter_server_config.py", "jupyter_server_config.json", "jupyter_notebook_config.py")
OF_THE_SERVER = ("ServerApp", "NotebookApp", "IdentityProvider", "PasswordIdentityProvider")
# New directories are for the user and, to read, the user's group.
UMASK = 0o027


def look(directories: list[str], files: list[str]) -> dict[str, object]:
    """What there is of each directory and of the home, which files cannot be read, the user's own settings per file."""
    return {
        "directories": [_directory(Path(path)) for path in directories],
        "unreadable": [path for path in files if not os.access(path, os.R_OK)],
        "has_home": os.access(Path.home(), os.W_OK | os.X_OK),
        "read": _settings(READ),
        "unread": _settings(UNREAD),
    }


def make(directories: list[str]) -> str:
    """Make directories; returns why one cannot be made."""
    os.umask(UMASK)
    for path in directories:
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return f"{path}: {error.strerror}"
    return ""


def _directory(path: Path) -> dict[str, object]:
    """Whether it is there, whose it is, and where nothing is there, what keeps the user from making it."""
    above = next(place for place in [path, *path.parents] if os.path.lexists(place))
    if above == path:
        owner = path.stat().st_uid if path.exists() else -1
        return {"there": True, "is_directory": path.is_dir(), "owner": owner, "obstacle": ""}
    possible = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
    return {"there": False, "is_directory": False, "owner": -1, "obstacle": "" if possible else str(above)}


def _settings(names: tuple[str, ...]) -> dict[str, list[str]]:
    found = {}
    for path in (Path("~/.jupyter").expanduser() / name for name in names):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        set_here = sorted({*(_of_python(text) if path.suffix == ".py" else _of_json(text))})
        if set_here:
            found[str(path)] = set_here
    return found


def _of_python(text: str) -> list[str]:
    return re.findall(rf"(?m)^\s*c\.((?:{'|'.join(OF_THE_SERVER)})\.\w+)\s*=", text)


def _of_json(text: str) -> list[str]:
    try:
        document = json.loads(text)
        return [f"{name}.{trait}" for name in OF_THE_SERVER for trait in document.get(name, {})]
    except (ValueError, AttributeError, TypeError):
        return []


if __name__ == "__main__":
    question, arguments = json.load(sys.stdin)
    json.dump({"look": look, "make": make}[question](*arguments), sys.stdout)
