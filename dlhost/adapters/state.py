"""Run records, locks and benches: one directory of each kind for each inventory, for this user alone."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from dlhost.adapters.xdg import state_directory, writing_state
from dlhost.errors import RefusedError, UsageError
from dlhost.values.inventory import Location
from dlhost.values.record import KILLED, RUNNING, SCHEMA_VERSION, RunRecord, record_document, record_from


@contextmanager
def locked(record: RunRecord) -> Iterator[None]:
    """Hold the record's inventory for one run; the kernel lets go of it when the process ends, however it ends.

    Raises:
        RefusedError: Another run holds it; the message names its owner and start.
    """
    path = _runs(record.key) / "lock"
    with path.open("a+", encoding="utf-8") as stream:
        path.chmod(0o600)
        try:
            _hold(stream)
        except BlockingIOError:
            stream.seek(0)
            raise RefusedError(
                f"Inventory {record.inventory} is in use: {stream.read().strip() or 'another run is starting'}. "
                "Wait for it to end, or stop it."
            ) from None
        stream.truncate(0)
        since = f"{record.started:%Y-%m-%d %H:%M:%S} UTC"
        stream.write(f"`dlhost {record.operation}` of {record.user} (process {os.getpid()}) since {since}")
        stream.flush()
        yield


def _hold(stream: IO[str]) -> None:
    """Raises BlockingIOError where another run holds it; who only looks whether one does lets go at once."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.01)
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def save_record(record: RunRecord) -> Path:
    """Write or overwrite a run's record; returns its path."""
    path = _runs(record.key) / f"{record.id}.json"
    _write_private(path, json.dumps(record_document(record), indent=1, ensure_ascii=False) + "\n")
    return path


def save_log(record: RunRecord, text: str) -> Path:
    """Write a run's full text log beside its record; returns its path."""
    path = _runs(record.key) / f"{record.id}.log"
    _write_private(path, text)
    return path


def read_log(record: RunRecord) -> str:
    """A run's full text log; empty where it never got one."""
    path = _runs(record.key) / f"{record.id}.log"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def records(location: Location) -> list[RunRecord]:
    """An inventory's runs, oldest first."""
    found = [_read_record(path) for path in sorted(_runs(location.key).glob("*.json"))]
    going_on = found[-1:] if _is_held(location.key) else []
    return [replace(one, state=KILLED) if one.state == RUNNING and one not in going_on else one for one in found]


def _is_held(key: str) -> bool:
    """Whether a run of the inventory goes on: the kernel knows, and a record of a killed one does not."""
    path = _runs(key) / "lock"
    if not path.exists():
        return False
    with path.open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def record(location: Location, run_id: str) -> RunRecord:
    """One run by its id or an unambiguous beginning of it.

    Raises:
        UsageError: There is none, or more than one.
    """
    found = [record for record in records(location) if record.id.startswith(run_id)]
    if len(found) != 1:
        which = f"{len(found)} runs" if found else "No run"
        begin = "begin" if found else "begins"
        raise UsageError(
            f"{which} of inventory {location.name} {begin} with {run_id}; "
            f"`dlhost history list -i {location.name}` shows them."
        )
    return found[0]


def _read_record(path: Path) -> RunRecord:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record_from(document)
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is not a run record of this version of dlhost. Move it away.") from None


def save_bench(location: Location, name: str, document: Mapping[str, Any]) -> None:
    """Keep what a bench found, under a name that sorts by time."""
    _write_private(_directory("bench", location.key) / f"{name}.json", json.dumps(document, ensure_ascii=False) + "\n")


def benches(location: Location) -> list[dict[str, Any]]:
    """What an inventory's benches found, newest first.

    Raises:
        UsageError: One cannot be read.
    """
    paths = sorted(_directory("bench", location.key).glob("*.json"), reverse=True)
    return [_read_bench(path) for path in paths]


def _read_bench(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(f"{path} is not a bench of this version of dlhost. Move it away.")
    return document


def _runs(key: str) -> Path:
    return _directory("runs", key)


@writing_state()
def _directory(kind: str, key: str) -> Path:
    """What is kept of one inventory, which nobody else may read."""
    directory = state_directory() / kind / key
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return directory


@writing_state()
def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".writing")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
