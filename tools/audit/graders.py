"""What the graders said, read from their own formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Of testssl.sh's severities, those that speak against a server.
SEVERE = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
GRADE = "overall_grade"
NOTHING_SERVED = "nothing served"


@dataclass(frozen=True, slots=True)
class Grades:
    """One host's: `exposures` are of services by unit, from 0 to 10; `ports` those that another host finds open."""

    ssh_failures: tuple[str, ...]
    ssh_warnings: tuple[str, ...]
    tls: str
    tls_findings: tuple[str, ...]
    hardening_index: int
    exposures: Mapping[str, float] = field(default_factory=dict)
    ports: tuple[int, ...] = ()


def ssh_audit(said: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What fails and what is warned of, as `algorithm: why`, from `ssh-audit --json`."""
    document = json.loads(said)
    return tuple(_noted(document, "fail")), tuple(_noted(document, "warn"))


def _noted(document: Mapping[str, Any], level: str) -> Iterator[str]:
    for kind in ("kex", "key", "enc", "mac"):
        for entry in document.get(kind, ()):
            for why in entry.get("notes", {}).get(level, ()):
                yield f"{entry['algorithm']}: {why}"


def testssl(said: str) -> tuple[str, tuple[str, ...]]:
    """The grade and what speaks against the server, from `testssl --jsonfile`."""
    entries = json.loads(said)
    grade = next((entry["finding"] for entry in entries if entry["id"] == GRADE), NOTHING_SERVED)
    against = [entry for entry in entries if entry["severity"] in SEVERE and entry["id"] != GRADE]
    return str(grade), tuple(f"{entry['id']}: {entry['finding']}" for entry in against)


def lynis(report: str) -> int:
    """The hardening index, from 0 to 100, from the report that lynis leaves on the host.

    Raises:
        ValueError: The audit was cut.
    """
    found = re.search(r"^hardening_index=(\d+)$", report, re.MULTILINE)
    if not found:
        raise ValueError("lynis left no hardening index.")
    return int(found[1])


def systemd(said: str, running: str) -> dict[str, float]:
    """The exposure of each service that runs, from `systemd-analyze security --json` and `systemctl list-units`."""
    units = {line.split()[0] for line in running.splitlines()}
    return {entry["unit"]: float(entry["exposure"]) for entry in json.loads(said) if entry["unit"] in units}


def nmap(said: str) -> tuple[int, ...]:
    """The open TCP ports, from `nmap -oG`."""
    return tuple(sorted(int(port) for port in re.findall(r"(\d+)/open/tcp/", said)))
