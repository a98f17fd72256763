"""Why rattler or uv could not fetch or install something, as one sentence; seen of py-rattler 0.28 and uv 0.13.

Both are built on one HTTP client and say what happened as a chain of causes, the innermost last.
"""

from __future__ import annotations

import re

from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import (
    AS_IT_WAS,
    PythonEnvironmentError,
    UnreachableError,
)

CAUSE = re.compile(r"\n *(?:cause|Caused by): ")
ADDRESS = re.compile(r"(?:error sending request|HTTP status \w+ error \([^)]*\)) for url \((\S+)\)")
STATUS = re.compile(r"HTTP status \w+ error \(([^)]*)\) for url \((\S+)\)")
WRONG_HASH = (
    # rattler: the address, what was expected, and what came.
    re.compile(r"hash mismatch when extracting (\S+) .* got ([0-9a-f]{64})"),
    re.compile(r"Hash mismatch for `([^`]+)`.*Computed:\s+sha256:([0-9a-f]{64})", re.DOTALL),
)
NOT_FOUND = re.compile(r"Because there is no version of (\S+?),? and you|Because (\S+?==\S+) has no (?:usable )?wheels")
CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")


def explain(said: str) -> PythonEnvironmentError:
    """What was said on the way out, without passwords of addresses."""
    said = CREDENTIALS.sub("", said).strip()
    if "No space left on device" in said:
        return PythonEnvironmentError(f"The disk is full. {AS_IT_WAS}; make room and run again.")
    wrong = next((found for found in (form.search(said) for form in WRONG_HASH) if found), None)
    if wrong:
        return PythonEnvironmentError(
            f"What is served as {wrong[1]} is not what the lock allows, or broke off (SHA-256 {wrong[2]}). "
            f"{AS_IT_WAS}; run again, and if it stays so, find out which of the two is wrong."
        )
    answered = STATUS.search(said)
    if answered:
        return PythonEnvironmentError(
            f"{answered[2]} cannot be fetched ({answered[1]}). {AS_IT_WAS}; if it is gone for good, make the "
            "lock anew with `dlhost env lock`, or name a mirror that has it."
        )
    asked = ADDRESS.search(said)
    if asked:
        return UnreachableError(_unreachable(asked[1], CAUSE.split(said)[-1].partition("\n")[0].rstrip(".")))
    missing = NOT_FOUND.search(said)
    if missing:
        return PythonEnvironmentError(
            f"The package index has no file of {missing[1] or missing[2]} that the lock allows. {AS_IT_WAS}; "
            "make the lock anew with `dlhost env lock`, or name another index."
        )
    return PythonEnvironmentError(f"The environment cannot be made: {' '.join(said.split()[-40:])}")


def _unreachable(address: str, cause: str) -> str:
    if "certificate" in cause:
        return (
            f"The host does not trust the certificate of {address} ({cause}). {AS_IT_WAS}; make the host trust "
            "its authority and run again."
        )
    return f"{address} cannot be reached ({cause}). {AS_IT_WAS}, and what was fetched is kept; run again when it can."
