"""Files between this machine and one host of an inventory, by OpenSSH's own scp."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlhost.adapters import openssh
from dlhost.errors import ExitCode, UsageError
from dlhost.operations.remote import Ask, reached

# As scp sees it: a colon before any slash. ./a:b is a file here.
ON_A_HOST = re.compile(r"(?P<host>[^/:]*):(?P<path>.*)", re.DOTALL)
CONNECTION_FAILED = 255


@dataclass(frozen=True, slots=True)
class _There:
    """A path on a host; an empty `host` is the inventory's only one, an empty `path` the home directory."""

    host: str
    path: str


def copy(inventory: str, words: Sequence[str], *, recursive: bool, ask: Ask) -> int:
    """Copy sources, all but the last of the words, to a destination; one side is on a host: HOST:PATH, or :PATH.

    Raises:
        UsageError: It is not one host and this machine; a source here is missing, or a directory without `recursive`.
    """
    sides = [_There(found["host"], found["path"]) if (found := ON_A_HOST.fullmatch(word)) else word for word in words]
    there = [side for side in sides if isinstance(side, _There)]
    if len(sides) < 2:
        raise UsageError("Name what to copy, and then where to: dlhost cp notes.ipynb HOST:work/ -i NAME.")
    if not there:
        raise UsageError(
            "None of these is on a host. Write the host's side as HOST:PATH, or as :PATH of the only host."
        )
    if there not in (sides[:-1], sides[-1:]):
        raise UsageError("A copy goes from here to a host or from a host to here: sources on one side, all of them.")
    hosts = sorted({side.host for side in there} - {""})
    if len(hosts) > 1:
        raise UsageError(f"A copy is with one host, not with {' and '.join(hosts)}.")
    *sources, destination = sides
    if isinstance(destination, _There):
        _require_sources([str(source) for source in sources], recursive)
    else:
        _require_destination(destination, len(sources))
    host = reached(inventory, "".join(hosts), ask)
    paths = [
        openssh.scp_path(host.connection, side.path) if isinstance(side, _There) else _here(side) for side in sides
    ]
    code = openssh.run_interactively(openssh.scp_command(host.connection, paths, recursive=recursive))
    if code == CONNECTION_FAILED:
        return ExitCode.UNREACHABLE
    return ExitCode.TASK_FAILED if code else ExitCode.DONE


def _require_sources(sources: Sequence[str], recursive: bool) -> None:
    for source in sources:
        if not Path(source).exists():
            raise UsageError(f"There is no {source} here.")
        if Path(source).is_dir() and not recursive:
            raise UsageError(f"{source} is a directory; -r copies it, with all that is in it.")


def _require_destination(destination: str, sources: int) -> None:
    directory = Path(destination) if sources > 1 or destination.endswith("/") else Path(destination).parent
    if not directory.is_dir():
        raise UsageError(f"There is no directory {directory} here to copy into.")


def _here(path: str) -> str:
    """Neither an option nor a host to scp, whatever characters it has."""
    return path if path.startswith("/") else f"./{path}"
