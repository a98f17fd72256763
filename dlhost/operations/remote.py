"""A shell on a host, or ports forwarded to it, by the connection that the inventory describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from dlhost.adapters import inventory_source, openssh, runner
from dlhost.errors import ExitCode, UsageError
from dlhost.values.inventory import Host

Ask = Callable[[str], str] | None
FORWARD = re.compile(r"(?:[^:\s]+:|\[[^\]]+\]:|:)?\d+:(?:[^:\s]+|\[[^\]]+\]):\d+")


def shell(inventory: str, host: str, command: Sequence[str], ask: Ask) -> int:
    """Run ssh in the user's terminal; returns its exit code, which is the remote command's."""
    return openssh.run_interactively(openssh.ssh_command(reached(inventory, host, ask).connection, remote=command))


def require_forwards(forwards: Sequence[str]) -> None:
    """Look at forwards before anything is announced.

    Raises:
        UsageError: One is not of ssh's form.
    """
    for forward in forwards:
        if not FORWARD.fullmatch(forward):
            raise UsageError(f"-L {forward} is not of the form [ADDRESS:]PORT:HOST:HOSTPORT, like 8888:localhost:8888.")


def tunnel(inventory: str, host: str, forwards: Sequence[str], ask: Ask) -> int:
    """Forward ports until interrupted; a port that cannot be had is an error at once."""
    options = [*openssh.FORWARDING, *(word for forward in forwards for word in ("-L", forward))]
    try:
        code = openssh.run_interactively(openssh.ssh_command(reached(inventory, host, ask).connection, options))
    except KeyboardInterrupt:
        return ExitCode.DONE
    return ExitCode.UNREACHABLE if code else ExitCode.DONE


def reached(inventory: str, name: str, ask: Ask) -> Host:
    """One host of an inventory, with the connection that reaches it now.

    Raises:
        UsageError: There is no such host, or it is not named and there are several.
    """
    location = inventory_source.find(inventory)
    password = inventory_source.vault_password(location, ask)
    host = one_of(inventory_source.load(location, password, (name,) if name else ()).hosts)
    if host.connection.transport != "ssh":
        raise UsageError(f"{host.name} is reached by {host.connection.transport}, not by SSH.")
    return replace(host, connection=openssh.connection_that_answers(host, runner.control_path_dir(location.path)))


def one_of(hosts: Sequence[Host]) -> Host:
    """The one host that there is.

    Raises:
        UsageError: There are several.
    """
    if len(hosts) > 1:
        raise UsageError(f"Which host? The inventory has {', '.join(host.name for host in hosts)}.")
    return hosts[0]
