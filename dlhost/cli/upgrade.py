"""upgrade driver: another branch, with a plan, consent and a way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dlhost.cli import options
from dlhost.cli.runs import outside, without_reboot

if TYPE_CHECKING:
    from dlhost.operations.provision import Provisioned
    from dlhost.operations.run import Judged, Request

app = typer.Typer(help="Take hosts to another version of what runs cannot replace by themselves.", no_args_is_help=True)


@app.callback()
def upgrade() -> None:
    """Take hosts to another version of what runs cannot replace by themselves."""


@app.command("driver")
def driver_command(
    inventory: options.Inventory,
    to: Annotated[
        str,
        typer.Option(
            "--to", help="The driver's branch, such as 580; the present one for its newest release.", metavar="BRANCH"
        ),
    ],
    limit: options.Limit = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to what would be asked.")] = False,
    no_reboot: options.NoReboot = False,
    json: options.Json = False,
) -> None:
    """Replace the NVIDIA driver by another branch, or the newest release of its own, host by host.

    Where a check fails, the old branch comes back.
    """
    from dlhost.operations.provision import provision
    from dlhost.operations.upgrade import Outside, upgrade_driver
    from dlhost.operations.verify import verify
    from dlhost.render import terminal
    from dlhost.render.upgrade import document, tell

    def apply(request: Request) -> Provisioned:
        with outside(options.confirm(yes)) as world:
            return provision(without_reboot(request) if no_reboot else request, world)

    def prove(request: Request) -> Judged:
        with outside(None) as world:
            return verify(request, world)

    def show(planned: Provisioned) -> None:
        if not json:
            report = planned.finished.report
            terminal.recap(options.output(), report, planned.afterwards, planned.log, show_diff=True)

    result = upgrade_driver(
        inventory,
        to,
        options.names(limit),
        Outside(apply, prove, show, options.confirm(yes), None if json else options.ask_secret()),
    )
    if json:
        options.print_json(document(inventory, result))
    else:
        tell(options.output(), result)
    raise typer.Exit(result.exit_code)
