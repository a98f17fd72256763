"""A check: one proof that a role's promise holds, as the roles' verify entry points return it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class CheckResult(StrEnum):
    PASS = "pass"  # noqa: S105  a verdict, not a password
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Check:
    """`reason` says why it was skipped, or what was seen where it failed."""

    role: str
    id: str
    promise: str
    result: CheckResult
    reason: str = ""


def check_from(document: Mapping[str, str]) -> Check:
    """One element of the `dlhost_checks` that plugins/action/report_checks.py returns."""
    return Check(
        role=document["role"],
        id=document["id"],
        promise=document["promise"],
        result=CheckResult(document["result"]),
        reason=document.get("reason", ""),
    )
