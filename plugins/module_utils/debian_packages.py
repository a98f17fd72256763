"""Debian packages by apt-get: no Python binding needed, locks waited for, a cut installation finished first."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

LISTS = Path("/var/lib/apt/lists")
# dpkg's journal: there while it works, and after it was cut; apt-get then refuses everything.
JOURNAL = Path("/var/lib/dpkg/updates")
LISTS_VALID_S = 3600
# Where apt's own configuration says nothing; a fresh host updates itself for minutes.
LOCK_TIMEOUT_S = 300
LOCK_POLL_S = 2

ENVIRONMENT = {
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    # No service is restarted in mid-run, least of all the one that carries it.
    "NEEDRESTART_SUSPEND": "1",
}
# A package that brings a new configuration file keeps the host's, and asks nobody.
KEEP_CONFIGURATION = ("--force-confdef", "--force-confold")


class PackagesError(Exception):
    """One sentence for the user: what stopped apt, and what to do."""


def was_cut() -> bool:
    """Whether an installation was stopped half-way and has to be finished before the next."""
    return JOURNAL.is_dir() and any(path.name.isdigit() for path in JOURNAL.iterdir())


def install(names: list[str]) -> None:
    """Install the packages, without their recommendations, in one transaction.

    Raises:
        PackagesError: A lock is held for too long, a name is unknown, or apt fails for another reason.
    """
    timeout_s = _lock_timeout_s()
    if was_cut():
        finished = _run("dpkg", "--configure", "-a", *KEEP_CONFIGURATION)
        if finished.returncode != 0:
            raise PackagesError(f"An installation was cut and dpkg cannot finish it: {_why(finished)}")
    if not names:
        return
    fresh = _lists_are_fresh()
    if not fresh:
        _update(timeout_s)
    installed = _install(names, timeout_s)
    if fresh and "Unable to locate package" in installed.stderr:
        _update(timeout_s)
        installed = _install(names, timeout_s)
    if installed.returncode != 0:
        raise PackagesError(_sentence(installed, timeout_s))


def hand_back(names: list[str], *, check: bool) -> list[str]:
    """Mark packages as automatically installed, for apt's autoremove; returns those that were not yet.

    They are not removed: others may depend on them by now.
    """
    manual = set(_run("apt-mark", "showmanual").stdout.split()) & set(names)
    if manual and not check:
        marked = _run("apt-mark", "auto", *sorted(manual))
        if marked.returncode != 0:
            raise PackagesError(f"apt-mark failed: {_why(marked)}")
    return sorted(manual)


def _install(names: list[str], timeout_s: int) -> subprocess.CompletedProcess[str]:
    return _run(
        "apt-get",
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        f"--option=DPkg::Lock::Timeout={timeout_s}",
        *(f"--option=Dpkg::Options::={option}" for option in KEEP_CONFIGURATION),
        "--",
        *names,
    )


def _update(timeout_s: int) -> None:
    """Refresh the package lists; their lock is one that apt-get does not wait for by itself."""
    deadline = time.monotonic() + timeout_s
    while True:
        updated = _run("apt-get", "update", "--quiet")
        if updated.returncode == 0:
            return
        if "Could not get lock" not in updated.stderr or time.monotonic() > deadline:
            raise PackagesError(_sentence(updated, timeout_s))
        time.sleep(LOCK_POLL_S)


def _lists_are_fresh() -> bool:
    return any(LISTS.glob("*_Packages*")) and time.time() - LISTS.stat().st_mtime < LISTS_VALID_S


def _lock_timeout_s() -> int:
    answer = _run("apt-config", "dump", "--format=%v", "DPkg::Lock::Timeout").stdout.strip()
    return int(answer) if answer.isdigit() else LOCK_TIMEOUT_S


def _sentence(failed: subprocess.CompletedProcess[str], timeout_s: int) -> str:
    holder = re.search(r"held by process (\d+ \([^)]*\))", failed.stderr)
    if holder:
        return f"apt waited {timeout_s} s for its lock, held by process {holder[1]}; run again when that has ended."
    unknown = re.findall(r"Unable to locate package (\S+)", failed.stderr)
    if unknown:
        return (
            f"apt knows no package called {', '.join(unknown)}. Correct the name in the inventory, or add its source."
        )
    return f"apt failed: {_why(failed)}"


def _why(failed: subprocess.CompletedProcess[str]) -> str:
    errors = [line[3:] for line in failed.stderr.splitlines() if line.startswith("E: ")]
    return "; ".join(errors) or " ".join((failed.stderr or failed.stdout).split()[-40:])


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **ENVIRONMENT})
