"""An inventory as dlhost needs it: hosts, how each is reached, and where every variable was set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Location:
    """An inventory's name and the directory or file that holds it.

    `place` tells it from its namesakes elsewhere; it is empty for the user's own, whose names are unique.
    """

    name: str
    path: Path
    place: str = ""

    @property
    def key(self) -> str:
        """The name under which dlhost keeps what belongs to it: runs, lock, vault password."""
        return f"{self.name}-{self.place}" if self.place else self.name

    @property
    def directory(self) -> Path:
        """Where files that belong to the inventory lie, such as its known host keys."""
        return self.path if self.path.is_dir() else self.path.parent


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable as it stands in one file.

    `lines` maps the path of each nested key or index within the value to its line; () is the variable's own.
    """

    name: str
    value: Any
    file: Path
    lines: Mapping[tuple[str | int, ...], int]

    def line(self, path: tuple[str | int, ...] = ()) -> int:
        """The line of the nearest known ancestor of path within the value."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a host is reached, as Ansible would: its connection variables, templates resolved.

    `transport` is Ansible's connection plugin, without a namespace: ssh, local, docker. `early_ssh_args` come before
    the other values here on ssh's command line, `ssh_args` after them; the first word on an option counts. scp has
    `scp_args` for `ssh_args`: not all options of ssh are its own.
    """

    transport: str = "ssh"
    address: str = ""
    port: int | None = None
    user: str | None = None
    key_file: str | None = None
    early_ssh_args: tuple[str, ...] = ()
    ssh_args: tuple[str, ...] = ()
    scp_args: tuple[str, ...] = ()
    become_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Host:
    """One host of an inventory."""

    name: str
    groups: tuple[str, ...]
    connection: Connection
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ssh_port_wanted(self) -> int | None:
        """The port that the inventory wants sshd on; None where it names none, or only a template of one."""
        wanted = self.variables.get("ssh_hardening_port")
        return int(wanted) if isinstance(wanted, int) else None

    @property
    def front(self) -> str:
        """Where browsers reach the host's web front, where that is not what the host itself thinks: behind a router."""
        return str(self.variables.get("dlhost_front") or "").rstrip("/")

    @property
    def has_own_authority(self) -> bool:
        """Whether the inventory's certificate authority certifies it, as it does unless role tls is told otherwise."""
        told = (self.variables.get("tls_state", "present"), self.variables.get("tls_mode", "local_ca"))
        return told == ("present", "local_ca")


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything one run needs to know before it connects.

    `secrets` are the plain texts found in vaulted values: they must never be shown or stored.
    """

    location: Location
    hosts: tuple[Host, ...]
    settings: tuple[Setting, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def name(self) -> str:
        return self.location.name
