"""doctor: what keeps dlhost from working, before anything is changed."""

from __future__ import annotations

from typing import Annotated

import typer

from dlhost.cli import options


def doctor_command(
    inventory: Annotated[
        str,
        typer.Option(
            "--inventory",
            "-i",
            help="Look at the hosts of an inventory too: a name, or a path.",
            autocompletion=options.complete_inventory,
            metavar="NAME",
        ),
    ] = "",
    limit: options.Limit = "",
    json: options.Json = False,
) -> None:
    """Say what keeps dlhost from working, here and on the hosts, and what to do; exit code 5 where anything does."""
    from dlhost.errors import UsageError
    from dlhost.operations import doctor
    from dlhost.render.doctor import document, table

    if limit and not inventory:
        raise UsageError("--limit chooses among the hosts of an inventory: name it with -i.")
    outside = doctor.Outside(ask=None if json else options.ask_secret())
    found = doctor.doctor(inventory, options.names(limit), outside)
    if json:
        options.print_json(document(inventory, found.controller, found.hosts, found.exit_code))
    else:
        table(options.output(), found.controller, found.hosts)
    raise typer.Exit(found.exit_code)
