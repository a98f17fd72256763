"""A Debian host below a temporary directory, on which this machine's own apt and dpkg work for real.

Its source has the packages of molecule/shared/nvidia_apt_double, and what a test adds.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

DOUBLE = Path(__file__).parents[2] / "molecule" / "shared" / "nvidia_apt_double"
PLUGINS = "ansible_collections.dlhost.host.plugins"
NEEDS_APT = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("apt-get"), reason="apt of a host of its own takes apt-get, and root"
)
CONFIGURATION = """
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Bin::dpkg "/usr/bin/dpkg";
Dir::Bin::methods "/usr/lib/apt/methods";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
Acquire::Retries "0";
DPkg::Options {{ "--root={root}"; "--force-script-chrootless"; "--log={root}/dpkg.log"; }};
"""
DIRECTORIES = (
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/apt/trusted.gpg.d",
    "var/lib/apt/lists/partial",
    "var/cache/apt/archives/partial",
    "var/lib/dpkg/info",
    "var/lib/dpkg/updates",
    "var/lib/dpkg/triggers",
    "var/log/apt",
    "usr",
)


def double(part: str = "packages") -> Any:
    """A module of the double: packages or openpgp."""
    sys.path.insert(0, str(DOUBLE))
    try:
        return importlib.import_module(part)
    finally:
        sys.path.remove(str(DOUBLE))


@functools.cache
def double_key(owner: str = "Double of NVIDIA's apt server") -> Any:
    """A signing key of the double's."""
    return double("openpgp").Key(owner)


def signed_repository(place: Path, key: Any) -> None:
    """A flat repository of the double's packages, signed, with its key as key.pub; only the lists, not the packages."""
    builder = double("build")
    index = "\n".join(f"{package.control}Filename: ./x\nSize: 1\nSHA256: {'0' * 64}\n" for package in double().every())
    (place / "Packages").write_text(index)
    (place / "Packages.gz").write_bytes(gzip.compress(index.encode(), mtime=0))
    (place / "InRelease").write_text(key.sign(builder._release(index)))
    (place / "key.pub").write_text(key.public())


class AptHost:
    """What is on the host, and role `test` with its packages."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        for directory in DIRECTORIES:
            (root / directory).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "var/lib/dpkg/lock").touch()
        configuration = root / "apt.conf"
        configuration.write_text(CONFIGURATION.format(root=root))
        monkeypatch.setenv("APT_CONFIG", str(configuration))
        monkeypatch.setenv("DPKG_ADMINDIR", str(root / "var/lib/dpkg"))
        monkeypatch.syspath_prepend(str(collections_path()))
        self.module: Any = importlib.import_module(f"{PLUGINS}.modules.owned_packages")
        for name in ("LISTS", "JOURNAL", "LOCK", "STATUS", "SOURCES", "CACHE", "PROGRAMS"):
            path = getattr(self.module.debian_packages, name)
            monkeypatch.setattr(self.module.debian_packages, name, root / path.relative_to("/"))
        monkeypatch.setattr(self.module.owned_files, "MANIFEST", root / "etc/dlhost/managed.json")

    def add_source(self, name: str, packages: list[Any]) -> None:
        """A source of its own, unsigned and trusted; apt has not read it yet."""
        place = self.root / "srv" / name
        place.mkdir(parents=True)
        index = ""
        for package in packages:
            deb = package.deb()
            (place / package.filename).write_bytes(deb)
            index += f"{package.control}Filename: ./{package.filename}\nSize: {len(deb)}\n"
            index += f"SHA256: {hashlib.sha256(deb).hexdigest()}\n\n"
        (place / "Packages").write_text(index)
        source = self.root / "etc/apt/sources.list.d" / f"{name}.list"
        source.write_text(f"deb [trusted=yes] file:{place} /\n")
        # The clock of a file system ticks slowly.
        earlier = time.time() - 60
        os.utime(self.root / "var/lib/apt/lists", (earlier, earlier))

    def install(self, *names: str, check: bool = False, **request: Any) -> dict[str, Any]:
        """What the module answers for role `test`."""
        patterns: dict[str, list[str]] = {"replaces": [], "protects": [], "downgrades": []}
        asked = {"role": "test", "names": list(names), "hold": None, **patterns, **request}
        answer: dict[str, Any] = self.module.install(asked, check)
        return answer

    def refusal(self, *names: str, check: bool = False, **request: Any) -> str:
        """Why the module does not do it; the host has to stay as it was."""
        before = self.packages()
        with pytest.raises(self.module.debian_packages.PackagesError) as refused:
            self.install(*names, check=check, **request)
        assert self.packages() == before
        return str(refused.value)

    def packages(self) -> dict[str, str]:
        """Name to what dpkg has of it: wish and version, such as `hold 580-1`."""
        printed = self.run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Want} ${Version}\n")
        return dict(line.split(" ", 1) for line in printed.splitlines())

    def run(self, *command: str) -> str:
        """The output of a command on this host."""
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
