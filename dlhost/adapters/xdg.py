"""Where dlhost's own files lie: the XDG base directories, and a private place for what only lives during a run."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dlhost.errors import DlhostError, RefusedError


def config_directory() -> Path:
    """$XDG_CONFIG_HOME/dlhost."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def state_directory() -> Path:
    """$XDG_STATE_HOME/dlhost."""
    return _xdg("XDG_STATE_HOME", ".local/state")


@contextmanager
def writing_state() -> Iterator[None]:
    """Around whatever writes there.

    Raises:
        DlhostError: It cannot be written, as on a full disk.
    """
    try:
        yield
    except OSError as error:
        raise DlhostError(
            f"{error.filename or state_directory()} cannot be written: {error.strerror}. "
            "Free some space, or set XDG_STATE_HOME to a directory that you can write to."
        ) from None


def cache_directory() -> Path:
    """$XDG_CACHE_HOME/dlhost."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def private_directory() -> Path:
    """A directory that only this user can enter, on a short path: the sockets in it may have 104 characters.

    Raises:
        RefusedError: Somebody else made it first.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    # In a shared /tmp the directory is only used after a look at whose it is.
    directory = runtime / "dlhost" if runtime.is_dir() else Path(f"/tmp/dlhost-{os.getuid()}")  # noqa: S108
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != 0o700:
        raise RefusedError(f"{directory} is not yours alone. Remove it, or set XDG_RUNTIME_DIR to a directory that is.")
    return directory


@contextmanager
def private_place() -> Iterator[Path]:
    """A directory for plain texts of secrets, gone at the end; what killed processes left of theirs goes first.

    That includes a child that still works in its dead parent's directory, as ansible-playbook does after a kill -9.
    """
    parent = private_directory()
    with ExitStack() as held:
        with locked(parent):  # Nobody sweeps between the making of a directory and the lock on it.
            for left in parent.glob("run-*"):
                with suppress(BlockingIOError), locked(left, fcntl.LOCK_NB):
                    _end_processes_in(left)
                    shutil.rmtree(left, ignore_errors=True)
            place = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
            held.enter_context(locked(place))
            held.callback(shutil.rmtree, place, ignore_errors=True)
        yield place


def _end_processes_in(directory: Path) -> None:
    """Kill what has its working directory here; on a system without proc(5) there is no telling."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(directory):
                os.kill(int(process.name), signal.SIGKILL)


@contextmanager
def locked(directory: Path, how: int = 0) -> Iterator[None]:
    """Hold a directory; the kernel lets go of it when the process ends, however it ends.

    Raises:
        BlockingIOError: Somebody else holds it, where `how` is LOCK_NB.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable, "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / fallback) / "dlhost"
