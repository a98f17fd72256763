"""status: what the hosts are doing, once or redrawn in place."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from dlhost.cli import options

if TYPE_CHECKING:
    from dlhost.operations.status import Outside


def status_command(
    inventory: options.Inventory,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    limit: options.Limit = "",
    json: options.Json = False,
) -> None:
    """Show what the hosts are doing: processors, memory, disks, every GPU with its processes, and dlhost's services."""
    from dlhost.errors import UsageError
    from dlhost.operations import status
    from dlhost.render.status import document, picture

    if watch and json:
        raise UsageError("--watch never ends, and --json is one document: leave one of them out.")
    hosts = options.names(limit)
    outside = status.Outside(ask=None if json else options.ask_secret())
    if watch:
        _watch(inventory, hosts, outside)
        return
    found = status.status(inventory, hosts, outside)
    code = status.exit_code(found)
    if json:
        options.print_json(document(inventory, found, code))
    else:
        options.output().print(picture(found))
    raise typer.Exit(code)


def _watch(inventory: str, hosts: tuple[str, ...], outside: Outside) -> None:
    """Redraw until Ctrl-C, which is how this ends and no failure."""
    from rich.live import Live

    from dlhost.errors import UsageError
    from dlhost.operations import status
    from dlhost.render.status import picture

    console = options.output()
    if not console.is_terminal:
        raise UsageError("--watch redraws a terminal, and this output goes elsewhere: leave it out.")
    with Live(console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        status.watch(inventory, hosts, outside, lambda found: live.update(picture(found), refresh=True))
