"""The demo: nothing of the user's own is removed for it, and this machine's authorities are handed on as they are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from dlhost.adapters import container, inventory_source, vault
from dlhost.errors import ExitCode, RefusedError
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


PEM = "-----BEGIN CERTIFICATE-----\nMIIB+/=\n-----END CERTIFICATE-----"


def test_this_machines_authorities_come_as_the_role_takes_them(tmp_path: Path) -> None:
    write(tmp_path / "mkcert_development_CA_12 34.crt", f"# Ours\n{PEM}\n")
    write(tmp_path / "bundle.crt", f"{PEM}\nsubject=/CN=two\n{PEM}")
    write(tmp_path / "sub" / "Bundle.crt", PEM)
    (tmp_path / "der.crt").write_bytes(b"\x30\x82\xff\x00")
    write(tmp_path / "key.crt", PEM.replace("CERTIFICATE", "PRIVATE KEY"))

    certificates, skipped = container.trusted_by_this_machine(tmp_path)

    names = ["bundle", "bundle-2", "bundle-3", "mkcert_development_ca_12-34"]
    assert sorted(certificate["name"] for certificate in certificates) == names
    assert {certificate["pem"] for certificate in certificates} == {f"{PEM}\n"}
    assert [path.name for path in skipped] == ["der.crt", "key.crt"]


def test_what_the_engine_cannot_do_is_refused_in_its_words() -> None:
    def cannot(*_: Any, **__: Any) -> None:
        raise docker.errors.APIError("409", explanation="The container name is in use")

    client: Any = SimpleNamespace(containers=SimpleNamespace(run=cannot, list=cannot), info=dict)

    with pytest.raises(RefusedError, match="cannot run x: The container name is in use"):
        container.start(client, "x", "image", "ada", "key", publish=True)
    with pytest.raises(RefusedError, match="cannot remove x: The container name is in use"):
        container.remove(client, "x")
