"""Values that role zabbix_server refuses before any of them reaches a host, and files of those that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plays import results, rules_of

PASSWORD = "horse/battery"  # noqa: S105
ROLE = Path(__file__).parents[2] / "roles/zabbix_server"
VALUES: dict[str, tuple[dict[str, object], str]] = {
    "password-missing": ({"zabbix_server_admin_password": None}, "zabbix_server_admin_password is empty"),
    "password-short": ({"zabbix_server_admin_password": "seven77"}, "less than 8 characters"),
    "password-long": ({"zabbix_server_admin_password": "x" * 73}, "more than 72"),
    "password-lines": ({"zabbix_server_admin_password": "one line\nand another"}, "several lines"),
    "password-of-zabbix": ({"zabbix_server_admin_password": "zabbix"}, "what everybody tries first"),
    "password-guessed": ({"zabbix_server_admin_password": "AdminZabbix1"}, "what everybody tries first"),
    "name-missing": ({"zabbix_server_name": ""}, "a name of 1 to 64"),
    "name-lines": ({"zabbix_server_name": "one\ntwo"}, "a name of 1 to 64"),
    "history": ({"zabbix_server_history_days": 0}, "between 1 and 3650"),
    "trends": ({"zabbix_server_trends_days": 3651}, "between 1 and 3650"),
    "backups": ({"zabbix_server_backups": -1}, "between 0 and 365; it is -1"),
    "good": ({}, ""),
    "good-no-backups": ({"zabbix_server_backups": 0}, ""),
    "good-texts": ({"zabbix_server_history_days": "7", "zabbix_server_backups": "30"}, ""),
    "good-name": ({"zabbix_server_name": 'Ada\'s "rig" \\ ä?>'}, ""),
    "good-absent": ({"zabbix_server_state": "absent", "zabbix_server_admin_password": None}, ""),
}
RULES = rules_of("zabbix_server")
RENDERED = {"ansible.builtin.debug": {"msg": "{{ lookup('ansible.builtin.template', 'files.yml.j2') }}"}}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, dict[str, Any]]]:
    """What the role said to each value, and what it rendered for good ones."""
    common = {"zabbix_server_admin_password": PASSWORD}
    hosts = {
        # None stands for a variable that is not there.
        name: {key: value for key, value in (common | variables).items() if value is not None}
        for name, (variables, _words) in VALUES.items()
    }
    directory = tmp_path_factory.mktemp("values")
    for name in ("files", "templates"):
        (directory / name).symlink_to(ROLE / name)
    return list(results(directory, hosts, [RULES, RENDERED]))


@pytest.fixture(scope="module")
def said(ran: list[tuple[str, str, dict[str, Any]]]) -> dict[str, str]:
    return {host: str(result["msg"]) for _task, host, result in ran if result.get("failed")}


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if words])
def test_a_bad_value_is_refused_in_one_sentence(said: dict[str, str], name: str) -> None:
    assert VALUES[name][1] in said[name]
    # A password that is refused is not shown either.
    password = VALUES[name][0].get("zabbix_server_admin_password")
    assert not password or password == "zabbix" or str(password) not in said[name]  # noqa: S105


def test_a_good_value_passes(said: dict[str, str]) -> None:
    assert said.keys() == {name for name, (_variables, words) in VALUES.items() if words}


def files(ran: list[tuple[str, str, dict[str, Any]]], host: str) -> dict[str, str]:
    """What that host gets: path to text."""
    rendered = next(result["msg"] for _task, name, result in ran if name == host and "- path" in str(result.get("msg")))
    return {file["path"]: file["content"] for file in yaml.safe_load(rendered)}


def test_a_name_is_a_name_to_php(ran: list[tuple[str, str, dict[str, Any]]]) -> None:
    text = files(ran, "good-name")["/etc/zabbix/zabbix.conf.php"]
    assert "$ZBX_SERVER_NAME = 'Ada\\'s \"rig\" \\\\ ä?>';" in text


def test_without_backups_there_is_no_timer(ran: list[tuple[str, str, dict[str, Any]]]) -> None:
    timer = "/etc/systemd/system/dlhost-zabbix-backup.timer"
    assert timer in files(ran, "good")
    assert timer not in files(ran, "good-no-backups")
