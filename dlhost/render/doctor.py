"""A diagnosis for a person, as a table, and as JSON types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlhost.errors import ExitCode
from dlhost.render.documents import SCHEMA_VERSION
from dlhost.render.plain import plain
from dlhost.values.doctor import Diagnosis, Finding, Verdict

MARKS = {
    Verdict.PASS: ("pass", "green"),
    Verdict.WARN: ("warn", "yellow"),
    Verdict.FAIL: ("FAIL", "bold red"),
    Verdict.SKIP: ("skip", "magenta"),
}


def document(
    inventory: str, controller: Iterable[Finding], hosts: Iterable[Diagnosis], code: ExitCode
) -> dict[str, Any]:
    """The result of `dlhost doctor`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "operation": "doctor",
        "inventory": inventory or None,
        "exit_code": int(code),
        "controller": [asdict(finding) for finding in controller],
        "hosts": [
            {
                "host": host.host,
                "contact": host.contact.value,
                "findings": [asdict(finding) for finding in host.findings],
                "gpus": list(host.gpu.get("gpus", ())),
                "driver": dict(host.driver),
                "kernel": dict(host.gpu.get("kernel", {})),
                "secure_boot": host.gpu.get("secure_boot"),
            }
            for host in hosts
        ],
    }


def table(console: Console, controller: Iterable[Finding], hosts: Iterable[Diagnosis]) -> None:
    """Every finding with what to do about it, and the count."""
    every = [*controller]
    _section(console, "this controller", every)
    for host in hosts:
        _section(console, host.host, host.findings)
        every += host.findings
    counts = {verdict: sum(finding.verdict is verdict for finding in every) for verdict in Verdict}
    console.print(
        f"{counts[Verdict.FAIL]} failed, {counts[Verdict.WARN]} with a warning, "
        f"{counts[Verdict.PASS]} passed, {counts[Verdict.SKIP]} skipped"
    )


def _section(console: Console, title: str, findings: Iterable[Finding]) -> None:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True)
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for finding in findings:
        word, style = MARKS[finding.verdict]
        lines.add_row(Text(f"  {word}", style=style), finding.topic.replace("_", " "), plain(finding.seen))
        if finding.todo:
            lines.add_row("", "", Text(plain(f"→ {finding.todo}"), style="bold"))
    console.print(Text(plain(title), style="bold"))
    console.print(lines)
