"""What tests of Python environments share: small wheels, an index that can be told to fail, a host with one path."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import sys
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

PLUGINS = "ansible_collections.dlhost.host.plugins"
NO_INDEX = "http://127.0.0.1:9/simple"  # The port of `discard`, where nobody listens any more.


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A distribution of one module and one command."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    listed_right: bool = True
    """Whether its list of files has their checksums, and not others."""

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}-py3-none-any.whl"

    @property
    def content(self) -> bytes:
        info = f"{self.name}-{self.version}.dist-info"
        metadata = [f"Name: {self.name}", f"Version: {self.version}", *(f"Requires-Dist: {it}" for it in self.requires)]
        files = {
            f"{self.name}/__init__.py": f"version = {self.version!r}\ndef main():\n    print(version)\n",
            f"{self.name}/data.txt": "data\n" * 1000,
            f"{info}/METADATA": "\n".join(["Metadata-Version: 2.1", *metadata, ""]),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[console_scripts]\n{self.name} = {self.name}:main\n",
        }
        wrong = "" if self.listed_right else "wrong"
        hashes = {name: hashlib.sha256(f"{text}{wrong}".encode()).digest() for name, text in files.items()}
        listed = [f"{name},sha256={urlsafe_b64encode(it).decode().rstrip('=')},\n" for name, it in hashes.items()]
        files[f"{info}/RECORD"] = "".join([*listed, f"{info}/RECORD,,\n"])
        archive = BytesIO()
        with zipfile.ZipFile(archive, "w") as wheel:
            for name, text in files.items():
                wheel.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)
        return archive.getvalue()

    def pin(self, digest: str = "") -> str:
        """Its line of a lock."""
        return f"{self.name}=={self.version} --hash=sha256:{digest or hashlib.sha256(self.content).hexdigest()}\n"


ALPHA, ALPHA_2, BETA = Wheel("alpha", "1.0"), Wheel("alpha", "2.0"), Wheel("beta", "1.0", ("alpha",))
LOCK = ALPHA.pin() + BETA.pin()
NEWER_LOCK = ALPHA_2.pin() + BETA.pin()


@dataclasses.dataclass
class Index:
    """What an index serves until it is gone: after one file, or in the middle of one."""

    wheels: list[Wheel]
    url: str = ""
    gone_after: str = ""
    breaks_off: str = ""
    status: int = 200
    served: list[str] = dataclasses.field(default_factory=list)


@contextmanager
def serve(*wheels: Wheel) -> Iterator[Index]:
    """A package index (PEP 503) of these wheels, over HTTP on a port of its own."""
    index = Index([*wheels])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if index.status != 200:
                self.send_error(index.status)
                return
            asked = self.path.rstrip("/").rpartition("/")[2]
            files = {wheel.file: wheel.content for wheel in index.wheels}
            links = "".join(f'<a href="/files/{file}">{file}</a>' for file in files if file.startswith(f"{asked}-"))
            body = files.get(asked, f"<!DOCTYPE html><html><body>{links}</body></html>".encode())
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if asked in files else "text/html")
            self.send_header("Content-Length", str(len(body)))
            if asked in files:  # As PyPI does.
                self.send_header("Cache-Control", "max-age=365000000, immutable, public")
            self.end_headers()
            if asked in (index.gone_after, index.breaks_off):
                index.status = 503
            self.wfile.write(body[: len(body) // 2] if asked == index.breaks_off else body)
            index.served.append(asked)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nothing on the tests' output."""

    with listening(Handler) as address:
        index.url = f"{address}/simple"
        yield index


class _Server(ThreadingHTTPServer):
    # rattler asks for many files at once, and who is turned away waits for seconds.
    request_queue_size = 256


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """An HTTP server on a port of its own; yields its address."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclasses.dataclass
class Host:
    """A path that the module keeps, and the module's answers. sudo's umask is the strictest there is."""

    path: Path
    index_url: str = NO_INDEX

    def converge(self, lock: str = LOCK, *, check: bool = False, **more: Any) -> dict[str, Any]:
        request = {
            "path": str(self.path),
            "requirements": lock,
            "python": sys.executable,
            # pip keeps what it fetches only where it trusts the host.
            "pip_options": {"index_url": self.index_url, "trusted_host": ["127.0.0.1"]},
            "thorough": False,
            **more,
        }
        umask = os.umask(0o077)
        try:
            return dict(plugin("modules.python_environment").converge(request, check))
        finally:
            os.umask(umask)

    def refuse(self, lock: str = LOCK, **more: Any) -> str:
        """The sentence with which it fails; whatever was in use has to be so still."""
        before = self.in_use()
        trouble = plugin("module_utils.python_environment_trouble").PythonEnvironmentError
        with pytest.raises((trouble, plugin("module_utils.python_lock").LockError)) as refused:
            self.converge(lock, **more)
        assert self.in_use() == before
        return str(refused.value)

    def remove(self, *, check: bool = False) -> bool:
        return bool(plugin("modules.python_environment").remove({"path": str(self.path)}, check)["changed"])

    def in_use(self) -> str:
        """What the link points to."""
        return str(self.path.readlink()) if self.path.is_symlink() else ""

    def beside(self) -> list[str]:
        """Everything that lies where the environments lie."""
        return sorted(path.name for path in self.path.parent.iterdir()) if self.path.parent.exists() else []

    @property
    def site(self) -> Path:
        [site] = self.path.glob("lib/python3*/site-packages")
        return site

    def holds(self) -> list[str]:
        return sorted(info.name.removesuffix(".dist-info") for info in self.site.glob("*.dist-info"))


def plugin(name: str) -> Any:
    """A plugin of the collection, as Ansible imports it."""
    if str(collections_path()) not in sys.path:
        sys.path.append(str(collections_path()))
    return importlib.import_module(f"{PLUGINS}.{name}")


def without_pip(
    directory: Path, interpreter: Any, pins: list[Any], _options: object, downloads: Path, _lock: int
) -> None:
    """Stands in for the build where a test is about what surrounds it: the same paths, in no time."""
    site = plugin("module_utils.python_environment_build").site_packages(directory, interpreter)
    downloads.mkdir(exist_ok=True)
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "python").symlink_to(interpreter.executable)
    for pin in pins:
        (site / f"{pin.name}-{pin.version}.dist-info").mkdir(parents=True)
        (site / f"{pin.name}-{pin.version}.dist-info" / "METADATA").write_text(f"Name: {pin.name}\n")
        (site / pin.name).mkdir()
        (site / pin.name / "__init__.py").write_text(f"version = '{pin.version}'\n")
        (site / pin.name / "data.txt").write_text("data\n" * 1000)
