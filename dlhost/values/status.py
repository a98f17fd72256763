"""What a host is doing at one moment: its processors, memory, disks, GPUs, and the services that dlhost set up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dlhost.values.inventory import Host
from dlhost.values.schema import RoleSchema

# The systemd units that a role answers for, as names or patterns.
UNITS = {
    "jupyter": ("dlhost-jupyter@*.service", "dlhost-tensorboard@*.service"),
    "nginx_proxy": ("nginx.service",),
    "nvidia_driver": ("nvidia-persistenced.service",),
    "ssh_hardening": ("ssh.service",),
    "vnc": ("dlhost-vnc@*.service",),
}
# timeout(1)'s own exit codes: the command was ended, or had to be killed.
TIMED_OUT = ("124", "137")
# No more than these: a host is a stranger, and Python would take nan and the digits of every script.
WHOLE = re.compile(r"[0-9]{1,18}")
NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
NOT_INSTALLED = "nvidia-smi is not installed"
NO_ANSWER = "nvidia-smi does not answer; the driver hangs, and a reboot ends that"


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system of the host's own; what is neither used nor free is kept back for root, or by the system."""

    place: str
    size_mib: int
    used_mib: int
    free_mib: int


@dataclass(frozen=True, slots=True)
class Process:
    """A process that computes on the GPU of that index; what the driver does not tell is empty or None."""

    gpu: int | None
    pid: int
    user: str
    command: str
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as nvidia-smi sees it; None where it does not say, as it does for the load of one divided by MIG."""

    index: int
    uuid: str
    name: str
    load_percent: float | None
    memory_used_mib: float | None
    memory_total_mib: float | None
    temperature_c: float | None
    power_w: float | None
    power_limit_w: float | None
    mig: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit in systemd's words, such as active (running)."""

    name: str
    active: str
    sub: str


@dataclass(frozen=True, slots=True)
class Status:
    """One look at one host. `error` says why there was none; `gpu_error` why there are no GPUs, or not all of them."""

    host: str
    error: str = ""
    uptime_s: int = 0
    cores: int = 0
    busy_percent: float | None = None
    load: tuple[float, ...] = ()
    memory_mib: int = 0
    memory_available_mib: int = 0
    swap_mib: int = 0
    swap_free_mib: int = 0
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    gpu_error: str = ""
    processes: tuple[Process, ...] = ()
    units: tuple[Unit, ...] = ()

    @property
    def driver_hangs(self) -> bool:
        """Whether nvidia-smi was asked in vain; asking once more would only leave another one behind."""
        return self.gpu_error == NO_ANSWER


def units_of(host: Host, schemas: Iterable[RoleSchema]) -> tuple[str, ...]:
    """What systemd is asked about on a host: the units of the roles that it gets."""
    return tuple(unit for schema in schemas if schema.applies_to(host) for unit in UNITS.get(schema.role, ()))


def status_from(host: str, printed: str) -> Status:
    """What adapters/status.sh printed; lines of other shapes, such as a login shell's own, are passed over."""
    said: dict[str, list[str]] = {}
    for line in printed.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            said.setdefault(key, []).append(value)

    def mib(key: str) -> int:
        return (_whole(said.get(key, [""])[0]) or 0) // 1024

    gpus, gpu_error = _gpus(said)
    indices = {gpu.uuid: gpu.index for gpu in gpus}
    return Status(
        host=host,
        uptime_s=_whole(said.get("uptime_s", [""])[0]) or 0,
        cores=_whole(said.get("cores", [""])[0]) or 0,
        busy_percent=_busy(said.get("cpu", [])),
        load=tuple(number for word in said.get("load", [""])[0].split() if (number := _number(word)) is not None),
        memory_mib=mib("MemTotal"),
        memory_available_mib=mib("MemAvailable"),
        swap_mib=mib("SwapTotal"),
        swap_free_mib=mib("SwapFree"),
        disks=tuple({disk.place: disk for disk in map(_disk, said.get("disk", [])) if disk}.values()),
        gpus=gpus,
        gpu_error=gpu_error,
        processes=tuple(_processes(said.get("app", []), indices)),
        units=tuple(_units(said.get("unit", []))),
    )


def _busy(looks: Sequence[str]) -> float | None:
    """The share of time in which the processors worked between two looks at /proc/stat: proc(5)."""
    times = [[number for word in look.split() if (number := _whole(word)) is not None] for look in looks]
    if len(times) != 2 or min(map(len, times)) < 8:
        return None
    # The times of guests, after these eight, are counted in the first two already.
    spent = [after - before for before, after in zip(times[0][:8], times[1][:8], strict=True)]
    idle, total = spent[3] + spent[4], sum(spent)
    return round(100 * (total - idle) / total, 1) if total > 0 else None


def _disk(text: str) -> Disk | None:
    size, used, free, place = (*text.split(" ", 3), "", "", "")[:4]
    size_kib, used_kib, free_kib = _whole(size), _whole(used), _whole(free)
    if not place or not size_kib or used_kib is None or free_kib is None:
        return None
    return Disk(place, size_kib // 1024, used_kib // 1024, free_kib // 1024)


def _units(lines: Iterable[str]) -> Iterator[Unit]:
    for line in lines:
        said: Mapping[str, str] = dict(part.split("=", 1) for part in line.split("|") if "=" in part)
        if said.get("Id") and said.get("LoadState") != "not-found":
            yield Unit(said["Id"], said.get("ActiveState", ""), said.get("SubState", ""))


def _gpus(said: Mapping[str, Sequence[str]]) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs, and what nvidia-smi said that is none."""
    lines, ended = said.get("gpu", []), said.get("smi", [""])[0]
    rows = {line: gpu for line in lines if (gpu := _gpu(line))}
    if ended == "missing":
        return (), NOT_INSTALLED
    if ended in {"", *TIMED_OUT}:
        return tuple(rows.values()), NO_ANSWER
    other = " ".join(" ".join(line for line in lines if line not in rows).split())
    return tuple(rows.values()), other or ("" if ended == "0" else f"nvidia-smi ended with status {ended}")


def _gpu(line: str) -> Gpu | None:
    parts = [part.strip() for part in line.split(",", 9)]
    index = _whole(parts[0])
    if len(parts) < 10 or index is None:
        return None
    _, uuid, load, used, total, temperature, power, limit, mig, name = parts
    return Gpu(
        index=index,
        uuid=uuid,
        name=name,
        load_percent=_number(load),
        memory_used_mib=_number(used),
        memory_total_mib=_number(total),
        temperature_c=_number(temperature),
        power_w=_number(power),
        power_limit_w=_number(limit),
        mig=mig == "Enabled",
    )


def _processes(lines: Iterable[str], indices: Mapping[str, int]) -> Iterator[Process]:
    for line in lines:
        # The command comes last: it may hold commas of its own.
        parts = [part.strip() for part in line.split(",", 4)]
        if len(parts) == 5 and (pid := _whole(parts[2])) is not None:
            user, uuid, _, memory, command = parts
            yield Process(indices.get(uuid), pid, user, _told(command), _whole(memory))


def _told(text: str) -> str:
    """A text of nvidia-smi's, which stands in brackets where it has none: [N/A], [Not Found]."""
    return "" if text.startswith("[") else text


def _number(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text) else None


def _whole(text: str) -> int | None:
    return int(text) if WHOLE.fullmatch(text) else None
