"""ssh and tunnel: on to a host by the inventory's own connection."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options


def ssh_command(
    inventory: options.Inventory,
    host: options.OneHost = "",
    command: Annotated[list[str], typer.Argument(help="A command to run instead of a shell, after --.")] = [],  # noqa: B006  Typer copies it
) -> None:
    """Open a shell on a host, or run a command there; the exit code is the remote one."""
    from dlhost.operations.remote import shell

    raise typer.Exit(shell(inventory, host, command, options.ask_secret()))


def tunnel_command(
    inventory: options.Inventory,
    forward: Annotated[
        list[str],
        typer.Option("-L", help="Forward a local port, as ssh does: [ADDRESS:]PORT:HOST:HOSTPORT.", metavar="FORWARD"),
    ],
    host: options.OneHost = "",
) -> None:
    """Forward local ports to a host until Ctrl-C."""
    from dlhost.operations.remote import require_forwards, tunnel

    require_forwards(forward)
    typer.echo(f"Forwarding {', '.join(forward)}; Ctrl-C ends it.", err=True)
    raise typer.Exit(tunnel(inventory, host, forward, options.ask_secret()))
