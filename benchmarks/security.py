"""How far systemd thinks that a server of notebooks is exposed: 0 is not at all, 10 is without any protection."""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks.end_state import JUPYTER
from benchmarks.estate import Host
from benchmarks.result import Figure
from dlhost.adapters.container import execute

AT_MOST = 4.0


def measure(host: Host) -> Iterator[Figure]:
    """As `systemd-analyze security` has it."""
    said = execute(host.container, f"systemd-analyze security --no-pager {JUPYTER}")
    found = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    if not found:
        raise RuntimeError(f"systemd-analyze does not know {JUPYTER}: {said}")
    name = f"`systemd-analyze security {JUPYTER}`"
    yield Figure(name, found[1], f"<= {AT_MOST}", float(found[1]) <= AT_MOST)
