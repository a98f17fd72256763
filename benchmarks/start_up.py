"""What the command line costs before it does anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from benchmarks.contenders import BIN, run
from benchmarks.result import Figure, in_turn, ratio

ROUNDS = 15


def measure() -> Iterator[Figure]:
    """Against the import of the library that it stands on."""
    seconds = in_turn(
        {
            "help": lambda: _run(str(BIN / "dlhost"), "--help"),
            "typer": lambda: _run(sys.executable, "-c", "import typer"),
        },
        ROUNDS,
    )
    yield ratio("`dlhost --help` / `python -c 'import typer'`", seconds["help"], seconds["typer"], 3)


def _run(*command: str) -> None:
    run(command, os.environ)
