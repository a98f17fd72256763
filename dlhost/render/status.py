"""What hosts are doing: for a person, at any width and redrawn in place, and as JSON types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dlhost.errors import ExitCode
from dlhost.render.documents import SCHEMA_VERSION
from dlhost.render.plain import plain
from dlhost.values.status import NOT_INSTALLED, Gpu, Process, Status, Unit

# From when on a share is shown as much.
MUCH_PERCENT = 90
WELL = frozenset({"active", "activating", "reloading"})
FAILED = "failed"


def document(inventory: str, found: Sequence[Status], code: ExitCode) -> dict[str, Any]:
    """The result of `dlhost status`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "operation": "status",
        "inventory": inventory,
        "exit_code": int(code),
        "hosts": [asdict(one) for one in found],
    }


def picture(found: Sequence[Status | None]) -> RenderableType:
    """Every host with its lines; None stands for one that has not answered yet."""
    return Group(*(_host(one) for one in found if one is not None), *[Text("…", style="dim")] * found.count(None))


def _host(status: Status) -> RenderableType:
    if status.error:
        return Text(plain(f"{status.host} {status.error}."), style="red")
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for label, said in _lines(status):
        lines.add_row(Text(f"  {label}", style="dim"), said)
    return Group(Text.assemble((plain(status.host), "bold"), (f"  up {_span(status.uptime_s)}", "dim")), lines)


def _lines(status: Status) -> Iterator[tuple[str, Text]]:
    load = " ".join(f"{value:.2f}" for value in status.load)
    yield "cpu", Text.assemble(_percent(status.busy_percent), f" of {status.cores} cores, load {load}")
    used = status.memory_mib - status.memory_available_mib
    memory = Text.assemble(_of(used, status.memory_mib))
    if status.swap_mib:
        memory.append(f", swap {_gib(status.swap_mib - status.swap_free_mib)} of {_gib(status.swap_mib)} GiB")
    yield "memory", memory
    for disk in status.disks:
        yield "disk", Text.assemble(_of(disk.used_mib, disk.used_mib + disk.free_mib), f"  {plain(disk.place)}")
    for gpu in status.gpus:
        yield f"gpu {gpu.index}", _gpu(gpu)
        for process in status.processes:
            if process.gpu == gpu.index:
                yield "", _process(process)
    for process in status.processes:
        if process.gpu is None:
            yield "gpu ?", _process(process)
    if status.gpu_error:
        yield "gpu", Text(plain(status.gpu_error), style="dim" if status.gpu_error == NOT_INSTALLED else "red")
    for unit in status.units:
        yield "service", _unit(unit)


def _gpu(gpu: Gpu) -> Text:
    parts: list[Text | str] = [plain(gpu.name), ", divided by MIG" if gpu.mig else "", "  load "]
    parts += [_percent(gpu.load_percent), "  memory ", _of(gpu.memory_used_mib, gpu.memory_total_mib)]
    if gpu.temperature_c is not None:
        parts.append(f"  {gpu.temperature_c:.0f} °C")
    if gpu.power_w is not None:
        limit = f" of {gpu.power_limit_w:.0f}" if gpu.power_limit_w is not None else ""
        parts.append(f"  {gpu.power_w:.0f}{limit} W")
    return Text.assemble(*parts)


def _process(process: Process) -> Text:
    memory = "" if process.memory_mib is None else f"  {_gib(process.memory_mib)} GiB"
    command = process.command.rpartition("/")[2] or "unknown"
    return Text(plain(f"{process.pid}  {process.user or 'unknown'}  {command}{memory}"))


def _unit(unit: Unit) -> Text:
    style = "green" if unit.active in WELL else "bold red" if unit.active == FAILED else "yellow"
    return Text.assemble(plain(unit.name), "  ", (plain(f"{unit.active} ({unit.sub})"), style))


def _of(used: float | None, total: float | None) -> Text:
    """An amount of MiB and its whole as GiB, and as a share."""
    if used is None or not total:
        return Text("unknown")
    share = 100 * used / total
    return Text.assemble(f"{_gib(used)} of {_gib(total)} GiB (", _percent(share), ")")


def _percent(share: float | None) -> Text:
    if share is None:
        return Text("unknown")
    return Text(f"{share:.0f} %", style="yellow" if share >= MUCH_PERCENT else "")


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f}"


def _span(seconds: int) -> str:
    """3 d 4 h, 4 h 5 min or 5 min."""
    minutes = seconds // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
