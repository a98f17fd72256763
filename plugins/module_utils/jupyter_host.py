# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that servers of notebooks run on: accounts, units, ports, and what a server would take with it."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import inspect
import json
import os
import pwd
import re
import subprocess
import time
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import jupyter_account, jupyter_inside, owned_files

PROC = Path("/proc")
RUNTIME = Path("/run")
UNIT_DIRECTORY = Path("/etc/systemd/system")
AGAIN = "and run again; nothing was changed."
# A kernel that does not compute answers within milliseconds.
PATIENCE_S = 2.0
# For the interpreter to start on a loaded machine, and for that answer.
ANSWER_TIMEOUT_S = 60
START_TIMEOUT_S = 90
START_POLL_S = 0.2
LOG_LINES = 3
SHOWN_CHARACTERS = 400


class RefusedError(Exception):
    """One sentence for the user: why, and what to do."""


class _FailedError(Exception):
    """The last that a command said, or what became of it."""


@dataclasses.dataclass(frozen=True)
class Account:
    """Who a server runs as."""

    name: str
    uid: int
    gid: int
    group: str
    home: str

    def path(self, text: str) -> str:
        """A path that may begin with ~/, as an absolute one."""
        return os.path.normpath(self.home + text[1:] if text.startswith("~") else text)


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit as systemd has it; `started` is in seconds of the epoch and 0 where it does not run."""

    name: str
    masked: str  # "masked", "masked-runtime" or empty.
    enabled: bool
    active: bool
    failed: bool
    reload_due: bool
    process: int
    started: float

    @property
    def runtime_directory(self) -> Path:
        """Where the connection files of its kernels lie; not there where nothing has any."""
        # Not what systemd says of a running unit: it forgets that of one that is masked, or edited since.
        return RUNTIME / self.name.removesuffix(".service").replace("@", "-", 1)


@dataclasses.dataclass(frozen=True)
class Listener:
    """A listening TCP socket, the service that it belongs to where there is one, and its program in words."""

    address: str
    port: int
    unit: str
    program: str


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of a unit."""

    number: int
    session: int
    terminal: int
    command: list[str]


def account(name: str) -> Account:
    """An account of the host that a server may run as.

    Raises:
        RefusedError: There is none of that name, or it is root's.
    """
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise RefusedError(
            f"jupyter_users names {name}, and this host has no such account. Create it or take the name out {AGAIN}"
        ) from None
    if found.pw_uid == 0:
        raise RefusedError(f"jupyter_users names {name}, which has root's rights. Name an account without {AGAIN}")
    try:
        group = grp.getgrgid(found.pw_gid).gr_name
    except KeyError:
        group = str(found.pw_gid)
    return Account(name, found.pw_uid, found.pw_gid, group, found.pw_dir)


def look_as(user: Account, directories: list[str], files: list[str]) -> dict:
    """What jupyter_account.look sees with the user's rights.

    Raises:
        RefusedError: Nothing can be run as that user.
    """
    return _ask(user, ["/usr/bin/python3", "-I"], jupyter_account, "look", directories, files)


def make_directories(user: Account, directories: list[str]) -> None:
    """Make directories with the user's rights.

    Raises:
        RefusedError: One cannot be made.
    """
    failure = _ask(user, ["/usr/bin/python3", "-I"], jupyter_account, "make", directories)
    if failure:
        raise RefusedError(f"{user.name} cannot make {failure}.")


def hashes(environment: Path, known: dict[str, list[str]]) -> dict[str, str]:
    """jupyter_inside.hashes by the environment's interpreter.

    Raises:
        RefusedError: It does not answer.
    """
    return _ask(None, [str(environment / "bin" / "python"), "-I"], jupyter_inside, "hashes", known)


def refusal_of(trial: list[str], user: Account) -> str:
    """Why a command fails with the rights of the user; empty where it succeeds."""
    try:
        _run_as(user, trial)
    except _FailedError as error:
        return str(error)
    return ""


def find_units(names: list[str]) -> dict[str, Unit]:
    """The units of these names, as systemd has them now."""
    properties = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,MainPID,ExecMainStartTimestampMonotonic"
    found = {}
    text = run("systemctl", "show", "--property", properties, *names).stdout if names else ""
    for block in filter(None, text.split("\n\n")):
        row = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        since_boot = int(row["ExecMainStartTimestampMonotonic"] or 0) / 1e6
        active = row["ActiveState"] == "active"
        found[row["Id"]] = Unit(
            name=row["Id"],
            masked=row["UnitFileState"] if row["LoadState"] == "masked" else "",
            enabled=row["UnitFileState"] == "enabled",
            active=active,
            failed=row["ActiveState"] == "failed",
            reload_due=row["NeedDaemonReload"] == "yes",
            process=int(row["MainPID"]),
            # The clock may have been set since; time since boot was not.
            started=time.time() - time.monotonic() + since_boot if active else 0,
        )
    return found


def find_instances(templates: list[str]) -> list[str]:
    """Every instance of these template units that is loaded or would start with the host."""
    patterns = [template.replace("@.", "@*.") for template in templates]
    listed = run("systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", *patterns).stdout
    loaded = {line.split()[0] for line in listed.splitlines()}
    enabled = {
        path.name for pattern in patterns for path in UNIT_DIRECTORY.glob(f"*.wants/{pattern}") if path.is_symlink()
    }
    return sorted(loaded | enabled)


def find_listeners() -> list[Listener]:
    """Who listens on the TCP ports of this host.

    Raises:
        RefusedError: ss is missing.
    """
    try:
        text = run("ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", "--extended").stdout
    except FileNotFoundError:
        raise RefusedError(f"This host has no ss, which tells who uses a port. Install iproute2 {AGAIN}") from None
    listeners = []
    for row in text.splitlines():
        _state, _received, _sent, local, _peer, details = [*row.split(None, 5), ""][:6]
        address, _colon, port = local.rpartition(":")
        # Java and others write an address of IPv4 as one of IPv6.
        address = address.partition("%")[0].strip("[]").removeprefix("::ffff:")
        process = re.search(r'\("(.*?)",pid=(\d+)', details)
        owner = re.search(r"\buid:(\d+)", details)
        # In a container, not even root sees whose process holds a socket; the kernel still knows its service.
        group = re.search(r"\bcgroup:(\S+)", details)
        unit = _service_in(group[1]) if group else unit_of(int(process[2])) if process else ""
        name = owned_files.name_of(pwd.getpwuid, int(owner[1]) if owner else 0)
        program = f"{process[1]}, process {process[2]} of {name}" if process else f"a program of {name}"
        listeners.append(Listener(address, int(port), unit, program))
    return listeners


def in_the_way(listeners: list[Listener], address: str, port: int) -> list[Listener]:
    """Those that keep a server from listening on an address and port."""
    everywhere = {"*", "0.0.0.0", "::"}  # noqa: S104
    return [
        listener
        for listener in listeners
        if listener.port == port and (listener.address in {address, *everywhere} or address in everywhere)
    ]


def unit_of(process: int) -> str:
    """The service that a process belongs to; empty where it belongs to none."""
    try:
        return _service_in((PROC / str(process) / "cgroup").read_text())
    except OSError:
        return ""


def processes_of(unit: str) -> list[Process]:
    """Every process of a service."""
    found = []
    for directory in PROC.glob("[0-9]*"):
        if unit_of(int(directory.name)) != unit:
            continue
        with contextlib.suppress(OSError):  # It has ended.
            # The name in brackets may hold anything: pid (name) state ppid pgrp session tty ...
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
            command = (directory / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            found.append(Process(int(directory.name), int(fields[3]), int(fields[4]), command))
    return found


def work_of(unit: Unit, environment: Path) -> list[str]:
    """What stopping a server would destroy: kernels that compute, and programs that run in terminals or were left
    running by a cell; one phrase each.
    """
    if not unit.active or not unit.runtime_directory.is_dir():
        return []
    processes = [process for process in processes_of(unit.name) if process.number != unit.process]
    files = sorted({path for process in processes for path in _connection_files(process, unit.runtime_directory)})
    programs = [
        process
        for process in processes
        if not _connection_files(process, unit.runtime_directory)
        and not _waits_for_its_user(process)
        and process.command
    ]
    work = []
    if files:
        try:
            interpreter = [str(environment / "bin" / "python"), "-I"]
            silent = _ask(_runner(unit), interpreter, jupyter_inside, "silent_kernels", files, PATIENCE_S)
        except (RefusedError, OSError):
            # Who cannot be asked may compute.
            silent = files
        if silent:
            work.append("1 kernel is busy" if len(silent) == 1 else f"{len(silent)} kernels are busy")
    if programs:
        names = sorted({Path(process.command[0]).name for process in programs})
        work.append(f"{', '.join(names)} {'runs' if len(names) == 1 else 'run'} in it")
    return work


def wait_until_listening(servers: dict[str, tuple[str, int]]) -> None:
    """Return when each unit listens on its address and port.

    Raises:
        RefusedError: One does not within START_TIMEOUT_S, or has ended.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    waiting = dict(servers)
    while True:
        listeners = find_listeners()
        for name, (address, port) in list(waiting.items()):
            if any(listener.unit == name for listener in in_the_way(listeners, address, port)):
                del waiting[name]
        if not waiting:
            return
        ended = [name for name, unit in find_units(list(waiting)).items() if not unit.active]
        if ended or time.monotonic() > deadline:
            name = (ended or list(waiting))[0]
            raise RefusedError(
                f"{name} does not {'run' if ended else 'listen'} ({_last_words(name)}). "
                f"journalctl -u {name} tells more; run again when it is mended."
            )
        time.sleep(START_POLL_S)


def log_of(unit: str) -> list[str]:
    """What a unit itself has written to the journal since its last start, without systemd's words about it."""
    invocation = run("systemctl", "show", "--value", "--property", "InvocationID", unit).stdout.strip()
    said = run("journalctl", "--no-pager", "--output", "cat", f"_SYSTEMD_INVOCATION_ID={invocation}").stdout
    return said.splitlines()


def must(*command: str) -> None:
    """Run a command that has to succeed.

    Raises:
        RefusedError: It does not.
    """
    done = run(*command)
    if done.returncode != 0:
        raise RefusedError(f"{' '.join(command)} failed: {' '.join((done.stderr or done.stdout).split())}")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command without a shell and without input."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )


def _last_words(unit: str) -> str:
    return " ".join(" ".join(log_of(unit)[-LOG_LINES:]).split())[-SHOWN_CHARACTERS:] or "it wrote nothing"


def _service_in(groups: str) -> str:
    """The service that a control group, or each line of /proc/PID/cgroup, names."""
    found = re.search(r"(?m)/([^/\n]+\.service)(?:/[^\n]*)?$", groups)
    return found[1] if found else ""


def _runner(unit: Unit) -> Account:
    """Who a unit runs as. The account may have been renamed or taken away since it was started."""
    seen = unit.runtime_directory.stat()
    return Account(str(seen.st_uid), seen.st_uid, seen.st_gid, str(seen.st_gid), str(unit.runtime_directory))


def _waits_for_its_user(process: Process) -> bool:
    """Whether it is the shell of a terminal: the first of the session, and not given anything to run."""
    first = process.terminal and process.session == process.number
    return bool(first) and all(word.startswith("-") for word in process.command[1:])


def _connection_files(process: Process, directory: Path) -> list[str]:
    """The connection file of a kernel of the server, which its command line names."""
    paths = [Path(word.rpartition("=")[2]) for word in process.command if word.endswith(".json")]
    return [str(path) for path in paths if path.parent == directory]


def _ask(user: Account | None, interpreter: list[str], module, question: str, *arguments):
    """Have a function of a module answered by another interpreter, with the rights of the user where one is given."""
    try:
        return json.loads(_run_as(user, [*interpreter, "-c", inspect.getsource(module)], [question, arguments]))
    except (_FailedError, ValueError) as error:
        whose = f" as {user.name}" if user else ""
        raise RefusedError(f"{interpreter[0]} does not run{whose} ({error}).") from None


def _run_as(user: Account | None, command: list[str], question: object = None) -> str:
    """What a command answers to a question on standard input, with the rights of the user where one is given.

    Raises:
        _FailedError: It fails, or takes too long.
    """
    rights = {}
    if user is not None:
        rights = {
            "user": user.uid,
            "group": user.gid,
            "extra_groups": os.getgrouplist(user.name, user.gid),
            "env": {"HOME": user.home, "USER": user.name, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        }
    try:
        return subprocess.run(
            command,
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=True,
            timeout=ANSWER_TIMEOUT_S,
            cwd="/",
            **rights,
        ).stdout
    except subprocess.CalledProcessError as error:
        raise _FailedError((error.stderr.strip().splitlines() or ["no word"])[-1]) from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise _FailedError(type(error).__name__) from None
