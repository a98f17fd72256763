"""Tunnels that stay in the background: whose they are, and where they begin on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Local ports forwarded to one host: those of -L, or a user's service with the address that a browser opens.

    `inventory` is the inventory's key, `forwards` are of ssh's -L form.
    """

    inventory: str
    host: str
    forwards: tuple[str, ...]
    service: str = ""
    user: str = ""
    url: str = ""
    local_port: int = 0

    @property
    def key(self) -> str:
        """What tells it from all others, short enough for the name of a socket; one service has one tunnel."""
        which = (self.service, self.user) if self.service else self.forwards
        return sha256("\0".join((self.inventory, self.host, *which)).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """What it leads to, for a sentence."""
        what = f"{self.service} ({self.user})" if self.service else ", ".join(self.forwards)
        return f"{what} on {self.host}"
