"""ssh, cp, open and tunnel: on to a host, and to what it offers, by the inventory's own connection."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options

Service = Annotated[
    str,
    typer.Argument(
        help="A service, such as jupyter or tensorboard.", autocompletion=options.complete_service, metavar="SERVICE"
    ),
]
User = Annotated[str, typer.Option("--user", help="Whose service, where the host has several.", metavar="USER")]


def ssh_command(
    inventory: options.Inventory,
    host: options.OneHost = "",
    command: Annotated[list[str], typer.Argument(help="A command to run instead of a shell, after --.")] = [],  # noqa: B006  Typer copies it
) -> None:
    """Open a shell on a host, or run a command there.

    The exit code is the remote one, and 255 where ssh itself failed.
    """
    from dlhost.operations.remote import shell

    raise typer.Exit(shell(inventory, host, command, options.ask_secret()))


def cp_command(
    inventory: options.Inventory,
    paths: Annotated[
        list[str],
        typer.Argument(
            help="What to copy, then where to; the host's side is HOST:PATH, or :PATH of the only host.",
            metavar="SRC... DST",
            show_default=False,
        ),
    ],
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Directories, with all that is in them.")
    ] = False,
) -> None:
    """Copy files to a host, or from it."""
    from dlhost.operations.copy import copy

    raise typer.Exit(copy(inventory, paths, recursive=recursive, ask=options.ask_secret()))


def open_command(
    service: Service,
    inventory: options.Inventory,
    host: options.OneHost = "",
    user: User = "",
    only_print: Annotated[bool, typer.Option("--print", help="Print the address, open no browser.")] = False,
) -> None:
    """Open a service in your browser: at the host's web front, or through a tunnel until Ctrl-C."""
    from dlhost.adapters.browser import open_page
    from dlhost.operations.services import open_service

    def ready(url: str) -> None:
        typer.echo(url)
        if not only_print and not open_page(url):
            _say("No browser can be shown here; open the address yourself.")

    raise typer.Exit(open_service(inventory, host, service, user, options.ask_secret(), ready, _say))


def tunnel_command(
    inventory: options.Inventory,
    service: Service = "",
    forward: Annotated[
        list[str],
        typer.Option("-L", help="Forward a local port, as ssh does: [ADDRESS:]PORT:HOST:HOSTPORT.", metavar="FORWARD"),
    ] = [],  # noqa: B006  Typer copies it
    host: options.OneHost = "",
    user: User = "",
    local_port: Annotated[
        int | None, typer.Option("--local-port", help="The local port of a service's tunnel.", min=1, max=65535)
    ] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Do not wait: the tunnel stays, also when you log out.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="End the tunnel in the background; without a service or -L, all of them.")
    ] = False,
) -> None:
    """Forward local ports to a host until Ctrl-C: a service's, whose address is printed, or those of -L."""
    from dlhost.errors import UsageError
    from dlhost.operations.remote import require_forwards, tunnel
    from dlhost.operations.services import tunnel_service

    if (service and forward) or not (service or forward or stop) or (forward and (user or local_port)):
        raise UsageError("Name a service, such as jupyter (with --user and --local-port), or forward ports with -L.")
    if stop:
        if background or local_port:
            raise UsageError("--stop ends a tunnel: it goes with neither --background nor --local-port.")
        _stop_tunnels(inventory, host, service, user, forward)
        return
    require_forwards(forward)
    if background:
        _start_tunnel(inventory, host, service, user, local_port, forward)
        return
    if service:
        ask = options.ask_secret()
        raise typer.Exit(tunnel_service(inventory, host, service, user, local_port, ask, typer.echo, _say))
    _say(f"Forwarding {', '.join(forward)}; Ctrl-C ends it.")
    raise typer.Exit(tunnel(inventory, host, forward, options.ask_secret()))


def _start_tunnel(
    inventory: str, host: str, service: str, user: str, local_port: int | None, forward: list[str]
) -> None:
    from dlhost.operations.tunnels import forwarding, to_service

    ask = options.ask_secret()
    if service:
        tunnel, new = to_service(inventory, host, service, user, local_port, ask, typer.echo, _say)
        leads = f"Port {tunnel.local_port} of this machine leads to {tunnel.name}"
    else:
        tunnel, new = forwarding(inventory, host, forward, ask)
        leads = f"Forwarding {tunnel.name}"
    _say(f"{leads}{'' if new else ', as before'}; the same command with --stop for --background ends it.")


def _stop_tunnels(inventory: str, host: str, service: str, user: str, forward: list[str]) -> None:
    from dlhost.operations.tunnels import stop

    ended = stop(inventory, host, service, user, forward)
    for tunnel in ended:
        typer.echo(f"Ended: {tunnel.name}.")
    if not ended:
        _say("No such tunnel is in the background.")


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)
