"""Debian packages by apt-get: no Python binding needed, locks waited for, a cut installation finished first."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from pathlib import Path

LISTS = Path("/var/lib/apt/lists")
# dpkg's journal: there while it works, and after it was cut; apt-get then refuses everything.
JOURNAL = Path("/var/lib/dpkg/updates")
LOCK = Path("/var/lib/dpkg/lock")
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
# apt-cache would write what it has read of the lists, which a dry run must not.
IN_MEMORY = ("--option=Dir::Cache::pkgcache=", "--option=Dir::Cache::srcpkgcache=")
# What apt-get and dpkg say of a lock that somebody else holds.
LOCKED = re.compile(r"Could not get lock|lock was locked by another process|Unable to acquire the dpkg frontend lock")
HOLDER = re.compile(r"process (?:with pid )?\d+(?: \([^)]*\))?")
# The lists are young, and the mirror has moved on all the same.
OUTDATED = re.compile(r"Failed to fetch|has no installation candidate")


class PackagesError(Exception):
    """One sentence for the user: what stopped apt, and what to do."""


def was_cut() -> bool:
    """Whether an installation was stopped half-way and has to be finished before the next."""
    return JOURNAL.is_dir() and any(path.name.isdigit() for path in JOURNAL.iterdir()) and not _dpkg_works()


def install(names: list[str]) -> None:
    """Install the packages, without their recommendations, in one transaction.

    Raises:
        PackagesError: A lock is held for too long, a name is unknown, or apt fails for another reason.
    """
    timeout_s = _lock_timeout_s()
    if was_cut():
        failure = "An installation was cut and dpkg cannot finish it"
        _must(failure, timeout_s, "dpkg", "--configure", "-a", *KEEP_CONFIGURATION)
    if not names:
        return
    fresh = _lists_are_fresh() and not unknown(names)
    if not fresh:
        _update(timeout_s)
        # Asked beforehand: apt-get takes `curl-` for a wish to remove curl, and a dot in an unknown name for a pattern.
        strangers = unknown(names)
        if strangers:
            named = ", ".join(strangers)
            raise PackagesError(
                f"apt knows no package called {named}. Correct the name in the inventory, or add its source."
            )
    installed = _install(names, timeout_s)
    if fresh and installed.returncode != 0 and OUTDATED.search(installed.stderr):
        _update(timeout_s)
        installed = _install(names, timeout_s)
    if installed.returncode != 0:
        raise PackagesError(_sentence("apt failed", installed, timeout_s))


def hand_back(names: list[str], *, check: bool) -> list[str]:
    """Mark packages as automatically installed, for apt's autoremove; returns those that were not yet.

    They are not removed: others may depend on them by now.
    """
    if not names:
        return []
    timeout_s = _lock_timeout_s()
    manual = set(_must("apt-mark failed", timeout_s, "apt-mark", "showmanual").split()) & set(names)
    if manual and not check:
        _must("apt-mark failed", timeout_s, "apt-mark", "auto", *sorted(manual))
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
    """Refresh the package lists."""
    _must("apt cannot refresh its package lists", timeout_s, "apt-get", "update", "--quiet")


def _must(failure: str, timeout_s: int, *command: str) -> str:
    """What a command prints that does not wait for a lock by itself; `failure` begins the sentence where it fails."""
    deadline = time.monotonic() + timeout_s
    while True:
        done = _run(*command)
        if done.returncode == 0:
            return done.stdout
        if not LOCKED.search(done.stderr) or time.monotonic() >= deadline:
            raise PackagesError(_sentence(failure, done, timeout_s))
        time.sleep(LOCK_POLL_S)


def unknown(names: list[str], *, check: bool = False) -> list[str]:
    """Those that no package list has exactly."""
    known = set(_run("apt-cache", "pkgnames", *(IN_MEMORY if check else ())).stdout.split())
    return [name for name in names if name not in known]


def _dpkg_works() -> bool:
    """Whether somebody's dpkg is at work just now, which keeps this lock as long."""
    try:
        with LOCK.open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # No such file, or it may not be opened: then nothing is known to work.
    return False


def _lists_are_fresh() -> bool:
    return any(LISTS.glob("*_Packages*")) and time.time() - LISTS.stat().st_mtime < LISTS_VALID_S


def _lock_timeout_s() -> int:
    answer = _run("apt-config", "dump", "--format=%v", "DPkg::Lock::Timeout").stdout.strip()
    return int(answer) if answer.isdigit() else LOCK_TIMEOUT_S


def _sentence(failure: str, failed: subprocess.CompletedProcess[str], timeout_s: int) -> str:
    if LOCKED.search(failed.stderr):
        # While apt-get waits by itself it names the holder on standard output, and in its last word no more.
        holder = HOLDER.search(failed.stderr) or HOLDER.search(failed.stdout)
        who = holder[0] if holder else "another program"
        return f"apt waited {timeout_s} s for its lock, held by {who}; run again when that has ended."
    return f"{failure}: {_why(failed)}"


def _why(failed: subprocess.CompletedProcess[str]) -> str:
    errors = [line[3:] for line in failed.stderr.splitlines() if line.startswith("E: ")]
    return "; ".join(errors) or " ".join((failed.stderr or failed.stdout).split()[-40:])


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """No command may read the standard input, by which the module itself came."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
