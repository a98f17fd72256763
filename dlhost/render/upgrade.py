"""How an upgrade of drivers came out, for a person and for a program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from dlhost.render.documents import SCHEMA_VERSION
from dlhost.render.plain import plain
from dlhost.values.upgrade import Outcome, Upgrade

STYLES = {
    Outcome.UPGRADED: "green",
    Outcome.NEWEST: "green",
    Outcome.WAITS: "bold yellow",
    Outcome.BROUGHT_BACK: "bold red",
    Outcome.FAILED: "bold red",
    Outcome.NOT_BEGUN: "magenta",
}


def tell(console: Console, result: Upgrade) -> None:
    """Each host with its branches, what went wrong, and what is left to the user."""
    for host in result.hosts:
        line = f"{host.host}: {host.outcome}"
        line += f": driver {host.before}" if host.before else ""
        console.print(Text(line if host.before == host.after else f"{line} → {host.after}", STYLES[host.outcome]))
        for reason in host.reasons:
            console.print(Text(f"  {plain(reason)}"))
    if result.left_to_do:
        console.print(Text("What is left to do:", "bold yellow"))
        for step in result.left_to_do:
            console.print(Text(f"  {plain(step)}"))


def document(inventory: str, result: Upgrade) -> dict[str, Any]:
    """The same as one JSON document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "operation": "upgrade driver",
        "inventory": inventory,
        "branch": result.branch,
        "exit_code": int(result.exit_code),
        "hosts": [asdict(host) for host in result.hosts],
        "left_to_do": list(result.left_to_do),
    }
