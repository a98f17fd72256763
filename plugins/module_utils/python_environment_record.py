"""What was installed into a Python environment, recorded inside it, and how the files differ from that by now."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

RECORD = "dlhost-environment.json"
SCHEMA_VERSION = 1
BLOCK = 1 << 20
CHANGED = "content changed"
RIGHTS = "mode or owner changed"


def read(directory: Path) -> dict:
    """The record of an environment that was completed; empty where it never was, or its record is damaged."""
    try:
        record = json.loads((directory / RECORD).read_bytes())
        return record if record["schema_version"] == SCHEMA_VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def take(
    directory: Path,
    digest: str,
    python: str,
    site_packages: Path,
    distributions: dict[str, str],
    closed: Sequence[Path] = (),
) -> dict:
    """A record of every file as it is now.

    What comes to site_packages or to a closed directory later is a damage.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "digest": digest,
        "python": python,
        "distributions": distributions,
        "site_packages": str(site_packages.relative_to(directory)),
        "closed": [str(path.relative_to(directory)) for path in closed],
        "owner": [os.geteuid(), os.getegid()],
        "files": dict(_files(directory)),
    }


def write(directory: Path, record: dict) -> None:
    """Keep the record in the environment, which with it is a complete one."""
    # A record that outlives a power cut must not speak of files that did not.
    os.sync()
    temporary = directory / f".{RECORD}"
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(directory / RECORD)


def damages(directory: Path, record: dict, thorough: bool) -> list[str]:
    """How the files differ from the record, one line each; `thorough` reads those too that look untouched."""
    site, owner = record["site_packages"], tuple(record["owner"])
    # Older records know of no more than the one.
    closed = {site, *record.get("closed", ())}
    recorded, missing, found = set(), set(), []
    for name, entry in record["files"].items():
        place = name.rpartition("/")[0]
        if place in closed:
            recorded.add(name)
        damage = "missing" if place in missing else _damage(f"{directory}/{name}", entry, owner, thorough)
        if damage == "missing":
            missing.add(name)
        # What lay in a missing directory goes without saying.
        if damage and place not in missing:
            found.append(f"{_named(directory, site, name)}: {damage}")
    strange = sorted({f"{place}/{name}" for place in closed for name in _names(directory / place)} - recorded)
    return [*(f"{_named(directory, site, name)}: not of the lock" for name in strange), *found]


def is_shared_damaged(directory: Path, record: dict) -> bool:
    """Whether a file that has another name too, such as one in a cache, has other content, mode or owner by now."""
    files = {f"{directory}/{name}": entry for name, entry in record["files"].items() if stat.S_ISREG(entry[0])}
    return any(
        _damage(path, entry, tuple(record["owner"]), thorough=False) in {CHANGED, RIGHTS}
        and os.lstat(path).st_nlink > 1
        for path, entry in files.items()
    )


def _named(directory: Path, site: str, path: str) -> str:
    """A distribution or conda package by its name and version, anything else by its path."""
    distribution = re.fullmatch(rf"{re.escape(site)}/([^-/]+)-([^/]+)[.]dist-info", path)
    distribution = distribution or re.fullmatch(r"conda-meta/(.+)-([^-]+-[^-]+)[.]json", path)
    return f"{distribution[1]} {distribution[2]} in {directory}" if distribution else f"{directory}/{path}"


def _files(directory: Path):
    """Every path inside, with mode, size, time of change and a checksum."""
    for root, directories, names in os.walk(directory):
        for path in (f"{root}/{name}" for name in [*directories, *names]):
            seen = os.lstat(path)
            checksum = _checksum(path, seen.st_mode)
            yield os.path.relpath(path, directory), [seen.st_mode, seen.st_size, seen.st_mtime_ns, checksum]


def _names(directory: Path) -> set[str]:
    try:
        return {path.name for path in directory.iterdir()} - {"__pycache__"}
    except OSError:
        return set()


def _damage(path: str, entry: list, owner: tuple[int, ...], thorough: bool) -> str:
    mode, size, mtime_ns, checksum = entry
    try:
        seen = os.lstat(path)
    except OSError:
        return "missing"
    if seen.st_mode != mode or (seen.st_uid, seen.st_gid) != owner:
        return RIGHTS
    if stat.S_ISDIR(mode) or (seen.st_size == size and seen.st_mtime_ns == mtime_ns and not thorough):
        return ""
    # A file may have been touched, or restored from a backup.
    return "" if seen.st_size == size and _checksum(path, mode) == checksum else CHANGED


def _checksum(path: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return str(Path(path).readlink())
    if stat.S_ISDIR(mode):
        return ""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
