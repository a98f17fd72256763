"""What zabbix_server_probe makes of the backups that are there, and of how the last one ended."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.tls_world import KEYS, certificate_pem, key_pem
from tests.unit.zabbix_api_double import TOKEN, Refused, ZabbixApiDouble, served

HOUR = 3600
SHUT = 99
WHY = "journalctl -u dlhost-zabbix-backup tells why"


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(collections_path()))
    found = importlib.import_module("ansible_collections.dlhost.host.plugins.modules.zabbix_server_probe")
    monkeypatch.setattr(found, "TIMER", tmp_path / "timer")
    return found


@pytest.mark.parametrize(
    ("ended", "timer_h", "dump_h", "problem", "unasked"),
    [
        ("success", 1, None, "", "no night has passed yet"),
        ("success", 999, 20, "", ""),
        ("success", 999, 50, f"the newest is 50 hours old; {WHY}", ""),
        # Nights have passed, and a boot has made systemd forget that every one of them failed.
        ("success", 999, None, f"there is none; {WHY}", ""),
        ("exit-code", 20, None, f"the last one failed (exit-code); {WHY}", ""),
        ("exit-code", 999, 25, f"the last one failed (exit-code); {WHY}", ""),
        # Backups were off for a while.
        ("success", 1, 50, "", "no night has passed yet"),
    ],
)
def test_a_night_without_a_backup_is_not_overlooked(
    probe: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ended: str,
    timer_h: int,
    dump_h: int | None,
    problem: str,
    unasked: str,
) -> None:
    monkeypatch.setattr(probe, "run", lambda *_words: SimpleNamespace(stdout=f"{ended}\n"))
    for name, hours in (("timer", timer_h), ("zabbix-1.dump", dump_h)):
        if hours is not None:
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (time.time() - hours * HOUR,) * 2)
    seen = probe.look_at_backups(str(tmp_path))
    assert seen == ({"backup": problem} if problem else {}, {"backup": unasked} if unasked else {})


def test_without_backups_nobody_misses_one(probe: ModuleType) -> None:
    assert probe.look_at_backups("") == ({}, {"backup": "zabbix_server_backups is 0"})


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        ("horse/battery", ""),
        ("zabbix", "Admin comes in with the password that everybody knows"),
        ("another", "does not let user Admin with this password in"),
    ],
)
def test_the_front_lets_in_who_has_the_password_of_the_inventory(
    probe: ModuleType, tmp_path: Path, known: str, problem: str
) -> None:
    double = ZabbixApiDouble()
    double.answers["user.login"] = lambda given: TOKEN if given["password"] == known else Refused("Incorrect user name")
    certificate = tmp_path / "front.pem"
    certificate.write_text(key_pem(KEYS["p256"]) + certificate_pem(KEYS["p256"]))
    with served(double, certificate) as port:
        given = {"url": f"https://rig:{port}/zabbix/", "ca": certificate.read_text(), "admin_password": "horse/battery"}
        problems, unasked = probe.look_at_front(given)
        stranger = {**given, "ca": certificate_pem(KEYS["other"])}
        assert "is not trusted" in probe.look_at_front(stranger)[0]["front"]

    assert problem in problems.get("front", "") and bool(problems) == bool(problem)
    assert unasked == {}


def test_where_there_is_no_front_it_is_not_asked(probe: ModuleType) -> None:
    assert probe.look_at_front({"url": ""}) == ({}, {"front": "zabbix_server_public_url is empty"})


def test_strangers_who_tried_passwords_do_not_keep_it_out(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Zabbix counts (CUser::login): from the fifth on, each wrong one shuts the account for half a minute."""
    wrong = 7

    def log_in(_socket: str, _root: str, user: str, password: str) -> None:
        nonlocal wrong
        if (user, password) == ("Admin", "horse/battery") and wrong != SHUT:
            wrong = 0
            return
        if user == "Admin":
            wrong = SHUT if wrong >= 4 else wrong + 1
        raise PermissionError("Incorrect user name or password or account is temporarily blocked.")

    monkeypatch.setattr(probe, "log_in", log_in)
    monkeypatch.setattr(probe, "page", lambda *_: (404, ""))
    assert probe.look_at_frontend({"socket": "", "root": "", "admin_password": "horse/battery"}) == ({}, {})
