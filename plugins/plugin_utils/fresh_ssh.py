# SPDX-License-Identifier: GPL-3.0-or-later
"""A second SSH connection to the task's host: same inventory, but never multiplexed and never with a password."""

from __future__ import annotations

import ipaddress
import subprocess

from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase
from ansible.plugins.loader import connection_loader

# ssh keeps the first value it is given, so these overrule the inventory's and the user's own configuration.
FRESH = ("ControlMaster=no", "ControlPath=none")
KEY_ONLY = ("PreferredAuthentications=publickey", "BatchMode=yes")


def is_ssh(connection: ConnectionBase) -> bool:
    """Whether the task's connection is OpenSSH, and so can be opened a second time."""
    return connection.transport == "ssh"


def fresh_connection(
    action: ActionBase, *, port: int = 0, host_key_alias: str = "", options: tuple[str, ...] = KEY_ONLY
) -> ConnectionBase:
    """A new connection with the task's own settings, save those given; `options` are ssh_config(5) settings."""
    current = action._connection
    context = action._play_context.copy()
    context.password = None
    fresh = connection_loader.get(current.ansible_name, context)
    settings = current.get_options()
    alias = [f"HostKeyAlias={host_key_alias}"] if host_key_alias else []
    first = " ".join(f"-o {option}" for option in (*FRESH, *options, *alias))
    settings.update(
        ssh_args=f"{first} {settings['ssh_args'] or ''}",
        password=None,
        port=port or settings["port"],
        # A login that is refused must not be tried again: sshd would count the tries against the controller.
        reconnection_retries=0,
    )
    fresh.set_options(direct=settings)
    fresh.set_become_plugin(current.become)
    # It knows the host's temporary directory and interpreter.
    fresh._shell = current._shell
    return fresh


def ssh_command(connection: ConnectionBase, *arguments: str) -> list[str]:
    """The ssh command line of a connection, with `arguments` before the host."""
    host = connection.get_option("host")
    built = connection._build_command(connection.get_option("ssh_executable"), "ssh", *arguments, host)
    return [part.decode() for part in built]


def ssh_settings(connection: ConnectionBase) -> dict[str, str]:
    """What ssh makes of the command line and its configuration files: `ssh -G`, keyword to value."""
    answer = subprocess.run(ssh_command(connection, "-G"), capture_output=True, text=True, check=False)
    return dict(row.split(" ", 1) for row in answer.stdout.splitlines() if " " in row)


def address_from_here(action: ActionBase) -> tuple[str, str]:
    """Where the controller reaches the task's host past SSH, or why it has no address for it."""
    if not is_ssh(action._connection):
        return "", f"the connection is {action._connection.transport} and not SSH"
    settings = ssh_settings(fresh_connection(action))
    if any(settings.get(hop, "none") != "none" for hop in ("proxyjump", "proxycommand")):
        return "", "SSH reaches the host through another one"
    address = settings["hostname"]
    if address == "localhost" or _is_loopback(address):
        return "", "SSH reaches the host through a port of this machine"
    return address, ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
