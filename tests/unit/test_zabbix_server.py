"""A Zabbix server where systemd and PostgreSQL are the test's: what is refused, made, restarted and taken away."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.systemd_double import ME, MY_GROUP, SystemdDouble, own_files

PLUGINS = "ansible_collections.dlhost.host.plugins"
SERVER, FRONTEND, TIMER = "zabbix-server.service", "dlhost-zabbix-frontend.service", "dlhost-zabbix-backup.timer"
SETTINGS = {"hk_history": "31d", "hk_history_global": 1}


class Host(SystemdDouble):
    """A Debian 12 with every package, whose database is `kind` and has this password."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(collections_path()))
        super().__init__()
        self.module = importlib.import_module(f"{PLUGINS}.modules.zabbix_server")
        self.database = importlib.import_module(f"{PLUGINS}.module_utils.zabbix_database")
        path.mkdir()
        self.path = path
        self.kind, self.password, self.missing = "absent", "", ["postgresql"]
        self.os = {"ID": "debian", "VERSION_ID": "12", "PRETTY_NAME": "Debian 12"}
        self.strangers: list[Any] = []
        self.backups = True

        owned = own_files(monkeypatch, path)
        monkeypatch.setattr(owned, "missing_packages", lambda _names: self.missing)
        for name, function in {
            "UNIT_DIRECTORY": path,
            "CONFIGURATION": path / "zabbix",
            "LOCAL_TIME": Path("/usr/share/zoneinfo/Europe/Vienna"),
            "platform": SimpleNamespace(freedesktop_os_release=lambda: self.os),
            "find_units": self.find_units,
            "find_listeners": lambda: [*self.find_listeners(), *self.strangers],
            "wait_until_listening": lambda _servers: None,
            "must": self.must,
            # There is no cluster.
            "run": lambda *_words: SimpleNamespace(stdout="", stderr="no word"),
        }.items():
            monkeypatch.setattr(self.module, name, function)
        monkeypatch.setattr(self.outside, "must", self.must)
        for name, act in {"look": self.look, "create": self.create, "fill": self.fill, "change": self.fill}.items():
            monkeypatch.setattr(self.database, name, act)
        monkeypatch.setattr(self.database, "drop", lambda: self.become("absent"))
        monkeypatch.setattr(self.database, "is_of", lambda password, found: password == found)

    def look(self, _wish: Any) -> Any:
        settings: dict[str, object] = {**SETTINGS}
        return self.database.Found(self.kind, "no server", self.password, settings=settings)

    def become(self, kind: str) -> None:
        self.kind = kind
        self.commands.append(f"database {kind}")

    def create(self, _terms: str) -> None:
        self.become("empty")

    def fill(self, wish: Any, **_what: Any) -> None:
        self.password = wish.password
        self.become("ours")

    def port_of(self, unit: str) -> int:
        return 10051 if unit == SERVER else 0

    def must(self, command: str, verb: str, *names: str) -> None:
        super().must(command, "start" if verb == "restart" else verb, *names)

    def apply(self, *, check: bool = False, **more: Any) -> dict[str, Any]:
        """Run the module as the role does; returns its result."""
        names = [FRONTEND, *([TIMER, TIMER.replace("timer", "service")] if self.backups else [])]
        files = [
            {"path": str(self.path / name), "content": "@php@ @keywords@ @time_zone@"}
            for name in ["dlhost.conf", "zabbix/zabbix.conf.php", *names]
        ]
        owned = {"mode": "0644", "owner": ME, "group": MY_GROUP, "validate": None, "sensitive": False}
        release: dict[str, Any] = {"os": "debian 12", "version": "6.0", "php": "8.2", "keywords": "A=1"}
        release["packages"] = ["postgresql"]
        units = [{"name": SERVER, "sources": [str(self.path / "dlhost.conf")]}, {"name": FRONTEND, "sources": []}]
        units += [{"name": TIMER, "sources": [str(self.path / TIMER)]}] if self.backups else []
        request = {
            "role": "zabbix_server",
            "releases": [release],
            "files": [{**file, **owned} for file in files],
            "units": units,
            "admin_password": "horse/battery",
            "settings": SETTINGS,
            "mark": "Made by dlhost.",
            "database_terms": "OWNER zabbix",
            "drop_database": False,
            "brought_packages": [],
            "state": "present",
            **more,
        }
        plan = self.module.make_plan(request)
        if plan.due and not check:
            act = self.module.remove if request["state"] == "absent" else self.module.apply
            act(request, plan)
        result: dict[str, Any] = plan.result()
        return result

    def refusal(self, **more: Any) -> str:
        with pytest.raises(self.outside.RefusedError) as refused:
            self.apply(**more)
        assert self.commands == []
        return str(refused.value)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path / "host", monkeypatch)


@pytest.fixture
def running(host: Host) -> Host:
    """A host that the role has been applied to."""
    host.missing = []
    host.apply()
    host.commands.clear()
    return host


def test_a_dry_run_on_a_bare_host_tells_everything_and_does_nothing(host: Host) -> None:
    result = host.apply(check=True)
    assert result["missing_packages"] == ["postgresql"]
    assert result["database_problems"] == ["there is no database"]
    assert f"{SERVER} does not run" in result["unit_problems"]
    assert host.commands == []
    assert list(host.path.iterdir()) == []


def test_nothing_serves_before_the_database_is_full(host: Host) -> None:
    host.missing = []
    host.apply(brought_packages=["php8.2-fpm"])
    started = host.commands.index(f"start {SERVER}")
    assert host.commands[:3] == ["disable --quiet --now php8.2-fpm.service", "database empty", "database ours"]
    assert started > 2
    assert (host.path / "dlhost.conf").read_text() == "8.2 A=1 Europe/Vienna"
    assert [name for name in (SERVER, FRONTEND, TIMER) if host.units[name].active and host.units[name].enabled] == [
        SERVER,
        FRONTEND,
        TIMER,
    ]


def test_a_second_run_has_nothing_to_do(running: Host) -> None:
    assert running.apply()["changed"] is False
    assert running.commands == []


def test_a_server_that_ran_without_a_database_is_restarted_when_it_is_full(running: Host) -> None:
    running.kind = "empty"
    running.apply()
    assert running.commands[0] == "database ours"
    assert f"start {SERVER}" in running.commands


def test_another_password_is_set_back_and_nothing_restarted(running: Host) -> None:
    running.password = "of the frontend"  # noqa: S105
    assert running.apply()["database_problems"] == ["Admin has another password"]
    assert running.password == "horse/battery"  # noqa: S105
    assert not [command for command in running.commands if command.startswith("start")]


def test_only_what_reads_a_new_file_is_restarted(running: Host) -> None:
    configuration = running.path / "dlhost.conf"
    configuration.write_text("edited")
    assert running.apply()["outdated"] == [SERVER]
    assert [command for command in running.commands if command.startswith("start")] == [f"start {SERVER}"]


def test_a_restart_that_a_cut_run_left_out_is_made_up_for(running: Host) -> None:
    running.change(SERVER, process=7, started=time.time() - 9)
    (running.path / "dlhost.conf").touch()
    assert running.apply()["outdated"] == [SERVER]


def test_backups_that_are_no_longer_wanted_stop(running: Host) -> None:
    running.backups = False
    assert running.apply()["unit_problems"] == [f"{TIMER} is there and nobody asks for it"]
    assert (running.units[TIMER].active, running.units[TIMER].enabled) == (False, False)
    assert not (running.path / TIMER).exists()


def test_a_database_that_sleeps_is_undetermined_and_due(running: Host) -> None:
    running.kind = "down"
    assert running.apply(check=True)["database_problems"] == ["PostgreSQL does not answer: no server"]


def test_a_database_that_cannot_be_started_is_said(running: Host) -> None:
    running.kind = "down"
    with pytest.raises(running.outside.RefusedError, match=r"^PostgreSQL does not answer: no word\. Mend that"):
        running.apply()


def test_what_cannot_be_is_refused_before_anything_is_changed(host: Host) -> None:
    host.kind = "foreign"
    assert "a database zabbix that dlhost did not make" in host.refusal()
    host.kind = "absent"
    host.strangers = [host.outside.Listener("127.0.0.1", 10051, "other.service", "nc, process 7 of ada")]
    assert "Port 10051, where agents send to, is held by nc, process 7 of ada" in host.refusal()
    host.os = {"ID": "ubuntu", "VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04 LTS"}
    assert "6.0 on Debian 12. This host has Ubuntu 24.04 LTS" in host.refusal()


PACKAGED = "# DBHost=localhost\nDBHost=localhost\nDBName=zabbix\n# DBPassword=\nDBUser=zabbix\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("zabbix.conf.php", "<?php $DB['SERVER'] = 'db.example';"),
        ("web/zabbix.conf.php", "<?php"),
        ("zabbix_server.conf", PACKAGED + "DBHost=db.example\n"),
        ("zabbix_server.conf", PACKAGED + " DBName = zbx\n"),
        ("zabbix_server.conf.d/mine.conf", "DBPassword=secret\n"),
    ],
)
def test_settings_of_somebody_elses_zabbix_are_no_reason_to_take_it_over(host: Host, name: str, text: str) -> None:
    for path, content in {"zabbix_server.conf": PACKAGED, name: text}.items():
        (host.path / "zabbix" / path).parent.mkdir(parents=True, exist_ok=True)
        (host.path / "zabbix" / path).write_text(content)
    assert f"{host.path}/zabbix/{name} is of a Zabbix that dlhost did not set up" in host.refusal()
    # With our database it was ours before, whatever became of the record.
    host.kind, host.password = "ours", "horse/battery"
    assert host.apply(check=True)["database_problems"] == []


def test_settings_of_ours_and_of_packages_are_nobody_elses(running: Host) -> None:
    (running.path / "zabbix/zabbix_server.conf").write_text(PACKAGED)
    running.kind = "absent"
    assert running.apply(check=True)["database_problems"] == ["there is no database"]
    running.apply(state="absent")
    assert running.apply(check=True)["database_problems"] == ["there is no database"]


def test_an_admin_who_is_gone_is_not_guessed(running: Host) -> None:
    running.password = None  # type: ignore[assignment]
    assert "has no user Admin any more" in running.refusal()


def test_absent_leaves_the_database_and_can_be_told_otherwise(running: Host) -> None:
    running.apply(state="absent")
    assert running.kind == "ours"
    assert not any(running.units[name].active for name in (SERVER, FRONTEND, TIMER))
    # A directory of dlhost's alone goes with its last file.
    assert not running.path.exists()
    assert running.apply(state="absent")["due"] is False
    running.apply(state="absent", drop_database=True)
    assert running.kind == "absent"


def test_absent_is_no_matter_for_a_server_of_somebody_else(host: Host) -> None:
    host.kind = "foreign"
    host.change(SERVER, active=True, enabled=True)
    assert host.apply(state="absent")["due"] is False
    assert host.apply(state="absent", drop_database=True)["due"] is False
    host.os = {"ID": "ubuntu", "VERSION_ID": "24.04"}
    assert host.apply(state="absent")["due"] is False
