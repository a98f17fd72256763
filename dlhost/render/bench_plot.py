"""A bench as a picture: bars of operations per second, the longer the faster, as SVG without any library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from dlhost.render.bench import WORKS, devices, duration, rate
from dlhost.render.plain import plain
from dlhost.values.bench import Bench, Row

WIDTH, LABELS, BAR, GAP, HEAD = 1000, 320, 18, 12, 30
# Where the longest bar ends, so that its figures still fit.
LONGEST = 400
COLOURS = {"processor": "#8a8f98", "GPU": "#4c9f38"}


def svg(found: Bench) -> str:
    """Only what was measured is in it."""
    parts: list[str] = []
    y = 58
    for work, name in WORKS.items():
        rows = [row for row in found.rows if row.work == work and row.cpu and row.operations]
        if rows:
            parts += [_text(20, y + 14, name, weight="bold"), *_panel(rows, y + HEAD)]
            y += HEAD + sum(_height(row) for row in rows) + 10
    head = f"{found.host}, {', '.join(devices(found))}, {found.moment:%Y-%m-%d}, size {found.size}"
    legend = [
        part
        for number, (device, colour) in enumerate(COLOURS.items())
        for part in (
            f'<rect x="{LABELS + 100 * number}" y="34" width="12" height="12" fill="{colour}"/>',
            _text(LABELS + 18 + 100 * number, 45, device),
        )
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" '
            'font-family="sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{y}" fill="white"/>',
            _text(20, 24, head, weight="bold"),
            *legend,
            *parts,
            "</svg>\n",
        ]
    )


def _panel(rows: Sequence[Row], top: int) -> Iterator[str]:
    """One work; its bars are to one scale, which begins at nothing."""
    scale = LONGEST / max(speed for row in rows for _device, speed, _words in _bars(row))
    for row in rows:
        gpu = f" GPU {row.gpu_index}" if row.gpu_index is not None else ""
        yield _text(LABELS - 10, top + 14, f"{row.environment}: {row.framework} {row.version}{gpu}", anchor="end")
        for number, (device, speed, words) in enumerate(_bars(row)):
            y, length = top + number * BAR, speed * scale
            yield f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR - 3}" fill="{COLOURS[device]}"/>'
            yield _text(LABELS + round(length) + 6, y + 12, words)
        top += _height(row)


def _bars(row: Row) -> Iterator[tuple[str, float, str]]:
    """Device, operations per second, and the figures in words."""
    for device, timing in (("processor", row.cpu), ("GPU", row.gpu)):
        if timing and row.operations:
            speed = row.operations / timing.median_s
            faster = f", {row.ratio:.1f} x faster" if device == "GPU" and row.ratio else ""
            yield device, speed, f"{rate(speed)}, {duration(timing.median_s)}{faster}"


def _height(row: Row) -> int:
    return BAR * len(list(_bars(row))) + GAP


def _text(x: int, y: int, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(plain(words))}</text>'
