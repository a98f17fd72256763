"""git: which revision of an inventory a run used."""

from __future__ import annotations

import subprocess
from pathlib import Path


def revision(directory: Path) -> str:
    """The commit of the directory's repository, with + where its files differ from it; empty outside a repository."""
    commit = _git(directory, "rev-parse", "--short=12", "HEAD")
    return f"{commit}+" if commit and _git(directory, "status", "--porcelain", "--", ".") else commit


def _git(directory: Path, *arguments: str) -> str:
    try:
        command = ["git", "-C", str(directory), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
