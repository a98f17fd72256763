"""The command line: every command in one table, and the one place where an error becomes an exit code."""

from __future__ import annotations

import signal
import sys
from itertools import takewhile
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from dlhost import __version__
from dlhost.cli import (
    bench,
    ca,
    connect,
    demo,
    doctor,
    environments,
    history,
    hosts,
    inventories,
    keepalive,
    options,
    runs,
    secrets,
    status,
    upgrade,
)
from dlhost.errors import DlhostError, ExitCode
from dlhost.render import documents
from dlhost.render.plain import plain

# Click's; in which package it lies differs between versions of Typer.
USAGE_ERROR: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """Commands whose errors are one sentence on stderr and a documented exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DlhostError as error:
            _tell(str(error), error.exit_code)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            _tell("Interrupted.", ExitCode.INTERRUPTED)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except USAGE_ERROR as error:
            # Its sentence for a person is Typer's own, but for the words of the library that Typer asks.
            error.message = error.message.removeprefix("Value error, ")
            _tell_as_json(error.format_message(), ExitCode.USAGE)
            raise
        except BrokenPipeError:
            # The reader of stdout, such as `head`, has had enough; nothing more can be said to it.
            sys.stdout = None
            raise typer.Exit(ExitCode.DONE) from None


def _tell(sentence: str, code: ExitCode) -> None:
    """An error's one sentence; a host may have said a part of it."""
    _tell_as_json(sentence, code)
    typer.echo(plain(sentence), err=True)


def _tell_as_json(sentence: str, code: ExitCode) -> None:
    """The same on stdout where --json was asked for; what follows -- is not for us."""
    if "--json" in takewhile(lambda word: word != "--", sys.argv):
        options.print_json(documents.error_document(sentence, code))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dlhost {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands,
    help="Make a Linux box with an NVIDIA card a deep-learning host, and keep it one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Make a Linux box with an NVIDIA card a deep-learning host, and keep it one."""


app.command("init")(inventories.init_command)
app.command("doctor")(doctor.doctor_command)
app.command("provision")(runs.provision_command)
app.command("drift")(runs.drift_command)
app.command("verify")(runs.verify_command)
app.command("status")(status.status_command)
app.command("bench")(bench.bench_command)
app.command("demo")(demo.demo_command)
app.command("ssh")(hosts.ssh_command)
app.command("keepalive")(keepalive.keepalive_command)
app.command("cp")(hosts.cp_command)
app.command("open")(hosts.open_command)
app.command("tunnel")(hosts.tunnel_command)
app.command("inventories")(inventories.inventories_command)
app.command("roles")(inventories.roles_command)
app.add_typer(environments.app, name="env")
app.add_typer(upgrade.app, name="upgrade")
app.add_typer(inventories.inventory_app, name="inventory")
app.add_typer(history.app, name="history")
app.add_typer(secrets.app, name="secrets")
app.add_typer(ca.app, name="ca")
app.add_typer(connect.app, name="connect")


def main() -> NoReturn:
    """The program's entry point."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What cleans up after Ctrl-C does so here too; nohup's wish to go on counts.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        _confess(error)
    sys.exit(ExitCode.DONE)


def _confess(error: Exception) -> NoReturn:
    """An error that nobody foresaw: one sentence here, where it happened in a file for the report."""
    from dlhost.adapters.xdg import state_directory

    sentence = f"dlhost met a bug of its own: {type(error).__name__}. Please report it with "
    path = state_directory() / "bug.txt"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(_where(error), encoding="utf-8")
        sentence += f"{path}."
    except OSError:
        sentence += f"this:\n{_where(error)}"
    _tell(sentence, ExitCode.TASK_FAILED)
    sys.exit(ExitCode.TASK_FAILED)


def _where(error: BaseException) -> str:
    """The tracebacks of an error and its causes, without their words: those may quote a secret."""
    import traceback

    cause = error.__cause__ or error.__context__
    before = f"{_where(cause)}\n" if cause else ""
    return f"{before}{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}\n"
