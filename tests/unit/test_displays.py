"""What a person sees: progress while a run lasts and its result after, at any width, with and without colour."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from dlhost.render import terminal
from dlhost.render.progress import Progress
from dlhost.values.checks import Check, CheckResult
from dlhost.values.run import SAYS, Afterwards, Event, FileDiff, Notice, Outcome, RunReport, TaskStarted, report
from dlhost.values.services import Trust, WayIn
from tests.unit.world import ended, stats

LOG = Path("/home/ada/.local/state/dlhost/runs/rig/20260203T040506.000007Z.log")
LONG = "a long sentence of many words that fits in no narrow window and must not lose any of them whatever the width"
WIDTHS = (40, 80, 200)
HOST = "a-host-with-quite-a-long-name.example.org"
EVENTS: tuple[Event, ...] = (
    ended(HOST, Outcome.CHANGED, task=LONG, diffs=(FileDiff("/etc/x", "old\n", f"\tnew {LONG}\n"),), seconds=12.3),
    ended(HOST, role="ssh_hardening", undetermined=f"unknown: {LONG}"),
    ended(
        HOST,
        role="portal",
        checks=(
            Check("portal", "portal.a", f"first {LONG}", CheckResult.PASS),
            Check("portal", "portal.b", f"second {LONG}", CheckResult.FAIL, f"because {LONG}"),
            Check("portal", "portal.c", f"third {LONG}", CheckResult.SKIP, "no need"),
        ),
    ),
    ended(HOST, Outcome.FAILED, role="portal", task="Fail", message=f"E: {LONG}\nsecond line " + "x" * 300),
    stats(failures={HOST: 1}),
)


def shown(width: int, show: Callable[[Console], None], *, colour: bool = False) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=width, force_terminal=colour, highlight=False, markup=False, emoji=False))
    return stream.getvalue()


def folded(*events: Event, check: bool = False, interrupted: bool = False) -> RunReport:
    return report(events, [HOST, "never-seen"], check=check, interrupted=interrupted)


def dense(text: str) -> str:
    return "".join(text.split())


RESULTS: dict[str, Callable[[Console], None]] = {
    "recap": lambda console: terminal.recap(
        console,
        folded(*EVENTS),
        Afterwards(
            left_to_do=(f"rig: do this {LONG}",),
            ways_in=(WayIn("rig", "jupyter", "ada", f"https://{LONG}", "dlhost open", f"dlhost secrets show {LONG}"),),
            trust=Trust(Path(f"/{LONG}/ca.crt"), "dlhost ca trust -i rig"),
            unknown=(f"beta: {LONG}",),
            next_steps=(f"dlhost provision -i rig   {LONG}",),
        ),
        LOG,
        show_diff=True,
    ),
    "drift": lambda console: terminal.drift(console, folded(*EVENTS, check=True), LOG),
    "checks": lambda console: terminal.checks(console, folded(*EVENTS), LOG),
    "cut": lambda console: terminal.recap(console, folded(Notice(LONG)), Afterwards(), LOG, show_diff=False),
}
TOLD = {
    "recap": [
        LONG,
        f"E: {LONG}",
        "x" * 300,
        f"+\tnew {LONG}",
        "nothing was done on this host",
        f"What is left to do:   rig: do this {LONG}",
        f"Open:   jupyter of ada on rig: https://{LONG}     its password: dlhost secrets show {LONG}",
        f"beta: {LONG}   dlhost ca trust -i rig   lets browsers trust /{LONG}/ca.crt",
        f"Next:   dlhost provision -i rig   {LONG}",
        "12.3 s",
        "portal: Fail",
    ],
    "drift": ["drifted", LONG, f"? unknown: {LONG}", f"+\tnew {LONG}", "undetermined", "error", "x" * 300],
    "checks": [
        f"first {LONG}",
        f"second {LONG} (because {LONG})",
        f"third {LONG} (no need)",
        "1 passed, 1 failed, 1 skipped",
        "x" * 300,
    ],
    "cut": ["Ansible ended before the run was over", LONG],
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("result", list(RESULTS))
def test_a_result_fits_its_window_and_loses_nothing(result: str, width: int) -> None:
    text = shown(width, RESULTS[result])

    lines = text.splitlines()
    assert lines[-1 if result != "recap" else lines.index(f"Log: {LOG}")] == f"Log: {LOG}"
    assert [line for line in lines if len(line) > width and not line.startswith("Log: ")] == []
    assert [told for told in (HOST, *TOLD[result]) if dense(told) not in dense(text)] == []
    assert "\x1b" not in text


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[" in shown(80, RESULTS["recap"], colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown(80, RESULTS["recap"], colour=True)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)


def test_what_a_host_says_steers_no_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J"
    events = (
        ended(HOST, Outcome.CHANGED, task=evil, diffs=(FileDiff("/x", "", evil),)),
        ended(HOST, Outcome.FAILED, message=evil),
        stats(failures={HOST: 1}),
    )

    assert "\x1b" not in shown(80, lambda console: terminal.drift(console, folded(*events), LOG))


def test_what_a_role_says_is_shown_with_it() -> None:
    report = folded(ended(HOST, action=SAYS, message="This host gets no driver."), stats())

    text = shown(80, lambda console: terminal.recap(console, report, Afterwards(), LOG, show_diff=False))

    assert "  system  ok\n    This host gets no driver.\n" in text


def test_markup_of_a_host_is_text() -> None:
    events = (ended(HOST, Outcome.FAILED, message="[bold]x[/bold] [/nonsense]"), stats(failures={HOST: 1}))

    assert "[bold]x[/bold] [/nonsense]" in shown(80, lambda console: terminal.drift(console, folded(*events), LOG))


def test_a_long_difference_is_cut_and_says_so() -> None:
    diff = FileDiff("/x", "", "".join(f"line {number}\n" for number in range(100)))
    events = (ended(HOST, Outcome.CHANGED, diffs=(diff,)), stats())

    text = shown(80, lambda console: terminal.drift(console, folded(*events), LOG))

    assert "… 63 more lines: see the log" in text


def test_without_a_terminal_progress_is_plain_lines_and_nothing_is_cut() -> None:
    def run(console: Console) -> None:
        with Progress(console) as display:
            display.announce([HOST, "beta"], ["system", "portal"])
            display(TaskStarted(HOST, "system", "Begin"))
            display(ended(HOST, task="Begin"))
            display(TaskStarted(HOST, "system", LONG))
            display(ended(HOST, Outcome.CHANGED, task=LONG))
            display(TaskStarted(HOST, "portal", "Go"))
            display(TaskStarted(HOST, "system", "Come back"))
            display(TaskStarted("beta", "system", "Judge its values", rules=True))
            display(TaskStarted("beta", "portal", "Go"))
            display(ended("beta", Outcome.UNREACHABLE, role="portal", task="Go"))
            display(ended("stranger", Outcome.FAILED))
            display(Notice("odd"))

    assert shown(40, run).splitlines() == [
        "2 hosts: system, portal",
        f"{HOST}: role 1/2 system",
        f"changed {HOST}  system: {LONG}",
        f"{HOST}: role 2/2 portal",
        "beta: role 2/2 portal",
        "lost    beta  portal: Go",
    ]


def test_a_slow_task_is_named_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def run(console: Console) -> None:
        with Progress(console) as display:
            display.announce(["beta"], ["system"])
            display(TaskStarted("beta", "system", "Fetch"))
            now[0] += 45
            display(ended("beta", task="Fetch"))

    assert "slow    beta  system: Fetch took 45 s" in shown(80, run)


def test_without_a_terminal_a_slow_task_is_named_once_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlhost.render.progress.SLOW_S", 0.1)

    def run(console: Console) -> None:
        with Progress(console) as display:
            display.announce(["alpha", "beta"], ["system"])
            display(TaskStarted("alpha", "system", "Begin"))
            display(ended("alpha", task="Begin"))
            display(TaskStarted("beta", "system", "Wait for apt"))
            time.sleep(0.5)

    assert [line for line in shown(80, run).splitlines() if line.startswith("slow")] == [
        "slow    beta  system: Wait for apt is still running"
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("hosts", [1, 10, 100])
def test_the_live_picture_fits_its_window(width: int, hosts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()
    names = [f"node{number:02}.example.org" for number in range(hosts)]
    console = Console(
        file=io.StringIO(), width=width, height=24, force_terminal=True, record=True, highlight=False, markup=False
    )
    display = Progress(console)
    with display:
        display.announce(names, ["system"])
        for name in names:
            display(TaskStarted(name, "system", LONG))
        monkeypatch.setattr("time.monotonic", lambda: begun + 100)
        for name in names[1:]:
            display(TaskStarted(name, "system", LONG))
        display(ended(names[0], Outcome.CHANGED, task=LONG))
        picture = [
            "".join(segment.text for segment in line).rstrip()
            for line in console.render_lines(display._picture(), console.options, pad=False)
        ]
    assert max(map(len, picture)) <= width
    assert len(picture) <= 24
    assert "node00.example.org"[:8] in picture[0]
    assert "100 s" in picture[0]
    assert "1 changed" in picture[-1]
    if hosts == 100:
        assert "79 more hosts" in picture[-1]
    printed = [line for line in console.export_text().splitlines() if line.startswith("changed")]
    assert len(printed) == 1
    assert len(printed[0]) <= width


def test_a_failed_host_stays_red_in_the_picture() -> None:
    display = Progress(Console(file=io.StringIO(), width=80, force_terminal=True))
    with display:
        display.announce(["beta"], ["system"])
        display(TaskStarted("beta", "system", "Go"))
        display(ended("beta", Outcome.FAILED, task="Go"))
        cells = [cell for column in display._picture().renderables[0].columns for cell in column.cells]  # type: ignore[union-attr]
    assert [cell.style for cell in cells if isinstance(cell, Text) and cell.plain == "failed"] == ["red"]
