"""What tests of conda environments share: a channel of small packages on disk, and what hosts offer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from dlhost.values.environments import HostLook, Target, target

FIXTURE = Path(__file__).parents[2] / "molecule" / "shared" / "conda_channel"


def channel(directory: Path, *pythons: str) -> str:
    """Write the channel that molecule has too, with a Python without content in these versions; its address."""
    with _importable(FIXTURE):
        make, package = import_module("make"), import_module("package")
        site = {version: f"lib/python{version.rpartition('.')[0]}/site-packages" for version in pythons}
        made = [package.Package("python", version, python_site_packages_path=site[version]) for version in pythons]
        make.write(directory, [*made, *(each for each in make.every() if not each.name.startswith("filler-"))])
    return directory.as_uri()


def add(directory: Path, name: str, version: str, **more: Any) -> None:
    """Put one more package into the channel."""
    with _importable(FIXTURE):
        import_module("make").write(directory, [import_module("package").Package(name, version, **more)])


@contextmanager
def _importable(directory: Path) -> Iterator[None]:
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))


def look(host: str = "alpha", **more: Any) -> HostLook:
    """A host as Debian 12 has it."""
    return HostLook(host, **{"machine": "x86_64", "glibc": "2.36", "kernel": "6.1.0-18-amd64", **more})


def debian(cuda: str = "") -> Target:
    """What an environment for that host is solved for."""
    return target("lab", [look()], cuda)
