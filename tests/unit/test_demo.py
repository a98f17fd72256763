"""The demo: nothing of the user's own is removed for it, and this machine's authorities are handed on as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import container, inventory_source, vault
from dlhost.errors import ExitCode
from dlhost.operations import demo
from tests.unit.world import World, write


@pytest.fixture
def engine(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A container engine without containers; returns what it was asked to remove."""
    removed: list[str] = []

    def remove(_client: Any, name: str) -> bool:
        removed.append(name)
        return False

    assert world.runs == []
    monkeypatch.setattr(container, "engine", lambda: None)
    monkeypatch.setattr(container, "remove", remove)
    return removed


@pytest.mark.parametrize("arguments", [("demo",), ("demo", "--destroy")])
@pytest.mark.parametrize("root", ["config/dlhost/inventories", "work/inventories"])
def test_an_inventory_of_the_users_own_is_never_the_demos(
    world: World, engine: list[str], tmp_path: Path, root: str, arguments: tuple[str, ...]
) -> None:
    hosts = write(tmp_path / root / "demo" / "hosts.yml", "all: {hosts: {real: }}\n")
    password = write(vault.password_file(inventory_source.find("demo")), "kept\n")

    result = world(*arguments)

    assert result.exit_code == ExitCode.REFUSED
    assert str(hosts.parent) in result.stderr
    assert hosts.exists()
    assert password.exists()
    assert engine == []


def test_a_password_without_the_demos_inventory_is_left(world: World, engine: list[str]) -> None:
    password = write(vault.password_file(inventory_source.own_location("demo")), "kept\n")

    assert world("demo", "--destroy").stdout == "There is no demo host.\n"
    assert engine == ["dlhost-demo"]
    assert password.exists()


def test_the_demos_own_inventory_is_removed_with_its_password(world: World, engine: list[str]) -> None:
    location = inventory_source.own_location("demo")
    write(location.path / demo.MARK, "")
    password = write(vault.password_file(location), "gone\n")

    assert world("demo", "--destroy").stdout == "The demo host is gone.\n"
    assert engine == ["dlhost-demo"]
    assert not location.path.exists()
    assert not password.exists()


def test_the_demos_name_cannot_be_taken(world: World) -> None:
    result = world("init", "demo", "--host", "h", "--user", "u")

    assert result.exit_code == ExitCode.USAGE
    assert "the name of the inventory that `dlhost demo` makes" in result.stderr
