"""Conda environments and their locks, for a person and as JSON types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlhost.errors import ExitCode
from dlhost.render.documents import SCHEMA_VERSION
from dlhost.render.plain import plain
from dlhost.values.environments import Change, Compared, HostState, Locked, LockState, OnHost

WELL = (LockState.LOCKED, HostState.SAME)
TODO = {
    LockState.MISSING: "no lock yet: dlhost env lock -i {inventory} {environment}",
    LockState.STALE: "declared otherwise since it was locked: dlhost env lock -i {inventory} {environment}",
}


def lock_document(operation: str, inventory: str, done: Sequence[Locked], code: ExitCode) -> dict[str, Any]:
    """The result of `dlhost env lock` and `env rollback`."""
    environments = [{**asdict(one), "path": str(one.path)} for one in done]
    return _document(operation, inventory, environments, code)


def compare_document(operation: str, inventory: str, found: Sequence[Compared], code: ExitCode) -> dict[str, Any]:
    """The result of `dlhost env list` and `env diff`."""
    return _document(operation, inventory, [asdict(one) for one in found], code)


def tell_locks(console: Console, inventory: str, done: Sequence[Locked]) -> None:
    """Each lock with what it is for and what it changes, and how hosts get it."""
    for one in done:
        virtual = " ".join(f"{name}={version}" for name, version in one.virtual_packages.items())
        wheels = f", wheels for {one.wheels}" if one.wheels else ""
        line = f"{one.environment}: {one.state}: {_packages(one.packages)} for {', '.join(one.hosts)}"
        console.print(Text(f"{line} ({virtual}{wheels})", "green" if one.state is LockState.UNCHANGED else "yellow"))
        if one.state is not LockState.NEW:
            for line in _changes(one.changes):
                console.print(Text(f"  {line}"))
        for step in one.left_to_do:
            console.print(Text(f"  {step}", "bold yellow"))
    paths = [str(one.path) for one in done if one.state is not LockState.UNCHANGED]
    if paths:
        console.print(f"Review {', '.join(paths)}; then: dlhost provision -i {inventory} --roles conda")


def table(found: Sequence[Compared]) -> Table:
    """Every environment with its lock, and how each host stands to it."""
    lines = Table.grid(padding=(0, 2))
    for one in found:
        kind = f" ({one.kind})" if one.kind and one.kind != one.environment else ""
        packages = f", {_packages(one.packages)}" if one.packages else ""
        lines.add_row(Text(f"{one.environment}{kind}", "bold"), Text(f"{one.state}{packages}", _style(one.state)))
        for on in one.hosts:
            said = plain(on.error) if on.error else f"{on.state}{_count(on)}"
            lines.add_row(f"  {on.host}", Text(said, _style(on.state)))
    return lines


def differences(inventory: str, found: Sequence[Compared]) -> Iterator[Text]:
    """What is not as it is locked, package by package; `+` is what a host has beyond, `-` what it lacks."""
    for one in found:
        if one.state in TODO:
            todo = TODO[one.state].format(inventory=inventory, environment=one.environment)
            yield Text(f"{one.environment}: {todo}", "yellow")
        for on in one.hosts:
            said = plain(on.error) if on.error else str(on.state)
            yield Text(f"{one.environment} on {on.host}: {said}", _style(on.state))
            yield from (Text(f"  {line}") for line in _changes(on.changes))


def _document(operation: str, inventory: str, environments: list[dict[str, Any]], code: ExitCode) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "operation": operation,
        "inventory": inventory,
        "exit_code": int(code),
        "environments": environments,
    }


def _changes(changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        name = change.name if change.source == "conda" else f"{change.name} ({change.source})"
        if change.old and change.new:
            said = f"~ {name} {change.old} -> {change.new}"
        else:
            said = f"+ {name} {change.new}" if change.new else f"- {name} {change.old}"
        yield plain(said)


def _count(on: OnHost) -> str:
    return f": {_packages(len(on.changes))}" if on.changes else ""


def _packages(count: int) -> str:
    return "1 package" if count == 1 else f"{count} packages"


def _style(state: LockState | HostState) -> str:
    return "green" if state in WELL else "red" if state is HostState.UNKNOWN else "yellow"
