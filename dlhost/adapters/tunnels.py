"""Tunnels in the background, one ssh each: its control socket, its log and what it is for lie in the user's state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from dlhost.adapters import openssh
from dlhost.adapters.xdg import locked, state_directory, writing_state
from dlhost.errors import DlhostError, RefusedError
from dlhost.values.inventory import Connection
from dlhost.values.tunnels import Tunnel

# sun_path has 104 bytes on macOS; ssh first binds a name of its own, 17 characters longer.
LONGEST_SOCKET = 104 - 1 - 17


class Tunnels:
    """Those of this user that live; get it with `held`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def living(self) -> list[Tunnel]:
        """All of them; what dead ones left is removed."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            tunnel = _read(path)
            if tunnel and openssh.is_master(self._socket(path.stem)):
                found.append(tunnel)
            else:
                self._end(path.stem)
        return found

    def start(self, tunnel: Tunnel, connection: Connection) -> None:
        """Returns once it takes connections; until then ssh may ask for a passphrase.

        Raises:
            UsageError: A local port cannot be had.
            UnreachableError: The host cannot be reached.
        """
        socket = self._socket(tunnel.key)
        if len(bytes(socket)) > LONGEST_SOCKET:
            raise RefusedError(
                f"{self._directory} is too long a path for a control socket. "
                "Set XDG_STATE_HOME to a directory with a shorter one."
            )
        # First: an ssh whose dlhost was killed is found by what is written here.
        with writing_state():
            (self._directory / f"{tunnel.key}.json").write_text(json.dumps(asdict(tunnel)), encoding="utf-8")
        try:
            openssh.forward_in_background(tunnel, connection, socket, socket.with_suffix(".log"))
        except BaseException:
            self._end(tunnel.key)
            raise

    def stop(self, *tunnels: Tunnel) -> None:
        """End them, with the connections through them.

        Raises:
            DlhostError: The ssh of one does not end; the others have.
        """
        left = [tunnel for tunnel in tunnels if not self._end(tunnel.key)]
        if left:
            names = "; ".join(tunnel.name for tunnel in left)
            by_hand = "; ".join(f"pkill -KILL -f {self._socket(tunnel.key)}" for tunnel in left)
            raise DlhostError(f"The tunnel to {names} does not end. End its ssh by hand: {by_hand}")

    def _socket(self, key: str) -> Path:
        return self._directory / key

    def _end(self, key: str) -> bool:
        """Whether nothing of it is left: what an ssh that lives is known by stays."""
        if not openssh.end_master(self._socket(key)):
            return False
        for suffix in ("", ".log", ".json"):
            self._socket(key).with_suffix(suffix).unlink(missing_ok=True)
        return True


@contextmanager
def held() -> Iterator[Tunnels]:
    """The user's tunnels, while no other dlhost starts or ends one."""
    with writing_state():
        directory = state_directory() / "tunnels"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    with locked(directory):
        yield Tunnels(directory)


def _read(path: Path) -> Tunnel | None:
    """None where another version of dlhost, or a full disk, left something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Tunnel(**{**document, "forwards": tuple(document["forwards"])})
    except (ValueError, KeyError, TypeError):
        return None
