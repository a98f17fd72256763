"""What a measurement says: its runs, and one row for each figure."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `measured` and `target` are texts for the table; `ok` is None where no target is set."""

    name: str
    measured: str
    target: str = "report"
    ok: bool | None = None


def ratio(name: str, ours: float, theirs: float, at_most: float | None = None, unit: str = "s") -> Figure:
    """Ours over theirs, with both; the target is an upper bound."""
    value = ours / theirs
    measured = f"{value:.2f} ({ours:.3g} / {theirs:.3g} {unit})"
    if at_most is None:
        return Figure(name, measured)
    return Figure(name, measured, f"<= {at_most:g}", value <= at_most)


def in_turn(contenders: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Run the contenders one after the other, `rounds` times over; returns each one's median in seconds.

    A machine that gets slower or faster meanwhile does so for all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """What the figures depend on besides dlhost itself."""
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_1min": Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ansible-core", "ansible-runner", "pyinfra", "typer")},
    }


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    words = {None: "", True: "yes", False: "**no**"}
    rows = [f"| {figure.name} | {figure.measured} | {figure.target} | {words[figure.ok]} |" for figure in figures]
    return "\n".join(["| figure | measured | target | ok |", "|---|---|---|---|", *rows])
