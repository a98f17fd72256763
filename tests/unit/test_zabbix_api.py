"""Zabbix's API: who asks, by which version's manners, and what is said where it does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.tls_world import KEYS, certificate_pem, key_pem, plugin
from tests.unit.zabbix_api_double import ACCESS, TOKEN, Refused, ZabbixApiDouble, served


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    return plugin(monkeypatch, "module_utils.zabbix_api")


def ask(module: Any, double: ZabbixApiDouble, **access: str) -> Any:
    with served(double) as port, module.session({**ACCESS, "url": f"http://localhost:{port}/zabbix", **access}) as api:
        return api.call("host.get", {})


def test_a_login_ends_and_its_session_goes_in_the_body_before_6_4(module: Any) -> None:
    double = ZabbixApiDouble("6.0.14", {"host.get": []})

    assert ask(module, double) == []

    assert double.methods == ["apiinfo.version", "user.login", "host.get", "user.logout"]
    assert double.headers == [(None, None), (None, None), (TOKEN, None), (TOKEN, None)]
    assert double.asked[1][1] == {"username": "Admin", "password": "open sesame"}


def test_a_token_needs_no_login_and_goes_in_a_header_from_6_4_on(module: Any) -> None:
    double = ZabbixApiDouble("7.2.0", {"host.get": []})

    ask(module, double, token="secret token")  # noqa: S106

    assert double.methods == ["apiinfo.version", "host.get"]
    assert double.headers == [(None, None), (None, "Bearer secret token")]


def test_a_login_ends_where_a_call_fails(module: Any) -> None:
    double = ZabbixApiDouble(answers={"host.get": Refused("No permissions.")})

    with pytest.raises(module.ZabbixError, match=r"refuses host\.get: No permissions\."):
        ask(module, double)

    assert double.methods[-1] == "user.logout"


@pytest.mark.parametrize(
    ("answers", "access", "sentence"),
    [
        ({"apiinfo.version": "5.4.9"}, {}, r"is Zabbix 5\.4\.9, and dlhost works with 6\.0 and later"),
        (
            {"user.login": Refused("Incorrect user name or password or account is temporarily blocked.")},
            {},
            "does not let user Admin with this password in: Incorrect",
        ),
        (
            {"host.get": Refused("Not authorized.")},
            {"token": "secret token"},
            "does not let the token in: Not authorized",
        ),
        ({}, {"password": ""}, "takes a token, or a user and a password"),
        (
            {"user.login": Refused("Error connecting to database.")},
            {},
            r"has no database to answer from: Error connecting to database\.",
        ),
        ({"host.get": Refused("sent: open sesame")}, {}, r"refuses host\.get: sent: \.\.\."),
    ],
)
def test_what_the_server_refuses_is_one_sentence_without_a_secret(
    module: Any, answers: Any, access: Any, sentence: str
) -> None:
    with pytest.raises(module.ZabbixError, match=sentence) as raised:
        ask(module, ZabbixApiDouble(answers=answers), **access)

    assert "open sesame" not in str(raised.value) and "secret token" not in str(raised.value)
    assert not isinstance(raised.value, module.UnreachableError)


def test_who_does_not_speak_the_api_is_not_reached(module: Any) -> None:
    double = ZabbixApiDouble()
    double.page = "<html>Bad Gateway</html>"

    with pytest.raises(module.UnreachableError, match=r"/zabbix/ is not answered by Zabbix \(HTTP 200\)"):
        ask(module, double)
    with (
        pytest.raises(module.UnreachableError, match=r"does not answer \(Connection refused\)"),
        module.session({**ACCESS, "url": "https://rig.example.org:1/", "address": "127.0.0.1"}),
    ):
        pass
    with (
        pytest.raises(module.UnreachableError, match="does not resolve"),
        module.session({**ACCESS, "url": "https://nowhere.invalid/"}),
    ):
        pass


@pytest.mark.parametrize("url", ["http://zabbix.example.org/", "zabbix.example.org", "ftp://localhost/"])
def test_no_secret_goes_out_in_the_clear(module: Any, url: str) -> None:
    with pytest.raises(module.ZabbixError, match="https://"), module.session({**ACCESS, "url": url}):
        pass


def test_the_certificate_has_to_be_the_names_wherever_it_is_asked(module: Any, tmp_path: Path) -> None:
    certificate = certificate_pem(KEYS["p256"], names=("rig.example.org",))
    pair = tmp_path / "pair.pem"
    pair.write_text(key_pem(KEYS["p256"]) + certificate)
    double = ZabbixApiDouble(answers={"host.get": []})
    with served(double, pair) as port:
        access = {**ACCESS, "url": f"https://rig.example.org:{port}/", "address": "127.0.0.1", "ca": certificate}
        with module.session(access) as api:
            assert api.call("host.get", {}) == []
        for wrong in ({"ca": ""}, {"url": f"https://other.example.org:{port}/"}):
            with pytest.raises(module.ZabbixError, match="is not trusted"), module.session({**access, **wrong}):
                pass
    assert double.methods.count("user.login") == 1
