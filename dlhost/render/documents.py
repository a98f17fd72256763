"""Results as the one JSON document that --json prints and that records keep. Its shape is public: `schema_version`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from dlhost.errors import ExitCode
from dlhost.values.record import RunRecord
from dlhost.values.run import Afterwards, HostReport, RoleStatus, RunReport

SCHEMA_VERSION = 1
# The words of a drift report for what a dry run found.
DRIFT_WORDS = {
    RoleStatus.IN_SYNC: "in sync",
    RoleStatus.CHANGED: "drifted",
    RoleStatus.UNDETERMINED: "undetermined",
    RoleStatus.INTERRUPTED: "interrupted",
    RoleStatus.FAILED: "error",
}


def run_document(record: RunRecord, report: RunReport, code: ExitCode, afterwards: Afterwards) -> dict[str, Any]:
    """The result of `dlhost provision`."""
    return {
        **_head(record, code),
        "check": report.check,
        "complete": report.complete and not report.interrupted,
        "hosts": [_host(host, {status: status.value for status in RoleStatus}) for host in report.hosts],
        "notices": list(report.notices),
        "left_to_do": list(afterwards.left_to_do),
        "services": [asdict(way) for way in afterwards.ways_in],
        "services_unknown": list(afterwards.unknown),
        "authority": str(afterwards.trust.certificate) if afterwards.trust else None,
        "next_steps": list(afterwards.next_steps),
    }


def drift_document(record: RunRecord, report: RunReport, code: ExitCode) -> dict[str, Any]:
    """The result of `dlhost drift`."""
    return {**_head(record, code), "hosts": [_host(host, DRIFT_WORDS) for host in report.hosts]}


def verify_document(record: RunRecord, report: RunReport, code: ExitCode) -> dict[str, Any]:
    """The result of `dlhost verify`."""
    return {
        **_head(record, code),
        "hosts": [
            {
                "host": host.host,
                "status": host.status.value,
                "failure": asdict(host.failure) if host.failure else None,
                "checks": [asdict(check) for check in host.checks],
                "count": dict(Counter(check.result.value for check in host.checks)),
            }
            for host in report.hosts
        ],
    }


def error_document(sentence: str, code: ExitCode) -> dict[str, Any]:
    """What a command that has no result says instead."""
    return {"schema_version": SCHEMA_VERSION, "exit_code": int(code), "error": sentence}


def _head(record: RunRecord, code: ExitCode) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "operation": record.operation,
        "inventory": record.inventory,
        "run": record.id,
        "exit_code": int(code),
    }


def _host(host: HostReport, words: dict[RoleStatus, str]) -> dict[str, Any]:
    return {
        "host": host.host,
        "status": host.status.value,
        "changed": host.changed,
        "failure": asdict(host.failure) if host.failure else None,
        "moved_to_port": host.moved_to_port,
        "actions_needed": list(host.actions_needed),
        "roles": [
            {
                "role": role.role,
                "status": words[role.status],
                "seconds": round(role.seconds, 3),
                "changes": [asdict(change) for change in role.changes],
                "undetermined": list(role.undetermined),
                "notes": list(role.notes),
            }
            for role in host.roles
        ],
    }
