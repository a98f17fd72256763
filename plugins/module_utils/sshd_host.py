"""The host's sshd as it runs: its unit, ports, accounts, and what it makes of a configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import tempfile
import time
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import sshd
from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.service_host import RefusedError, must

SSHD = "/usr/sbin/sshd"
RUN_DIRECTORY = Path("/run/sshd")
PROCESS_FILE = Path("/run/sshd.pid")
RELOAD_TIMEOUT_S = 10
SOCKET_DROP_IN = Path("/etc/systemd/system/ssh.socket.d/dlhost.conf")
# Ubuntu's generator derives ssh.socket's addresses from sshd_config; elsewhere the socket needs a drop-in.
SOCKET_GENERATORS = (
    Path("/usr/lib/systemd/system-generators/sshd-socket-generator"),
    Path("/lib/systemd/system-generators/sshd-socket-generator"),
)


@dataclasses.dataclass(frozen=True)
class Connection:
    """The SSH connection that carries this call, as sshd sees it; port 0 where there is none."""

    client: str = "127.0.0.1"
    address: str = "127.0.0.1"
    port: int = 0


@dataclasses.dataclass(frozen=True)
class Unit:
    """The unit that serves SSH. `socket` is true where ssh.socket holds the port."""

    name: str
    problems: list[str]
    socket: bool


def find_connection() -> Connection:
    """sudo drops SSH_CONNECTION, so it is looked for in the processes above this one as well."""
    process = os.getpid()
    while process > 1:
        try:
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            break
        for entry in environment:
            if entry.startswith(b"SSH_CONNECTION="):
                client, _client_port, address, port = entry.decode().partition("=")[2].split()
                return Connection(client, address, int(port))
        # The name in parentheses may hold spaces.
        process = int(status.rpartition(")")[2].split()[1])
    return Connection()


def is_installed() -> bool:
    """Whether there is an sshd to ask; a package that was only removed leaves its configuration."""
    return Path(SSHD).exists() and sshd.MAIN.exists()


def find_unit() -> Unit:
    """Debian and Ubuntu call the unit ssh; sshd is an alias that may be missing.

    Raises:
        RefusedError: The host has no such unit.
    """
    properties = "Id,LoadState,ActiveState,UnitFileState"
    answer = run("systemctl", "show", f"--property={properties}", "ssh.service", "sshd.service", "ssh.socket")
    units = [dict(row.split("=", 1) for row in block.splitlines()) for block in answer.stdout.strip().split("\n\n")]
    if answer.returncode != 0 or len(units) != 3:
        raise RefusedError(
            f"systemd does not answer ({' '.join(answer.stderr.split())}), and it runs sshd on this platform."
        )
    *services, socket = units
    known = [unit for unit in services if unit["LoadState"] != "not-found"]
    if not known:
        raise RefusedError("The host has neither ssh.service nor sshd.service. Install openssh-server and run again.")
    service = known[0]
    by_socket = socket["ActiveState"] == "active"
    problems = []
    if service["LoadState"] == "masked":
        problems.append(f"{service['Id']} is masked")
    serving = socket if by_socket else service
    if serving["UnitFileState"] not in ("enabled", "masked"):
        problems.append(f"{serving['Id']} is {serving['UnitFileState'] or 'not enabled'}")
    if serving["ActiveState"] not in ("active", "reloading"):
        problems.append(f"{serving['Id']} is {serving['ActiveState']}")
    return Unit(service["Id"], problems, by_socket)


def evaluate(configuration: sshd.Configuration, user: str, connection: Connection) -> sshd.Effective:
    """What sshd makes of a configuration for one account.

    Raises:
        RefusedError: sshd does not accept it; the message has sshd's own words.
    """
    # In memory, and readable by root alone.
    with tempfile.TemporaryDirectory(prefix="dlhost-sshd-", dir="/run") as directory:
        copies = configuration.shadow(Path(directory))
        specification = f"user={user},host={connection.client},addr={connection.client},laddr={connection.address}"
        specification += f",lport={connection.port or sshd.DEFAULT_PORT}"
        answer = run(SSHD, "-T", "-f", str(copies[sshd.MAIN]), "-C", specification)
        if answer.returncode != 0:
            words = answer.stderr
            for path, copy in copies.items():
                words = words.replace(str(copy), str(path))
            raise RefusedError(f"sshd refuses the configuration, so it was not put in place: {' '.join(words.split())}")
    return sshd.parse_effective(answer.stdout)


def load(unit: Unit, listeners_change: bool) -> None:
    """Make sshd use the files in place, by reload so that no session ends.

    Raises:
        RefusedError: sshd does not come back.
    """
    if any("masked" in problem for problem in unit.problems):
        must("systemctl", "unmask", "--quiet", unit.name)
    serving = "ssh.socket" if unit.socket else unit.name
    if unit.problems:
        must("systemctl", "enable", "--quiet", serving)
    if unit.socket and listeners_change:
        must("systemctl", "daemon-reload")
        # The sessions live on (KillMode=process); the next connection starts the service again.
        must("systemctl", "stop", unit.name)
        must("systemctl", "restart", "ssh.socket")
        return
    if run("systemctl", "is-active", "--quiet", unit.name).returncode != 0:
        must("systemctl", "start", serving)
        return
    before = _written(PROCESS_FILE)
    must("systemctl", "reload", unit.name)
    # The reload is only a signal. sshd listens again before it writes this file anew.
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while before and _written(PROCESS_FILE) in (0, before):
        if time.monotonic() > deadline or run("systemctl", "is-active", "--quiet", unit.name).returncode != 0:
            raise RefusedError(f"sshd did not load the new configuration within {RELOAD_TIMEOUT_S} s.")
        time.sleep(0.02)


def reload_lines(unit: Unit) -> list[str]:
    """Lines of sh that have sshd use the files in place, whether it ran or not."""
    if unit.socket:
        serving, again = "ssh.socket", f"systemctl stop {unit.name}; systemctl restart ssh.socket"
    else:
        serving, again = unit.name, f"systemctl reload {unit.name} || systemctl restart {unit.name}"
    return [
        # While the host boots, sshd has not been started yet and reads the restored files by itself.
        f"    if systemctl is-active --quiet {serving}; then {again}",
        '    else case "$(systemctl is-system-running)" in',
        f"        initializing|starting) ;; *) systemctl start {serving};; esac",
        "    fi",
    ]


def host_ports(unit: Unit, configuration: sshd.Configuration, connection: Connection) -> list[int]:
    """The ports that the host's own files ask for."""
    if not unit.socket or socket_follows_sshd():
        return sorted(map(int, evaluate(configuration, "root", connection)["listenport"]))
    answer = run("systemctl", "show", "--value", "--property=FragmentPath,DropInPaths", "ssh.socket")
    files = [Path(name) for name in answer.stdout.split() if name != str(SOCKET_DROP_IN)]
    return sshd.stream_ports(path.read_text(errors="replace") for path in files)


def listening_ports() -> set[int]:
    """proc(5): state 0A is LISTEN, the local address HEX:HEXPORT."""
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for row in table.read_text().splitlines()[1:] if table.exists() else []:
            _slot, local, _remote, state, *_rest = row.split()
            if state == "0A":
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


def socket_follows_sshd() -> bool:
    return any(path.exists() for path in SOCKET_GENERATORS)


def account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise RefusedError(
            f"The host has no account {user}. Make it first, or take it out of the inventory; nothing was changed."
        ) from None


def fingerprints(text: str) -> list[str]:
    answer = run("ssh-keygen", "-l", "-f", "-", given=text)
    return answer.stdout.splitlines() if answer.returncode == 0 else []


@contextlib.contextmanager
def run_directory():
    """sshd checks nothing without this directory, which is there only while the service runs."""
    missing = not RUN_DIRECTORY.exists()
    if missing:
        RUN_DIRECTORY.mkdir(mode=0o755)
    try:
        yield
    finally:
        # Gone or in use by now: then it is no longer ours.
        with contextlib.suppress(OSError):
            if missing and run("systemctl", "is-active", "--quiet", "ssh.service").returncode != 0:
                RUN_DIRECTORY.rmdir()


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
