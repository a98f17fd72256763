# SPDX-License-Identifier: GPL-3.0-or-later
"""What on a host says that it is at work: GPUs, packages, SSH, terminals, kernels, desktops, jobs, services and load.

Each is said in words that stay the same as long as the work does. What cannot be known counts as work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pwd
import re
import struct
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Container, Iterable
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import jupyter_host, vnc_host
from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.service_host import find_instances, find_units

PROC = Path("/proc")
SYS = Path("/sys")
DEV = Path("/dev")
PACKAGE_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
# Of each: what it holds up, who it is, why, how, and two numbers; see org.freedesktop.login1(5). It starts nothing.
LOGIN1 = "org.freedesktop.login1"
INHIBITORS = ("busctl", "--json=short", "--timeout=5", "--auto-start=no", "call")
INHIBITORS += (LOGIN1, "/org/freedesktop/login1", f"{LOGIN1}.Manager", "ListInhibitors")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

SMI = ("nvidia-smi", "-q", "-x")
SMI_LIMIT_S = 20
KILL_LIMIT_S = 1
NVIDIA = "0x10de"
DISPLAY_CONTROLLER = "0x03"
# A screen that is drawn on a card takes less.
WORKING_PERCENT = 5

JUPYTER = "dlhost-jupyter@.service"
JUPYTER_ENVIRONMENT = Path("/opt/dlhost/jupyter")
# Looks are a minute apart, and cells may be shorter. A server that nobody uses was seen to take 0.06 s in a minute.
JUPYTER_WORK_S = 1.0
# What one small command over SSH takes, such as each task of a run of dlhost. A tunnel that nobody uses takes none.
SSH_WORK_S = 0.1
# Of a service or a container, in a minute: one twentieth of a processor. Those that only wait were seen to take less.
SERVICE_WORK_S = 3.0
# Two looks: who types is seen by one of them.
TYPED_WITHIN_S = 120

# Where people's processes are, and whose they are.
OF_A_USER = re.compile(r"/user-(\d+)\.slice/(?:[^\n/]+/)*?(session-[^/\n]+\.scope|user@\d+\.service)")
# Where they are on a host without pam_systemd, and what is there before somebody has logged in, or for all of them.
LOGINS = re.compile(r"(?:dropbear|sshd?|(?:console-|container-|serial-)?getty)(?:@.*)?\.service")
BEFORE_LOGIN = {"agetty", "dropbear", "login", "sshd", "sshd-auth", "sshd-session"}
# What sshd calls itself after a login: "sshd: ada@pts/0", or "sshd: ada" for a tunnel.
OF_A_LOGIN = re.compile(r"sshd(?:-session)?: [^ \[]+")
# Accounts of the system, and those that systemd makes up, such as that of a screen to log in at: nobody's login, unless
# they have a shell.
SYSTEM_UIDS = (range(1, 1000), range(60578, 65536))
# Jobs that nobody needs to be logged in for, by their unit, and the program there that only waits for their time.
JOBS = {"cron.service": "cron", "atd.service": "atd", "slurmd.service": "slurmd", "slurmstepd.scope": "slurmstepd"}
TRANSIENT = re.compile(r"run-[^/]+\.(?:service|scope)")
# A service of a name that somebody chose, as systemd-run makes it.
TRANSIENT_AT = Path("/run/systemd/transient")
# Services whose time nobody's work takes: bots at the door make them write, they ask the GPUs how they are, or they are
# judged by what they do.
WATCHERS = re.compile(
    r"init\.scope|(?:dlhost-idle-stop|dlhost-jupyter@.*|fail2ban|rsyslog|systemd-(?!nspawn)[^@]*|zabbix-agent2?)\.service"
)
# Helpers of a desktop, by what their paths begin with. Programs are in directories like theirs: R, Java, Firefox.
HELPERS_AT = re.compile(
    r"/usr/lib(?:exec)?/(?:[a-z0-9_]+-linux-gnu/)?"
    r"(?:at-spi|dconf|gcr|gnome-keyring|gvfs|policykit-1-gnome|polkit|tumbler|xdg-|xfce4/)"
)
SHELLS = {"ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"}
MULTIPLEXERS = {"screen", "tmux: server"}
# What leads to a person or a program, and does nothing by itself.
FRAMES = {
    "agetty",
    "login",
    "mosh-server",
    "screen",
    "sshd",
    "sshd-auth",
    "sshd-session",
    "su",
    "sudo",
    "systemd",
    "tmux",
    "tmux: client",
    "tmux: server",
    "xfce4-terminal",
}


@dataclasses.dataclass(frozen=True)
class Process:
    """A process as the kernel describes it; `ticks` of the processor it and its ended children have taken."""

    number: int
    name: str
    state: str
    terminal: int
    ticks: int
    started: int
    command: list[str]
    group: str
    owner: int

    @property
    def key(self) -> str:
        """What no other process of this boot has: numbers come again."""
        return f"{self.number} {self.started}"

    @property
    def names(self) -> set[str]:
        """What it may be called by: the kernel's name is cut, and that of its command may be a sentence."""
        return {self.name, Path(self.command[0]).name} if self.command else {self.name}


def processes() -> list[Process]:
    """Every process of the host."""
    found = []
    for directory in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has ended.
            # The name in brackets may hold anything: pid (name) state ppid pgrp session tty tpgid ...
            head, _bracket, rest = (directory / "stat").read_text(errors="replace").rpartition(")")
            fields = rest.split()
            words = (directory / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            found.append(
                Process(
                    number=int(directory.name),
                    name=head.partition("(")[2],
                    state=fields[0],
                    terminal=int(fields[4]),
                    ticks=sum(int(field) for field in fields[11:15]),
                    started=int(fields[19]),
                    command=words,
                    group=(directory / "cgroup").read_text(),
                    owner=directory.stat().st_uid,
                )
            )
    return found


# GPUs


def busy_gpus(running: list[Process], ignored: set[str], at_work: Container[str]) -> list[str]:
    """Why the GPUs count as busy; what is not known of them counts too. `at_work` are the units of Jupyter that are."""
    if not _gpu_devices():
        return []
    hanging = [process for process in running if process.name == "nvidia-smi" and _hangs(process)]
    if hanging:
        return [f"nvidia-smi (process {hanging[0].number}) hangs, so nobody knows what the GPUs do"]
    printed, trouble = _ask_driver()
    if not trouble:
        try:
            return _gpu_work(ElementTree.fromstring(printed), running, ignored, at_work)  # noqa: S314  the driver's own program
        except ElementTree.ParseError:
            trouble = "printed no document"
    return [f"nvidia-smi {trouble}, so nobody knows what the GPUs do"]


def _gpu_devices() -> list[Path]:
    return [
        device
        for device in (SYS / "bus/pci/devices").glob("*")
        if _word(device / "vendor") == NVIDIA and _word(device / "class").startswith(DISPLAY_CONTROLLER)
    ]


def _hangs(process: Process) -> bool:
    """Whether it sleeps in the kernel for longer than we ever wait: another beside it would do the same."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - process.started / TICKS_PER_S
    return process.state == "D" and age > 2 * SMI_LIMIT_S


def _ask_driver() -> tuple[str, str]:
    """What nvidia-smi prints, and what went wrong. Nobody waits for one that cannot be killed."""
    try:
        process = subprocess.Popen(SMI, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError:
        return "", "is not installed"
    try:
        printed, _nothing = process.communicate(timeout=SMI_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_LIMIT_S)
        return "", "does not answer"
    return printed.decode("utf-8", "replace"), f"ended with status {process.returncode}" if process.returncode else ""


def _gpu_work(
    log: ElementTree.Element, running: list[Process], ignored: set[str], at_work: Container[str]
) -> list[str]:
    known = {process.number: process for process in running}
    work = set()
    gpus = log.findall("gpu")
    # One that has fallen off the bus keeps its file.
    if len(gpus) < max(1, len(list(DEV.glob("nvidia[0-9]*")))):
        work.add("nvidia-smi leaves a GPU out, so nobody knows what the GPUs do")
    for index, gpu in enumerate(gpus):
        told = gpu.findtext("utilization/gpu_util") or ""
        load = re.match(r"\d+", told)
        if load and int(load[0]) >= WORKING_PERCENT:
            work.add(f"GPU {index} computes")
        # A card that is divided by MIG has no load to tell; its processes do.
        if not load and (told != "N/A" or gpu.findtext("mig_mode/current_mig") != "Enabled"):
            work.add(f"GPU {index} does not tell its load, so nobody knows what the GPUs do")
        for one in gpu.iterfind("processes/process_info"):
            if "C" not in (one.findtext("type") or "C"):
                continue  # It draws.
            process = known.get(int(one.findtext("pid") or 0))
            if process is None:
                work.add(f"a program that cannot be seen from here uses GPU {index}")
                continue
            # A kernel that waits holds on to its GPU; whether it waits is for Jupyter to say, where the GPU cannot.
            of_jupyter = _unit(process).startswith(JUPYTER.partition("@")[0])
            waits = process.names & ignored or (of_jupyter and _unit(process) not in at_work)
            if not load or not waits:
                work.add(f"{process.name} uses GPU {index}")
    return sorted(work)


# What breaks when the power goes


def at_packages() -> list[str]:
    """That packages are being installed, or lists of them fetched."""
    return ["packages are being installed"] if any(_is_locked(path) for path in PACKAGE_LOCKS) else []


def _is_locked(path: str) -> bool:
    """Whether somebody holds a lock on it; taking it to find out would keep apt from it."""
    # struct flock of fcntl(2), as C lays it out on 64 bits: type, whence, start, length, process.
    layout = "hhqqi4x"
    try:
        with Path(path).open("rb") as file:
            asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            return struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK
    except OSError:
        return False


def inhibited() -> list[str]:
    """Which programs have asked for no shutdown, as one that writes firmware does; root's systemctl would not ask."""
    told = run(*INHIBITORS).stdout
    asked = json.loads(told)["data"][0] if told else []
    return sorted(
        {
            f"{who} holds up a shutdown"
            for what, who, _why, how, *_ in asked
            if "shutdown" in what.split(":") and how == "block"
        }
    )


def over_ssh(running: Iterable[Process], earlier: dict[str, int], ignored: set[str]) -> list[str]:
    """That somebody works over SSH without a terminal, as a run of dlhost and a copy do.

    What a connection does beside its terminal is seen too; what runs in the terminal is among the programs.
    """
    sessions: dict[str, list[Process]] = {}
    for process in running:
        if (user := _person(process)) and not user[1].startswith("user@") and not process.terminal:
            sessions.setdefault(user[1], []).append(process)
    for inside in sessions.values():
        # Those that stay behind in tmux are no longer over SSH, and it draws what is in its terminals.
        working = [process for process in inside if not process.names & (ignored | MULTIPLEXERS)]
        if any(one.name.startswith("sshd") for one in working) and _taken_s(working, earlier) >= SSH_WORK_S:
            return ["something is done over SSH"]
    return []


def _taken_s(running: Iterable[Process], earlier: dict[str, int]) -> float:
    """The processor's time that they took since an earlier look; all of it where they were not there then."""
    return sum(max(0, one.ticks - earlier.get(one.key, 0)) for one in running) / TICKS_PER_S


# People and their programs


def programs(running: Iterable[Process], ignored: set[str]) -> list[str]:
    """The programs that run for people, logged in or not, and for their time tables."""
    found = set()
    for process in running:
        if process.state in "ZX" or not process.command or _waits(process, ignored):
            continue
        user, unit = _person(process), _unit(process)
        if user:
            found.add(f"{_account(user[0])} runs {process.name}")
        elif (unit in JOBS and JOBS[unit] not in process.names) or _is_transient(unit):
            found.add(f"{process.name} runs in {unit}")
    return sorted(found)


def typing(running: Iterable[Process]) -> list[str]:
    """Who has typed something in a terminal."""
    found = set()
    for device, user in terminals(running).items():
        with contextlib.suppress(OSError):
            # The kernel sets it when something is read; see tty(4) and w(1).
            if 0 <= time.time() - device.stat().st_atime < TYPED_WITHIN_S:
                found.add(f"{_account(user)} types")
    return sorted(found)


def tell(running: Iterable[Process], sentence: str) -> None:
    """Write to every terminal of a person, those in tmux too.

    wall(1) knows no login by SSH any more since Debian 13, which keeps no utmp.
    """
    for device in terminals(running):
        with contextlib.suppress(OSError):  # It has gone, or nobody reads what it shows.
            descriptor = os.open(device, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                os.write(descriptor, f"\r\n\a{sentence}\r\n".encode())
            finally:
                os.close(descriptor)


def terminals(running: Iterable[Process]) -> dict[Path, int]:
    """The terminals that people's processes are in, and whose they are."""
    found = {}
    for process in running:
        user, device = _person(process), _terminal(process.terminal)
        if user and device:
            found[device] = user[0]
    return found


def in_services(running: Iterable[Process], earlier: dict[str, int], ignored: set[str]) -> list[str]:
    """Which services, containers and jobs of a scheduler's have taken more of the processor than those that wait."""
    groups: dict[str, list[Process]] = {}
    for process in running:
        # Those without a command are the kernel's.
        if process.command and not process.names & ignored and _person(process) is None:
            groups.setdefault(_unit(process) or process.group.strip().rpartition(":")[2], []).append(process)
    return sorted(
        f"something works in {name}"
        for name, inside in groups.items()
        if not WATCHERS.fullmatch(name) and not LOGINS.fullmatch(name) and _taken_s(inside, earlier) >= SERVICE_WORK_S
    )


def in_jupyter(running: list[Process], earlier: dict[str, int]) -> dict[str, list[str]]:
    """What the servers of notebooks do, by their units that do something; a kernel that is only open does nothing."""
    found = {}
    for unit in find_units(find_instances([JUPYTER])).values():
        user = unit.name.removesuffix(".service").partition("@")[2]
        work = [f"Jupyter of {user}: {what}" for what in jupyter_host.work_of(unit, JUPYTER_ENVIRONMENT)]
        if _taken_s((one for one in running if _unit(one) == unit.name), earlier) >= JUPYTER_WORK_S:
            work.append(f"{user} uses Jupyter")
        if work:
            found[unit.name] = work
    return found


def at_desktops() -> list[str]:
    """Whose desktop somebody looks at; the programs in it are among those of people."""
    units = find_units(find_instances([vnc_host.TEMPLATE])).values()
    return [
        f"somebody looks at the desktop of {unit.name.removesuffix('.service').partition('@')[2]}"
        for unit in units
        if unit.active and vnc_host.is_watched(unit)
    ]


def under_load(limit: float) -> list[str]:
    """That the processors have work, by the load of the last minute."""
    return [f"the load is {limit:g} or more"] if limit and os.getloadavg()[0] >= limit else []


def booted() -> float:
    """When this host began, by time.monotonic(); a container begins later than its machine."""
    shown = run("systemctl", "show", "--property", "UserspaceTimestampMonotonic", "--value").stdout.strip()
    return int(shown) / 1e6 if shown.isdigit() else 0.0


def _person(process: Process) -> tuple[int, str] | None:
    """The account that a process runs for and the unit of its login; nothing where it is the system's."""
    if found := OF_A_USER.search(process.group):
        return None if _is_of_the_system(int(found[1])) else (int(found[1]), found[2])
    unit = _unit(process)
    if not LOGINS.fullmatch(unit) or not process.command:
        return None
    waits = process.name in BEFORE_LOGIN and not OF_A_LOGIN.fullmatch(process.command[0])
    return None if waits else (process.owner, unit)


def _is_of_the_system(uid: int) -> bool:
    try:
        shell = Path(pwd.getpwuid(uid).pw_shell).name
    except KeyError:
        shell = ""
    return any(uid in system for system in SYSTEM_UIDS) and shell not in SHELLS


def _unit(process: Process) -> str:
    found = re.findall(r"/([^/\n]+\.(?:service|scope))(?![^/\n])", process.group)
    return found[-1] if found else ""


def _is_transient(unit: str) -> bool:
    """Whether somebody had systemd run it, as no package does."""
    return bool(TRANSIENT.fullmatch(unit)) or (unit.endswith(".service") and (TRANSIENT_AT / unit).exists())


def _waits(process: Process, ignored: set[str]) -> bool:
    """Whether it is there for a person who may come back, or beside what such a one does."""
    # Somebody copies, or may: over a slow line that takes nothing of the processor.
    if process.command[0].endswith("@internal-sftp"):
        return False
    if process.names & (ignored | FRAMES | vnc_host.DESKTOP | vnc_host.HELPERS):
        return True
    if HELPERS_AT.match(process.command[0]):
        return True
    return process.name in SHELLS and process.state != "R" and all(word.startswith("-") for word in process.command[1:])


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _terminal(number: int) -> Path | None:
    """The device of a terminal's number, as proc_pid_stat(5) gives it."""
    major, minor = os.major(number), os.minor(number)
    if 136 <= major < 144:
        return DEV / "pts" / str((major - 136) * 256 + minor)
    if major == 4:
        return DEV / (f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}")
    return None


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
