"""env lock, list, diff, freeze, rollback: conda environments and their locks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from dlhost.cli import options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dlhost.errors import ExitCode
    from dlhost.operations.environments import Outside
    from dlhost.values.environments import Compared, Locked

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
    from dlhost.operations.environments import lock

    _tell_locked("env lock", inventory, lock(inventory, environments or (), upgrade, _outside(json)), json)


@app.command("rollback")
def rollback_command(
    inventory: options.Inventory,
    environments: Annotated[list[str], typer.Argument(help="Which environments.", metavar="ENV")],
    json: options.Json = False,
) -> None:
    """Swap the locks of environments with those before them; hosts go back with the next provision."""
    from dlhost.operations.environments import rollback

    _tell_locked("env rollback", inventory, rollback(inventory, environments, _outside(json)), json)


@app.command("list")
def list_command(inventory: options.Inventory, environments: Environments = None, json: options.Json = False) -> None:
    """List environments: whether they are locked, and what hosts have of them."""
    from dlhost.operations.environments import compare
    from dlhost.render.environments import table
    from dlhost.values.environments import listing_exit_code

    found = compare(inventory, environments or (), _outside(json))
    _tell_compared("env list", inventory, found, listing_exit_code(found), None if json else [table(found)])


@app.command("diff")
def diff_command(inventory: options.Inventory, environments: Environments = None, json: options.Json = False) -> None:
    """Show which packages hosts have otherwise than locked; exit code 3 where any do. Files: see dlhost drift."""
    from dlhost.operations.environments import compare
    from dlhost.render.environments import differences
    from dlhost.values.environments import difference_exit_code

    found = compare(inventory, environments or (), _outside(json))
    told = None if json else differences(inventory, found)
    _tell_compared("env diff", inventory, found, difference_exit_code(found), told)


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
    from dlhost.operations.environments import freeze

    text = freeze(inventory, environment, host, output, _outside(False))
    if output is None:
        typer.echo(text, nl=False)
    else:
        typer.echo(f"{environment} is in {output}.")


def _tell_locked(operation: str, inventory: str, done: Sequence[Locked], json: bool) -> NoReturn:
    from dlhost.render.environments import lock_document, tell_locks
    from dlhost.values.environments import locking_exit_code

    code = locking_exit_code(done)
    if json:
        options.print_json(lock_document(operation, inventory, done, code))
    else:
        tell_locks(options.output(), inventory, done)
    raise typer.Exit(code)


def _tell_compared(
    operation: str, inventory: str, found: Sequence[Compared], code: ExitCode, told: Iterable[RenderableType] | None
) -> NoReturn:
    from dlhost.render.environments import compare_document

    if told is None:
        options.print_json(compare_document(operation, inventory, found, code))
    else:
        console = options.output()
        for line in told:
            console.print(line)
    raise typer.Exit(code)
