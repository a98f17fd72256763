"""Conda packages in both of their formats, made with nothing but Python.

Formats: conda's "package specification" (CEP 26, .conda and .tar.bz2) and RFC 8878 for zstandard, of which blocks that
are not compressed are a part.
"""

from __future__ import annotations

import bz2
import dataclasses
import hashlib
import io
import json
import struct
import tarfile
import zipfile

# Replaced by the environment's directory at installation, and longer than any of those.
PREFIX = "/opt/" + "placehold_" * 20
ENTRY = b"#!"
ELF = b"\x7fELF"
# A reader holds as much as the frame says in memory, and may refuse more than 128 MiB.
LONGEST_FRAME = 100 << 20


@dataclasses.dataclass(frozen=True)
class Package:
    name: str
    version: str
    build: str = "0"
    build_number: int = 0
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    noarch: str = ""
    """python or generic; empty for a package of the platform."""
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    """Path to content; what begins like a program may be run, and PREFIX in it is replaced."""
    links: dict[str, str] = dataclasses.field(default_factory=dict)
    entry_points: tuple[str, ...] = ()
    python_site_packages_path: str = ""
    old_format: bool = False

    @property
    def subdir(self) -> str:
        return "noarch" if self.noarch else "linux-64"

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def filename(self) -> str:
        return f"{self.stem}.{'tar.bz2' if self.old_format else 'conda'}"

    @property
    def index(self) -> dict[str, object]:
        """What the package says about itself, and the channel about it."""
        said: dict[str, object] = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": self.build_number,
            "depends": list(self.depends),
            "constrains": list(self.constrains),
            "subdir": self.subdir,
            "license": "MIT",
            "timestamp": 1735689720000,
        }
        if self.noarch:
            said["noarch"] = self.noarch
        else:
            said |= {"arch": "x86_64", "platform": "linux"}
        if self.python_site_packages_path:
            said["python_site_packages_path"] = self.python_site_packages_path
        return said

    def pack(self) -> bytes:
        """The package file."""
        info = _tar(self._info(), {})
        if self.old_format:
            return bz2.compress(_tar({**self._info(), **self.files}, self.links), 1)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for name, content in (
                ("metadata.json", json.dumps({"conda_pkg_format_version": 2}).encode()),
                (f"pkg-{self.stem}.tar.zst", _zstandard(_tar(self.files, self.links))),
                (f"info-{self.stem}.tar.zst", _zstandard(info)),
            ):
                archive.writestr(zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0)), content)
        return packed.getvalue()

    def _info(self) -> dict[str, bytes]:
        paths = [_path(name, content) for name, content in sorted(self.files.items())]
        paths += [
            {"_path": name, "path_type": "softlink", "sha256": hashlib.sha256(b"").hexdigest(), "size_in_bytes": 0}
            for name in sorted(self.links)
        ]
        said: dict[str, object] = {
            "info/index.json": self.index,
            "info/paths.json": {"paths": paths, "paths_version": 1},
            "info/about.json": {"summary": "made by dlhost's tests"},
        }
        if self.noarch == "python":
            entry_points = {"type": "python", "entry_points": list(self.entry_points)}
            said["info/link.json"] = {"noarch": entry_points, "package_metadata_version": 1}
        listed = "".join(f"{path['_path']}\n" for path in paths)
        return {"info/files": listed.encode(), **{name: json.dumps(value).encode() for name, value in said.items()}}


def _path(name: str, content: bytes) -> dict[str, object]:
    said: dict[str, object] = {
        "_path": name,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_in_bytes": len(content),
    }
    if PREFIX.encode() in content:
        said |= {"prefix_placeholder": PREFIX, "file_mode": "binary" if content.startswith(ELF) else "text"}
    return said


def _tar(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if content.startswith((ENTRY, ELF)) else 0o644
            archive.addfile(entry, io.BytesIO(content))
        for name, target in sorted(links.items()):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return packed.getvalue()


def _zstandard(content: bytes) -> bytes:
    """A frame of one segment with its size in four bytes, in blocks of 128 KiB that are as they are."""
    if len(content) > LONGEST_FRAME:
        raise ValueError(f"{len(content)} bytes are more than one frame should have")
    frame = [struct.pack("<IBI", 0xFD2FB528, 0xA0, len(content))]
    block = 128 << 10
    for start in range(0, len(content), block):
        part = content[start : start + block]
        last = start + block >= len(content)
        frame += [(len(part) << 3 | last).to_bytes(3, "little"), part]
    return b"".join(frame)
