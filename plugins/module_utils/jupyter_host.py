# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of notebooks on a host: what is asked with a user's rights, and what a server's end would take with it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import jupyter_account, jupyter_inside
from ansible_collections.dlhost.host.plugins.module_utils.account_process import FailedError, ask, run_as
from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    Account,
    Process,
    RefusedError,
    Unit,
    processes_of,
)

RUNTIME = Path("/run")
# A kernel that does not compute answers within milliseconds.
PATIENCE_S = 2.0


def look_as(user: Account, directories: list[str], files: list[str]) -> dict:
    """What jupyter_account.look sees with the user's rights.

    Raises:
        RefusedError: Nothing can be run as that user.
    """
    return ask(user, ["/usr/bin/python3", "-I"], jupyter_account, "look", directories, files)


def make_directories(user: Account, directories: list[str]) -> None:
    """Make directories with the user's rights.

    Raises:
        RefusedError: One cannot be made.
    """
    failure = ask(user, ["/usr/bin/python3", "-I"], jupyter_account, "make", directories)
    if failure:
        raise RefusedError(f"{user.name} cannot make {failure}.")


def hashes(environment: Path, known: dict[str, list[str]]) -> dict[str, str]:
    """jupyter_inside.hashes by the environment's interpreter.

    Raises:
        RefusedError: It does not answer.
    """
    return ask(None, [str(environment / "bin" / "python"), "-I"], jupyter_inside, "hashes", known)


def refusal_of(trial: list[str], user: Account) -> str:
    """Why a command fails with the rights of the user; empty where it succeeds."""
    try:
        run_as(user, trial)
    except FailedError as error:
        return str(error)
    return ""


def work_of(unit: Unit, environment: Path) -> list[str]:
    """What stopping a server would destroy: kernels that compute, and programs that run in terminals or were left
    running by a cell; one phrase each.
    """
    runtime = _runtime_directory(unit)
    if not unit.active or not runtime.is_dir():
        return []
    processes = [process for process in processes_of(unit.name) if process.number != unit.process]
    files = sorted({path for process in processes for path in _connection_files(process, runtime)})
    programs = [
        process
        for process in processes
        if not _connection_files(process, runtime) and not _waits_for_its_user(process) and process.command
    ]
    work = []
    if files:
        try:
            interpreter = [str(environment / "bin" / "python"), "-I"]
            silent = ask(_runner(runtime), interpreter, jupyter_inside, "silent_kernels", files, PATIENCE_S)
        except (RefusedError, OSError):
            # Who cannot be asked may compute.
            silent = files
        if silent:
            work.append("1 kernel is busy" if len(silent) == 1 else f"{len(silent)} kernels are busy")
    if programs:
        names = sorted({Path(process.command[0]).name for process in programs})
        work.append(f"{', '.join(names)} {'runs' if len(names) == 1 else 'run'} in it")
    return work


def _runtime_directory(unit: Unit) -> Path:
    """Where the connection files of its kernels lie; not there where nothing has any."""
    # Not what systemd says of a running unit: it forgets that of one that is masked, or edited since.
    return RUNTIME / unit.name.removesuffix(".service").replace("@", "-", 1)


def _runner(runtime: Path) -> Account:
    """Who a unit runs as. The account may have been renamed or taken away since it was started."""
    seen = runtime.stat()
    return Account(str(seen.st_uid), seen.st_uid, seen.st_gid, str(seen.st_gid), str(runtime))


def _waits_for_its_user(process: Process) -> bool:
    """Whether it is the shell of a terminal: the first of the session, and not given anything to run."""
    first = process.terminal and process.session == process.number
    return bool(first) and all(word.startswith("-") for word in process.command[1:])


def _connection_files(process: Process, directory: Path) -> list[str]:
    """The connection file of a kernel of the server, which its command line names."""
    paths = [Path(word.rpartition("=")[2]) for word in process.command if word.endswith(".json")]
    return [str(path) for path in paths if path.parent == directory]
