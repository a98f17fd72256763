"""Whether what was fetched can be built from: its files are, on disk, those of the environments, and root edits those.

A file with one name only is in no cache.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import os
import stat
from base64 import urlsafe_b64decode
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import python_environment_record as record

SHA256 = "sha256="


def is_touched(environments: Path) -> bool:
    """Whether an environment shares a file that is not as it was installed."""
    directories = [path for path in environments.glob("*") if not path.is_symlink()]
    return any(record.is_shared_damaged(path, known) for path in directories if (known := record.read(path)))


def tidy(directory: Path) -> None:
    """Give every file to who builds, and let nobody else write to it: packages come with the rights of their makers."""
    mine = os.geteuid(), os.getegid()
    for root, directories, names in os.walk(directory):
        for path in (f"{root}/{name}" for name in [*directories, *names]):
            seen = os.lstat(path)
            if (seen.st_uid, seen.st_gid) != mine:
                os.chown(path, *mine, follow_symlinks=False)
            if seen.st_mode & 0o022 and not stat.S_ISLNK(seen.st_mode):
                Path(path).chmod(stat.S_IMODE(seen.st_mode) & ~0o022)


def is_other_than_listed(directory: Path, site_packages: Path, files: dict[str, list]) -> bool:
    """Whether a shared file of a wheel is not as the wheel's list has it; `files` are those of the record.

    uv checks a wheel when it comes, and none of its files when it links them again.
    """
    listed: dict[str, set[str]] = collections.defaultdict(set)
    for info in site_packages.glob("*.dist-info"):
        # Of a list that cannot be read nothing is known.
        with contextlib.suppress(OSError, ValueError, csv.Error):
            # conda's packages have such a list too, from before they were packed.
            if (info / "INSTALLER").read_text(encoding="utf-8").strip() == "uv":
                for path, checksum in _list(info / "RECORD"):
                    listed[os.path.relpath(site_packages / path, directory)].add(checksum)
    return any(
        path in files and files[path][-1] not in right and (directory / path).lstat().st_nlink > 1
        for path, right in listed.items()
    )


def _list(path: Path) -> list[tuple[str, str]]:
    """Path and SHA-256 of the files that have one (PEP 376, as wheels have it)."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [(name, checksum) for name, checksum, *_size in csv.reader(stream) if checksum.startswith(SHA256)]
    return [(name, urlsafe_b64decode(f"{checksum.removeprefix(SHA256)}=").hex()) for name, checksum in rows]
