# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that services of users run on: accounts, units of systemd, their processes, and who listens on its ports."""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import re
import time
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import owned_files
from ansible_collections.dlhost.host.plugins.module_utils.commands import NOT_STARTED, failure, run

PROC = Path("/proc")
UNIT_DIRECTORY = Path("/etc/systemd/system")
AGAIN = "and run again; nothing was changed."
START_TIMEOUT_S = 90
START_POLL_S = 0.2
LOG_LINES = 3
SHOWN_CHARACTERS = 400


class RefusedError(Exception):
    """One sentence for the user: why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Account:
    """Who a service runs as."""

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
    def boot_problems(self) -> list[str]:
        """Why it does not start with the host, in words that follow its name."""
        if self.masked:
            return [f"is {self.masked}"]
        return [] if self.enabled else ["is not enabled"]


@dataclasses.dataclass(frozen=True)
class Listener:
    """A listening TCP socket, the service or scope that it belongs to where there is one, and its program in words."""

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


def account(name: str, variable: str) -> Account:
    """An account of the host that a service may run as; `variable` is where an inventory names it.

    Raises:
        RefusedError: There is none of that name, or it is root's.
    """
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise RefusedError(
            f"{variable} names {name}, and this host has no such account. Create it or take the name out {AGAIN}"
        ) from None
    if found.pw_uid == 0:
        raise RefusedError(f"{variable} names {name}, which has root's rights. Name an account without {AGAIN}")
    try:
        group = grp.getgrgid(found.pw_gid).gr_name
    except KeyError:
        group = str(found.pw_gid)
    return Account(name, found.pw_uid, found.pw_gid, group, found.pw_dir)


def find_units(names: list[str]) -> dict[str, Unit]:
    """The units of these names, as systemd has them now."""
    properties = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,MainPID,ExecMainStartTimestampMonotonic"
    found = {}
    text = run("systemctl", "show", "--property", properties, *names).stdout if names else ""
    for block in filter(None, text.split("\n\n")):
        row = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        # Only a service has a process.
        since_boot = int(row.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
        active = row["ActiveState"] == "active"
        found[row["Id"]] = Unit(
            name=row["Id"],
            masked=row["UnitFileState"] if row["LoadState"] == "masked" else "",
            enabled=row["UnitFileState"] == "enabled",
            active=active,
            failed=row["ActiveState"] == "failed",
            reload_due=row["NeedDaemonReload"] == "yes",
            process=int(row.get("MainPID", 0)),
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
    done = run("ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", "--extended")
    if done.returncode == NOT_STARTED:
        raise RefusedError(f"This host has no ss, which tells who uses a port. Install iproute2 {AGAIN}")
    listeners = []
    for row in done.stdout.splitlines():
        _state, _received, _sent, local, _peer, details = [*row.split(None, 5), ""][:6]
        address, _colon, port = local.rpartition(":")
        # Java and others write an address of IPv4 as one of IPv6.
        address = address.partition("%")[0].strip("[]").removeprefix("::ffff:")
        process = re.search(r'\("(.*?)",pid=(\d+)', details)
        owner = re.search(r"\buid:(\d+)", details)
        # In a container, not even root sees whose process holds a socket; the kernel still knows its service.
        group = re.search(r"\bcgroup:(\S+)", details)
        unit = _unit_in(group[1]) if group else unit_of(int(process[2])) if process else ""
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


def is_of(listener: Listener, unit: Unit) -> bool:
    """Whether a socket is the unit's; a unit that logs a user in runs in the scope of that login."""
    return bool(listener.unit) and listener.unit in {unit.name, unit_of(unit.process)}


def unit_of(process: int) -> str:
    """The service or the scope of a login that a process belongs to; empty where it belongs to none."""
    return _unit_in(group_of(process))


def group_of(process: int) -> str:
    """The control groups of a process, as the kernel writes them; empty where it has ended."""
    try:
        return (PROC / str(process) / "cgroup").read_text()
    except OSError:
        return ""


def processes_of(unit: str) -> list[Process]:
    """Every process of a service, or of the scope of a login."""
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


def files_of(unit: str, role: str, wanted_anyway: set[Path]) -> list[owned_files.OwnedFile]:
    """What the role wrote for a server's user, as it is."""
    user = unit.removesuffix(".service").partition("@")[2]
    paths = [Path(path) for path in owned_files.read_manifest().get(role, owned_files.NOTHING)["files"]]
    found = {path: owned_files.find(path) for path in paths if path.parent.name == user and path not in wanted_anyway}
    return [
        owned_files.OwnedFile(path, file.content, file.mode, file.owner, file.group, sensitive=True)
        for path, file in found.items()
        if file.content is not None
    ]


def make_startable(units: dict[str, Unit]) -> None:
    """Have systemd start these units when it is asked to, and with the host."""
    for unit in units.values():
        if unit.masked:
            must("systemctl", "unmask", "--quiet", *(["--runtime"] if "runtime" in unit.masked else []), unit.name)
    disabled = [name for name, unit in units.items() if not unit.enabled]
    if disabled:
        must("systemctl", "enable", "--quiet", *disabled)
    failed = [name for name, unit in units.items() if unit.failed]
    if failed:
        # After too many failures systemd would not even try.
        must("systemctl", "reset-failed", *failed)


def stop_units(units: dict[str, Unit], stops: list[str], undeclared: list[str]) -> None:
    """Stop these of the units; what nobody asks for does not come back with the host either."""
    running = [name for name in stops if units[name].active]
    going = [name for name in undeclared if name in stops]
    if running:
        must("systemctl", "stop", *running)
    if going:
        must("systemctl", "disable", "--quiet", *going)


def is_newer(path: Path, started: float) -> bool:
    """Whether something was put in place after that time; a link is asked for itself."""
    try:
        # A time to come is one of a clock that has been set back since.
        return started < path.lstat().st_mtime <= time.time()
    except FileNotFoundError:
        return False


def wait_until_listening(servers: dict[str, tuple[str, int]]) -> None:
    """Return when each unit listens on its address and port.

    Raises:
        RefusedError: One does not within START_TIMEOUT_S, or has ended.
    """
    begun, deadline = time.time(), time.monotonic() + START_TIMEOUT_S
    waiting = dict(servers)
    while True:
        listeners, units = find_listeners(), find_units(list(waiting))
        for name, (address, port) in list(waiting.items()):
            if any(is_of(listener, units[name]) for listener in in_the_way(listeners, address, port)):
                del waiting[name]
        if not waiting:
            return
        ended = [name for name in waiting if not units[name].active]
        if ended or time.monotonic() > deadline:
            name = (ended or list(waiting))[0]
            raise RefusedError(
                f"{name} does not {'run' if ended else 'listen'} ({_last_words(name, begun)}). "
                f"journalctl -u {name} tells more; run again when it is mended."
            )
        time.sleep(START_POLL_S)


def log_of(unit: str) -> list[str]:
    """What a unit itself has written to the journal since its last start, without systemd's words about it."""
    start = _start_of(unit)
    return _journal(unit, f"_SYSTEMD_INVOCATION_ID={start['InvocationID']}", start["ExecMainStartTimestamp"])


def must(*command: str) -> None:
    """Run a command that has to succeed.

    Raises:
        RefusedError: It does not.
    """
    done = run(*command)
    if done.returncode != 0:
        raise RefusedError(failure(done))


def _last_words(unit: str, begun: float) -> str:
    """The end of what a unit has written since `begun`, in seconds of the epoch, or its start if earlier."""
    # systemd tries again in a moment, and the attempt that follows has said nothing yet.
    started = _start_of(unit)["ExecMainStartTimestamp"].lstrip("@")
    since = min(int(begun), int(started)) if started else int(begun)
    # What a process that has just ended said may still be on its way.
    run("journalctl", "--sync")
    said = _journal(unit, f"_SYSTEMD_UNIT={unit}", f"@{since}")
    return " ".join(" ".join(said[-LOG_LINES:]).split())[-SHOWN_CHARACTERS:] or "it wrote nothing"


def _start_of(unit: str) -> dict[str, str]:
    shown = run(
        "systemctl", "show", "--timestamp=unix", "--property", "InvocationID,ExecMainStartTimestamp", unit
    ).stdout
    return {"InvocationID": "", "ExecMainStartTimestamp": ""} | dict(line.split("=", 1) for line in shown.splitlines())


def _journal(unit: str, source: str, since: str) -> list[str]:
    # A unit that logs its user in writes from elsewhere, and where it can under its own name: at all of its starts.
    sources = [f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}", "+", source]
    period = ["--since", since] if since else []
    return run("journalctl", "--no-pager", "--boot", "--output", "cat", *period, *sources).stdout.splitlines()


def _unit_in(groups: str) -> str:
    """The service or scope that a control group, or a line of /proc/PID/cgroup, names.

    The groups of a container may begin with those that it is in itself, and a service may have groups within.
    """
    units = re.findall(r"/([^/\n]+\.(?:service|scope))(?![^/\n])", groups)
    return next((unit for unit in units if re.match(r"dlhost-|session-.*scope$", unit)), next(iter(units), ""))
