"""A host whose systemd is a dictionary: its units, who listens on which port, and what it was told."""

from __future__ import annotations

import dataclasses
import grp
import importlib
import os
import pwd
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SERVICE_HOST = "ansible_collections.dlhost.host.plugins.module_utils.service_host"
ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name


def mine(file: Any, **more: Any) -> Any:
    """A file of a role's, as one of who runs the tests."""
    return dataclasses.replace(file, owner=ME, group=MY_GROUP, **more)


def own_files(monkeypatch: pytest.MonkeyPatch, directory: Path) -> ModuleType:
    """Have the files of roles be of who runs the tests, and remembered in a directory; returns owned_files itself."""
    owned = importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.owned_files")
    manifest_file, from_argument = owned.manifest_file, owned.OwnedFile.from_argument
    monkeypatch.setattr(owned, "MANIFEST", directory / "managed.json")
    monkeypatch.setattr(owned, "manifest_file", lambda roles: mine(manifest_file(roles)))
    monkeypatch.setattr(owned.OwnedFile, "from_argument", lambda argument: mine(from_argument(argument)))
    return owned


class SystemdDouble:
    """`units` and `ports` (port to unit) are how it is; `port_of` says where a unit listens once it is started."""

    def __init__(self) -> None:
        self.outside: ModuleType = importlib.import_module(SERVICE_HOST)
        self.units: dict[str, Any] = {}
        self.ports: dict[int, str] = {}
        self.commands: list[str] = []

    def port_of(self, unit: str) -> int:
        raise NotImplementedError(unit)

    def unit(self, name: str) -> Any:
        nothing = self.outside.Unit(name, "", False, False, False, False, 0, 0.0)
        return self.units.get(name, nothing)

    def change(self, name: str, **more: Any) -> None:
        self.units[name] = dataclasses.replace(self.unit(name), **more)

    def find_instances(self, _templates: list[str]) -> list[str]:
        return sorted(self.units)

    def find_units(self, names: list[str]) -> dict[str, Any]:
        return {name: self.unit(name) for name in names}

    def find_listeners(self) -> list[Any]:
        return [self.outside.Listener("127.0.0.1", port, unit, "x") for port, unit in self.ports.items()]

    def must(self, _systemctl: str, verb: str, *names: str) -> None:
        """What systemctl was told, done at once."""
        self.commands.append(" ".join([verb, *names]))
        for name in (name for name in names if not name.startswith("--")):
            if verb == "start":
                # A moment after everything that was written.
                self.change(name, active=True, failed=False, started=time.time() + 0.001)
                time.sleep(0.002)
                self._hear_no_more(name)
                self.ports[self.port_of(name)] = name
            elif verb == "stop":
                self.change(name, active=False, started=0.0)
                self._hear_no_more(name)
            elif verb in ("enable", "disable"):
                self.change(name, enabled=verb == "enable")
            elif verb == "unmask":
                self.change(name, masked="")

    def _hear_no_more(self, unit: str) -> None:
        self.ports = {port: holder for port, holder in self.ports.items() if holder != unit}


def user_of(unit: str) -> str:
    """The user whose instance of a template a unit is."""
    return unit.partition("@")[2].removesuffix(".service")
