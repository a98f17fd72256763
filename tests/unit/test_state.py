"""Locks and records: one run at a time, nothing lost, nobody else reads them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlhost.adapters import state
from dlhost.errors import RefusedError, UsageError
from dlhost.values.inventory import Location
from dlhost.values.record import RunRecord, record_document, record_from, run_id

STARTED = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
RECORD = RunRecord(
    run_id(STARTED), "provision", "rig", "ada", STARTED, ("provision", "-i", "rig"), "0123abcd+", key="rig"
)
RIG = Location("rig", Path("/nowhere/rig"))
HOLD = """
from datetime import UTC, datetime
from dlhost.adapters import state
from dlhost.values.record import RunRecord
record = RunRecord("20260203T040506.000007Z", "drift", "rig", "grace", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    key="rig")
with state.locked(record):
    state.save_record(record)
    print("held", flush=True)
    input()
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_records_come_back_as_they_were_saved() -> None:
    done = replace(RECORD, state="done", ended=STARTED, exit_code=3, report={"hosts": [{"host": "ä"}]})
    state.save_record(RECORD)
    path = state.save_record(done)

    assert state.records(RIG) == [done]
    assert state.record(RIG, RECORD.id[:9]) == done
    assert record_from(record_document(RECORD)) == RECORD
    assert [name.name for name in path.parent.iterdir()] == [path.name]


def test_the_log_lies_beside_the_record() -> None:
    assert state.read_log(RECORD) == ""
    path = state.save_log(RECORD, "one\ntwo ä\n")

    assert state.read_log(RECORD) == "one\ntwo ä\n"
    assert path.stem == RECORD.id


def test_only_the_user_can_read_what_is_kept() -> None:
    old = os.umask(0)
    try:
        with state.locked(RECORD):
            paths = [state.save_record(RECORD), state.save_log(RECORD, "x")]
    finally:
        os.umask(old)

    assert mode(paths[0].parent) == 0o700
    assert {path.name: mode(path) for path in paths[0].parent.iterdir()} == {
        "lock": 0o600,
        paths[0].name: 0o600,
        paths[1].name: 0o600,
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}'])
def test_a_file_that_is_no_record_is_named(text: str) -> None:
    path = state.save_record(RECORD)
    path.write_text(text)

    with pytest.raises(UsageError, match=f"{path} is not a run record of this version"):
        state.records(RIG)


def test_runs_are_named_by_an_unambiguous_beginning() -> None:
    for second in (1, 2):
        moment = STARTED.replace(second=second)
        state.save_record(replace(RECORD, id=run_id(moment), started=moment))

    assert state.record(RIG, "20260203T040501").started.second == 1
    with pytest.raises(UsageError, match="2 runs of inventory rig begin with 2026"):
        state.record(RIG, "2026")
    with pytest.raises(UsageError, match="No run of inventory rig begins"):
        state.record(RIG, "2025")
    assert [record.started.second for record in state.records(RIG)] == [1, 2]


def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        expected = rf"in use: `dlhost drift` of grace \(process {holder.pid}\) since 2026-02-03 04:05:06 UTC. Wait"
        with pytest.raises(RefusedError, match=expected), state.locked(RECORD):
            pass
        with state.locked(replace(RECORD, key="rig-elsewhere")):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    with state.locked(RECORD):
        (record,) = state.records(RIG)
    assert (record.state, record.exit_code, record.operation) == ("running", None, "drift")


def test_a_run_that_was_killed_is_not_said_to_go_on() -> None:
    first, later = RECORD, replace(RECORD, id=f"{RECORD.id}9")
    state.save_record(first)
    state.save_record(later)
    with state.locked(later):
        assert [record.state for record in state.records(RIG)] == ["killed", "running"]
    assert {record.state for record in state.records(RIG)} == {"killed"}
    assert state.record(RIG, later.id).state == "killed"


def test_a_lock_is_free_again_after_its_run() -> None:
    for _ in range(2):
        with state.locked(RECORD):
            pass
