"""secrets edit, set, check: the vault of an inventory."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options

app = typer.Typer(help="Secrets of an inventory, in its ansible-vault.", no_args_is_help=True, rich_markup_mode=None)


@app.command("edit")
def edit_command(inventory: options.Inventory) -> None:
    """Open the vault in $EDITOR; it is encrypted again when the editor ends."""
    from dlhost.operations.secrets import edit

    changed = edit(inventory, options.ask_secret())
    typer.echo("Saved." if changed else "Nothing changed.")


@app.command("set")
def set_command(
    name: Annotated[str, typer.Argument(help="The variable, such as ansible_become_password.")],
    inventory: options.Inventory,
) -> None:
    """Set one secret: asked for twice at a terminal, else read from standard input."""
    import sys

    from dlhost.errors import UsageError
    from dlhost.operations.secrets import set_secret

    ask = options.ask_secret()
    if ask is None:
        value = sys.stdin.read().rstrip("\n")
    else:
        value = ask(name)
        if value != ask(f"{name}, once more"):
            raise UsageError("The two entries differ; nothing was changed.")
    path = set_secret(inventory, name, value, ask)
    typer.echo(f"{name} is in {path}.")


@app.command("check")
def check_command(inventory: options.Inventory) -> None:
    """Prove that the vault opens, that every secret a role needs is there, and that none lies in plain text."""
    from dlhost.operations.secrets import check

    for line in check(inventory, options.ask_secret()):
        typer.echo(line)
