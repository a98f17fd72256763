"""Why pip failed, as one sentence with what to do; seen of pip 22.0, 23.0, 24.0, 25.1 and 26.3."""

from __future__ import annotations

import re

AS_IT_WAS = "The environment is as it was"
WRONG_HASH = re.compile(r"DO NOT MATCH THE HASHES.*?\n +(\S+) .*?Got +([0-9a-f]+)", re.DOTALL)
INSECURE = re.compile(r"repository located at (\S+) is not a trusted or secure host")
NOT_FOUND = re.compile(r"No matching distribution found for (([^=\s]+)\S*)")
INCOMPLETE = re.compile(r"^\S+ \S+ (?:requires|has requirement) .*$", re.MULTILINE)
# A file that its page named cannot be fetched: by exception, by status, and as newer versions of pip say it.
NOT_FETCHED = (
    re.compile(r"OSError: (HTTPS?ConnectionPool.*)"),
    re.compile(r"because of (HTTP error \d{3} .*?) for url"),
    re.compile(r"^error: incomplete-download\s+\S (.*)", re.MULTILINE),
    re.compile(r"^error: (?:connection|proxy|ssl)-\S+\s+\S .*\s+\S+ (.*)", re.MULTILINE),
)
UNTRUSTED = re.compile(r"certificate verify failed: ([^(]*[^( ])")


class PythonEnvironmentError(Exception):
    """One sentence for the user: what stopped the environment, and what to do."""


class UnreachableError(PythonEnvironmentError):
    """The same where it was the way to the index, so that what was fetched is good for the next run."""


def explain(said: str, log: str) -> PythonEnvironmentError:
    """What pip said on its way out, with its own log, which alone has why an index's page could not be read."""
    if "No space left on device" in said:
        return PythonEnvironmentError(f"The disk is full. {AS_IT_WAS}; make room and run again.")
    wrong = WRONG_HASH.search(said)
    if wrong:
        # pip before 25.1 does not notice that a download broke off.
        return PythonEnvironmentError(
            f"What the index serves as {wrong[1]} is not what the lock allows, or broke off (SHA-256 {wrong[2]}). "
            f"{AS_IT_WAS}; run again, and if it stays so, find out which of the two is wrong."
        )
    missing = NOT_FOUND.search(said)
    cause = _page_not_read(missing[2], log) if missing else _file_not_fetched(said)
    if cause:
        return _unreachable(cause)
    insecure = INSECURE.search(said)
    if insecure:
        return PythonEnvironmentError(
            f"pip leaves the index at {insecure[1]} out, which is neither encrypted nor trusted. {AS_IT_WAS}; "
            "give its https address, or name the host in trusted_host."
        )
    if missing:
        return PythonEnvironmentError(
            f"The package index has no file of {missing[1]} that the lock allows and this Python takes. "
            f"{AS_IT_WAS}; correct the lock or name another index."
        )
    incomplete = INCOMPLETE.search(said)
    if incomplete:
        lacks = incomplete[0].rstrip(".")
        return PythonEnvironmentError(f"The lock is not complete: {lacks}. {AS_IT_WAS}; resolve it again.")
    return PythonEnvironmentError(f"The environment cannot be made: {' '.join(said.split()[-40:])}")


def _page_not_read(name: str, log: str) -> str:
    """Why the distribution's page could not be read; empty where an index just has no such page."""
    reasons = re.findall(rf"Could not fetch URL \S+/{re.escape(name)}/?: (.*) - skipping", log)
    return next((reason for reason in reasons if not reason.startswith("404 ")), "")


def _file_not_fetched(said: str) -> str:
    return next((found[1] for found in (form.search(said) for form in NOT_FETCHED) if found), "")


def _unreachable(cause: str) -> PythonEnvironmentError:
    untrusted = UNTRUSTED.search(cause)
    if untrusted:
        return UnreachableError(
            f"The host does not trust the certificate of the package index ({untrusted[1]}). {AS_IT_WAS}; "
            "make the host trust its authority and run again."
        )
    reason = re.sub(r" for url: .*|^connection error: |\[Errno -?\d+\] ", "", cause).rstrip(".")
    if "Error(" in cause:
        # The innermost of the exceptions; a part without a space, or with an equals sign, is no message.
        parts = [part.strip(" .") for part in re.split(r"""['"():]""", reason)]
        reason = [part for part in parts if " " in part and "=" not in part][-1]
    through = " through the proxy" if "proxy" in cause.lower() else ""
    return UnreachableError(
        f"The package index does not answer{through} ({reason}). {AS_IT_WAS}, and what was fetched is kept; "
        "run again when it does."
    )
