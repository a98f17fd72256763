"""When servers are started, restarted, stopped and left alone, on a host whose systemd is a dictionary."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.systemd_double import MY_GROUP, SystemdDouble, mine, own_files, user_of

PLUGINS = "ansible_collections.dlhost.host.plugins"
ADA, GRACE = "dlhost-jupyter@ada.service", "dlhost-jupyter@grace.service"
BUSY = ["1 kernel is busy"]


class Host(SystemdDouble):
    """A host with two possible users; `units` is what systemd has, `commands` what it was told."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(collections_path()))
        super().__init__()
        self.module = importlib.import_module(f"{PLUGINS}.modules.jupyter_servers")
        self.patch = functools.partial(monkeypatch.setattr, self.module)
        self.path = path
        self.work: dict[str, list[str]] = {}
        self.trials: dict[str, str] = {}
        self.hash: Callable[[str, str], str] = lambda password, present: (
            present if present == f"argon2:{password}" else f"argon2:{password}"
        )
        self.users = {"ada": 8888, "grace": 8889}
        self.settings = "one"
        self.environment = path / "environment-1"
        self.environment.mkdir()
        self.link = path / "environment"
        self.link.symlink_to(self.environment.name)

        own_files(monkeypatch, path)
        for name, function in {
            "UNIT_DIRECTORY": path / "units",
            "account": self._account,
            "look_as": self._look_as,
            "make_directories": self._make_directories,
            "hashes": self._hashes,
            "find_instances": self.find_instances,
            "find_units": self.find_units,
            "find_listeners": self.find_listeners,
            "work_of": lambda unit, _environment: self.work.get(unit.name, []),
            "wait_until_listening": lambda _servers: None,
            "must": self.must,
            "refusal_of": lambda trial, _user: self.trials.get(trial[0], ""),
        }.items():
            self.patch(name, function)
        monkeypatch.setattr(self.outside, "must", self.must)

    def _account(self, name: str, _variable: str) -> Any:
        if name not in ("ada", "grace"):
            raise self.module.RefusedError(f"no {name}")
        home = self.path / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        # The files are the test's own, so that it can write them.
        return self.module.Account(name, os.getuid(), os.getgid(), MY_GROUP, str(home))

    def _look_as(self, _user: Any, directories: list[str], _files: list[str]) -> dict[str, Any]:
        account = importlib.import_module(f"{PLUGINS}.module_utils.jupyter_account")
        return dict(account.look(directories, []))

    def _make_directories(self, _user: Any, directories: list[str]) -> None:
        for path in directories:
            Path(path).mkdir(parents=True)

    def _hashes(self, _environment: Path, known: dict[str, list[str]]) -> dict[str, str]:
        return {unit: self.hash(password, present) for unit, (password, present) in known.items()}

    def port_of(self, unit: str) -> int:
        return self.users[user_of(unit)]

    def request(self, **more: Any) -> dict[str, Any]:
        unit = {"path": str(self.path / "units" / "dlhost-jupyter@.service"), "content": "[Unit]\n"}
        return {
            "role": "jupyter",
            "files": [{**unit, "mode": "0644", "owner": "", "group": "", "validate": "", "sensitive": False}],
            "packages": [],
            "templates": {"dlhost-jupyter@.service": str(self.link)},
            "servers": [
                {
                    "unit": f"dlhost-jupyter@{user}.service",
                    "user": user,
                    "address": "127.0.0.1",
                    "port": port,
                    "files": [{"path": str(self.file(user)), "content": self.settings}],
                    "reads": [],
                    "trial": [user],
                    "directories": ["~/notebooks", "~/notebooks/data"],
                    "password": "secret",
                    "password_file": str(self.file(user, "password")),
                }
                for user, port in self.users.items()
            ],
            "restart": "when_idle",
            "state": "present",
            **more,
        }

    def file(self, user: str, name: str = "config.py") -> Path:
        return self.path / "etc" / user / name

    def apply(self, **more: Any) -> dict[str, Any]:
        """Converge; returns the result, and leaves in `commands` what systemd was told."""
        self.commands.clear()
        return dict(self.module.converge(self.request(**more)))

    def foresee(self, **more: Any) -> dict[str, Any]:
        return dict(self.module.foresee(self.request(**more)))

    def settle(self) -> None:
        """As if all of it had been so for long."""
        long_ago = time.time() - 1000
        for path in [*self.path.glob("etc/*/*"), *self.path.glob("units/*"), self.link]:
            os.utime(path, (long_ago, long_ago), follow_symlinks=False)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    def written_by_me(file: Any) -> Any:
        return original(mine(file))

    host = Host(tmp_path, monkeypatch)
    owned = importlib.import_module(f"{PLUGINS}.module_utils.owned_files")
    original = owned._write_beside
    monkeypatch.setattr(owned, "_write_beside", written_by_me)
    find = owned.find
    # Root's files and the users' are the test's here.
    monkeypatch.setattr(owned, "find", lambda path: _as_roots(find(path), path, tmp_path))
    return host


def _as_roots(found: Any, path: Path, root: Path) -> Any:
    if not path.is_relative_to(root / "etc"):
        return found
    return dataclasses.replace(found, owner=path.parent.name if path.name == "password" else "root")


@pytest.fixture
def host(fresh: Host) -> Host:
    """Both servers run, and did so for a while."""
    fresh.apply()
    fresh.settle()
    return fresh


def test_the_first_run_brings_everything_and_the_second_nothing(fresh: Host) -> None:
    assert fresh.foresee()["due"]
    assert fresh.commands == []
    result = fresh.apply()
    assert result["changed"]
    assert fresh.commands == ["daemon-reload", f"enable --quiet {ADA} {GRACE}", f"start {ADA} {GRACE}"]
    assert fresh.file("ada", "password").read_text() == "argon2:secret\n"
    assert (fresh.path / "home/ada/notebooks/data").is_dir()

    assert not fresh.foresee()["due"]
    assert not fresh.apply()["changed"]
    assert fresh.commands == []


def test_a_password_is_in_no_result_and_for_its_user_alone(fresh: Host) -> None:
    assert "secret" not in repr(fresh.foresee()) + repr(fresh.apply())
    assert fresh.file("ada", "password").stat().st_mode & 0o777 == 0o400


def test_a_changed_file_restarts_its_server_alone(host: Host) -> None:
    host.file("ada").write_text("other")
    assert host.foresee()["outdated"] == [ADA]
    host.apply()
    assert host.commands == [f"stop {ADA}", f"start {ADA}"]


def test_a_mode_that_is_mended_restarts_nothing(host: Host) -> None:
    host.file("ada").chmod(0o600)
    assert host.apply()["changed_paths"] == [str(host.file("ada"))]
    assert host.commands == []


def test_a_password_that_changes_restarts_and_one_that_fits_does_not(host: Host) -> None:
    host.hash = lambda _password, present: present
    assert not host.apply()["changed"]
    host.hash = lambda _password, _present: "argon2:new"
    host.apply()
    assert host.commands == [f"stop {ADA} {GRACE}", f"start {ADA} {GRACE}"]


def test_a_given_hash_is_taken_as_it_is(host: Host) -> None:
    request = host.request()
    request["servers"][0]["password"] = "argon2:$argon2id$given"  # noqa: S105
    host.apply(servers=request["servers"])
    assert host.file("ada", "password").read_text() == "argon2:$argon2id$given\n"


def test_a_switched_environment_restarts_every_server(host: Host) -> None:
    (host.path / "environment-2").mkdir()
    host.link.unlink()
    host.link.symlink_to("environment-2")
    later = time.time() - 0.001
    for name in (ADA, GRACE):
        host.change(name, started=later - 10)
    host.apply()
    assert host.commands == [f"stop {ADA} {GRACE}", f"start {ADA} {GRACE}"]


def test_a_time_to_come_is_not_newer(host: Host) -> None:
    tomorrow = time.time() + 86_400
    os.utime(host.file("ada"), (tomorrow, tomorrow))
    assert not host.foresee()["due"]


def test_a_server_at_work_is_left_for_a_later_run(host: Host) -> None:
    host.settings = "two"
    host.work[ADA] = BUSY
    result = host.apply()
    assert host.commands == [f"stop {GRACE}", f"start {GRACE}"]
    assert f"{ADA} (1 kernel is busy)" in result["dlhost_action_needed"]
    assert host.file("ada").read_text() == "two"

    # It is still so, and says so, but a run that does nothing has changed nothing.
    again = host.apply()
    assert (again["changed"], again["due"], host.commands) == (False, True, [])
    assert "dlhost_action_needed" in again
    # A look at it finds the difference all the same.
    foreseen = host.foresee()
    assert foreseen["changed"]
    assert {"prepared": f"{ADA} (1 kernel is busy): left alone for now\n"} in foreseen["diff"]

    host.work.clear()
    assert "dlhost_action_needed" not in host.apply()
    assert host.commands == [f"stop {ADA}", f"start {ADA}"]


def test_a_server_that_began_to_work_meanwhile_is_left_too(host: Host) -> None:
    host.settings = "two"
    asked: list[str] = []

    def work_of(unit: Any, _environment: Path) -> list[str]:
        asked.append(unit.name)
        return BUSY if unit.name == ADA and asked.count(ADA) > 1 else []

    host.patch("work_of", work_of)
    assert f"{ADA} (1 kernel is busy)" in host.apply()["dlhost_action_needed"]
    assert host.commands == [f"stop {GRACE}", f"start {GRACE}"]


@pytest.mark.parametrize("restart", ["when_idle", "force"])
def test_a_server_that_would_not_start_again_is_not_stopped(host: Host, restart: str) -> None:
    host.settings = "two"
    host.trials = {"grace": "expected an int"}
    said = r"grace.service would not start again \(expected an int\), so it goes on as it is"
    with pytest.raises(host.module.RefusedError, match=said):
        host.apply(restart=restart)
    assert host.commands == []

    # Nor by the next run, until that is mended.
    with pytest.raises(host.module.RefusedError, match=said):
        host.apply(restart=restart)
    host.trials = {}
    host.apply(restart=restart)
    assert host.commands == [f"stop {ADA} {GRACE}", f"start {ADA} {GRACE}"]


def test_force_does_not_ask(host: Host) -> None:
    host.settings = "two"
    host.work[ADA] = BUSY
    assert "dlhost_action_needed" not in host.apply(restart="force")
    assert host.commands == [f"stop {ADA} {GRACE}", f"start {ADA} {GRACE}"]


def test_a_user_who_is_no_longer_named_loses_the_server_and_keeps_the_notebooks(host: Host) -> None:
    del host.users["ada"]
    host.apply()
    assert host.commands == [f"stop {ADA}", f"disable --quiet {ADA}"]
    assert not host.file("ada").exists()
    assert (host.path / "home/ada/notebooks").is_dir()


def test_but_not_while_it_works(host: Host) -> None:
    del host.users["ada"]
    host.work[ADA] = BUSY
    assert "dlhost_action_needed" in host.apply()
    assert host.commands == []
    assert host.file("ada").exists()
    assert host.file("ada", "password").exists()


def test_the_role_goes_as_it_came(host: Host) -> None:
    host.apply(state="absent")
    assert host.commands == [f"stop {ADA} {GRACE}", f"disable --quiet {ADA} {GRACE}", "daemon-reload"]
    assert not host.file("ada").exists()
    assert (host.path / "home/ada/notebooks").is_dir()
    assert not host.foresee(state="absent")["due"]


def test_the_role_does_not_go_while_a_server_works(host: Host) -> None:
    host.work[GRACE] = BUSY
    with pytest.raises(host.module.RefusedError, match=r"grace.service \(1 kernel is busy\) would be cut off"):
        host.apply(state="absent")
    assert host.commands == []
    host.apply(state="absent", restart="force")
    assert not host.file("ada").exists()


@pytest.mark.parametrize(
    ("damage", "commands"),
    [
        ({"active": False}, [f"start {ADA}"]),
        ({"active": False, "failed": True}, [f"reset-failed {ADA}", f"start {ADA}"]),
        ({"enabled": False}, [f"enable --quiet {ADA}", f"start {ADA}"]),
        (
            {"active": False, "enabled": False, "masked": "masked"},
            [f"unmask --quiet {ADA}", f"enable --quiet {ADA}", f"start {ADA}"],
        ),
        (
            {"active": False, "enabled": False, "masked": "masked-runtime"},
            [f"unmask --quiet --runtime {ADA}", f"enable --quiet {ADA}", f"start {ADA}"],
        ),
        ({"reload_due": True, "active": False}, ["daemon-reload", f"start {ADA}"]),
    ],
)
def test_a_unit_that_differs_is_mended(host: Host, damage: dict[str, Any], commands: list[str]) -> None:
    host.change(ADA, **damage)
    if not damage.get("active", True):
        del host.ports[8888]
    assert host.foresee()["unit_problems"]
    host.apply()
    assert host.commands == commands


def test_two_servers_change_their_ports(host: Host) -> None:
    host.users = {"ada": 8889, "grace": 8888}
    host.settings = "two"
    host.apply()
    assert host.commands == [f"stop {ADA} {GRACE}", f"start {ADA} {GRACE}"]
    assert host.ports == {8889: ADA, 8888: GRACE}


def test_a_port_of_a_server_at_work_is_waited_for(host: Host) -> None:
    host.users = {"grace": 8888}
    host.settings = "two"
    host.work[ADA] = BUSY
    result = host.apply()
    assert f"{GRACE} (port 8888 is still held by {ADA})" in result["dlhost_action_needed"]
    assert f"start {GRACE}" not in host.commands


def test_a_foreign_port_is_refused_by_name_before_any_change(fresh: Host) -> None:
    fresh.ports[8889] = "other.service"
    with pytest.raises(fresh.module.RefusedError, match=r"Port 8889.*grace.*held by x \(other.service\)"):
        fresh.apply()
    assert not fresh.file("ada").exists()


def test_a_dry_run_beside_a_damaged_environment_goes_on(host: Host) -> None:
    def broken(_password: str, _present: str) -> str:
        raise host.module.RefusedError("python does not run")

    host.hash = broken
    # Whether the password has changed nobody can tell, so nobody says so.
    assert not host.foresee()["due"]
    host.file("ada", "password").unlink()
    assert host.foresee()["changed_paths"] == [str(host.file("ada", "password"))]
    with pytest.raises(host.module.RefusedError, match="python does not run"):
        host.apply()


def test_of_an_environment_that_was_half_removed_the_rest_is_known(host: Host) -> None:
    host.environment.rename(host.environment.with_name("environment-0123456789ab"))
    host.link.unlink()
    assert host.foresee(state="absent")["environments"] == [str(host.link)]


@pytest.mark.parametrize("address", ["0:0:0:0:0:0:0:1", "999.1.1.1"])
def test_an_address_is_compared_as_the_host_writes_it(host: Host, address: str) -> None:
    request = host.request()
    request["servers"][0]["address"] = address
    if "." in address:
        with pytest.raises(host.module.RefusedError, match=r"999.1.1.1 is no address"):
            host.foresee(servers=request["servers"])
    else:
        host.ports.clear()
        [problem, _grace] = host.foresee(servers=request["servers"])["unit_problems"]
        assert problem == f"{ADA} does not listen on ::1 port 8888"


def test_an_account_without_a_home_is_refused(fresh: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(fresh.module.RefusedError, match=r"ada cannot write to the home directory .*/home/ada"):
        fresh.apply()
    assert not fresh.file("ada").exists()


def test_settings_of_a_user_that_nothing_reads_are_said_once(fresh: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fresh.path / ".jupyter" / "jupyter_server_config.py"
    own.parent.mkdir()
    own.write_text("c.ServerApp.port = 1\n")
    monkeypatch.setenv("HOME", str(fresh.path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    warnings: list[str] = []
    module = SimpleNamespace(
        params=fresh.request(), check_mode=False, warn=warnings.append, exit_json=lambda **_result: None
    )
    fresh.patch("AnsibleModule", lambda **_specification: module)
    for _run in range(2):
        fresh.module.main()
    assert warnings == [
        f"{own}: ServerApp.port have no effect on the server that dlhost runs; jupyter_options is for such settings."
    ]
    assert own.read_text() == "c.ServerApp.port = 1\n"
