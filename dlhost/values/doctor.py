"""What `dlhost doctor` says of a controller and of a host: findings, each with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact, Probe, objections, refusals

# A clock that is further off makes apt and TLS refuse what is fresh; one that is less far off is only worth a word.
CLOCK_FAR_OFF_S = 300
CLOCK_OFF_S = 30
# Who may hold a role's ports, as patterns of units and of commands: the role itself. systemd listens for its sockets.
SSH_OWNERS = ("ssh.service", "ssh.socket", "sshd", "systemd")
# Where roles fetch from unless they are told otherwise.
NVIDIA = "https://developer.download.nvidia.com"
PYPI = "https://pypi.org/simple"


class Verdict(StrEnum):
    """fail: provision would refuse, or could not do it. warn: it works, or will, and is worth knowing."""

    PASS = "pass"  # noqa: S105  a verdict, not a password
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis: what it is about, what was seen, and what to do where that is not well."""

    topic: str
    verdict: Verdict
    seen: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """The GPU roles' word on a host; `nearest` is the nearest combination that works, by the compatibility table.

    `unjudged` says why the settings could not be held against the cards. `package_version` is the driver's.
    """

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unjudged: str = ""
    nearest: str = ""
    package_version: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a role is to listen on, and who may have it already."""

    number: int
    role: str
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a host found: the doctor's own lines by key, and the GPU facts of module nvidia_facts.

    `gpu_look_ended` is False where nvidia-smi hangs, so that the facts after it are missing.
    """

    said: Mapping[str, Sequence[str]]
    clock_off_s: float
    gpu: Mapping[str, Any]
    gpu_look_ended: bool


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything about one host."""

    host: str
    contact: Contact
    findings: tuple[Finding, ...]
    gpu: Mapping[str, Any] = field(default_factory=dict)
    driver: Mapping[str, str] = field(default_factory=dict)


def unreached(probe: Probe, inventory: str) -> Finding:
    """The one finding of a host that the connection was not made to."""
    if probe.contact is Contact.UNTRUSTED:
        (sentence,) = refusals(probe, (), inventory, changing=True)
        return in_two("ssh", Verdict.FAIL, sentence)
    return in_two("ssh", Verdict.FAIL, probe.error)


def of_probe(host: Host, probe: Probe, roles: Sequence[str], inventory: str) -> Iterator[Finding]:
    """What the preflight of a run would say."""
    facts = probe.facts or {}
    connection = host.connection
    where = f"{connection.address} port {probe.port or connection.port or 22}"
    if connection.transport == "local":
        yield Finding("ssh", Verdict.SKIP, "this machine itself, reached without SSH")
    else:
        yield Finding("ssh", Verdict.PASS, f"{where} lets {facts.get('user')} in, and its host key is the trusted one")
    well = {
        "system": f"{facts.get('pretty_name')}, {facts.get('architecture')}",
        "sudo": "root itself" if facts.get("uid") == "0" else f"{facts.get('user')} may use it",
        "disk": ", ".join(_free(facts)),
        "python": "there" if facts.get("python") == "yes" else "none yet, role system brings it",
    }
    for topic, objection in objections(probe, roles, inventory, changing=True).items():
        yield in_two(topic, Verdict.FAIL, objection) if objection else Finding(topic, Verdict.PASS, well[topic])


def _free(facts: Mapping[str, str]) -> Iterator[str]:
    """How much is free where; places on one disk are named together."""
    places: dict[str, list[str]] = {}
    for name, place in (("root", "/"), ("var", "/var"), ("tmp", "/tmp")):  # noqa: S108  names, nothing is written
        places.setdefault(facts.get(f"free_mib_{name}", ""), []).append(place)
    for mib, names in places.items():
        if mib.isdecimal():
            yield f"{int(mib) / 1024:.1f} GiB free on {' and '.join(names)}"


def of_look(look: Look, ports: Sequence[Port]) -> Iterator[Finding]:
    """What is not about GPUs."""
    yield _clock(look)
    for line in look.said.get("index", ()):
        yield _index(line)
    listeners = _listeners(look.said)
    known = "listeners" in look.said
    for port in ports:
        yield _port(port, listeners, known=known, root=look.said.get("root") == ["0"])
    yield from _kernel(look.gpu)


def _clock(look: Look) -> Finding:
    off = abs(look.clock_off_s)
    direction = "ahead of" if look.clock_off_s > 0 else "behind"
    todo = "sudo timedatectl set-ntp true; where that does not help: sudo timedatectl set-time 'YYYY-MM-DD hh:mm:ss'"
    if off >= CLOCK_OFF_S:
        verdict = Verdict.FAIL if off >= CLOCK_FAR_OFF_S else Verdict.WARN
        return Finding("clock", verdict, f"{off:.0f} s {direction} this machine's", todo)
    synchronised = look.said.get("synchronised", [""])[0]
    kept = {"yes": ", and a time service keeps it so", "no": "; no time service keeps it yet"}.get(synchronised, "")
    return Finding("clock", Verdict.PASS, f"right{kept}")


def _index(line: str) -> Finding:
    """A package index as the host reaches it; a host that has everything already needs none."""
    state, name, port, address = (*line.split(" ", 3), "", "", "")[:4]
    if state == "answers":
        return Finding("index", Verdict.PASS, f"{address} answers")
    if state == "unknown":
        todo = f"mend the host's DNS: `getent hosts {name}` there, and resolv.conf(5)"
        return Finding("index", Verdict.WARN, f"{address}: the host does not find {name} by its name", todo)
    todo = "see whether a firewall or a proxy is in the way; apt's proxy is Acquire::http::Proxy in apt.conf(5)"
    return Finding("index", Verdict.WARN, f"{address}: {name} port {port} does not answer the host", todo)


@dataclass(frozen=True, slots=True)
class _Listener:
    command: str
    pid: str
    unit: str


def _listeners(said: Mapping[str, Sequence[str]]) -> dict[int, list[_Listener]]:
    """Port to the programs that listen there, as ss(8) shows them; of one that only root sees its unit, or nothing."""
    units = dict(line.split(" ", 1) for line in said.get("unit", ()) if " " in line)
    found: dict[int, list[_Listener]] = {}
    for line in said.get("listener", ()):
        words = line.split()
        number = words[3].rpartition(":")[2] if len(words) > 3 else ""
        if number.isdecimal():
            programs = re.findall(r'\("([^"]*)",pid=(\d+)', line)
            group = re.search(r" cgroup:\S*/([^/\s]+\.(?:service|socket|scope))(?:\s|$)", line)
            holders = [_Listener(command, pid, units.get(pid, "")) for command, pid in programs]
            found.setdefault(int(number), []).extend(holders or ([_Listener(group[1], "", group[1])] if group else []))
    return found


def _port(port: Port, listeners: Mapping[int, Sequence[_Listener]], *, known: bool, root: bool) -> Finding:
    name = f"port_{port.number}"
    if not known:
        return Finding(
            name, Verdict.SKIP, f"{port.role}: the host has no ss(8) to ask", "sudo apt-get install iproute2"
        )
    if port.number not in listeners:
        return Finding(name, Verdict.PASS, f"{port.role}: free")
    holders = listeners[port.number]
    strangers = [one for one in holders if not _owns(port, one)]
    if holders and not strangers:
        return Finding(name, Verdict.PASS, f"{port.role}: {holders[0].unit or holders[0].command} has it")
    if not holders:
        why = "" if root else ", which only root sees"
        return Finding(
            name,
            Verdict.WARN,
            f"{port.role}: taken, by whom is not known{why}",
            f"sudo ss -ltnp 'sport = {port.number}'",
        )
    stranger = strangers[0]
    unit = f", {stranger.unit}" if stranger.unit else ""
    by = f"{stranger.command} (pid {stranger.pid}{unit})" if stranger.pid else stranger.unit
    stop = (
        f"sudo systemctl disable --now {stranger.unit}"
        if stranger.unit.endswith(".service")
        else f"end process {stranger.pid}"
    )
    return Finding(name, Verdict.FAIL, f"{port.role}: taken by {by}", f"{stop}, or give the role another port")


def _owns(port: Port, holder: _Listener) -> bool:
    return any(fnmatchcase(holder.unit, owner) or holder.command == owner for owner in port.owners)


def _kernel(gpu: Mapping[str, Any]) -> Iterator[Finding]:
    kernel = gpu.get("kernel", {})
    running, newest = kernel.get("running", ""), kernel.get("newest", "")
    if gpu.get("container"):
        yield Finding("kernel", Verdict.SKIP, f"a container runs on its machine's, {running}")
    elif newest and newest != running:
        todo = "reboot when nothing computes"
        yield Finding("kernel", Verdict.WARN, f"{running} runs, and {newest} waits for a reboot", todo)
    else:
        yield Finding("kernel", Verdict.PASS, f"{running}, the newest installed")
    if gpu.get("reboot_required"):
        yield Finding("reboot", Verdict.WARN, "a package asks for one", "reboot when nothing computes")
    if gpu.get("dpkg_was_cut"):
        yield Finding("packages", Verdict.WARN, "an installation was cut in the middle", "dlhost provision finishes it")


def of_gpus(look: Look, advice: Advice, inventory: str, *, wanted: bool) -> Iterator[Finding]:
    """What is about GPUs; `wanted` says whether the host gets its driver from dlhost."""
    gpu = look.gpu
    if not gpu["gpus"]:
        if wanted:
            seen = "no NVIDIA card is on the PCI bus; without nvidia_driver_allow_no_gpu the GPU roles do nothing"
            todo = "seat the card, or take the host out of group gpu"
            yield Finding("gpu", Verdict.WARN, seen, todo)
        else:
            yield Finding("gpu", Verdict.SKIP, "no NVIDIA card, and none is expected")
        return
    for card in gpu["gpus"]:
        yield _card(card)
    if not wanted:
        seen = f"{_told(driver_versions(gpu, advice))}; what fits: {advice.nearest}"
        yield Finding("driver", Verdict.SKIP, seen, "put the host into group gpu to have dlhost see to it")
        return
    yield from _compatibility(advice)
    yield _driver(look, advice, inventory)
    yield from _modules(gpu, inventory)
    yield _secure_boot(gpu, inventory)
    if gpu["users"]:
        programs = ", ".join(f"{user['command']} ({user['user']}, pid {user['pid']})" for user in gpu["users"])
        yield Finding("in_use", Verdict.PASS, f"{programs}; no driver is replaced, and nothing rebooted, under them")


def _card(card: Mapping[str, Any]) -> Finding:
    name = card["name"] or f"10de:{card['device_id']}"
    kind = f"{card['architecture'].capitalize()}, compute capability {card['compute_capability']}"
    driven = f"driven by {card['bound_driver'] or 'nothing yet'}"
    if not card["known"]:
        seen = f"{card['address']} {name}: not in the compatibility table, taken for {kind}; {driven}"
        return Finding("gpu", Verdict.WARN, seen, "a newer dlhost may know it")
    return Finding("gpu", Verdict.PASS, f"{card['address']} {name}: {kind}; {driven}")


def _compatibility(advice: Advice) -> Iterator[Finding]:
    for refusal in advice.refusals:
        yield in_two("compatibility", Verdict.FAIL, refusal, "; ")
    for warning in advice.warnings:
        yield in_two("compatibility", Verdict.WARN, warning, "; ")
    if advice.unjudged:
        yield Finding("compatibility", Verdict.SKIP, f"{advice.unjudged}; what fits: {advice.nearest}")
    elif advice.refusals:
        yield Finding("compatibility", Verdict.SKIP, f"the nearest that works: {advice.nearest}")
    else:
        yield Finding("compatibility", Verdict.PASS, f"the settings fit the cards, and so do {advice.nearest}")


def driver_versions(gpu: Mapping[str, Any], advice: Advice) -> dict[str, str]:
    """The driver's version in the four places that have to agree, and as nvidia-smi tells it; empty for none."""
    return {
        "loaded_module": gpu["module"]["loaded"],
        "installed_module": gpu["module"]["installed"].get(gpu["kernel"]["running"], {}).get("version", ""),
        "package": advice.package_version,
        "user_space": gpu["user_space"],
        "nvidia_smi": gpu["smi"]["driver_version"],
    }


def _told(versions: Mapping[str, str]) -> str:
    if not any(versions.values()):
        return "no driver"
    return ", ".join(f"{place.replace('_', ' ')} {version or '-'}" for place, version in versions.items())


def _driver(look: Look, advice: Advice, inventory: str) -> Finding:
    gpu, versions = look.gpu, driver_versions(look.gpu, advice)
    seen, provision = _told(versions), f"dlhost provision -i {inventory}"
    if not look.gpu_look_ended:
        return Finding("driver", Verdict.WARN, f"{seen}; nvidia-smi does not answer, so the driver hangs", "reboot")
    if not any(versions.values()):
        return Finding("driver", Verdict.WARN, "none yet", provision)
    if gpu["smi"]["ran"] and len(set(filter(None, versions.values()))) == 1:
        return Finding("driver", Verdict.PASS, f"{seen}; the {gpu['module']['loaded_flavour']} kernel module")
    because = f"; nvidia-smi: {gpu['smi']['error']}" if gpu["smi"]["error"] else ""
    what = "the versions differ" if len(set(filter(None, versions.values()))) > 1 else "it does not run"
    return Finding(
        "driver", Verdict.WARN, f"{what}: {seen}{because}", f"{provision}, which says whether a reboot is due"
    )


def _modules(gpu: Mapping[str, Any], inventory: str) -> Iterator[Finding]:
    """Whether each kernel that may run after the next boot has a driver, or can have one built."""
    if gpu["container"]:
        return
    kernel, installed = gpu["kernel"], gpu["module"]["installed"]
    for release in dict.fromkeys([kernel["running"], kernel["newest"]]):
        if release in installed:
            yield Finding("module", Verdict.PASS, f"kernel {release} has the driver {installed[release]['version']}")
        elif installed or gpu["dkms"]:
            todo = f"dlhost provision -i {inventory}"
            yield Finding("module", Verdict.WARN, f"kernel {release} has no driver: no GPU after a boot into it", todo)
        if release in kernel["headers"]:
            yield Finding("headers", Verdict.PASS, f"kernel {release} has them")
        elif not any(name.startswith("linux-modules-nvidia-") for name in gpu["packages"]):
            seen = f"kernel {release} has none, and DKMS builds no driver without them"
            yield Finding("headers", Verdict.WARN, seen, f"sudo apt-get install linux-headers-{release}")


def _secure_boot(gpu: Mapping[str, Any], inventory: str) -> Finding:
    if gpu["secure_boot"] != "enabled":
        return Finding("secure_boot", Verdict.PASS, gpu["secure_boot"])
    mok, module = gpu["mok"], gpu["module"]["installed"].get(gpu["kernel"]["newest"])
    if mok["pending"]:
        seen = f"enabled, and the key {mok['key']} waits to be enrolled"
        return Finding(
            "secure_boot", Verdict.WARN, seen, "reboot at the console, and choose Enroll MOK in the blue menu"
        )
    if module and not module["signed"]:
        seen = "enabled, and the driver's module is not signed, so the kernel refuses it"
        return Finding(
            "secure_boot", Verdict.WARN, seen, f"dlhost provision -i {inventory}; it says what to do at the console"
        )
    if mok["key"] and not mok["enrolled"]:
        seen = f"enabled, and the key {mok['key']} is not enrolled, so the kernel refuses what is signed with it"
        return Finding(
            "secure_boot", Verdict.WARN, seen, f"dlhost provision -i {inventory}; it says what to do at the console"
        )
    return Finding("secure_boot", Verdict.PASS, "enabled, and nothing unsigned is installed")


def wanted_ports(host: Host, roles: Mapping[str, Mapping[str, Any]]) -> list[Port]:
    """The ports that a host's roles are to listen on; `roles` are those it gets, each with its settings.

    Of a setting that is a template the default counts for nothing: its ports are left out.
    """
    found: list[Port] = []
    if host.connection.transport == "ssh":
        found += [
            Port(number, "SSH", SSH_OWNERS)
            for number in {host.connection.port or 22, host.ssh_port_wanted} - {None}
            if number
        ]
    if (nginx := roles.get("nginx_proxy")) is not None:
        numbers = [443, 80] if nginx.get("nginx_proxy_http_redirect") is True else [443]
        found += [Port(number, "nginx_proxy", ("nginx.service",)) for number in numbers]
    if (jupyter := roles.get("jupyter")) is not None:
        found += _jupyter_ports(jupyter)
    return found


def _jupyter_ports(settings: Mapping[str, Any]) -> Iterator[Port]:
    users = settings.get("jupyter_users")
    # The role's own default, a template, is one user.
    listed = users if isinstance(users, list) else [{}]
    own = [user.get("port") if isinstance(user, dict) else None for user in listed]
    kinds = [("jupyter_port", "dlhost-jupyter@*.service", own)]
    if settings.get("jupyter_tensorboard") is True:
        kinds.append(("jupyter_tensorboard_port", "dlhost-tensorboard@*.service", [None] * len(own)))
    for name, unit, ports in kinds:
        first = settings.get(name)
        for place, port in enumerate(ports):
            number = port or (first + place if isinstance(first, int) else None)
            if isinstance(number, int):
                yield Port(number, "jupyter", (unit,))


def in_two(topic: str, verdict: Verdict, sentence: str, before_fix: str = ". ") -> Finding:
    """A refusal of ours as a finding: first what was seen, then the fix."""
    seen, _, todo = sentence.partition(before_fix)
    return Finding(topic, verdict, seen.rstrip("."), todo.rstrip("."))
