"""OpenSSH's own client: probes before a run, shells and tunnels for the user, host keys."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from dlhost.adapters.network import LOOPBACK, is_free
from dlhost.errors import DlhostError, RefusedError, UnreachableError, UsageError
from dlhost.values.inventory import Connection, Host
from dlhost.values.preflight import Contact, Probe
from dlhost.values.services import DIRECTORY, Offer, offer_from
from dlhost.values.ssh_config import effective_from
from dlhost.values.tunnels import Tunnel

PROBE = Path(__file__).with_name("probe.sh")
CONNECT_TIMEOUT_S = 10
# A probe is one short script; a host that takes longer hangs in a login shell or a name service.
PROBE_TIMEOUT_S = 60
AT_ONCE = 20
# An ssh on this machine answers at once, unless it was stopped.
MASTER_TIMEOUT_S = 5
# Where nobody is asked: no password, no new host key, no endless wait.
UNATTENDED = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}")
# Only forwards, and no less than all that were asked for.
FORWARDING = ("-N", "-o", "ExitOnForwardFailure=yes")
# In the background, the one connection of its socket; it ends by itself within two minutes of the network.
_LASTING = ("-f", "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=3")
# What sshd, or a guard such as fail2ban, does to an address after failed logins, and full ones to everybody.
TURNED_AWAY = "hangs up before a login, as sshd does for a while after failed ones from here. Try again in some minutes"
NO_CLIENT = "OpenSSH's client is not installed here. Install it: sudo apt-get install openssh-client"


def ssh_command(connection: Connection, options: Sequence[str] = (), remote: Sequence[str] = ()) -> list[str]:
    """The command line of ssh for a host: Ansible's own options in its order, then ours, then the remote command."""
    return ["ssh", *_first_options(connection), *connection.ssh_args, *options, connection.address, *remote]


def scp_command(connection: Connection, paths: Sequence[str], *, recursive: bool) -> list[str]:
    """The command line of scp for a host; its paths on the host are made by `scp_path`."""
    flags = ["-r"] if recursive else []
    return ["scp", *_first_options(connection), *connection.scp_args, *flags, "--", *paths]


def scp_path(connection: Connection, path: str) -> str:
    """A path on the host, as scp takes it."""
    address = f"[{connection.address}]" if ":" in connection.address else connection.address
    return f"{address}:{path}"


def _first_options(connection: Connection) -> list[str]:
    options = list(connection.early_ssh_args)
    for option, value in (
        ("Port", connection.port),
        # ssh splits its value at spaces.
        ("IdentityFile", f'"{connection.key_file}"' if connection.key_file else None),
        ("User", connection.user),
    ):
        if value is not None:
            options += ["-o", f"{option}={value}"]
    return options


def multiplexed(control_path_dir: Path) -> list[str]:
    """The options by which our ssh and Ansible's share one connection; adapters/ansible.cfg says the same.

    A host with ansible_ssh_args of its own has those instead of ansible.cfg's: it shares where they say so.
    """
    return [
        "-o",
        "ControlMaster=auto",
        "-o",
        "ControlPersist=300s",
        "-o",
        f"ControlPath={control_path_dir}/%C",
    ]


def probe_all(hosts: Iterable[Host], control_path_dir: Path) -> list[Probe]:
    """Look at every host at once; each opens the connection that the run then goes through."""
    hosts = list(hosts)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(lambda host: probe(host, control_path_dir), hosts))


def probe(host: Host, control_path_dir: Path) -> Probe:
    """Look at one host. Where its own port is closed, the port its inventory wants SSH moved to is tried too."""
    answer = ask(host, control_path_dir, PROBE.read_text(), PROBE_TIMEOUT_S)
    if answer.contact is not Contact.REACHED:
        return Probe(host.name, answer.contact, answer.error)
    facts = dict(line.split("=", 1) for line in answer.printed.splitlines() if "=" in line)
    return Probe(host.name, Contact.REACHED, sudo=facts.get("sudo", ""), port=answer.port, facts=facts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script printed on a host; `port` is the one that answered where it is not the inventory's."""

    contact: Contact
    error: str = ""
    printed: str = ""
    port: int | None = None

    @property
    def why(self) -> str:
        """The error of one that was not reached, with the way out where only the user can know whom he trusts."""
        way_out = "; `dlhost doctor` tells how to trust it" if self.contact is Contact.UNTRUSTED else ""
        return f"{self.error}{way_out}"


def ask(host: Host, control_path_dir: Path, script: str, timeout_s: float, shell: str = "sh") -> Answer:
    """Let a host's shell read a script, in one round trip on the run's connection: its own port first, then others.

    The script prints the line `complete=yes` when it has said what counts; what it says later may be missing.
    """
    first = _ask_once(host.connection, control_path_dir, script, timeout_s, shell)
    if first.contact is not Contact.UNREACHABLE:
        return first
    for port in _other_ports(host):
        second = _ask_once(replace(host.connection, port=port), control_path_dir, script, timeout_s, shell)
        if second.contact is Contact.REACHED:
            return replace(second, port=port)
    return first


def connection_that_answers(host: Host, control_path_dir: Path) -> Connection:
    """How to reach the host now: on another port than the inventory's where sshd moved or has yet to move."""
    if not _other_ports(host):
        return host.connection
    port = probe(host, control_path_dir).port
    close_connections([host], control_path_dir)
    return replace(host.connection, port=port) if port else host.connection


def offer(host: Host, control_path_dir: Path) -> Offer:
    """What a host says that it offers, through the run's connection where one is open.

    Raises:
        UnreachableError: It cannot be reached.
        DlhostError: What it says is not of a form that we know.
    """
    # A connection that nobody would close is not begun for one question.
    options = [*UNATTENDED, "-o", "ControlMaster=no", "-o", f"ControlPath={control_path_dir}/%C"]
    local = host.connection.transport == "local"
    command = ["sh"] if local else ssh_command(host.connection, options, ["sh"])
    try:
        result = _captured(command, _READ_OFFER, PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"{host.name} does not answer within {PROBE_TIMEOUT_S} s.") from None
    # What a login shell prints of its own comes before the first of these.
    files = result.stdout.split("\0")[1:]
    if not files or files.pop() != "complete":
        raise UnreachableError(f"{host.name} {_explain(result.stderr, host.connection)[1]}.")
    try:
        return offer_from({name: text for name, _, text in (file.partition("\n") for file in files)}, host.front)
    except ValueError as error:
        raise DlhostError(f"{host.name}: {error}.") from None


def offers(hosts: Iterable[Host], control_path_dir: Path) -> dict[str, Offer]:
    """The same of many hosts at once, by their names; why it is not known is part of each."""

    def one(host: Host) -> tuple[str, Offer]:
        try:
            return host.name, offer(host, control_path_dir)
        except DlhostError as error:
            return host.name, Offer(error=str(error))

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(pool.map(one, hosts))


# Every file behind its name, each between NULs.
_READ_OFFER = f"""
printf '\\0'
cd {DIRECTORY} 2>/dev/null && for file in *.json; do
  [ -f "$file" ] || continue
  printf '%s\\n' "$file"
  cat "$file"
  printf '\\0'
done
printf complete
"""


def try_sudo_password(host: Host, password: str, control_path_dir: Path) -> bool:
    """Whether sudo on the host takes the password.

    Raises:
        RefusedError: It does not say.
    """
    command = _command(host.connection, control_path_dir, ["LC_ALL=C sudo -S -k -p '' true"])
    try:
        return _captured(command, f"{password}\n", PROBE_TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        raise RefusedError(f"{host.name}: sudo takes longer than {PROBE_TIMEOUT_S} s to judge a password.") from None


def run_interactively(command: Sequence[str]) -> int:
    """Run ssh, or scp, on the user's own terminal; returns its exit code."""
    try:
        return subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        raise RefusedError(NO_CLIENT) from None


def forward(connection: Connection, local_port: int, remote_port: int, ready: Callable[[], None]) -> int:
    """Forward a local port to one of the host's own until interrupted; `ready` is called once it takes connections.

    Returns ssh's exit code, which is 0 after an interrupt.
    """
    options = [*FORWARDING, "-L", f"{LOOPBACK}:{local_port}:{LOOPBACK}:{remote_port}"]
    try:
        process = subprocess.Popen(ssh_command(connection, options))
    except FileNotFoundError:
        raise RefusedError(NO_CLIENT) from None
    try:
        while process.poll() is None and is_free(local_port):
            time.sleep(0.05)
        if process.poll() is None:
            ready()
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        process.terminate()
        process.wait()


def forward_in_background(tunnel: Tunnel, connection: Connection, socket: Path, log: Path) -> None:
    """Leave an ssh behind that forwards a tunnel's ports and listens to `socket`; what it says goes to `log`.

    Raises:
        UsageError: A local port cannot be had.
        UnreachableError: The host cannot be reached.
    """
    # A host's own ssh_args may keep connections open for as long as they are used, which a forward does not count as.
    # And -M beside their ControlMaster=yes would have a person asked before it ends.
    ours = ("-o", "ControlPersist=no", "-o", "ControlMaster=yes")
    lasting = replace(connection, early_ssh_args=(*ours, *connection.early_ssh_args))
    options = [*FORWARDING, *_LASTING, "-S", str(socket), "-E", str(log)]
    command = ssh_command(lasting, [*options, *(word for forward in tunnel.forwards for word in ("-L", forward))])
    try:
        # Whoever reads our output does not wait for the end of the tunnel.
        code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    except FileNotFoundError:
        raise RefusedError(NO_CLIENT) from None
    if code == 0:
        return
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if taken := re.search(r"^bind (\S+?): (.*?)\r?$", said, re.MULTILINE):
        raise UsageError(f"The tunnel cannot begin at {taken[1]} of this machine: {taken[2]}. Choose another port.")
    raise UnreachableError(f"{tunnel.host} {_explain(said, connection)[1]}.")


def is_master(socket: Path) -> bool:
    """Whether an ssh listens there; one that was stopped, and does not answer, still does."""
    return socket.exists() and _told_master(socket, "check") is not False


def end_master(socket: Path) -> bool:
    """End the ssh that listens there; returns whether none does any more.

    It takes its socket away last, and its ports are free then.
    """
    if socket.exists() and _told_master(socket, "exit"):
        end = time.monotonic() + MASTER_TIMEOUT_S
        while socket.exists() and time.monotonic() < end:
            time.sleep(0.02)
    return not is_master(socket)


def _told_master(socket: Path, order: str) -> bool | None:
    """Whether the ssh that listens there did as it was told; None where it does not answer."""
    # No configuration has a say; a name is asked for and not used.
    command = ["ssh", "-F", "none", "-S", str(socket), "-O", order, "dlhost"]
    try:
        return _captured(command, timeout_s=MASTER_TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        return None


def effective(connection: Connection | None) -> dict[str, list[str]]:
    """What ssh would do for a host, by keyword, its user's own configuration included; None: a host nobody knows.

    Raises:
        RefusedError: The inventory has options that ssh does not know.
    """
    command = ssh_command(connection or Connection(address="host-that-nobody-knows"), ["-G"])
    told = _captured(command)
    if told.returncode:
        raise RefusedError(f"ssh does not take the inventory's options: {_last_line(told.stderr)}.")
    return effective_from(told.stdout)


def close_connections(hosts: Iterable[Host], control_path_dir: Path) -> None:
    """Close the shared connections of a run, on whichever port."""
    for host in hosts:
        if host.connection.transport != "ssh":
            continue
        for connection in (host.connection, *(replace(host.connection, port=port) for port in _other_ports(host))):
            _captured(ssh_command(connection, [*multiplexed(control_path_dir), "-O", "exit"]))


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key as a known_hosts line without its name, and its SHA-256 fingerprint as ssh shows it."""

    key: str
    fingerprint: str


def scan_host_keys(address: str, port: int, known: Sequence[str] = ()) -> list[HostKey]:
    """The keys a host offers, not yet trusted: one of the kind that ssh likes best, or all where `known` needs them.

    Every kind costs a connection without a login, and sshd refuses an address that makes many of those
    (PerSourcePenalties in sshd_config(5), on by default since OpenSSH 9.8): so no more are asked for than it takes.

    Raises:
        UnreachableError: It does not answer as an SSH server.
    """
    found = _scanned(address, port, "ed25519")
    if not found or not {key.fingerprint for key in found}.issuperset(known):
        found += _scanned(address, port, "ecdsa,rsa")
    return found


def _scanned(address: str, port: int, kinds: str) -> list[HostKey]:
    command = ["ssh-keyscan", "-T", str(CONNECT_TIMEOUT_S), "-t", kinds, "-p", str(port), address]
    scan = _captured(command)
    # It names the server, as a comment, of every one that spoke to it, keys of that kind or not.
    if "SSH-2.0-" not in scan.stdout + scan.stderr:
        if "Connection closed" in scan.stderr or "Connection reset" in scan.stderr:
            raise UnreachableError(f"{address} port {port} {TURNED_AWAY}.")
        if unknown := re.search(r"^getaddrinfo .*: (.+)$", scan.stderr, re.MULTILINE):
            raise UnreachableError(
                f"This machine knows no address of {address}: {unknown[1]}. Correct the name, or give the address."
            )
        raise UnreachableError(
            f"{address} does not answer as an SSH server on port {port}. Is it on, and sshd running?"
        )
    keys = [line.split(maxsplit=1)[1] for line in scan.stdout.splitlines() if line and not line.startswith("#")]
    return [HostKey(key, _fingerprint(key)) for key in sorted(keys)]


def new_key(path: Path, comment: str) -> tuple[str, str]:
    """A new key pair as texts: private, public. It passes through path, which the caller removes."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)
    return path.read_text(), path.with_suffix(".pub").read_text()


def can_log_in(connection: Connection) -> str:
    """Nothing where a key logs in without a question; otherwise what ssh said."""
    result = _captured(ssh_command(connection, UNATTENDED, ["true"]))
    return "" if result.returncode == 0 else _last_line(result.stderr)


def _captured(
    command: Sequence[str], said: str | None = None, timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it and take what it says, which on a stranger's host need not be UTF-8.

    Raises:
        RefusedError: OpenSSH's client is not installed.
    """
    try:
        return subprocess.run(
            command,
            input=said,
            stdin=subprocess.DEVNULL if said is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise RefusedError(NO_CLIENT) from None


def _fingerprint(key: str) -> str:
    shown = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=key, capture_output=True, text=True, check=True)
    return shown.stdout.split()[1]


def _command(connection: Connection, control_path_dir: Path, remote: Sequence[str]) -> list[str]:
    if connection.transport == "local":
        return ["sh", "-c", *remote]
    return ssh_command(connection, [*UNATTENDED, *multiplexed(control_path_dir)], remote)


def _other_ports(host: Host) -> list[int]:
    """Where sshd may listen instead: where the inventory wants it, and where it listens at first."""
    ports = dict.fromkeys([host.ssh_port_wanted, 22])
    return [port for port in ports if port not in {None, host.connection.port or 22}]


def _ask_once(connection: Connection, control_path_dir: Path, script: str, timeout_s: float, shell: str) -> Answer:
    if connection.transport not in {"ssh", "local"}:
        return Answer(Contact.UNREACHABLE, f"cannot be looked at over a {connection.transport} connection")
    remote = shell if connection.transport == "ssh" else f"exec {shell}"
    try:
        result = _captured(_command(connection, control_path_dir, [remote]), script, timeout_s)
    except subprocess.TimeoutExpired as expired:
        # Bytes, though text was asked for.
        printed = (expired.stdout or b"").decode("utf-8", "replace")
        if _is_complete(printed):
            return Answer(Contact.REACHED, printed=printed)
        return Answer(Contact.UNREACHABLE, f"does not finish a login within {timeout_s:.0f} s")
    if _is_complete(result.stdout):
        return Answer(Contact.REACHED, printed=result.stdout)
    contact, error = _explain(result.stderr, connection)
    return Answer(contact, error)


def _is_complete(printed: str) -> bool:
    return "complete=yes" in printed.splitlines()


def _explain(said: str, connection: Connection) -> tuple[Contact, str]:
    """ssh's own words as one sentence with the way out."""
    where = f"{connection.address} port {connection.port or 22}"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        offending = re.search(r"Offending \S+ key in (\S+):(\d+)", said)
        alias = re.search(r"HostKeyAlias[= ](\S+)", " ".join(connection.ssh_args))
        # A host may have keys of several types there, and every one of the old ones has to go.
        file = f" -f {shlex.quote(offending[1])}" if offending else ""
        remove = f"ssh-keygen -R {shlex.quote(alias[1] if alias else _known_as(connection))}{file}"
        return Contact.UNTRUSTED, (
            "has another host key than the one you trusted: either it was reinstalled, or someone "
            f"stands in between. If you know why, run `{remove}`"
        )
    if "Host key verification failed" in said or "No matching host key" in said:
        return Contact.UNTRUSTED, f"has a host key that you have not trusted yet ({where})"
    if "Permission denied" in said:
        if left_open := re.search(r"Permissions \d+ for '([^']+)' are too open", said):
            return Contact.UNREACHABLE, (
                f"was not shown your key {left_open[1]}: others may read it, and ssh does not use it so. "
                f"Run chmod 600 {shlex.quote(left_open[1])}"
            )
        user = connection.user or "your user name"
        # Known only now: an agent may have the key whose file is gone.
        if connection.key_file and f"no such identity: {connection.key_file}:" in said:
            return Contact.UNREACHABLE, (
                f"does not let {user} log in, and the key file that the inventory names for it is not there: "
                f"{connection.key_file}. Correct ansible_ssh_private_key_file, or bring the file back"
            )
        methods = re.search(r"Permission denied \(([^)]*)\)", said)
        offered = f"; it accepts {methods[1]}" if methods else ""
        port = f"-p {connection.port} " if connection.port not in {None, 22} else ""
        return Contact.UNREACHABLE, (
            f"does not let {user} log in with your key{offered}. "
            f"Authorise it: ssh-copy-id {port}{user}@{connection.address}"
        )
    if re.search(r"kex_exchange_identification: .*(?:closed|reset)", said):
        return Contact.UNREACHABLE, f"{TURNED_AWAY} ({where})"
    return (
        Contact.UNREACHABLE,
        f"cannot be reached at {where}: {_last_line(said) or 'the connection was closed'}",
    )


def _known_as(connection: Connection) -> str:
    """A host's name in known_hosts, where it has no alias."""
    other_port = connection.port not in {None, 22}
    return f"[{connection.address}]:{connection.port}" if other_port else connection.address


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else ""
