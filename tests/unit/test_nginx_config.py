"""The parts of the transaction around nginx that need no nginx; molecule has the whole against a real one."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

COLLECTION = "ansible_collections.dlhost.host.plugins"
CHAIN = (b"leaf", b"authority")


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(f"{COLLECTION}.modules.nginx_config")


@pytest.fixture
def site(config: Any) -> Any:
    text = "server { listen 443 ssl; } server { listen 80; }"
    return config.Site(text, "ab" * 16, ("rig.example.org", "192.0.2.1"), CHAIN, in_place=True)


def answering(config: Any, monkeypatch: pytest.MonkeyPatch, **said: Any) -> None:
    """The running nginx answers like this, or raises it."""

    def ask(_address: str, _name: str, _path: str, _context: object) -> Any:
        if "raises" in said:
            raise said["raises"]
        return config.nginx_front.Answer(200, {}, **{"body": "ab" * 16, "chain": CHAIN, **said})

    monkeypatch.setattr(config.nginx_front, "ask", ask)


def test_a_site_is_served_when_configuration_and_certificates_are_the_files(
    config: Any, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(config, monkeypatch)
    assert config.unserved(site) == []
    # The same certificate with another way to its authority is another one.
    answering(config, monkeypatch, chain=CHAIN[:1])
    assert [line.partition(": ")[2] for line in config.unserved(site)] == [
        "another certificate is served than that in its file"
    ] * 2
    answering(config, monkeypatch, body="cd" * 16)
    assert "https://192.0.2.1: another configuration is served" in config.unserved(site)[1]
    # Nobody knows what the new text will answer before it is in place.
    assert config.unserved(dataclasses.replace(site, in_place=False)) == []
    answering(config, monkeypatch, raises=ConnectionRefusedError("refused"))
    assert "nobody answers (refused)" in config.unserved(site)[0]


@pytest.mark.parametrize(
    ("more", "advice"),
    [
        ("", "or set nginx_proxy_http_redirect to false, and run again"),
        ("location ^~ /.well-known/acme-challenge/ { }", "or have tls_acme_dns_hook prove the names, and run again"),
    ],
)
def test_who_has_the_name_on_port_80_is_told_what_frees_it(
    config: Any, monkeypatch: pytest.MonkeyPatch, more: str, advice: str
) -> None:
    other = {Path("/etc/nginx/sites-enabled/same"): "server { server_name rig.example.org; }"}
    monkeypatch.setattr(config.nginx_host, "test", lambda _enabled: other)
    site = config.Site(f"server {{ listen 80; {more} }}", "ab" * 16, ("rig.example.org",))
    plan = config.Plan(site, config.owned_files.Plan([], [], [], []), [], link=False, unit=None, unserved=[])

    with pytest.raises(config.RefusedError, match=advice):
        config.refuse_untested(plan)


def test_an_absent_site_is_not_to_be_served(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = config.Site(names=("rig.example.org",))

    answering(config, monkeypatch)
    assert config.unserved(absent) == ["https://rig.example.org: is still served"]
    answering(config, monkeypatch, body="somebody else's page")
    assert config.unserved(absent) == []
    answering(config, monkeypatch, raises=ConnectionRefusedError())
    assert config.unserved(absent) == []


def test_whoever_else_has_a_port_is_named(config: Any, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    host = config.nginx_host
    holders = {443: [host.Holder("nginx", 7, True)], 80: [host.Holder("apache2", 8, False)]}
    monkeypatch.setattr(host, "listening", lambda: {port: {"1"} for port in holders})
    monkeypatch.setattr(host, "holders", lambda port: holders[port])

    with pytest.raises(host.RefusedError, match=r"Port 80 is held by apache2 \(process 8\)"):
        config.refuse_other_listeners(site)
    del holders[80]
    config.refuse_other_listeners(site)


def test_a_port_that_nginx_itself_keeps_is_explained(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = "2026/01/02 03:04:05 [emerg] 9#9: bind() to [::]:443 failed (98: Address already in use)\n"
    complaints = config.nginx_host.emergencies(log * 5 + "2026/01/02 03:04:06 [notice] 9#9: try again\n")
    assert complaints == "bind() to [::]:443 failed (98: Address already in use)"
    holder = config.nginx_host.Holder("nginx", 9, True)
    monkeypatch.setattr(config.nginx_host, "holders", lambda _port: [holder])

    said = config._explained(complaints)
    assert "port 443 is held by nginx (process 9); that is nginx itself" in said
    assert said.endswith(f"{complaints}. ")
    assert config._explained("") == ""


@pytest.mark.parametrize(("wish", "is_there"), [("disabled", False), ("keep", True)])
def test_the_example_of_the_distribution_goes_where_it_is_asked_to(
    config: Any, site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str, is_there: bool
) -> None:
    example, own = tmp_path / "default", tmp_path / "dlhost.conf"
    example.symlink_to("../sites-available/default")
    own.symlink_to(config.nginx_text.SITE)
    monkeypatch.setattr(config.nginx_text, "DEFAULT_LINK", example)
    monkeypatch.setattr(config.nginx_text, "LINK", own)
    monkeypatch.setattr(config.nginx_host, "NGINX", tmp_path / "nginx-is-not-installed")
    monkeypatch.setattr(config, "make_site", lambda _request, _chain: site)
    monkeypatch.setattr(config.owned_files, "plan", lambda *_, **__: config.owned_files.Plan([], [], [], []))
    request = {"role": "nginx_proxy", "files": [], "passwords": [], "packages": [], "default_site": wish}

    plan = config.make_plan(request, ())

    assert plan.unlink == ([] if is_there else [example])
    assert (str(example) in plan.paths) == (not is_there)


def test_what_was_kept_comes_back(config: Any, tmp_path: Path) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    file, link, nothing, gone, inner = (directory / name for name in ("file", "link", "nothing", "gone", "inner"))
    inner.mkdir()
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    gone.symlink_to("/nowhere")

    kept = config.Kept.of([file, link, nothing, gone, inner])
    file.write_text("new")
    link.unlink()
    link.write_text("no link")
    nothing.symlink_to(file)
    gone.unlink()
    kept.put_back()

    assert (file.read_text(), file.stat().st_mode & 0o7777) == ("old", 0o640)
    assert (link.readlink(), gone.readlink()) == (file, Path("/nowhere"))
    assert {path.name for path in directory.iterdir()} == {"file", "link", "gone", "inner"}
