"""What tests of conda environments share: a real channel that may be gone, locks of it, a host with a prefix."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from uv import find_uv_bin

from tests.unit.python_environments import listening, plugin

MAKE = Path(__file__).parents[2] / "molecule" / "shared" / "conda_channel" / "make.py"
LIBRARY, ANSWER, GREETER, QUESTION = "libanswer 1.0", "answer 1.0", "greeter 1.0", "question 1.0"
NEWER_LIBRARY = "libanswer 1.1"
LONGEST_S = 60


@dataclasses.dataclass
class Channel:
    """A channel's directory, served over HTTP."""

    directory: Path
    url: str = ""
    gone: bool = False
    kept_back: str = ""
    """A file that is not served before `let_go` is set."""
    let_go: threading.Event = dataclasses.field(default_factory=threading.Event)
    served: list[str] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def packages(self) -> dict[str, dict[str, Any]]:
        """Name and version to what the channel says, of each the build without CUDA."""
        found: dict[str, dict[str, Any]] = {}
        for subdir in ("linux-64", "noarch"):
            said = json.loads((self.directory / subdir / "repodata.json").read_text())
            for file, package in {**said["packages"], **said["packages.conda"]}.items():
                place = {"file": f"{subdir}/{file}"}
                found.setdefault(f"{package['name']} {package['version']}", {**package, **place})
                if package["name"] == "python":
                    found["python"] = {**package, **place}
        return found

    def file(self, name: str) -> Path:
        return self.directory / str(self.packages[name]["file"])


def make(directory: Path) -> Path:
    """The channel, with this Python."""
    subprocess.run([sys.executable, "-B", MAKE, directory, "--python", sys.executable], check=True)
    return directory


@contextmanager
def serve(directory: Path) -> Iterator[Channel]:
    """The channel over HTTP, on a port of its own."""
    channel = Channel(directory)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if channel.gone:
                self.send_error(503)
                return
            file = self.path.rpartition("/")[2]
            if file == channel.kept_back:
                channel.let_go.wait(LONGEST_S)
            channel.served.append(file)
            super().do_GET()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nothing on the tests' output."""

    with listening(functools.partial(Handler, directory=str(directory))) as channel.url:
        yield channel


@dataclasses.dataclass
class Proxy:
    """The only way to hosts with names of their own, all of which are the channel."""

    channel: Channel
    certificate: Path | None = None
    """With its key, for those that are asked for by HTTPS."""
    url: str = ""
    asked: list[str] = dataclasses.field(default_factory=list)


@contextmanager
def proxy(channel: Channel, certificate: Path | None = None) -> Iterator[Proxy]:
    """An HTTP proxy on a port of its own."""
    known = Proxy(channel, certificate)
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append(f"{self.command} {self.path}")
            self._relay(self.wfile, urlsplit(self.path).path)

        def do_CONNECT(self) -> None:
            known.asked.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.end_headers()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(str(known.certificate))
            # Whoever does not trust the certificate says so, and goes.
            with (
                suppress(OSError),
                context.wrap_socket(self.connection, server_side=True) as inside,
                inside.makefile("rb") as asking,
                inside.makefile("wb") as answering,
            ):
                self._relay(answering, asking.readline().split()[1].decode())

        def _relay(self, answering: Any, path: str) -> None:
            with straight.open(f"{known.channel.url}{path}") as answer:
                content = answer.read()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
            answering.write(head.encode() + content)
            answering.flush()
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nothing on the tests' output."""

    with listening(Handler) as known.url:
        yield known


@dataclasses.dataclass
class Host:
    """A prefix with an installer, the locks that it is given, and the module's answers."""

    prefix: Path
    channel: Channel
    locks: Path
    lock_url: str = ""
    """What locks name in place of the channel's own address."""
    mirrors: dict[str, str] = dataclasses.field(default_factory=dict)
    pip_options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def lock(self, name: str, *packages: str, pip: str = "", **more: Any) -> dict[str, Any]:
        """Declare an environment and lock it to these packages; returns the declaration."""
        declaration = {"name": name, "conda": list(packages), **more}
        lock = plugin("plugin_utils.conda_lock")
        said = lock.Lock(
            environment=name,
            platform="linux-64",
            virtual_packages={"__glibc": "2.17", "__linux": "4.0"},
            channels=(self.channel.url,),
            declared=lock.declared(declaration),
            wheels="",
            conda=tuple(sorted((self._package(package) for package in packages), key=lambda package: package.name)),
            pip=pip,
        )
        (self.locks / lock.file_name(name)).write_text(lock.write(said))
        return declaration

    def plan(self, *declarations: dict[str, Any]) -> dict[str, Any]:
        settings = {"environments": [*declarations], "base": False, "kernel_pip": [], "state": "present"}
        settings["channels"] = [self.channel.url]
        settings["locks"] = str(self.locks)
        return dict(plugin("filter.conda_plan").conda_plan(settings, "rig", build=True))

    def converge(self, *declarations: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        plan = self.plan(*declarations)
        assert plan["refusal"] == ""
        # As Ansible fills them.
        defaults = {"virtual_packages": {}, "holds": {}, "python": "", "index": "", "conda": [], "pip": ""}
        environments = [{**defaults, **environment} for environment in plan["look" if check else "build"]]
        return self.ask(environments, check, **more)

    def ask(self, environments: list[dict[str, Any]], check: bool = False, **more: Any) -> dict[str, Any]:
        request = {
            "prefix": str(self.prefix),
            "environments": environments,
            "mirrors": self.mirrors,
            "pip_options": self.pip_options,
            "thorough": False,
            **more,
        }
        umask = os.umask(0o077)
        try:
            module = plugin("modules.conda_environments")
            return dict((module.remove if more.get("state") == "absent" else module.converge)(request, check))
        finally:
            os.umask(umask)

    def refuse(self, *declarations: dict[str, Any]) -> str:
        """The sentence with which it fails; whatever was in use has to be so still."""
        before = self.links()
        trouble = plugin("module_utils.python_environment_trouble").PythonEnvironmentError
        with pytest.raises(trouble) as refused:
            self.converge(*declarations)
        assert self.links() == before
        return str(refused.value)

    def links(self) -> dict[str, str]:
        """Name of an environment to the directory that is in use."""
        return {path.name: str(path.readlink()) for path in self.prefix.glob("envs/*") if path.is_symlink()}

    def beside(self) -> list[str]:
        """Everything that lies where the environments lie."""
        return sorted(path.name for path in self.prefix.glob("envs/*"))

    def environment(self, name: str) -> Path:
        return self.prefix / "envs" / name

    def _package(self, name: str) -> Any:
        said = self.channel.packages[name]
        lock = plugin("plugin_utils.conda_lock")
        fields = {field.name for field in dataclasses.fields(lock.Package)}
        known = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
        url = f"{self.lock_url or self.channel.url}/{said['file']}"
        return lock.Package(**{key: value for key, value in known.items() if key in fields}, url=url)


def installer(prefix: Path) -> None:
    """Stands in for the installer's environment: the same rattler and uv, of the environment that runs the tests."""
    programs = prefix / "installer" / "bin"
    programs.mkdir(parents=True)
    (programs / "uv").symlink_to(find_uv_bin())
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)


def break_channel(channel: Channel, name: str) -> None:
    """Let the channel serve another file than its locks say."""
    file = channel.file(name)
    content = file.read_bytes() + b"more"
    # Other tests have links to it.
    file.unlink()
    file.write_bytes(content)
