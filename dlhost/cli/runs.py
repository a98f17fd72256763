"""provision, drift, verify."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from dlhost.cli import options
from dlhost.render.plain import plain

if TYPE_CHECKING:
    from dlhost.operations.run import Judged, Outside, Request


def provision_command(
    inventory: options.Inventory,
    check: Annotated[bool, typer.Option("--check", help="Say what would change; change nothing.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show the differences.")] = False,
    limit: options.Limit = "",
    roles: options.Roles = "",
    skip: options.Skip = "",
    extra_vars: options.ExtraVars = [],  # noqa: B006  Typer copies it
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to what would be asked.")] = False,
    no_reboot: options.NoReboot = False,
    json: options.Json = False,
    verbose: options.Verbose = 0,
) -> None:
    """Bring every host to its declared state. Run it again at any time: what is right already stays untouched."""
    from dlhost.adapters import content
    from dlhost.operations.provision import provision
    from dlhost.render import documents, terminal

    chosen = Chosen(inventory, limit, roles, skip, verbose, extra_vars)
    request = chosen.request("provision", content.SITE, check=check)
    if no_reboot:
        request = without_reboot(request)
    with outside(options.confirm(yes)) as world:
        result = provision(request, world)
    report = result.finished.report
    if json:
        options.print_json(documents.run_document(result.finished.record, report, result.exit_code, result.afterwards))
    else:
        terminal.recap(options.output(), report, result.afterwards, result.log, show_diff=diff)
    raise typer.Exit(result.exit_code)


def drift_command(
    inventory: options.Inventory,
    limit: options.Limit = "",
    roles: options.Roles = "",
    skip: options.Skip = "",
    json: options.Json = False,
    verbose: options.Verbose = 0,
) -> None:
    """Say where hosts differ from the inventory; nothing is changed. Exit code 3 where one does."""
    from dlhost.adapters import content
    from dlhost.operations.drift import drift
    from dlhost.render import documents, terminal

    request = Chosen(inventory, limit, roles, skip, verbose).request("drift", content.SITE, check=True)
    with outside(None) as world:
        result = drift(request, world)
    if json:
        options.print_json(documents.drift_document(result.finished.record, result.finished.report, result.exit_code))
    else:
        terminal.drift(options.output(), result.finished.report, result.log)
    _warn(result)
    raise typer.Exit(result.exit_code)


def verify_command(
    inventory: options.Inventory,
    limit: options.Limit = "",
    roles: options.Roles = "",
    skip: options.Skip = "",
    json: options.Json = False,
    verbose: options.Verbose = 0,
) -> None:
    """Prove that every role's promise holds; nothing is changed. Exit code 7 where one does not."""
    from dlhost.adapters import content
    from dlhost.operations.verify import verify
    from dlhost.render import documents, terminal

    request = Chosen(inventory, limit, roles, skip, verbose).request("verify", content.VERIFY)
    with outside(None) as world:
        result = verify(request, world)
    if json:
        options.print_json(documents.verify_document(result.finished.record, result.finished.report, result.exit_code))
    else:
        terminal.checks(options.output(), result.finished.report, result.log)
    _warn(result)
    raise typer.Exit(result.exit_code)


def _warn(result: Judged) -> None:
    """Say whose monitoring does not know of the result; the result is the same."""
    for sentence in result.finished.untold:
        typer.echo(plain(sentence), err=True)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options that the three commands share, as they were typed."""

    inventory: str
    limit: str
    roles: str
    skip: str
    verbose: int
    extra_vars: Sequence[str] = ()

    def request(self, operation: str, playbook: str, *, check: bool = False) -> Request:
        """What they ask for.

        Raises:
            UsageError: An element of -e is malformed.
        """
        from dlhost.operations.run import Request

        return Request(
            operation=operation,
            inventory=self.inventory,
            playbook=playbook,
            check=check,
            hosts=options.names(self.limit),
            roles=options.names(self.roles),
            skip=options.names(self.skip),
            extra_vars=options.variables(self.extra_vars),
            verbosity=self.verbose,
            arguments=recorded_arguments(self.extra_vars),
        )


def without_reboot(request: Request) -> Request:
    """The same, with every reboot left to the user."""
    return replace(request, extra_vars={**request.extra_vars, "nvidia_driver_reboot": "never"})


@contextmanager
def outside(confirm: Callable[[str], bool] | None) -> Iterator[Outside]:
    """The real world, with a progress display on stderr for as long as the run lasts."""
    from dlhost.operations.run import Outside
    from dlhost.render.progress import Progress

    with Progress(options.progress_output()) as progress:
        yield Outside(ask=options.ask_secret(), confirm=confirm, announce=progress.announce, listen=progress)


def recorded_arguments(extra_vars: Sequence[str] = ()) -> tuple[str, ...]:
    """The command line for the run's record, with the values of -e left out: they may be secrets.

    A pair is found at the end of a word, however its option was spelled: -e K=V, -veK=V, --extra-vars=K=V.
    """
    words = sys.argv[1:]
    for pair in extra_vars:
        name, separator, _ = pair.partition("=")
        if separator and not pair.startswith("@"):
            words = [f"{word.removesuffix(pair)}{name}=…" if word.endswith(pair) else word for word in words]
    return tuple(words)
