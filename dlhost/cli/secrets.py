"""secrets edit, set, show, check: the vault of an inventory."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options

app = typer.Typer(help="Secrets of an inventory, in its ansible-vault.", no_args_is_help=True, rich_markup_mode=None)

Variable = Annotated[str, typer.Argument(help="The variable, such as jupyter_password.", metavar="VARIABLE")]


@app.command("edit")
def edit_command(inventory: options.Inventory) -> None:
    """Open the vault in $EDITOR; it is encrypted again when the editor ends."""
    from dlhost.operations.secrets import edit

    changed = edit(inventory, options.ask_secret())
    typer.echo("Saved." if changed else "Nothing changed.")


@app.command("set")
def set_command(
    name: Variable,
    inventory: options.Inventory,
    generate: Annotated[bool, typer.Option("--generate", help="Let dlhost choose a new password.")] = False,
) -> None:
    """Set one secret: generated, or asked for twice at a terminal, else read from standard input."""
    import sys

    from dlhost.errors import UsageError
    from dlhost.operations import secrets

    ask = options.ask_secret()
    if generate:
        path = secrets.generate(inventory, name, ask)
        typer.echo(f"{name} is in {path}. To see it: dlhost secrets show -i {inventory} {name}")
        return
    if ask is None:
        value = sys.stdin.read().rstrip("\n")
    else:
        value = ask(name)
        if value != ask(f"{name}, once more"):
            raise UsageError("The two entries differ; nothing was changed.")
    path = secrets.set_secret(inventory, name, value, ask)
    typer.echo(f"{name} is in {path}.")


@app.command("show")
def show_command(name: Variable, inventory: options.Inventory, host: options.OneHost = "") -> None:
    """Show what one variable is set to, on standard output and nowhere else."""
    from dlhost.operations.secrets import show

    typer.echo(show(inventory, name, host, options.ask_secret()).removesuffix("\n"))


@app.command("check")
def check_command(inventory: options.Inventory) -> None:
    """Prove that the vault opens, that every secret a role needs is there, and that none lies in plain text."""
    from dlhost.operations.secrets import check

    for line in check(inventory, options.ask_secret()):
        typer.echo(line)
