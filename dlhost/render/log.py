"""A run's full log as plain text: every task on every host, its diffs and messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlhost.render import diff
from dlhost.values.record import RunRecord
from dlhost.values.run import SAYS, Event, Notice, Outcome, RunReport, TaskEnded


def text(record: RunRecord, report: RunReport, events: Iterable[Event]) -> str:
    """The whole log, one line for each task's end and the details under it."""
    return "\n".join([_head(record), *_lines(report, events), ""])


def refusal(record: RunRecord, why: str) -> str:
    """The log of a run that ended before Ansible began."""
    return f"{_head(record)}\n{why}\n"


def _head(record: RunRecord) -> str:
    return f"dlhost {record.operation} -i {record.inventory} by {record.user}, {record.started:%Y-%m-%d %H:%M:%S} UTC"


def _lines(report: RunReport, events: Iterable[Event]) -> Iterator[str]:
    for event in events:
        if isinstance(event, Notice):
            yield event.text
        elif isinstance(event, TaskEnded):
            where = f"{event.host} {event.role or '-'}"
            items = f": {', '.join(event.items)}" if event.items else ""
            yield f"{event.outcome.value:<11} {where}: {event.task}{items} ({event.seconds:.1f} s)"
            for change in event.diffs:
                yield from (f"    {line}" for line in diff.lines(change))
            if event.message and (event.outcome in {Outcome.FAILED, Outcome.UNREACHABLE} or event.action == SAYS):
                yield from (f"    {line}" for line in event.message.splitlines())
            if event.undetermined:
                yield f"    undetermined: {event.undetermined}"
            yield from (f"    left to do: {action}" for action in event.actions_needed)
    for host in report.hosts:
        because = f": {host.failure.message}" if host.failure else ""
        yield f"{host.host}: {host.status.value}, {host.changed} changed{because}"
