"""A run's record: who ran what, when, against which revision, and how each host came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

SCHEMA_VERSION = 1
RUNNING = "running"
KILLED = "killed"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """`key` is the inventory's (values/inventory.py), under which the record is kept.

    `state` is running, done, interrupted, refused, failed (dlhost itself did) or killed (it could not say more).

    `report` is the document of the run's result as `--json` shows it, redacted.
    """

    id: str
    operation: str
    inventory: str
    user: str
    started: datetime
    arguments: tuple[str, ...] = ()
    revision: str = ""
    state: str = RUNNING
    ended: datetime | None = None
    exit_code: int | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""


def run_id(moment: datetime) -> str:
    """A name that sorts by time."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def record_document(record: RunRecord) -> dict[str, Any]:
    """The record as JSON types."""
    return {
        "schema_version": SCHEMA_VERSION,
        **asdict(record),
        "arguments": list(record.arguments),
        "started": record.started.isoformat(),
        "ended": record.ended.isoformat() if record.ended else None,
    }


def record_from(document: Mapping[str, Any]) -> RunRecord:
    """The record back from JSON types.

    Raises:
        ValueError: It is of another schema version.
    """
    if document["schema_version"] != SCHEMA_VERSION:
        raise ValueError(document["schema_version"])
    fields = {name: value for name, value in document.items() if name != "schema_version"}
    return RunRecord(
        **{
            **fields,
            "arguments": tuple(fields["arguments"]),
            "started": datetime.fromisoformat(fields["started"]),
            "ended": datetime.fromisoformat(fields["ended"]) if fields["ended"] else None,
        }
    )
