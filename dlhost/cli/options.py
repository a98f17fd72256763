"""Options that several commands share, and how a person is asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlhost.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


# Characters in a line that nobody looks at, but a program may read.
UNBOUNDED = 100_000


def complete_inventory(incomplete: str) -> list[str]:
    """Names of inventories, for the shell's completion."""
    from dlhost.adapters.inventory_source import locations

    return [location.name for location in locations() if location.name.startswith(incomplete)]


def complete_role(incomplete: str) -> list[str]:
    """Names of roles, for the shell's completion."""
    from dlhost.adapters.content import role_schemas

    return [schema.role for schema in role_schemas() if schema.role.startswith(incomplete)]


def complete_service(incomplete: str) -> list[str]:
    """Names of services, for the shell's completion."""
    from dlhost.values.services import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


Inventory = Annotated[
    str,
    typer.Option(
        "--inventory",
        "-i",
        help="Inventory: a name, or a path.",
        autocompletion=complete_inventory,
        metavar="NAME",
    ),
]
OneHost = Annotated[str, typer.Option("--host", help="Which host, where the inventory has several.", metavar="HOST")]
Limit = Annotated[str, typer.Option("--limit", help="Only these hosts or groups, comma-separated.", metavar="HOSTS")]
Roles = Annotated[
    str,
    typer.Option("--roles", help="Only these roles, comma-separated.", autocompletion=complete_role, metavar="ROLES"),
]
Skip = Annotated[
    str,
    typer.Option("--skip", help="Not these roles, comma-separated.", autocompletion=complete_role, metavar="ROLES"),
]
ExtraVars = Annotated[
    list[str],
    typer.Option(
        "-e",
        "--extra-vars",
        help="Set a variable: k=v, or @FILE of YAML. A process list shows k=v.",
        metavar="K=V",
    ),
]
NoReboot = Annotated[
    bool, typer.Option("--no-reboot", help="Leave every reboot to me, as nvidia_driver_reboot: never does.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Verbose = Annotated[int, typer.Option("-v", "--verbose", count=True, help="Tell more in the log; repeat for more.")]


def names(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated option."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def variables(pairs: Sequence[str]) -> dict[str, Any]:
    """Values of -e, read as YAML as an inventory's are.

    Raises:
        UsageError: An element is neither k=v nor a readable @FILE.
    """
    from pathlib import Path

    import yaml

    found: dict[str, Any] = {}
    for pair in pairs:
        try:
            if pair.startswith("@"):
                read = yaml.safe_load(Path(pair[1:]).read_text(encoding="utf-8"))
                if not isinstance(read, dict):
                    raise UsageError(f"-e {pair}: the file should be a mapping of names to values.")
                found |= read
                continue
            name, separator, value = pair.partition("=")
            if not separator or not name.strip().isidentifier():
                raise UsageError(f"-e {name if separator else pair} is neither NAME=VALUE nor @FILE.")
            found[name.strip()] = yaml.safe_load(value) if value else ""
        except OSError as error:
            raise UsageError(f"-e {pair}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise UsageError(f"-e {pair}: the file is not text.") from None
        except (yaml.YAMLError, ValueError):  # A ValueError of what looks like a date: 2026-02-30.
            raise UsageError(f"-e {pair.partition('=')[0]}: the value is not valid YAML.") from None
    return found


def ask_secret() -> Callable[[str], str] | None:
    """How to ask for a password without showing it; None where nobody sits at the terminal."""
    if not sys.stdin.isatty():
        return None

    def ask(question: str) -> str:
        from getpass import getpass

        try:
            return getpass(f"{question}: ")
        except EOFError:  # Ctrl-D is as good a no as Ctrl-C.
            raise KeyboardInterrupt from None

    return ask


def confirm(yes: bool) -> Callable[[str], bool] | None:
    """How to ask for consent; --yes agrees to everything, and None where nobody sits at the terminal."""
    if yes:
        return lambda _question: True
    if not sys.stdin.isatty():
        return None

    def ask(question: str) -> bool:
        try:
            return typer.confirm(question, err=True)
        except typer.Abort:  # Typer's word for Ctrl-C at its question; it would exit with 1.
            raise KeyboardInterrupt from None

    return ask


def output() -> Console:
    """stdout, for results; lines are only fitted to a width where somebody looks at one."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNBOUNDED
    return console


def progress_output() -> Console:
    """stderr, for what is going on."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    import json

    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
