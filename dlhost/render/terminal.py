"""Results for a person at a terminal, at any width, with or without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dlhost.render import diff
from dlhost.render.documents import DRIFT_WORDS
from dlhost.render.plain import plain
from dlhost.values.checks import Check, CheckResult
from dlhost.values.run import Afterwards, Change, HostReport, HostStatus, RoleReport, RoleStatus, RunReport

STYLES = {
    RoleStatus.IN_SYNC: "green",
    RoleStatus.CHANGED: "yellow",
    RoleStatus.UNDETERMINED: "magenta",
    RoleStatus.INTERRUPTED: "yellow",
    RoleStatus.FAILED: "red",
}
CHECK_MARKS = {
    CheckResult.PASS: ("pass", "green"),
    CheckResult.FAIL: ("FAIL", "bold red"),
    CheckResult.SKIP: ("skip", "magenta"),
}
# A longer diff is in the log and in --json.
LONGEST_DIFF = 40


def recap(console: Console, report: RunReport, afterwards: Afterwards, log: Path, *, show_diff: bool) -> None:
    """What a provisioning run did, by host and role, and what comes next."""
    words = {**{status: status.value for status in RoleStatus}, RoleStatus.IN_SYNC: "ok"}
    if report.check:
        words[RoleStatus.CHANGED] = "would change"
    for host in report.hosts:
        _host(console, host, words, show_diff=show_diff)
    _closing(console, report, log)
    _section(console, "What is left to do:", afterwards.left_to_do, "bold yellow")
    ways_in(console, afterwards)
    _section(console, "Next:", afterwards.next_steps, "bold")


def ways_in(console: Console, afterwards: Afterwards, program: str = "dlhost") -> None:
    """What can be opened on the hosts, and how; `program` is what to type for dlhost."""
    lines = [line.replace("dlhost ", f"{program} ", 1) for line in _ways_in(afterwards)]
    _section(console, "Open:", lines, "bold green")


def drift(console: Console, report: RunReport, log: Path) -> None:
    """Where hosts differ from the inventory, with the differences."""
    for host in report.hosts:
        _host(console, host, DRIFT_WORDS, show_diff=True)
    _closing(console, report, log)


def checks(console: Console, report: RunReport, log: Path) -> None:
    """Every check of every host, and the count."""
    every: list[Check] = []
    for host in report.hosts:
        console.print(Text(host.host, style="bold"))
        role = ""
        for check in host.checks:
            if check.role != role:
                role = check.role
                console.print(Text(f"  {role}"))
            word, style = CHECK_MARKS[check.result]
            because = f" ({check.reason})" if check.reason else ""
            _labelled(console, word, style, f"{check.promise}{because}", indent=4)
        if host.failure and not host.failed_checks_only:
            _failure(console, host)
        every += host.checks
    counts = {result: sum(check.result is result for check in every) for result in CheckResult}
    console.print(
        f"{counts[CheckResult.PASS]} passed, {counts[CheckResult.FAIL]} failed, {counts[CheckResult.SKIP]} skipped"
    )
    _closing(console, report, log)


def _host(console: Console, host: HostReport, words: dict[RoleStatus, str], *, show_diff: bool) -> None:
    console.print(Text(host.host, style="bold"))
    for role in host.roles:
        count = f", {len(role.changes)} changes" if len(role.changes) > 1 else ""
        seconds = f"  {role.seconds:.1f} s" if role.seconds >= 0.05 else ""
        _labelled(console, role.role, "", Text.assemble((words[role.status], STYLES[role.status]), count, seconds))
        for line in _details(role, show_diff=show_diff):
            _wrapped(console, line, indent=4)
    if host.failure:
        _failure(console, host)
    if host.status is HostStatus.NOT_REACHED:
        _labelled(console, "not reached", "magenta", "nothing was done on this host")


def _details(role: RoleReport, *, show_diff: bool) -> Iterator[Text | str]:
    for change in role.changes:
        yield Text.assemble("- ", str(change))
        if show_diff:
            yield from _diff(change)
    for reason in role.undetermined:
        yield Text.assemble("? ", reason)
    yield from role.notes


def _diff(change: Change) -> Iterator[Text]:
    for one in change.diffs:
        shown = list(diff.lines(one))
        for line in shown[:LONGEST_DIFF]:
            yield Text(f"  {line}", style=_diff_style(line))
        if len(shown) > LONGEST_DIFF:
            yield Text(f"  … {len(shown) - LONGEST_DIFF} more lines: see the log", style="dim")


def _diff_style(line: str) -> str:
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def _failure(console: Console, host: HostReport) -> None:
    failure = host.failure
    if failure is None:
        return
    where = f"{failure.role}: {failure.task}" if failure.task else ""
    if where:
        _labelled(console, "failed at", "bold red", where)
    style = "bold red" if not where else ""
    for line in failure.message.splitlines() or ["no reason was given"]:
        _wrapped(console, Text(line, style=style), indent=4 if where else 2)


def _closing(console: Console, report: RunReport, log: Path) -> None:
    if report.interrupted:
        left = "Nothing was changed." if report.check else "What was begun is finished by the next run."
        console.print(Text(f"Interrupted. {left}", style="bold yellow"))
    elif not report.complete:
        console.print(Text("Ansible ended before the run was over; it said:", style="bold red"))
        for notice in report.notices[-5:]:
            _wrapped(console, notice, indent=2)
    console.print(Text.assemble(("Log: ", "dim"), str(log)), soft_wrap=True)


def _ways_in(afterwards: Afterwards) -> Iterator[str]:
    for way in afterwards.ways_in:
        yield f"{way.service} of {way.user} on {way.host}: {way.url or way.command}"
        if way.password:
            yield f"  its password: {way.password}"
    yield from afterwards.unknown
    if afterwards.trust:
        yield f"{afterwards.trust.command}   lets browsers trust {afterwards.trust.certificate}"


def _section(console: Console, title: str, lines: Sequence[str], style: str) -> None:
    if lines:
        console.print(Text(title, style=style))
        for line in lines:
            _wrapped(console, line, indent=2)


def _labelled(console: Console, label: str, style: str, value: str | Text, indent: int = 2) -> None:
    _wrapped(console, Text.assemble((label, style), "  ", value), indent)


def _wrapped(console: Console, content: str | Text, indent: int) -> None:
    """Print within the console's width, continuation lines under the first."""
    text = content if isinstance(content, Text) else Text(content)
    # What a host says must not steer this terminal.
    text.plain = plain(text.plain)
    for index, line in enumerate(text.wrap(console, max(console.width - indent - 2, 16))):
        console.print(Text(" " * (indent if index == 0 else indent + 2)) + line, soft_wrap=True)
