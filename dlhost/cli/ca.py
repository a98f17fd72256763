"""ca create, show, export, trust: the certificate authority of an inventory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlhost.cli import options
from dlhost.errors import ExitCode

if TYPE_CHECKING:
    from dlhost.adapters.trust import Step
    from dlhost.operations.authority import Shown

app = typer.Typer(
    help="The certificate authority of an inventory: trust it once, and its hosts' pages open without a warning.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("create")
def create_command(inventory: options.Inventory) -> None:
    """Make the authority of an inventory that has none; its key goes into the vault."""
    from dlhost.operations.authority import create

    _tell(create(inventory, options.ask_secret()))


@app.command("show")
def show_command(inventory: options.Inventory, json: options.Json = False) -> None:
    """Show the certificate: name, fingerprint, last day, path, and how to trust it elsewhere."""
    from dlhost.operations.authority import show

    shown = show(inventory)
    if json:
        options.print_json(
            {
                "schema_version": 1,
                "subject": shown.facts.subject,
                "sha256": shown.facts.fingerprint,
                "valid_until": shown.facts.valid_until,
                "path": str(shown.path),
                "trust": [{"where": where, "command": command} for where, command in shown.ways],
            }
        )
        return
    _tell(shown)
    typer.echo(f"\nTo trust it on this machine: dlhost ca trust -i {inventory}. On others, each with a copy of it:")
    for where, command in shown.ways:
        typer.echo(f"  {where}\n    {command}")


@app.command("export")
def export_command(
    inventory: options.Inventory,
    file: Annotated[str, typer.Argument(help="Where to, a file or a directory.")],
) -> None:
    """Copy the certificate, for another machine or a telephone."""
    from dlhost.operations.authority import export

    typer.echo(export(inventory, Path(file)))


@app.command("trust")
def trust_command(
    inventory: options.Inventory,
    remove: Annotated[bool, typer.Option("--remove", help="Trust it no longer.")] = False,
) -> None:
    """Let this machine's programs and browsers trust it: what may be done is done, what is left is named."""
    from dlhost.operations.authority import change_trust

    raise typer.Exit(tell_steps(change_trust(inventory, remove=remove), remove=remove))


def tell_steps(steps: Sequence[Step], *, remove: bool) -> ExitCode:
    """Print what became of each store; returns whether the user must act."""
    for step in steps:
        done = "trusts it no longer" if remove else "trusts it now"
        typer.echo(f"left  {step.store}: {step.left}" if step.left else f"done  {step.store} {done}")
    return ExitCode.USER_MUST_ACT if any(step.left for step in steps) else ExitCode.DONE


def _tell(shown: Shown) -> None:
    typer.echo(shown.facts.subject)
    typer.echo(f"SHA-256      {shown.facts.fingerprint}")
    typer.echo(f"valid until  {shown.facts.valid_until}")
    typer.echo(f"path         {shown.path}")
