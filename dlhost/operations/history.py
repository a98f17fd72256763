"""The runs of an inventory, as they were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlhost.adapters import inventory_source, state
from dlhost.values.record import RunRecord


def runs(inventory: str) -> list[RunRecord]:
    """Every run, oldest first."""
    return state.records(inventory_source.find(inventory))


def show(inventory: str, run_id: str) -> tuple[RunRecord, str]:
    """One run and its log, which is empty where the run was killed or refused before it began."""
    location = inventory_source.find(inventory)
    record = state.record(location, run_id)
    return record, state.read_log(record)


def difference(inventory: str, first: str, second: str) -> list[str]:
    """What came out differently, one line each: thing, first outcome, second outcome."""
    location = inventory_source.find(inventory)
    one, other = (dict(_outcomes(state.record(location, run).report)) for run in (first, second))
    return [
        f"{thing}: {one.get(thing, 'not run')} → {other.get(thing, 'not run')}"
        for thing in dict.fromkeys([*one, *other])
        if one.get(thing) != other.get(thing)
    ]


def _outcomes(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each host, role, changed task and check of a report with its outcome."""
    for host in report.get("hosts", ()):
        name = host["host"]
        yield name, host["status"]
        for role in host.get("roles", ()):
            yield f"{name} {role['role']}", role["status"]
            for change in role["changes"]:
                yield f"{name} {role['role']}: {change['task']}", "changed"
        for check in host.get("checks", ()):
            yield f"{name} {check['id']}", check["result"]
