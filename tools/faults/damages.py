"""What can be broken on a provisioned host, from its own record of what the roles own."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

MANIFEST = "/etc/dlhost/managed.json"
# A directory in a file's place is not among them: what may be in it is the user's, and the run asks to move it away.
FILE_DAMAGES = {
    "deleted": "rm {path}",
    "emptied": ": > {path}",
    "cut in half": "truncate --size=$(($(stat --format=%s {path}) / 2)) {path}",
    "overwritten with noise": "head --bytes=300 /dev/urandom > {path}",
    "open to all": "chmod 0666 {path}",
    "closed to all": "chmod 0000 {path}",
    "somebody else's": "chown nobody:nogroup {path}",
    "replaced by a link to nowhere": "ln --symbolic --force /nonexistent/file {path}",
    "replaced by a link to a file": "cp /etc/os-release /root/elsewhere; ln --symbolic --force /root/elsewhere {path}",
}
FOLDER_DAMAGES = {
    "deleted": "rm --recursive {path}",
    "open to all": "chmod 0777 {path}",
    "closed to all": "chmod 0000 {path}",
    "somebody else's": "chown nobody:nogroup {path}",
}
UNIT_DAMAGES = {
    "stopped": "systemctl stop {unit}",
    "killed": "systemctl kill --signal=KILL {unit}",
    "disabled": "systemctl disable --now {unit}",
    "masked": "systemctl mask --now {unit}",
}
PACKAGE_DAMAGES = {
    "removed": "dpkg --remove --force-depends {package}",
    "purged": "dpkg --purge --force-depends {package}",
    "unpacked and not configured": "cd /tmp; apt-get -q download {package}; dpkg --unpack --force-all {package}_*.deb",
}
# What no role's record names.
OTHERS = {
    "the roles' record deleted": f"rm {MANIFEST}",
    "the roles' record cut in half": FILE_DAMAGES["cut in half"].format(path=MANIFEST),
    "the roles' record emptied": FILE_DAMAGES["emptied"].format(path=MANIFEST),
    "group dlusers deleted": "groupdel dlusers",
    "package lists deleted": "rm -rf /var/lib/apt/lists; mkdir -p /var/lib/apt/lists",
    "package lists cut": "for list in /var/lib/apt/lists/*Packages*; do truncate --size=9999 $list; done",
    "an own lock of apt left behind": "touch /var/lib/apt/lists/lock /var/lib/dpkg/lock-frontend",
    "a half-written file of a cut run": "touch /etc/dlhost/.dlhost-staged-x /etc/ssh/sshd_config.d/.00-dlhost.conf.tmp",
    "the clock's zone deleted": "rm -f /etc/localtime",
}


@dataclass(frozen=True, slots=True)
class Damage:
    """A shell line that damages the host."""

    name: str
    run: str


def candidates(manifest: Mapping[str, Any], units: Sequence[str]) -> list[Damage]:
    """Everything that can be broken without the damage itself cutting SSH off, in a fixed order."""
    return sorted(_candidates(manifest, units), key=lambda damage: damage.name)


def choose(chance: random.Random, possible: Sequence[Damage]) -> list[Damage]:
    """One to six of them, in the order in which they are dealt."""
    return chance.sample(possible, chance.randint(1, min(6, len(possible))))


def _candidates(manifest: Mapping[str, Any], units: Sequence[str]) -> Iterator[Damage]:
    roles = manifest["roles"].values()
    files = sorted({path for role in roles for path in role["files"]})
    for path in files:
        yield from _of("file", path, FILE_DAMAGES, path=quote(path))
    for folder in sorted({str(PurePosixPath(path).parent) for path in files}):
        # A folder of the distribution's is not the roles' to mend.
        if "dlhost" in folder:
            yield from _of("folder", folder, FOLDER_DAMAGES, path=quote(folder))
    for unit in units:
        yield from _of("unit", unit, UNIT_DAMAGES, unit=unit)
    for package in sorted({name for role in roles for name in role["packages"]}):
        # Without it nobody gets in any more, and no program mends that from outside.
        if package != "openssh-server":
            yield from _of("package", package, PACKAGE_DAMAGES, package=package)
    for name, run in OTHERS.items():
        yield Damage(name, run)


def _of(kind: str, name: str, ways: Mapping[str, str], **parts: str) -> Iterator[Damage]:
    for way, run in ways.items():
        yield Damage(f"{kind} {name} {way}", run.format(**parts))
