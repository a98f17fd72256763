"""The user's configuration of OpenSSH: a file of dlhost's own, and the one line by which ssh reads it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dlhost.adapters.xdg import config_directory
from dlhost.errors import UsageError
from dlhost.values import ssh_config

HEAD = """\
# Hosts of dlhost's inventories, for ssh and for editors. `dlhost connect vscode --write` keeps it; what is between a
# begin and its end is replaced. To be without a host, remove its lines; to be without all, this file.
"""


def own_file() -> Path:
    """Where dlhost keeps its blocks."""
    return config_directory() / "ssh_config"


def users_file() -> Path:
    """What ssh reads, whatever it is a link to."""
    return Path.home() / ".ssh" / "config"


def write_block(alias: str, block: str) -> bool:
    """Add or replace the block of an alias; returns whether that changed anything."""
    path = own_file()
    before = _text(path)
    after = ssh_config.with_block(before or HEAD, alias, block)
    if after != before:
        _write(path, after)
    return after != before


def include_line() -> str:
    """What makes ssh read dlhost's own file."""
    path = str(own_file())
    return f'Include "{path}"' if " " in path else f"Include {path}"


def include() -> None:
    """Let ssh read it: first, since after a Host line it would be read for that host alone."""
    before, line = _text(users_file()), f"{include_line()}\n"
    if not before.startswith(line):
        _write(users_file(), f"{line}\n{before}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None


def _write(path: Path, text: str) -> None:
    """Whole or not at all; a link stays one, and a file that is there keeps its mode."""
    target = path.resolve()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        descriptor, staged = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            Path(staged).chmod(mode)
            Path(staged).replace(target)
        except BaseException:
            Path(staged).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
