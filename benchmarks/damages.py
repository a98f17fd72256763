"""Damages to a provisioned host: which of them `dlhost drift` names, and which one `dlhost provision` repairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import contenders
from benchmarks.contenders import Peers
from benchmarks.end_state import ENVIRONMENT, JUPYTER, TLS_CERTIFICATE, TLS_KEY, USER, EndState
from benchmarks.estate import Estate, Host
from benchmarks.hosts import Hosts
from benchmarks.result import Figure
from dlhost.adapters.container import execute


@dataclass(frozen=True, slots=True)
class Damage:
    """A shell line that damages, what a report may call it, and a shell line that sees it still there."""

    name: str
    run: str
    named: tuple[str, ...]
    seen: str


def _unit(done: str, run: str, unit: str, state: str, *also_named: str) -> Damage:
    seen = f"systemctl show --value -p ActiveState -p UnitFileState {unit} | grep -qx {state}"
    return Damage(f"{done} {unit}", run, (unit, *also_named), seen)


def _edited(path: str, line: str) -> Damage:
    return Damage(f"edited {path}", f"echo {line!r} >> {path}", (path,), f"grep -qxF {line!r} {path}")


def _removed(package: str) -> Damage:
    return Damage(
        f"removed package {package}",
        f"dpkg --purge --force-depends {package}",
        (package,),
        f"! dpkg-query --show --showformat='${{db:Status-Status}}' {package} | grep -qx installed",
    )


def _mode(path: str, mode: str) -> Damage:
    return Damage(f"changed mode of {path}", f"chmod {mode} {path}", (path,), f"stat -c %a {path} | grep -qx {mode}")


def _deleted(path: str, *also_named: str) -> Damage:
    return Damage(f"deleted {path}", f"rm {path}", (path, *also_named), f"test ! -e {path}")


AUTHORITY = "/usr/local/share/ca-certificates/dlhost-benchmark.crt"
# A host's own pip need not be in the environment: this one comes with python3-venv.
PIP = f"{ENVIRONMENT}/bin/python $(ls /usr/share/python-wheels/pip-*.whl)/pip"
WHEEL_FILE = f"{ENVIRONMENT}/lib/python3*/site-packages/tornado/web.py"
# Modes, drop-ins, masked units, removed packages, edited configuration, deleted files, a damaged environment of Python:
# what the roles own of them.
DAMAGES = (
    _mode("/etc/needrestart/conf.d/90-dlhost.conf", "600"),
    _mode("/etc/ssh/sshd_config.d/00-dlhost.conf", "666"),
    _edited("/etc/apt/apt.conf.d/90dlhost", 'Unattended-Upgrade::Automatic-Reboot "true";'),
    _edited("/etc/ssh/sshd_config.d/01-dlhost-match.conf", "PasswordAuthentication yes"),
    _deleted("/etc/systemd/timesyncd.conf.d/90-dlhost.conf", "Configure the time service"),
    _removed("tmux"),
    _removed("xauth"),
    _unit("stopped", "systemctl stop apt-daily.timer", "apt-daily.timer", "inactive"),
    _unit("masked", "systemctl mask --now apt-daily-upgrade.timer", "apt-daily-upgrade.timer", "masked"),
    _unit(
        "disabled",
        "systemctl disable systemd-timesyncd",
        "systemd-timesyncd.service",
        "disabled",
        "Enable the time service",
    ),
    _unit("disabled", "systemctl disable ssh", "ssh.service", "disabled", "Enable the server"),
    Damage(
        "replaced authority",
        f"cp /etc/ssl/certs/ISRG_Root_X1.pem {AUTHORITY} && update-ca-certificates",
        (AUTHORITY,),
        f"cmp -s /etc/ssl/certs/ISRG_Root_X1.pem {AUTHORITY}",
    ),
    Damage("deleted group dlusers", "groupdel dlusers", ("dlusers", "Create the group"), "! getent group dlusers"),
    Damage(
        "other time zone",
        "ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime",
        ("time zone",),
        "readlink /etc/localtime | grep -q UTC",
    ),
    Damage("deleted file of a wheel", f"rm {WHEEL_FILE}", ("tornado/web.py",), f"! ls {WHEEL_FILE}"),
    Damage(
        "pip uninstall ipywidgets",
        f"{PIP} -q uninstall --yes ipywidgets",
        ("ipywidgets",),
        f"! {ENVIRONMENT}/bin/python -c 'import ipywidgets'",
    ),
    _edited("/etc/nginx/sites-available/dlhost.conf", "# edited"),
    Damage(
        "replaced certificate",
        "openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=stranger "
        f"-keyout {TLS_KEY} -out {TLS_CERTIFICATE}",
        ("CN=stranger", "Certificate | Sign"),
        f"openssl x509 -in {TLS_CERTIFICATE} -noout -subject | grep -q stranger",
    ),
    Damage(
        f"stopped and masked {JUPYTER}",
        f"systemctl mask --now {JUPYTER}",
        (JUPYTER, "Jupyter | Run it"),
        f"! systemctl is-active --quiet {JUPYTER}",
    ),
    _mode(f"/etc/dlhost/jupyter/{USER}/jupyter_server_config.py", "644"),
)


def measure(estate: Estate, hosts: Hosts, state: EndState) -> Iterator[Figure]:
    """All damages at once, for dlhost and then for the peer's tasks, each on its own host."""
    host = hosts.dlhost
    inventory = estate.inventory(host)
    _damage(host)
    report = contenders.dlhost("drift", inventory, expect=(3,)).output
    yield _count("damages named by `dlhost drift`", _unnamed(report), True)
    contenders.dlhost("provision", inventory, expect=(0, 1))
    yield _count("damages repaired by one `dlhost provision`", _still_there(host), True)

    host = hosts.peer
    peers = Peers.of(estate.inventory(host), state)
    _damage(host)
    tasks = peers.tasks("--check", "--diff", expect=(0, 2)).output.split("\nTASK [")
    said = "\n".join(task for task in tasks if "changed: [" in task)
    yield _count("damages named by the peer's dry run", _unnamed(said))
    peers.tasks(expect=(0, 2))
    yield _count("damages repaired by one run of the peer's tasks", _still_there(host))


def _damage(host: Host) -> None:
    for damage in DAMAGES:
        execute(host.container, damage.run)
    unseen = {damage.name for damage in DAMAGES} - {damage.name for damage in _still_there(host)}
    if unseen:
        raise RuntimeError(f"Not damaged after all: {', '.join(sorted(unseen))}.")


def _unnamed(report: str) -> list[Damage]:
    return [damage for damage in DAMAGES if not any(name in report for name in damage.named)]


def _still_there(host: Host) -> list[Damage]:
    question = 'if sh -c "$1" >/dev/null 2>&1; then echo yes; fi'
    return [damage for damage in DAMAGES if execute(host.container, question, damage.seen)]


def _count(name: str, missed: list[Damage], all_of_them: bool = False) -> Figure:
    without = f"; not: {', '.join(damage.name for damage in missed)}" if missed else ""
    measured = f"{len(DAMAGES) - len(missed)} of {len(DAMAGES)}{without}"
    return Figure(name, measured, "all", not missed) if all_of_them else Figure(name, measured)
