"""What a run is doing right now, on stderr: live lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dlhost.values.run import Event, Outcome, TaskEnded, TaskStarted

# From when on a running task is named as slow.
SLOW_S = 20.0
MARKS = {
    Outcome.CHANGED: ("changed", "yellow"),
    Outcome.FAILED: ("failed", "red"),
    Outcome.UNREACHABLE: ("lost", "red"),
}


@dataclass(slots=True)
class _Host:
    role: str = ""
    entered: set[str] = field(default_factory=set)
    task: str = "waiting"
    since: float = field(default_factory=time.monotonic)
    running: bool = False
    named: bool = False
    changed: int = 0
    ended: str = ""


class Progress:
    """A listener of a run's events that keeps one line for each host.

    On a terminal the lines are redrawn in place, as many as fit; elsewhere each role's start, each change and each
    failure is a line, and so is a task that takes long.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._hosts: dict[str, _Host] = {}
        self._roles: list[str] = []
        self._begun = time.monotonic()
        self._live: Live | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over.set()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def announce(self, hosts: Sequence[str], roles: Sequence[str]) -> None:
        """Start the display; the hosts and roles are those of the run."""
        self._hosts = {host: _Host() for host in hosts}
        self._roles = list(roles)
        self._begun = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._picture, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            plural = "host" if len(hosts) == 1 else "hosts"
            self._console.print(f"{len(hosts)} {plural}: {', '.join(roles)}", soft_wrap=True)
            threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, TaskStarted) and event.host in self._hosts:
            self._started(self._hosts[event.host], event)
        elif isinstance(event, TaskEnded) and event.host in self._hosts:
            self._ended(self._hosts[event.host], event)

    def _started(self, host: _Host, event: TaskStarted) -> None:
        role = "" if event.rules else event.role
        # A playbook may come back to a role; its place in the run was told the first time.
        if role and role not in host.entered and self._live is None:
            self._console.print(f"{event.host}: {self._place(role)}", soft_wrap=True)
        host.entered.add(role)
        host.role, host.task, host.since = role or host.role, event.task, time.monotonic()
        host.running, host.named = True, False

    def _ended(self, host: _Host, event: TaskEnded) -> None:
        seconds = time.monotonic() - host.since
        host.running = False
        if event.outcome is Outcome.CHANGED:
            host.changed += 1
        if event.outcome in {Outcome.FAILED, Outcome.UNREACHABLE}:
            host.ended = MARKS[event.outcome][0]
        if event.outcome in MARKS:
            word, style = MARKS[event.outcome]
            line = Text.assemble((f"{word:<8}", style), f"{event.host}  {event.role}: {event.task}")
            if self._live is None:
                self._console.print(line, soft_wrap=True)
            else:
                self._console.print(line, no_wrap=True, overflow="ellipsis")
        elif seconds >= SLOW_S and self._live is None:
            self._console.print(
                f"slow    {event.host}  {event.role}: {event.task} took {seconds:.0f} s", soft_wrap=True
            )

    def _watch(self) -> None:
        """Name slow tasks while they run: a log that stands still says why."""
        while not self._over.wait(SLOW_S / 4):
            for name, host in self._hosts.items():
                if host.running and not host.named and time.monotonic() - host.since >= SLOW_S:
                    host.named = True
                    self._console.print(f"slow    {name}  {host.role}: {host.task} is still running", soft_wrap=True)

    def _place(self, role: str) -> str:
        if role not in self._roles:
            return role
        return f"role {self._roles.index(role) + 1}/{len(self._roles)} {role}"

    def _picture(self) -> RenderableType:
        """As many hosts as fit in the window, those with the longest-running task first."""
        now = time.monotonic()
        table = Table.grid(padding=(0, 1), expand=True)
        for _ in ("host", "role"):
            table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        room = max(self._console.height - 3, 1)
        shown = sorted(self._hosts.items(), key=lambda pair: pair[1].since)[:room]
        narrow = self._console.width < 60
        for name, host in shown:
            seconds = now - host.since
            slow = seconds >= SLOW_S and not host.ended
            task = Text(host.ended or host.task, style="red" if host.ended else "yellow" if slow else "")
            role = "" if narrow else host.role
            table.add_row(Text(name, style="bold"), role, task, f"{seconds:.0f} s")
        hidden = len(self._hosts) - len(shown)
        changed = sum(host.changed for host in self._hosts.values())
        more = f", {hidden} more hosts" if hidden else ""
        # In a row of its own, where no column cuts it.
        return Group(table, Text(f"{changed} changed{more}, {now - self._begun:.0f} s", style="dim"))
