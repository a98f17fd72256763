"""A file's two states as a unified diff."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff

from dlhost.values.run import FileDiff

CONTEXT_LINES = 3


def lines(diff: FileDiff) -> Iterator[str]:
    """The diff's lines, without line ends."""
    if diff.prepared:
        yield from diff.prepared.splitlines()
        return
    before, after = diff.before.splitlines(), diff.after.splitlines()
    header = diff.header or "value"
    yield from unified_diff(before, after, f"{header} (is)", f"{header} (wanted)", lineterm="", n=CONTEXT_LINES)
