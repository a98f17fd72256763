"""The stores of trusted certificate authorities on this machine: the system's, and those of this user's browsers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlhost.errors import DlhostError

SYSTEM = "the system's store"
CHROMIUM = "Chromium's and Chrome's store"
DEBIAN_STORE = Path("/usr/local/share/ca-certificates")
KEYCHAIN = "/Library/Keychains/System.keychain"
# Firefox has a store in each of its profiles; Ubuntu's comes as a snap.
FIREFOX_PROFILES = (".mozilla/firefox/*", "snap/firefox/common/.mozilla/firefox/*")
FIREFOX = 'for profile in ~/.mozilla/firefox/*.*/; do certutil -d "sql:$profile" -A -t C,, -n {name} -i {path}; done'


@dataclass(frozen=True, slots=True)
class Step:
    """One store, and what is left to the user where dlhost could not change it."""

    store: str
    left: str = ""


def ways(certificate: Path, name: str) -> list[tuple[str, str]]:
    """Program or system, and the one command that makes it trust the certificate under this name."""
    quoted, path = shlex.quote(name), shlex.quote(str(certificate))
    return [
        ("Debian, Ubuntu", _as_root(_debian(certificate, name, remove=False))),
        ("Chromium, Chrome on Linux", f'certutil -d "sql:$HOME/.pki/nssdb" -A -t C,, -n {quoted} -i {path}'),
        ("Firefox on Linux", FIREFOX.format(name=quoted, path=path)),
        ("macOS", _as_root(_macos(certificate, remove=False))),
        ("Windows", f"certutil -user -addstore Root {certificate.name}"),
    ]


def change_system(certificate: Path, name: str, *, remove: bool) -> Step:
    """Let the programs of this machine trust the certificate, or no longer; only root can.

    Raises:
        DlhostError: A command failed.
    """
    if sys.platform == "darwin":
        commands = _macos(certificate, remove=remove)
    elif DEBIAN_STORE.is_dir():
        commands = _debian(certificate, name, remove=remove)
    else:
        return Step(SYSTEM, f"the documentation of your system says how; the certificate is {certificate}")
    if os.geteuid() != 0:
        return Step(SYSTEM, _as_root(commands))
    for command in commands:
        _require(command)
    return Step(SYSTEM)


def change_browsers(certificate: Path, name: str, *, remove: bool) -> list[Step]:
    """The same for browsers of this user that do not read the system's store; on macOS there is none.

    Raises:
        DlhostError: A command failed.
    """
    stores = _browser_stores()
    if not shutil.which("certutil"):
        return [Step(store, "sudo apt-get install libnss3-tools, and then this command again") for store in stores]
    for database in stores.values():
        _change(database, certificate, name, remove=remove)
    return [Step(store) for store in stores]


def take_back(certificate: Path, name: str) -> list[Step]:
    """Let every store that trusts the certificate trust it no longer; the others are neither changed nor named.

    What is left to the user works without the certificate's file.

    Raises:
        DlhostError: A command failed.
    """
    steps = []
    if _system_trusts(certificate, name):
        steps.append(change_system(certificate, name, remove=True))
        if steps[0].left and sys.platform == "darwin":
            read = shlex.join(["security", "find-certificate", "-c", name, "-p", KEYCHAIN])
            forget = shlex.join(["security", "remove-trusted-cert", "-d", certificate.name])
            steps = [Step(SYSTEM, f"{read} >{certificate.name} && sudo {forget}")]
    for store, database in _browser_stores().items() if shutil.which("certutil") else ():
        if _run(["certutil", "-d", f"sql:{database}", "-L", "-n", name]).returncode == 0:
            _change(database, certificate, name, remove=True)
            steps.append(Step(store))
    return steps


def _system_trusts(certificate: Path, name: str) -> bool:
    if sys.platform == "darwin":
        return name in _run(["security", "dump-trust-settings", "-d"]).stdout
    place = _debian_place(name)
    # Somebody else's authority may have this name, too.
    return place.is_file() and place.read_bytes() == certificate.read_bytes()


def _browser_stores() -> dict[str, Path]:
    if sys.platform == "darwin":
        return {}
    return {CHROMIUM: _chromium()} | {
        f"Firefox's store in {found.parent}": found.parent
        for pattern in FIREFOX_PROFILES
        for found in sorted(Path.home().glob(f"{pattern}/cert9.db"))
    }


def _change(database: Path, certificate: Path, name: str, *, remove: bool) -> None:
    certutil = ["certutil", "-d", f"sql:{database}"]
    if not remove and not (database / "cert9.db").exists():
        database.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require([*certutil, "-N", "--empty-password"])
    # An earlier authority of this name would stay trusted beside the new one.
    while _run([*certutil, "-D", "-n", name]).returncode == 0:
        pass
    if not remove:
        _require([*certutil, "-A", "-t", "C,,", "-n", name, "-i", str(certificate)])


def _debian_place(name: str) -> Path:
    """The file is not called dlhost-…: so are those of role system, where this machine is itself a host."""
    return DEBIAN_STORE / f"local-{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}.crt"


def _debian(certificate: Path, name: str, *, remove: bool) -> list[list[str]]:
    place = str(_debian_place(name))
    if remove:
        return [["rm", "-f", place], ["update-ca-certificates", "--fresh"]]
    return [["install", "-m", "0644", str(certificate), place], ["update-ca-certificates"]]


def _macos(certificate: Path, *, remove: bool) -> list[list[str]]:
    if remove:
        return [["security", "remove-trusted-cert", "-d", str(certificate)]]
    return [["security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", KEYCHAIN, str(certificate)]]


def _chromium() -> Path:
    """Where Chromium keeps its store: the old place where that exists, from version 146 on else the new one.

    A new one goes to the old place, which every version reads (chromium: docs/linux/cert_management.md).
    """
    old = Path.home() / ".pki" / "nssdb"
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    new = Path(data) / "pki" / "nssdb"
    return new if new.exists() and not old.exists() else old


def _as_root(commands: Sequence[Sequence[str]]) -> str:
    return " && ".join(f"sudo {shlex.join(command)}" for command in commands)


def _require(command: Sequence[str]) -> None:
    done = _run(command)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise DlhostError(f"`{shlex.join(command)}` failed: {said}")


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
