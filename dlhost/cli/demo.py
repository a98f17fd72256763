"""demo: a disposable host to try everything on."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from dlhost.cli import options
from dlhost.cli.ca import tell_steps

STEPS = ("dlhost ssh -i demo", "dlhost drift -i demo", "dlhost demo --destroy")


def demo_command(
    destroy: Annotated[bool, typer.Option("--destroy", help="Remove the demo host and its inventory.")] = False,
) -> None:
    """Make a disposable host in a container, provision it over SSH, verify it, and say how to get in."""
    from dlhost.cli.runs import outside, recorded_arguments
    from dlhost.operations import demo
    from dlhost.render import terminal
    from dlhost.values.run import Afterwards

    if destroy:
        destroyed = demo.destroy()
        typer.echo("The demo host is gone." if destroyed.was_there else "There is no demo host.")
        raise typer.Exit(tell_steps(destroyed.trusted, remove=True))
    with outside(options.confirm(yes=True)) as world:
        result = demo.demo(world, lambda text: typer.echo(text, err=True), recorded_arguments())
    console = options.output()
    provisioned = result.provisioned
    afterwards = provisioned.afterwards
    left = Afterwards(left_to_do=afterwards.left_to_do)
    terminal.recap(console, provisioned.finished.report, left, provisioned.log, show_diff=False)
    if result.verified is None:
        raise typer.Exit(result.provisioned.exit_code)
    terminal.checks(console, result.verified.finished.report, result.verified.log)
    typer.echo()
    # In a checkout, the program lies in a virtual environment that need not be on PATH.
    program = "dlhost" if shutil.which("dlhost") else sys.argv[0]
    terminal.ways_in(console, afterwards, program)
    typer.echo("Get in, look for drift, remove it again:")
    for command in (*(way.command for way in afterwards.ways_in), *STEPS):
        typer.echo(f"  {command.replace('dlhost', program, 1)}")
    typer.echo(f"Its inventory: {result.location.path}")
    raise typer.Exit(result.verified.exit_code)
