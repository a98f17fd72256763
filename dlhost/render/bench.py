"""What a bench found: as a table with what is to be known beside it, and as JSON types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dlhost.errors import ExitCode
from dlhost.render.documents import SCHEMA_VERSION
from dlhost.render.plain import plain
from dlhost.values.bench import SIZES, Bench, Row, Timing
from dlhost.values.checks import CheckResult

WORKS = {"matrix_product": "matrix product", "convolution": "convolution", "stylisation": "stylisation"}
MARKS = {CheckResult.FAIL: ("FAIL", "bold red"), CheckResult.SKIP: ("skip", "magenta"), CheckResult.PASS: ("", "")}
# Less than this differs from day to day, even where the runs of one bench are alike.
LIKE_BEFORE = 0.05


def document(found: Bench, code: ExitCode) -> dict[str, Any]:
    """The result of `dlhost bench`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "operation": "bench",
        "inventory": found.inventory,
        "host": found.host,
        "exit_code": int(code),
        "moment": found.moment.isoformat(),
        "size": found.size,
        "sizes": asdict(SIZES[found.size]),
        "repeat": found.repeat,
        "machine": asdict(found.machine),
        "cores": found.cores,
        "gpus": [asdict(gpu) for gpu in found.gpus],
        "gpu_error": found.gpu_error,
        "warnings": list(found.warnings),
        "rows": [_row(row) for row in found.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    def timing(one: Timing | None) -> dict[str, Any] | None:
        if one is None:
            return None
        rate = row.operations / one.median_s / 1e9 if row.operations else None
        return {"seconds": list(one.seconds), "median_s": one.median_s, "spread": one.spread, "gflop_per_s": rate}

    return {**asdict(row), "cpu": timing(row.cpu), "gpu": timing(row.gpu), "ratio": row.ratio}


def tell(console: Console, found: Bench) -> None:
    """The table, and under it why something is missing in it, what disturbed, and what the figures are."""
    console.print(Text(plain(f"{found.host}: {', '.join(devices(found))}"), style="bold"))
    lines = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    lines.add_column("environment", overflow="fold")
    for name in ("work", "processor", "GPU", "faster"):
        lines.add_column(name, no_wrap=True)
    last_times = [_last_time(row, found) for row in found.rows]
    lines.add_column("than last time" if any(last_times) else "", overflow="fold")
    shown, several = ("", ""), any(row.gpu_index for row in found.rows)
    for row, last_time in zip(found.rows, last_times, strict=True):
        of = (row.environment, row.framework)
        named = _two("", "") if of == shown else _two(row.environment, f"{row.framework} {row.version}".strip())
        shown = of
        work = _two(WORKS.get(row.work, row.work), f"GPU {row.gpu_index}" if several and row.gpu else "")
        lines.add_row(named, work, *_figures(row), last_time)
    console.print(lines)
    for sentence, style in dict.fromkeys(_remarks(found)):
        console.print(Text(plain(sentence), style=style))
    size = SIZES[found.size]
    console.print(
        Text(
            f"Size {found.size}: {size.matrix} x {size.matrix} matrices, {size.images} images of {size.side} x "
            f"{size.side} with 64 channels, a picture of {size.width} x {size.height}. The median of {found.repeat} "
            "runs or fewer slow ones, in single precision without TF32, with the data on the device.",
            style="dim",
        )
    )


def devices(found: Bench) -> Iterator[str]:
    """What the host computes with, in words."""
    # A framework may see one where no nvidia-smi is.
    seen = {row.gpu_index: row.gpu_name for row in found.rows if row.gpu_index is not None}
    gpus = [gpu.name for gpu in found.gpus] or list(seen.values())
    for name, number in Counter(gpus).items():
        yield f"{number} x {name}" if number > 1 else name
    if found.machine.driver:
        yield f"driver {found.machine.driver}"
    if not gpus:
        yield f"no GPU ({found.gpu_error})" if found.gpu_error else "no GPU"
    yield f"{found.machine.processor or 'processor'} with {found.cores} cores"


def _figures(row: Row) -> tuple[Text, Text, Text]:
    word, style = MARKS[row.result]
    gpu = _timing(row, row.gpu) if row.gpu else Text(word, style=style)
    return _timing(row, row.cpu), gpu, Text(f"{row.ratio:.1f} x" if row.ratio else "")


def _two(first: str, second: str) -> Text:
    """Two lines of a cell, the second one less important."""
    return Text.assemble(plain(first), (plain(f"\n{second}" if second else ""), "dim"))


def _timing(row: Row, timing: Timing | None) -> Text:
    if timing is None:
        return Text("")
    speed = rate(row.operations / timing.median_s) if row.operations else ""
    return _two(f"{duration(timing.median_s)} ± {100 * timing.spread:.0f} %", speed)


def _last_time(row: Row, found: Bench) -> Text:
    """How the GPU, else the processor, has changed since."""
    if row.before is None:
        return Text("")
    now, then = (row.gpu, row.before.gpu_s) if row.gpu else (row.cpu, row.before.cpu_s)
    if not now or not then:
        return Text("")
    change = then / now.median_s
    words = f"{100 * abs(change - 1):.0f} % {'slower' if change < 1 else 'faster'}"
    if abs(change - 1) < max(LIKE_BEFORE, now.spread):
        words = "the same"
    since = [row.before.moment[:10]]
    if row.before.driver != found.machine.driver:
        since.append(f"driver {row.before.driver or 'none'}")
    if row.before.version != row.version:
        since.append(f"{row.framework} {row.before.version}")
    return _two(words, ", ".join(since))


def _remarks(found: Bench) -> Iterator[tuple[str, str]]:
    for row in found.rows:
        if row.result is not CheckResult.PASS:
            who = " ".join(filter(None, [f"{row.environment}:", row.framework, row.version]))
            what = f", {WORKS.get(row.work, row.work)}," if row.work and row.result is CheckResult.FAIL else ""
            word, style = MARKS[row.result]
            yield f"{word}  {who}{what} {row.reason}.", style
    for warning in found.warnings:
        yield f"warn  {warning}: the figures may be worse than they could be.", "yellow"


def duration(seconds: float) -> str:
    """With three digits, in the unit that suits it."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{_three_digits(seconds * 1e6)} µs"


def rate(operations_per_s: float) -> str:
    """Floating-point operations in a second, the same way."""
    for unit, factor in (("TFLOP/s", 1e12), ("GFLOP/s", 1e9)):
        if operations_per_s >= factor:
            return f"{_three_digits(operations_per_s / factor)} {unit}"
    return f"{_three_digits(operations_per_s / 1e6)} MFLOP/s"


def _three_digits(number: float) -> str:
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}"
