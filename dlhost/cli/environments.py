"""env lock, list, diff, freeze, rollback: conda environments and their locks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlhost.cli import options

if TYPE_CHECKING:
    from dlhost.operations.environments import Outside

app = typer.Typer(help="Conda environments and their locks.", no_args_is_help=True, rich_markup_mode=None)

Environments = Annotated[list[str] | None, typer.Argument(help="Which environments; all without.", metavar="ENV")]


def _outside(json: bool) -> Outside:
    from dlhost.operations.environments import Outside

    console = options.progress_output()
    return Outside(
        ask=None if json else options.ask_secret(),
        announce=lambda sentence: console.print(f"{sentence} …", style="dim"),
    )


@app.command("lock")
def lock_command(
    inventory: options.Inventory,
    environments: Environments = None,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Take the newest versions of everything.")] = False,
    json: options.Json = False,
) -> None:
    """Solve environments for the hosts that get them, and write their locks beside the inventory."""
    from dlhost.operations import environments as operation
    from dlhost.render.environments import lock_document, tell_locks

    done = operation.lock(inventory, environments or (), upgrade, _outside(json))
    if json:
        options.print_json(lock_document("env lock", inventory, done, operation.exit_code(done)))
    else:
        tell_locks(options.output(), inventory, done)
    raise typer.Exit(operation.exit_code(done))


@app.command("rollback")
def rollback_command(
    inventory: options.Inventory,
    environments: Annotated[list[str], typer.Argument(help="Which environments.", metavar="ENV")],
    json: options.Json = False,
) -> None:
    """Swap the locks of environments with those before them; hosts go back with the next provision."""
    from dlhost.operations import environments as operation
    from dlhost.render.environments import lock_document, tell_locks

    done = operation.rollback(inventory, environments, _outside(json))
    if json:
        options.print_json(lock_document("env rollback", inventory, done, operation.exit_code(done)))
    else:
        tell_locks(options.output(), inventory, done)
    raise typer.Exit(operation.exit_code(done))


@app.command("list")
def list_command(inventory: options.Inventory, environments: Environments = None, json: options.Json = False) -> None:
    """List environments: whether they are locked, and what hosts have of them."""
    from dlhost.operations import environments as operation
    from dlhost.render.environments import compare_document, table
    from dlhost.values.environments import listing_exit_code

    found = operation.compare(inventory, environments or (), _outside(json))
    code = listing_exit_code(found)
    if json:
        options.print_json(compare_document("env list", inventory, found, code))
    else:
        options.output().print(table(found))
    raise typer.Exit(code)


@app.command("diff")
def diff_command(inventory: options.Inventory, environments: Environments = None, json: options.Json = False) -> None:
    """Show which packages hosts have otherwise than locked; exit code 3 where any do. Files: see dlhost drift."""
    from dlhost.operations import environments as operation
    from dlhost.render.environments import compare_document, tell_differences
    from dlhost.values.environments import difference_exit_code

    found = operation.compare(inventory, environments or (), _outside(json))
    code = difference_exit_code(found)
    if json:
        options.print_json(compare_document("env diff", inventory, found, code))
    else:
        tell_differences(options.output(), inventory, found)
    raise typer.Exit(code)


@app.command("freeze")
def freeze_command(
    inventory: options.Inventory,
    environment: Annotated[str, typer.Argument(help="Which environment.", metavar="ENV")],
    host: options.OneHost = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to a file.", dir_okay=False, metavar="FILE")
    ] = None,
) -> None:
    """Print what a host really has of an environment: conda's explicit list, with pip's part in comments."""
    from dlhost.operations import environments as operation

    text = operation.freeze(inventory, environment, host, output, _outside(False))
    if output is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(f"{environment} is in {output}.")
