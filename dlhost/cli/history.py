"""history list, show, diff: the runs of an inventory."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options

app = typer.Typer(help="Runs of an inventory: who, when, what changed.", no_args_is_help=True, rich_markup_mode=None)
RunId = Annotated[str, typer.Argument(help="A run's id, or its beginning.", metavar="RUN")]


@app.command("list")
def list_command(inventory: options.Inventory, json: options.Json = False) -> None:
    """List the runs, oldest first."""
    from dlhost.operations.history import runs
    from dlhost.values.record import record_document

    found = runs(inventory)
    if json:
        options.print_json({"schema_version": 1, "runs": [record_document(run) for run in found]})
        return
    for run in found:
        code = "-" if run.exit_code is None else str(run.exit_code)
        started = f"{run.started:%Y-%m-%d %H:%M:%S}"
        what = f"{run.operation} --check" if "--check" in run.arguments else run.operation
        typer.echo(f"{run.id}  {started}  {what:<17}  {run.state:<11}  exit {code:<3}  {run.user}  {run.revision}")


@app.command("show")
def show_command(run: RunId, inventory: options.Inventory, json: options.Json = False) -> None:
    """Show one run: its record with --json, else its full log."""
    from dlhost.operations.history import show
    from dlhost.values.record import record_document

    record, log = show(inventory, run)
    if json:
        options.print_json(record_document(record))
    else:
        # A host's output must not speak to the reader's terminal.
        typer.echo(f"dlhost {' '.join(record.arguments)}\n{log}".replace("\x1b", "␛"), nl=False)


@app.command("diff")
def diff_command(first: RunId, second: RunId, inventory: options.Inventory) -> None:
    """Show in which roles and checks two runs came out differently."""
    from dlhost.operations.history import difference

    lines = difference(inventory, first, second)
    typer.echo("\n".join(lines) if lines else "Both runs came out alike.")
