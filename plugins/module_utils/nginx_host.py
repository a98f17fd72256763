"""The host's nginx as it runs: its version, unit and ports, and what it makes of a configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import nginx_text
from ansible_collections.dlhost.host.plugins.module_utils.commands import run

NGINX = Path("/usr/sbin/nginx")
UNIT = "nginx.service"
ERROR_LOG = Path("/var/log/nginx/error.log")  # Where the main file says nothing else; Debian's build.
LISTEN = "0A"  # proc(5), the state of a socket


class RefusedError(Exception):
    """One sentence for the user: why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """The unit that serves; `problems` is how it differs from enabled and running."""

    problems: tuple[str, ...]
    active: bool
    masked: bool


@dataclasses.dataclass(frozen=True)
class Holder:
    """A process that listens on a port."""

    name: str
    pid: int
    is_the_unit: bool

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def version() -> tuple[int, ...]:
    """The version of the nginx that is installed."""
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", run(str(NGINX), "-v").stderr)
    if not found:
        raise RefusedError(f"{NGINX} does not say its version.")
    return tuple(map(int, found.groups()))


def has_ipv6() -> bool:
    """Whether a socket may listen on [::]; one that may not would keep nginx from starting."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def find_unit() -> Unit:
    """How nginx.service is now.

    Raises:
        RefusedError: systemd does not answer, or has no such unit.
    """
    answer = run("systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", UNIT)
    found = dict(row.split("=", 1) for row in answer.stdout.splitlines())
    if answer.returncode != 0 or found.get("LoadState") in (None, "not-found"):
        raise RefusedError(f"systemd has no {UNIT} ({' '.join(answer.stderr.split()) or 'not found'}).")
    masked = found["LoadState"] == "masked"
    active = found["ActiveState"] in ("active", "reloading")
    problems = [f"{UNIT} is masked"] if masked else []
    if not masked and found["UnitFileState"] != "enabled":
        problems.append(f"{UNIT} is {found['UnitFileState'] or 'not enabled'}")
    if not active:
        problems.append(f"{UNIT} is {found['ActiveState']}")
    return Unit(tuple(problems), active, masked)


def test(enabled: Mapping[Path, str | None]) -> dict[Path, str]:
    """Have nginx judge the whole configuration with the given texts enabled, None for those that are not.

    Nothing of it is in place: nginx reads a main file in /run, beside links to everything in its own directory, so
    that relative names lead where they always do. Returns every file that it has read.

    Raises:
        RefusedError: nginx does not accept it; the message has its own words.
    """
    with tempfile.TemporaryDirectory(prefix="dlhost-nginx-", dir="/run") as name:
        directory = Path(name)
        sources: dict[Path, Path | None] = {}
        for number, (path, text) in enumerate(enabled.items()):
            sources[path] = directory / f"enabled-{number}" if text is not None else None
            if text is not None:
                sources[path].write_text(text)
        main = nginx_text.staged_main(nginx_text.MAIN.read_text(errors="replace"), sources)
        if main is None:
            raise RefusedError(
                f"{nginx_text.MAIN} includes no {nginx_text.LINK.parent}/*, so no site there is ever read. "
                f"Put `include {nginx_text.LINK.parent}/*;` at the end of its http block and run again."
            )
        for path in nginx_text.TREE.iterdir():
            (directory / path.name).symlink_to(path)
        staged = directory / nginx_text.MAIN.name
        staged.unlink()
        # nginx makes an empty one where there is none, also when it only tests.
        staged.write_text(re.sub(r"(?m)^\s*pid\s[^;]*;", f"pid {directory}/pid;", main))
        answer = run(str(NGINX), "-T", "-c", str(staged))

        def real(text: str) -> str:
            for path, source in sources.items():
                text = text.replace(str(source), str(path)) if source else text
            return text.replace(str(directory), str(nginx_text.TREE))

        if answer.returncode != 0:
            said = real(answer.stderr)
            raise RefusedError(emergencies(said) or " ".join(said.split()))
        return {Path(real(str(path))): text for path, text in nginx_text.dumped_files(answer.stdout).items()}


def emergencies(log: str) -> str:
    """What kept nginx from starting or following, by its own log."""
    lines = re.findall(r"\[emerg\] (?:\d+#\d+: )?(.*)", log)
    return "; ".join(dict.fromkeys(line.strip() for line in lines))


def listening() -> dict[int, set[str]]:
    """Port to the inodes of the sockets that listen on it, whatever the address."""
    found: dict[int, set[str]] = {}
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for row in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = row.split()
            if fields[3] == LISTEN:
                found.setdefault(int(fields[1].rpartition(":")[2], 16), set()).add(fields[9])
    return found


def holders(port: int) -> list[Holder]:
    """Who listens on a port."""
    wanted = {f"socket:[{inode}]" for inode in listening().get(port, ())}
    found = []
    for process in Path("/proc").glob("[0-9]*") if wanted else ():
        try:
            if any(str(entry.readlink()) in wanted for entry in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                in_unit = f"/{UNIT}" in (process / "cgroup").read_text()
                found.append(Holder(name, int(process.name), in_unit))
        except OSError:
            continue  # It has ended, or is a thread of the kernel.
    return sorted(found, key=lambda holder: holder.pid)


@contextlib.contextmanager
def not_started() -> Iterator[None]:
    """Keep a package from starting nginx, where there is none, with the distribution's example site.

    It would answer to everybody, and fail with the whole installation where there is no IPv6.
    """
    if NGINX.exists():
        yield
        return
    must("systemctl", "mask", "--runtime", "--quiet", UNIT)
    try:
        yield
    finally:
        must("systemctl", "unmask", "--runtime", "--quiet", UNIT)


def load(unit: Unit) -> None:
    """Make nginx use the files in place, by reload so that no connection ends.

    Raises:
        RefusedError: nginx does not accept them after all, or systemd could not.
    """
    judged = run(str(NGINX), "-t")
    if judged.returncode != 0:
        raise RefusedError(f"nginx does not accept the configuration: {emergencies(judged.stderr)}.")
    if unit.masked:
        must("systemctl", "unmask", "--quiet", UNIT)
        must("systemctl", "unmask", "--runtime", "--quiet", UNIT)  # Of an installation that was cut.
    if unit.problems:
        must("systemctl", "enable", "--quiet", UNIT)
    if not unit.active:
        run("systemctl", "reset-failed", UNIT)  # Else one that was tried too often is not tried again.
    must("systemctl", "reload" if unit.active else "start", UNIT)


def error_log() -> Path:
    """The file that the running nginx complains to."""
    found = re.search(r"(?m)^\s*error_log\s+(/[^\s;]+)", nginx_text.MAIN.read_text(errors="replace"))
    return Path(found[1]) if found else ERROR_LOG


def must(*command: str) -> None:
    answer = run(*command)
    if answer.returncode != 0:
        # Where to read on is no news to who reads what nginx has said.
        said = " ".join(answer.stderr.split()).partition(" See ")[0]
        raise RefusedError(f"{' '.join(command)} failed: {said.rstrip('.')}.")
