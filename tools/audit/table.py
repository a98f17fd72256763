"""The grades as docs/security.md has them, and what it promises of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools.audit.graders import NOTHING_SERVED, Grades

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- audit: made by `make audit` -->", "<!-- end of audit -->"
GOOD = ("A", "A+")
# Of what testssl.sh finds, what docs/security.md argues: an inventory's own authority has no place that lists what it
# takes back.
ARGUED = ("cert_revocation",)
LEAST_INDEX = 62
MOST_EXPOSED = 4.0
# A desktop is a login: sandboxed, sudo and what it starts would not do there what they do after one over SSH.
LOGINS = ("dlhost-vnc@",)
# What runs on without end on a host that is for everything, as tools/audit provisions it.
SERVICES = (
    *("dlhost-jupyter@", "dlhost-tensorboard@", "dlhost-vnc@", "dlhost-vnc-web.service"),
    "dlhost-zabbix-frontend.service",
)
PORTS = (22, 80, 443, 10051)


def short_of(grades: Grades) -> Iterator[str]:
    """What is worse than docs/security.md says, as sentences."""
    for finding in (*grades.ssh_failures, *grades.ssh_warnings):
        yield f"ssh-audit finds fault with {finding}."
    if grades.tls not in GOOD:
        yield f"testssl.sh gives {grades.tls}; {' or '.join(GOOD)} is promised."
    for finding in grades.tls_findings:
        if not finding.startswith(ARGUED):
            yield f"testssl.sh finds {finding}."
    if grades.hardening_index < LEAST_INDEX:
        yield f"lynis gives {grades.hardening_index}; {LEAST_INDEX} is promised."
    for service in SERVICES:
        if not any(unit.startswith(service) for unit in grades.exposures):
            yield f"{service} does not run, so nothing graded it."
    for unit, exposure in grades.exposures.items():
        if exposure > MOST_EXPOSED and not unit.startswith(LOGINS):
            yield f"systemd gives {unit} {exposure}; at most {MOST_EXPOSED} is promised."
    if strangers := {*grades.ports} - {*PORTS}:
        yield f"Port {', '.join(map(str, sorted(strangers)))} is open to other hosts."


def table(graded: Mapping[str, Grades], release: str) -> str:
    """One column for each host."""
    rows: list[tuple[str, Sequence[str]]] = [
        ("ssh-audit: failures, warnings", [f"{len(g.ssh_failures)}, {len(g.ssh_warnings)}" for g in graded.values()]),
        ("testssl.sh: grade of the web front", [_tls(g) for g in graded.values()]),
        ("lynis: hardening index of 100", [str(g.hardening_index) for g in graded.values()]),
        ("TCP ports open to another host", [", ".join(map(str, g.ports)) for g in graded.values()]),
    ]
    for unit in sorted({unit for grades in graded.values() for unit in grades.exposures}):
        values = [grades.exposures.get(unit) for grades in graded.values()]
        rows.append((f"systemd: exposure of `{unit}`, of 10", [f"{v:g}" if v is not None else "-" for v in values]))
    lines = [f"| Debian {release} | {' | '.join(graded)} |", "|---" * (len(graded) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)])


def written(document: str, text: str) -> str:
    """The document with this table between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def _tls(grades: Grades) -> str:
    findings = [finding.partition(":")[0] for finding in grades.tls_findings]
    return grades.tls if grades.tls == NOTHING_SERVED or not findings else f"{grades.tls} ({', '.join(findings)})"
