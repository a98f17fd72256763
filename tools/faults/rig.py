"""A host to be hit, and the runs of dlhost that are to mend it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.contenders import ssh
from benchmarks.estate import Estate, Host, Inventory
from dlhost.adapters import container as engine
from tools.faults.parts import groups_of, settings_of

PROGRAM = Path(sys.executable).with_name("dlhost")
# What every process of a run has in its environment.
MARK = "DLHOST_FAULTS_RUN"
# The benchmark lets an old client in besides.
SETTINGS = {"ssh_hardening_crypto": "strict", "firewall_state": "present"}
# Apt waits for its lock for 300 s, and the first run of a host that is for everything fetches as much as a gigabyte.
RUN_TIMEOUT_S = 1200
# The room that a run asks for, and little more: what fills the disk is this machine's memory.
OWN_DISK = """
parts="/etc /home /opt /root /srv /usr /var"
used=$(du --total --summarize --block-size=1M $parts | tail -1 | cut -f1)
mount -t tmpfs -o size=$((used + 1300))m,mode=0755 tmpfs /mnt
for part in $parts; do
    cp --archive $part /mnt$part
    mount --bind /mnt$part $part
done
# Who follows the journal looks at the new disk.
systemctl restart systemd-journald
"""
FILL = """
free=$(df --output=avail --block-size=1K /var | tail -1)
dd if=/dev/zero of=/var/ballast bs=1K count=$((free - $1)) 2>/dev/null || true
"""
# Calls of a run on the host, as sudo's own log counts them.
CALLS = "journalctl --identifier=sudo --grep=BECOME-SUCCESS --output=cat --lines=0 --follow"
# What a call has started, whatever it is.
KILL_CALLS = """
import os, pathlib, signal
parents = {}
for path in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        parents[int(path.name)] = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
        line = path.joinpath("cmdline").read_bytes()
    except OSError:
        continue
    if b"BECOME-" b"SUCCESS" in line and int(path.name) != os.getpid():
        parents[int(path.name)] = -1
def of_a_call(process):
    return process == -1 or process in parents and of_a_call(parents[process])
for process in [process for process in parents if of_a_call(process)]:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
CUT = """
route=$(ip -4 route show default)
ip link set eth0 down
sleep $1
ip link set eth0 up
ip route add $route
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command of dlhost's ended."""

    code: int
    document: dict[str, Any]
    output: str

    @property
    def changed(self) -> list[str]:
        """The tasks that changed the host."""
        hosts = self.document.get("hosts", ())
        return [
            f"{role['role']}: {change['task']}"
            for host in hosts
            for role in host["roles"]
            for change in role["changes"]
        ]


class Run:
    """A command of dlhost's in the background, in a session of its own, with what it says in files."""

    def __init__(self, directory: Path, inventory: str, arguments: Sequence[str]) -> None:
        number = len(list(directory.glob("*.out")))
        self._out, self._err = directory / f"{number}.out", directory / f"{number}.err"
        self._mark = f"{MARK}={directory}-{number}"
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(
                [PROGRAM, *arguments, "-i", inventory, "--json"],
                env={**os.environ, **dict([self._mark.split("=", 1)])},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def going_on(self) -> bool:
        return self._process.poll() is None

    def end(self) -> Ran:
        """Its result, once it has ended by itself or by force; one that does not end is killed."""
        endless = ""
        try:
            self._process.wait(RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            endless = f"Killed, since it did not end within {RUN_TIMEOUT_S} s.\n"
            self.kill_all()
            self._process.wait()
        try:
            document = json.loads(self._out.read_text())
        except ValueError:
            document = {}
        return Ran(self._process.returncode, document, endless + self.output())

    def output(self) -> str:
        """What it said so far."""
        return self._out.read_text() + self._err.read_text()

    def kill_wrapper(self) -> None:
        """The process that the user started, and nothing else."""
        self._process.kill()

    def kill_all(self) -> None:
        """Every process of the run, as if this machine had lost its power."""
        while going_on := [process for process in self._processes() if _is_alive(process)]:
            for process in going_on:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def _processes(self) -> Iterator[int]:
        mark = f"{self._mark}\0".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes():
                    yield int(path.parent.name)


def _is_alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@dataclass
class Rig:
    """A host in a container, with an inventory."""

    estate: Estate
    host: Host
    inventory: Inventory
    parts: Sequence[str]
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def made(cls, estate: Estate, parts: Sequence[str], snapshot: str = "") -> Rig:
        """A new host, bare or like the one that the snapshot was taken of."""
        host = estate.host(snapshot)
        return cls(estate, host, _inventory(estate, host, parts), parts)

    def execute(self, script: str, *arguments: str) -> str:
        """A shell script on the host, past sshd."""
        return engine.execute(self.host.container, script, *arguments)

    @property
    def login(self) -> list[str]:
        """An own login; a command is to follow."""
        *command, address, _ = [*ssh(self.host, self.inventory), ""]
        return [*command, "-o", "ConnectTimeout=10", address]

    def begin(self, *arguments: str) -> Run:
        """One command in the background."""
        directory = self.estate.directory / f"{self.host.name}-runs"
        directory.mkdir(exist_ok=True)
        self.runs.append(Run(directory, self.inventory.name, arguments))
        return self.runs[-1]

    def run(self, *arguments: str) -> Ran:
        """One command to its end."""
        return self.begin(*arguments).end()

    def kill_modules(self) -> None:
        """What a run has going on on the host."""
        self.execute('python3 -c "$1"', KILL_CALLS)

    def cut(self, seconds: float) -> None:
        """Nothing gets to the host or from it for so long."""
        self.execute(CUT, str(seconds))

    def restart(self) -> None:
        """As if the host had lost its power, and got it back."""
        self.host.container.kill()
        self.host.container.start()
        engine.wait_for_boot(self.host.container)
        address = engine.address_of(self.host.container)
        if address != self.host.address:
            self.host = replace(self.host, address=address)
            self.inventory = _inventory(self.estate, self.host, self.parts)

    def own_disk(self) -> None:
        """Give the host a file system that can be full without filling this machine's."""
        self.execute(OWN_DISK)

    def fill(self, free_kib: int) -> None:
        """Leave this much room on it."""
        self.execute(FILL, str(free_kib))

    def make_room(self) -> None:
        """Take away what fills it."""
        self.execute("rm -f /var/ballast")

    def close(self) -> None:
        for run in self.runs:
            run.kill_all()
        self.estate.discard(self.host)


def _inventory(estate: Estate, host: Host, parts: Sequence[str]) -> Inventory:
    # Jupyter is asked for through the front, by a name that leads there.
    settings = {**SETTINGS, "tls_names": [host.address], **settings_of(parts)}
    return estate.inventory(host, settings=settings, groups=groups_of(parts))


class Calls(threading.Thread):
    """Counts what a host is asked to do from now on; `reached` is set when call number `wanted` has begun."""

    def __init__(self, rig: Rig, wanted: int = 0) -> None:
        super().__init__(daemon=True)
        self.begun = 0
        self.reached = threading.Event()
        self._wanted = wanted
        client = rig.host.container.client.api
        number = client.exec_create(rig.host.container.id, ["sh", "-c", CALLS])["Id"]
        self._lines = client.exec_start(number, stream=True)
        self.start()

    def run(self) -> None:
        for chunk in self._lines:
            self.begun += chunk.count(b"COMMAND=")
            if self.begun >= self._wanted:
                self.reached.set()
