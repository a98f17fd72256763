"""bench: how much faster than the processor the GPUs are, in each Python environment of a host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlhost.cli import options

PLOT = ".svg"


def bench_command(
    inventory: options.Inventory,
    host: options.OneHost = "",
    environment: Annotated[
        str, typer.Option("--env", help="Only this Python environment of the host.", metavar="ENV")
    ] = "",
    size: Annotated[str, typer.Option("--size", help="How much is computed: small, medium or large.")] = "medium",
    repeat: Annotated[int, typer.Option("--repeat", help="How many runs the median is of.", min=1, max=1000)] = 5,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the figures into an SVG file.", metavar="FILE")
    ] = None,
    beside: Annotated[
        bool, typer.Option("--yes", "-y", help="Compute although other programs use the GPUs, which it may disturb.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Compare a host's GPUs with its processor: matrix product, convolution, and the stylisation of a picture.

    Every environment's torch, tensorflow, jax and numpy computes in turn; nothing is downloaded, and nothing left on
    the host. A GPU that computes wrongly, or not at all, is exit code 7.
    """
    from dlhost.errors import UsageError
    from dlhost.operations import bench
    from dlhost.render.bench import document, tell
    from dlhost.render.bench_plot import svg

    if plot and (plot.suffix != PLOT or not plot.parent.is_dir()):
        raise UsageError(f"--plot {plot}: name a file that ends in {PLOT}, in a directory that is there.")
    outside = bench.Outside(tell=_say, ask=None if json else options.ask_secret())
    found = bench.bench(bench.Request(inventory, host, environment, size, repeat, beside), outside)
    code = bench.exit_code(found)
    if json:
        options.print_json(document(found, code))
    else:
        tell(options.output(), found)
    if plot:
        try:
            plot.write_text(svg(found), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--plot {plot} cannot be written: {error.strerror}.") from None
    raise typer.Exit(code)


def _say(sentence: str) -> None:
    from dlhost.render.plain import plain

    typer.echo(plain(sentence), err=True)
