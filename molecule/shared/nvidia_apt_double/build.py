"""A stand-in for NVIDIA's apt server, whose packages no machine of the tests can reach: build.py DIRECTORY URL.

Makes below DIRECTORY what is then served at URL: `repo`, signed with the double's key, which lies in it under the names
of NVIDIA's; `wrong-signature`, signed with another; `tampered`, changed after it was signed. Needs Python alone.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import openpgp
import packages

RELEASE = """Origin: NVIDIA
Label: NVIDIA CUDA
Architectures: amd64
Date: Wed, 01 Jan 2025 00:02:00 UTC
"""
# The names under which NVIDIA offers its keys.
KEY_NAMES = ("3bf863cc.pub", "8793F200.pub")


def main(directory: Path, url: str) -> None:
    key = openpgp.Key("Double of NVIDIA's apt server")
    other = openpgp.Key("Somebody else")
    repository = directory / "repo"
    repository.mkdir(parents=True, exist_ok=True)
    index = "\n".join(
        _indexed(package, repository) for package in [*packages.every(), packages.keyring(f"{url}/repo/", key.public())]
    )
    for name, signer, shown in (
        ("repo", key, index),
        ("wrong-signature", other, index),
        ("tampered", key, index.replace("Priority: optional", "Priority: extra")),
    ):
        place = directory / name
        place.mkdir(exist_ok=True)
        for key_name in KEY_NAMES:
            (place / key_name).write_text(key.public())
        (place / "Packages").write_text(shown)
        (place / "Packages.gz").write_bytes(gzip.compress(shown.encode(), mtime=0))
        (place / "InRelease").write_text(signer.sign(_release(index)))
    (directory / "other.pub").write_text(other.public())
    sys.stdout.write(f"{key.fingerprint} {other.fingerprint}\n")


def _indexed(package: packages.Package, repository: Path) -> str:
    deb = package.deb()
    (repository / package.filename).write_bytes(deb)
    where = f"Filename: ./{package.filename}\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
    return package.control + where


def _release(index: str) -> str:
    files = {"Packages": index.encode(), "Packages.gz": gzip.compress(index.encode(), mtime=0)}
    sums = (f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}\n" for name, content in files.items())
    return f"{RELEASE}SHA256:\n{''.join(sums)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
