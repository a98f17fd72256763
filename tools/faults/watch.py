"""What is watched while a run is in trouble: whether new logins work, and whether a secret shows in a process list."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

LOGIN_EVERY_S = 2.0
LOOK_EVERY_S = 0.2
# A login of its own ends after so many seconds, and the next one is tried.
LOGIN_TIMEOUT_S = 20


class Watch:
    """From entering to leaving: `refused` is why logins did not work, `shown` the processes that showed a secret."""

    def __init__(self, login: Sequence[str], secrets: Collection[str]) -> None:
        self._login = login
        self._secrets = [secret.encode() for secret in secrets]
        self._over = threading.Event()
        self._excused = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._log_in, self._look)]
        self.logins = 0
        self.refused: list[str] = []
        self.shown: set[str] = set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def excused(self) -> Iterator[None]:
        """A host that is off, or cut off on purpose, need not let anybody in."""
        self._excused.set()
        try:
            yield
        finally:
            self._excused.clear()

    def follow(self, login: Sequence[str]) -> None:
        """The host has moved."""
        self._login = login

    def _log_in(self) -> None:
        while not self._over.wait(LOGIN_EVERY_S):
            if self._excused.is_set():
                continue
            login = self._login
            # Told to read its configuration anew, sshd shuts its door for an instant: once more, and it has to open.
            said = log_in(login) and log_in(login)
            # One that began before the host was cut off, or moved, is excused too.
            if said and not self._excused.is_set() and login == self._login:
                self.refused.append(said)
            self.logins += 1

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            # A container's processes are among this machine's.
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                if any(secret in line for secret in self._secrets):
                    self.shown.add(line.replace(b"\0", b" ").decode("utf-8", "replace")[:80])


def log_in(command: Sequence[str]) -> str:
    """One login over a connection of its own; returns why it did not work, or nothing."""
    try:
        done = subprocess.run(
            [*command, "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LOGIN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {LOGIN_TIMEOUT_S} s"
    return done.stderr.strip() or f"ended with {done.returncode}" if done.returncode else ""
