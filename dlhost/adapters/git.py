"""git: which revision of an inventory a run used."""

from __future__ import annotations

import subprocess
from pathlib import Path


def revision(directory: Path) -> str:
    """The commit of the directory's repository, with + where files in it differ; empty outside a repository."""
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty=+", "--abbrev=12", "--match="]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip()
