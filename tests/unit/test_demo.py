"""The demo: nothing of the user's own is removed for it, and this machine's authorities are handed on as they are."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from dlhost.adapters import container, inventory_source, trust, vault
from dlhost.errors import ExitCode, RefusedError
from dlhost.operations import demo
from dlhost.operations.init import CA, new_ca
from dlhost.values.checks import Check, CheckResult
from dlhost.values.inventory import Location
from dlhost.values.services import Offer, Service
from tests.unit.world import World, ended, stats, write


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
    assert engine == [demo.container_name(inventory_source.own_location("demo"))]
    assert password.exists()


def test_the_demos_own_inventory_is_removed_with_its_password(world: World, engine: list[str]) -> None:
    location = inventory_source.own_location("demo")
    write(location.path / demo.MARK, "")
    password = write(vault.password_file(location), "gone\n")

    assert world("demo", "--destroy").stdout == "The demo host is gone.\n"
    assert engine == [demo.container_name(inventory_source.own_location("demo"))]
    assert not location.path.exists()
    assert not password.exists()


# A certutil in whose stores the demo's authority is until it is taken out.
CERTUTIL_DOUBLE = """#!/bin/sh
case "$3" in
-L) [ ! -e "$GONE" ] ;;
-D) [ ! -e "$GONE" ] && touch "$GONE" ;;
esac
"""


@pytest.fixture
def trusted(engine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demo whose authority is in the system's store, for which the file is returned, and in Chromium's."""
    assert engine == []
    location = inventory_source.own_location("demo")
    write(location.path / demo.MARK, "")
    ca = write(location.path / CA, new_ca("demo").certificate)
    for name, text in (("certutil", CERTUTIL_DOUBLE), ("update-ca-certificates", "#!/bin/sh\n")):
        write(tmp_path / "bin" / name, text).chmod(0o755)
    monkeypatch.setenv("GONE", str(tmp_path / "gone"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(trust, "DEBIAN_STORE", tmp_path / "store")
    monkeypatch.setattr("sys.platform", "linux")
    return write(tmp_path / "store/local-dlhost-CA-of-demo.crt", ca.read_text())


def test_trust_in_its_authority_goes_with_the_demo(
    world: World, trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    result = world("demo", "--destroy")

    assert result.exit_code == ExitCode.DONE, result.output
    assert result.stdout.splitlines() == [
        "The demo host is gone.",
        "done  the system's store trusts it no longer",
        "done  Chromium's and Chrome's store trusts it no longer",
    ]
    assert not trusted.exists()
    assert (tmp_path / "gone").exists()


def test_trust_that_only_root_can_take_back_is_left_with_its_command(
    world: World, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    result = world("demo", "--destroy")

    assert result.exit_code == ExitCode.USER_MUST_ACT
    assert result.stdout.splitlines()[:2] == [
        "The demo host is gone.",
        f"left  the system's store: sudo rm -f {trusted} && sudo update-ca-certificates --fresh",
    ]
    assert trusted.exists()


def test_a_demo_that_was_never_trusted_goes_without_a_word_of_it(
    world: World, trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    trusted.write_text("the authority of somebody else's demo")
    write(tmp_path / "gone", "")

    result = world("demo", "--destroy")

    assert (result.exit_code, result.stdout) == (ExitCode.DONE, "The demo host is gone.\n")
    assert trusted.exists()


def test_a_mac_is_told_how_without_the_certificates_file(
    world: World, trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Mac has neither of the two stores.
    trusted.unlink()
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    says = "#!/bin/sh\necho 'Cert 0: dlhost CA of demo'\n"
    write(tmp_path / "bin/security", says).chmod(0o755)

    assert world("demo", "--destroy").stdout.splitlines()[1:] == [
        "left  the system's store: security find-certificate -c 'dlhost CA of demo' -p "
        "/Library/Keychains/System.keychain >ca.crt && sudo security remove-trusted-cert -d ca.crt"
    ]


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


@pytest.mark.parametrize(
    ("publish", "answers", "address", "front"),
    [
        (False, False, ("172.17.0.2", 22), ""),
        (True, True, ("172.17.0.2", 22), ""),
        (True, False, ("127.0.0.1", 2022), "https://127.0.0.1:2443"),
    ],
)
def test_a_host_is_where_this_machine_can_reach_it(
    monkeypatch: pytest.MonkeyPatch, publish: bool, answers: bool, address: tuple[str, int], front: str
) -> None:
    asked: dict[str, Any] = {}
    ports = iter((2022, 2443))

    def run(_image: str, **options: Any) -> object:
        asked.update(options)
        return object()

    monkeypatch.setattr(container, "free_port", lambda: next(ports))
    monkeypatch.setattr(container, "wait_for_boot", lambda _container: None)
    monkeypatch.setattr(container, "execute", lambda *_: "ssh-ed25519 AAAA root@x\n")
    monkeypatch.setattr(container, "address_of", lambda _container: "172.17.0.2")
    monkeypatch.setattr(container, "unanswered", lambda _host, _port: "" if answers else "timed out")
    client: Any = SimpleNamespace(containers=SimpleNamespace(run=run), info=dict)

    host = container.start(client, "x", "image", "ada", "key", publish=publish)

    assert ((host.address, host.port), host.front) == (address, front)
    assert host.host_keys == ("ssh-ed25519 AAAA",)
    published = {"22/tcp": ("127.0.0.1", 2022), "443/tcp": ("127.0.0.1", 2443)}
    assert asked["ports"] == (published if publish else {})


def test_the_demos_host_is_told_where_its_front_is(
    world: World, engine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.events = (ended("demo", checks=(Check("system", "system.x", "It is", CheckResult.PASS),)), stats())
    world.offers = {
        "demo": Offer((Service("portal", "demo", 8888, "/demo/"),), "https://127.0.0.1:2443", frozenset({"/demo/"}))
    }
    host = container.ContainerHost("x", "127.0.0.1", 2022, ("ssh-ed25519 AAAA",), "https://127.0.0.1:2443")
    monkeypatch.setattr(container, "image", lambda _client: "image")
    monkeypatch.setattr(container, "start", lambda *_, **__: host)
    monkeypatch.setattr(container, "trusted_by_this_machine", lambda: ([], []))
    monkeypatch.setattr("shutil.which", lambda _program: None)

    result = world("demo")

    assert result.exit_code == ExitCode.DONE, result.output
    location = inventory_source.own_location("demo")
    (loaded,) = inventory_source.load(location, vault.find_password(location, None)).hosts
    assert loaded.front == "https://127.0.0.1:2443"
    assert engine == [demo.container_name(inventory_source.own_location("demo"))]
    assert result.stdout.partition("\n\n")[2] == (
        "Open:\n"
        "  portal of demo on demo: https://127.0.0.1:2443/demo/\n"
        "    its password: dlhost secrets show portal_password -i demo\n"
        "Get in, look for drift, remove it again:\n"
        "  dlhost open portal -i demo\n"
        "  dlhost ssh -i demo\n"
        "  dlhost drift -i demo\n"
        "  dlhost demo --destroy\n"
        f"Its inventory: {location.path}\n"
    )


def test_two_people_of_one_engine_have_a_demo_each(tmp_path: Path) -> None:
    mine, yours = (Location("demo", tmp_path / home / "demo") for home in ("mine", "yours"))
    assert demo.container_name(mine) == demo.container_name(mine)
    assert demo.container_name(mine) != demo.container_name(yours)
