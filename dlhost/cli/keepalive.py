"""keepalive: no stop for idleness before a time."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options


def keepalive_command(
    inventory: options.Inventory,
    time: Annotated[
        str, typer.Argument(help="For how long from now: 30m, 4h or 2d, a week at most.", metavar="TIME")
    ] = "",
    show: Annotated[bool, typer.Option("--show", help="Only say what the hosts do, and who keeps them up.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Take your wish back; those of others stay.")] = False,
    limit: options.Limit = "",
    json: options.Json = False,
) -> None:
    """Keep hosts up that would stop when they are idle (role idle_stop), for a time that a reboot does not end."""
    from dlhost.errors import UsageError
    from dlhost.operations import keepalive
    from dlhost.render.keepalive import document, line
    from dlhost.render.plain import plain

    if [bool(time), show, end].count(True) != 1:
        raise UsageError("Give a time, such as 4h, or --show, or --end.")
    order = keepalive.keep(time) if time else keepalive.SHOW if show else keepalive.END
    outside = keepalive.Outside(ask=None if json else options.ask_secret())
    found = keepalive.tell(inventory, options.names(limit), order, outside)
    code = keepalive.exit_code(found)
    if json:
        options.print_json(document(inventory, found, code))
    else:
        for one in found:
            typer.echo(plain(line(one)))
    raise typer.Exit(code)
