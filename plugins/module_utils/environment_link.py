"""A link to the environment in use, and the environments beside it: built in full, then switched to.

`path` is a symbolic link to a directory beside it that is named after what it holds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import python_environment_record as record
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import PythonEnvironmentError

PROC = Path("/proc")
LOCK_TIMEOUT_S = 300
LOCK_POLL_S = 1
# So many damages are named; of the others only how many they are.
NAMED_DAMAGES = 8


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What `path` is to be: `digest` names it, `python` is what it is made with, `holds`, if given, is for people."""

    path: Path
    digest: str
    python: str
    holds: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What makes `path` the intact environment that is wanted; nothing where there is no reason and no leftover."""

    path: Path
    directory: Path  # What path shall point to.
    digest: str
    build: bool
    reasons: list[str]
    leftovers: list[Path]
    diffs: list[dict[str, str]]

    def result(self) -> dict[str, object]:
        """As modules return it."""
        left = [f"{path} was left by a run that was cut" for path in self.leftovers]
        return {
            "changed": bool(self.reasons or left),
            "path": str(self.path),
            "python": str(self.directory / "bin" / "python"),
            "digest": self.digest,
            "reasons": [*self.reasons, *left],
            "diff": [*self.diffs, *({"prepared": f"{line}\n"} for line in left)],
        }


def plan(wanted: Wanted, thorough: bool) -> Plan:
    """Compare the environment with what is wanted; `thorough` reads every file instead of those that look changed.

    Raises:
        PythonEnvironmentError: Something else is where the link should be.
    """
    path = wanted.path
    current = in_use(path)
    others = [beside for beside in _siblings(path) if beside != current]
    leftovers = _unused([other for other in others if not (other / record.RECORD).exists()])
    reasons, diffs = _differences(wanted, current, thorough)
    directory = current
    if reasons:
        known = record.read(current).get("distributions", {}) if current else {}
        before, after = _listing(known), _listing(wanted.holds)
        if wanted.holds and before != after:
            diffs.append({"before_header": str(path), "after_header": str(path), "before": before, "after": after})
        intact = (other for other in others if not _differences(wanted, other, thorough)[0])
        directory = next(intact, None)
    if directory and downloads(path).exists():
        leftovers.append(downloads(path))
    name = _free_name(path, wanted.digest, {beside.name for beside in _siblings(path) if beside not in leftovers})
    return Plan(path, directory or name, wanted.digest, directory is None, reasons, leftovers, diffs)


def carry_out(plan: Plan, build: Callable[[], None]) -> None:
    """Clear up, build where needed, then switch. What is in use serves until then, and afterwards as the previous one.

    Raises:
        PythonEnvironmentError: The build failed; what was in use still is.
    """
    try:
        for leftover in plan.leftovers:
            shutil.rmtree(leftover)
        if plan.build:
            build()
        if plan.reasons:
            previous = in_use(plan.path)
            _switch(plan.path, plan.directory)
            for old in _unused([path for path in _siblings(plan.path) if path not in (plan.directory, previous)]):
                # First the record: what is left of a cut removal is a leftover.
                (old / record.RECORD).unlink(missing_ok=True)
                shutil.rmtree(old)
    except OSError as error:
        what = error.filename or plan.path
        raise PythonEnvironmentError(f"{what}: {error.strerror}. What was in use still is; run again.") from None


def in_use(path: Path) -> Path | None:
    """The environment beside path that it points to; none where it is missing or points elsewhere."""
    if not path.is_symlink():
        if path.exists():
            raise PythonEnvironmentError(f"{path} is not dlhost's. Move it away and run again.")
        return None
    target = path.parent / path.readlink()
    return target if target in _siblings(path) else None


def what_is_there(path: Path) -> list[Path]:
    """All that path consists of: the link, a new one that was not in place yet, environments, and what was fetched."""
    links = [link for link in (path, _new_link(path)) if link.is_symlink()]
    return [*links, *_siblings(path), *([downloads(path)] if downloads(path).exists() else [])]


def what_can_go(path: Path) -> list[Path]:
    """The same without environments that a process runs from."""
    there = what_is_there(path)
    unused = _unused([each for each in there if not each.is_symlink()])
    return [each for each in there if each.is_symlink() or each in unused]


def remove(paths: list[Path]) -> None:
    """Remove them, and the directory they lie in where nothing else does.

    Raises:
        PythonEnvironmentError: One cannot be removed.
    """
    try:
        for path in paths:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
    except OSError as error:
        raise PythonEnvironmentError(f"{error.filename} cannot be removed: {error.strerror}.") from None
    with contextlib.suppress(OSError):  # Other things may be in it.
        paths[0].parent.rmdir()


@contextlib.contextmanager
def only_run(directory: Path) -> Iterator[int]:
    """Keep a second run out of directory, which is made where it is missing; yields the lock.

    Raises:
        PythonEnvironmentError: Another run took too long, or the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PythonEnvironmentError(f"{directory} cannot be made: {error.strerror}.") from None
    lock = os.open(directory, os.O_RDONLY)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _locks(lock):
            if time.monotonic() >= deadline:
                raise PythonEnvironmentError(
                    f"Another run has been at work in {directory} for {LOCK_TIMEOUT_S} s. Run again when it has ended."
                )
            time.sleep(LOCK_POLL_S)
        yield lock
    finally:
        os.close(lock)


def _locks(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def downloads(path: Path) -> Path:
    """Where a build keeps what it fetched, for the run after one that failed."""
    return path.with_name(f".{path.name}-downloads")


def _siblings(path: Path) -> list[Path]:
    ours = re.compile(re.escape(path.name) + r"-[0-9a-f]{12}(-\d+)?")
    if not path.parent.is_dir():
        return []
    return sorted(beside for beside in path.parent.iterdir() if ours.fullmatch(beside.name) and beside.is_dir())


def _free_name(path: Path, digest: str, taken: set[str]) -> Path:
    """What a damaged environment is replaced by has its name with a number."""
    names = (f"{path.name}-{digest[:12]}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 99))))
    return path.with_name(next(name for name in names if name not in taken))


def _new_link(path: Path) -> Path:
    return path.with_name(f".{path.name}-link")


def _differences(wanted: Wanted, directory: Path | None, thorough: bool) -> tuple[list[str], list[dict[str, str]]]:
    """Why this is not the intact environment that is wanted, and the damages among that as lines of a diff."""
    path = wanted.path
    if directory is None:
        return [f"{path} points to no environment" if path.is_symlink() else f"{path} is not there yet"], []
    known = record.read(directory)
    if not known:
        return [f"{directory} has no record of what it holds"], []
    if known["python"] != wanted.python:
        return [f"Python of {path.name} is {wanted.python} now and was {known['python']}"], []
    if known["digest"] != wanted.digest:
        return [f"the lock of {path.name} has changed"], []
    damages = record.damages(directory, known, thorough)
    if len(damages) > NAMED_DAMAGES:
        damages[NAMED_DAMAGES:] = [f"{len(damages) - NAMED_DAMAGES} more in {directory}"]
    return damages, [{"prepared": f"{damage}\n"} for damage in damages]


def _listing(distributions: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(distributions.items()))


def _switch(path: Path, directory: Path) -> None:
    link = _new_link(path)
    link.unlink(missing_ok=True)
    link.symlink_to(directory.name)
    link.replace(path)


def _unused(directories: list[Path]) -> list[Path]:
    """Those that no running process was started from or has a library of."""
    used: set[Path] = set()
    for process in PROC.glob("[0-9]*") if directories else []:
        with contextlib.suppress(OSError):  # It has ended.
            seen = (process / "cmdline").read_bytes() + (process / "maps").read_bytes()
            used.update(directory for directory in directories if f"{directory}/".encode() in seen)
    return [directory for directory in directories if directory not in used]
