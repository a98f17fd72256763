"""How long frameworks take on a host's processor and GPUs, whether they agree, and what came of it the last time."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Any

from dlhost.values.checks import CheckResult
from dlhost.values.status import NOT_INSTALLED, Gpu, Process, Status

# Where role conda has its environments unless conda_prefix says otherwise.
CONDA_PREFIX = "/opt/dlhost/conda"
INSTALLED, MEASURED = "installed", "measured"
NUMPY = "numpy"
# From when on others' work makes the figures worse than they could be.
BUSY_PERCENT = 20
# The exit codes of timeout(1), and of a shell for what it cannot run.
TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND = 124, 126, 127
KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Size:
    """The sides of two matrices, how many square images of which side, and a picture's height and width."""

    matrix: int
    images: int
    side: int
    height: int
    width: int


SIZES = {
    "small": Size(1024, 8, 128, 256, 256),
    "medium": Size(4096, 16, 256, 1024, 1024),
    # The picture has the 12 megapixels of a camera.
    "large": Size(8192, 16, 512, 2828, 4240),
}


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment of a host and its interpreter there."""

    name: str
    python: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes on a host; `driver` is the version of the NVIDIA driver that is loaded, empty for none."""

    processor: str = ""
    driver: str = ""
    environments: tuple[Environment, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """The seconds that each run took."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Half of what lies between the fastest and the slowest run, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median_s


@dataclass(frozen=True, slots=True)
class Before:
    """The last time that the same was measured: how long each took then, and what has changed since beside it."""

    moment: str
    driver: str
    version: str
    cpu_s: float | None
    gpu_s: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One work of one framework on the processor and on one GPU.

    It passes where the GPU's numbers are the processor's, and is skipped where there is no GPU to compare; `reason`
    says why it did not pass. `operations` are of floating point, None where nobody counted them; `off` is by how much
    the GPU's largest error is off, as a share of the largest number. A framework that gives no figures has no `work`.
    """

    environment: str
    framework: str
    version: str
    result: CheckResult
    reason: str = ""
    cuda: str = ""
    work: str = ""
    operations: float | None = None
    cpu: Timing | None = None
    gpu: Timing | None = None
    gpu_index: int | None = None
    gpu_name: str = ""
    off: str = ""
    before: Before | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the processor the GPU is."""
        return self.cpu.median_s / self.gpu.median_s if self.cpu and self.gpu else None

    @property
    def key(self) -> tuple[str, str, str, int | None]:
        """What makes two rows of different runs comparable."""
        return self.environment, self.framework, self.work, self.gpu_index


@dataclass(frozen=True, slots=True)
class Bench:
    """One run on one host."""

    inventory: str
    host: str
    moment: datetime
    size: str
    repeat: int
    machine: Machine
    cores: int
    gpus: tuple[Gpu, ...]
    gpu_error: str = ""
    warnings: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()

    @property
    def failed(self) -> bool:
        return any(row.result is CheckResult.FAIL for row in self.rows)


def said(printed: str) -> dict[str, list[str]]:
    """The lines of one of our scripts; others, such as a login shell's own, are passed over."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        key, separator, value = line.removeprefix("bench:").partition("=")
        if line.startswith("bench:") and separator:
            found.setdefault(key, []).append(value)
    return found


def machine_from(printed: str) -> Machine:
    """What adapters/bench_look.sh printed."""
    lines = said(printed)
    pairs = [text.partition("|") for text in lines.get("environment", ())]
    return Machine(
        processor=" ".join(lines.get("processor", [""])[0].split()),
        driver=lines.get("driver", [""])[0],
        environments=tuple({name: Environment(name, python) for name, _, python in pairs if python}.values()),
    )


def failure(printed: str, limit_s: int) -> str:
    """Why adapters/bench_run.sh has no answer; empty where it has one."""
    lines = {key: values[-1] for key, values in said(printed).items()}
    if "status" not in lines:
        owner = lines.get("owner", "")
        if not owner:
            return "cannot be run (no such file)"
        return f"belongs to {owner}, and what another user may change is not run as you"
    words = lines.get("noise", "").strip()[:300]
    status = int(lines["status"]) if lines["status"].isdecimal() else TIMED_OUT
    if status == TIMED_OUT:
        return f"did not end within {limit_s} s"
    if status == KILLED:
        return "was killed, as the kernel does where the host's memory does not suffice; choose a smaller --size"
    if status in {NOT_EXECUTABLE, NOT_FOUND}:
        return " ".join(filter(None, ["cannot be run", f"({words})" if words else ""]))
    if status > 128:
        return f"crashed ({_signal(status - 128)})"
    return " ".join(filter(None, [f"ended with status {status}", f"({words})" if words else ""])) if status else ""


def last_words(printed: str) -> str:
    """What the environment said last in adapters/bench_run.sh, which is its answer."""
    return said(printed).get("said", [""])[-1]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def rows(
    environment: str, framework: str, version: str, answer: Mapping[str, Any], status: Status, driver: str
) -> Iterator[Row]:
    """What adapters/bench_inside.py found of one framework, on a host of that status and with that driver loaded.

    Raises:
        ValueError: It is none of its answers; so is a KeyError or TypeError.
    """
    row = Row(environment, framework, version, CheckResult.FAIL)
    if answer["problem"]:
        yield replace(row, reason=f"does not start ({answer['problem']})")
        return
    row = replace(row, cuda=str(answer["cuda"]))
    names = [str(name) for name in answer["gpus"]]
    if names and len(names) < len(status.gpus):
        yield replace(row, reason=f"sees {len(names)} of the host's {len(status.gpus)} GPUs")
    for work in answer["works"]:
        done = replace(row, work=str(work["work"]))
        if work["cpu"]["problem"]:
            yield replace(done, reason=_trouble("on the processor", "the host's memory", work["cpu"]))
            continue
        done = replace(done, operations=float(work["operations"]), cpu=_timing(work["cpu"]["seconds"]))
        if not names:
            yield _without_gpu(done, status, driver)
        for index, (name, found) in enumerate(zip(names, work["gpus"], strict=bool(names))):
            yield _with_gpu(replace(done, gpu_index=index, gpu_name=name), found)


def _without_gpu(row: Row, status: Status, driver: str) -> Row:
    """A framework that sees none: no wonder where it or the host has none to see, else a failure."""
    if row.framework == NUMPY:
        return replace(row, result=CheckResult.SKIP, reason="computes on the processor alone")
    if not row.cuda:
        return replace(row, result=CheckResult.SKIP, reason="is built for the CPU alone, without CUDA")
    if status.gpus:
        return replace(row, reason=f"sees none of the host's GPUs, of which nvidia-smi shows {len(status.gpus)}")
    if status.gpu_error == NOT_INSTALLED and not driver:
        reason = f"has no GPU to compute on, for no driver is loaded and {NOT_INSTALLED}"
        return replace(row, result=CheckResult.SKIP, reason=reason)
    return replace(row, reason=f"sees no GPU ({status.gpu_error or 'nor does nvidia-smi'})")


def _with_gpu(row: Row, found: Mapping[str, Any]) -> Row:
    row = replace(row, off=str(found.get("off", "")))
    where = f"on GPU {row.gpu_index} {row.gpu_name}"
    if found["problem"]:
        return replace(row, reason=_trouble(where, "its memory", found))
    return replace(row, result=CheckResult.PASS, gpu=_timing(found["seconds"]))


def _trouble(where: str, memory: str, found: Mapping[str, Any]) -> str:
    if found.get("out_of_memory"):
        return f"{where}: {memory} does not suffice; choose a smaller --size, or wait until others need less of it"
    return f"{where}: {found['problem']}"


def _timing(seconds: Iterable[Any]) -> Timing:
    timing = Timing(tuple(map(float, seconds)))
    if not timing.seconds or not all(0 < one < math.inf for one in timing.seconds):
        raise ValueError(timing.seconds)
    return timing


def warnings(status: Status) -> Iterator[str]:
    """What else the host is doing, which makes the figures worse than they could be."""
    yield from in_use(status)
    used = {process.gpu for process in status.processes}
    for gpu in status.gpus:
        if gpu.index not in used and (gpu.load_percent or 0) >= BUSY_PERCENT:
            yield f"GPU {gpu.index} {gpu.name} is {gpu.load_percent:.0f} % busy"
    if (status.busy_percent or 0) >= BUSY_PERCENT:
        yield f"The processors are {status.busy_percent:.0f} % busy"


def in_use(status: Status) -> Iterator[str]:
    """Whose programs are on which GPU."""
    names: dict[int | None, str] = {gpu.index: f"GPU {gpu.index} {gpu.name}" for gpu in status.gpus}
    for index in dict.fromkeys(process.gpu for process in status.processes):
        users = [process for process in status.processes if process.gpu == index]
        yield f"{names.get(index, 'A GPU')} is in use by {', '.join(map(_user, users))}"


def _user(process: Process) -> str:
    return f"{process.command.rpartition('/')[2] or 'unknown'} ({process.user or 'unknown'}, pid {process.pid})"


def with_before(bench: Bench, documents: Iterable[Mapping[str, Any]]) -> Bench:
    """The bench with what its rows were when the same was last measured; `documents` are earlier ones, newest first."""
    known: dict[tuple[Any, ...], Before] = {}
    for document in documents:
        if (document["host"], document["size"]) != (bench.host, bench.size):
            continue
        for row in document["rows"]:
            key = (row["environment"], row["framework"], row["work"], row["gpu_index"])
            known.setdefault(key, _before(document, row))
    return replace(bench, rows=tuple(replace(row, before=known.get(row.key)) for row in bench.rows))


def _before(document: Mapping[str, Any], row: Mapping[str, Any]) -> Before:
    cpu, gpu = (_timing(row[device]["seconds"]).median_s if row[device] else None for device in ("cpu", "gpu"))
    return Before(document["moment"], document["machine"]["driver"], row["version"], cpu, gpu)
