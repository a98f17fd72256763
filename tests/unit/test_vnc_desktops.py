"""Desktops of users on a host whose systemd is the test's: what is refused, put off, restarted and taken away."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from dlhost.values.services import offer_from
from tests.unit.systemd_double import MY_GROUP, SystemdDouble, mine, own_files, user_of

PLUGINS = "ansible_collections.dlhost.host.plugins"
ADA, GRACE = "dlhost-vnc@ada.service", "dlhost-vnc@grace.service"
WEB = "dlhost-vnc-web.service"


class Host(SystemdDouble):
    """A host with two users."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(collections_path()))
        super().__init__()
        self.module = importlib.import_module(f"{PLUGINS}.modules.vnc_desktops")
        self.path = path
        self.work: dict[str, list[str]] = {}
        self.no_login: dict[str, str] = {}
        self.strangers: list[Any] = []
        self.displays = {"ada": 1, "grace": 2}
        self.settings = "one"
        self.web = False
        self.password = "horse/battery"  # noqa: S105

        own_files(monkeypatch, path)
        make_desktop, list_of_services = self.module.make_desktop, self.module.list_of_services

        def desktop(request: dict[str, Any]) -> Any:
            made = make_desktop(request)
            return dataclasses.replace(made, settings=mine(made.settings), password=mine(made.password))

        account = self.outside.Account
        for name, function in {
            "UNIT_DIRECTORY": path / "units",
            "PROC": path / "proc",
            "account": lambda user, _variable: account(user, os.getuid(), os.getgid(), MY_GROUP, "/"),
            "make_desktop": desktop,
            "list_of_services": lambda *given: mine(list_of_services(*given)),
            "refusal_of_login": lambda user: self.no_login.get(user, ""),
            "find_instances": lambda templates: [each for each in self.find_instances(templates) if each != WEB],
            "find_units": self.find_units,
            "find_listeners": lambda: [*self.find_listeners(), *self.strangers],
            "work_of": lambda unit: self.work.get(unit.name, []) if unit.active else [],
            "wait_until_listening": lambda _servers: None,
            "must": self.must,
        }.items():
            monkeypatch.setattr(self.module, name, function)
        monkeypatch.setattr(self.outside, "must", self.must)
        (path / "proc/net").mkdir(parents=True)
        self.sockets("")

    def sockets(self, text: str) -> None:
        (self.path / "proc/net/unix").write_text(f"Num RefCount Protocol Flags Type St Inode Path\n{text}")

    def port_of(self, unit: str) -> int:
        return 6080 if unit == WEB else 5900 + self.displays[user_of(unit)]

    def listen(self, display: int, unit: str, address: str = "127.0.0.1") -> None:
        """Have somebody listen who was not told to."""
        self.strangers.append(self.outside.Listener(address, 5900 + display, unit, "Xtigervnc, process 9 of ada"))

    def request(self, **more: Any) -> dict[str, Any]:
        unit = {"path": str(self.path / "units" / "dlhost-vnc@.service"), "content": "[Unit]\n"}
        web = {"path": str(self.path / "units" / WEB), "content": "[Unit]\n"}
        terms = {"mode": "0644", "owner": "", "group": "", "validate": "", "sensitive": False}
        return {
            "role": "vnc",
            "files": [{**unit, **terms}],
            "packages": [],
            "desktops": [
                {
                    "user": user,
                    "display": display,
                    "settings": self.settings,
                    "settings_file": str(self.file(user, "settings")),
                    "password": self.password,
                    "password_file": str(self.file(user, "password")),
                    "path": f"/vnc/{user}/",
                }
                for user, display in self.displays.items()
            ],
            "web_unit": WEB,
            "web_port": 6080,
            "web_files": [{**web, **terms}] if self.web else [],
            "services_file": str(self.path / "services.json"),
            "restart": "deferred",
            "state": "present",
            **more,
        }

    def listed(self) -> dict[str, int]:
        """User to port, as the wrapper reads it."""
        services = offer_from({"vnc.json": (self.path / "services.json").read_text()}).services
        assert all((each.name, each.path, each.scheme) == ("vnc", f"/vnc/{each.user}/", "vnc") for each in services)
        return {service.user: service.port for service in services}

    def run(self, number: int, program: str, group: str) -> None:
        """Have a process."""
        directory = self.path / "proc" / str(number)
        directory.mkdir()
        (directory / "cgroup").write_text(f"0::/user.slice/{group}\n")
        (directory / "stat").write_text(f"{number} (x) S 1 1 1 0 -1\n")
        (directory / "cmdline").write_text(f"{program}\0--more\0" if program else "")

    def file(self, user: str, name: str) -> Path:
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
        for path in [*self.path.glob("etc/*/*"), *self.path.glob("units/*")]:
            os.utime(path, (long_ago, long_ago))


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def host(fresh: Host) -> Host:
    """One whose desktops run."""
    fresh.apply()
    fresh.settle()
    return fresh


def test_a_desktop_is_brought_and_then_left_alone(fresh: Host) -> None:
    foreseen = fresh.foresee()
    assert foreseen["changed"] and not fresh.file("ada", "password").exists()
    assert fresh.apply()["changed"]
    assert fresh.commands == ["daemon-reload", f"enable --quiet {ADA} {GRACE}", f"start {ADA} {GRACE}"]
    # As vncpasswd would have written it, for the user alone.
    assert fresh.file("ada", "password").read_bytes() == fresh.file("grace", "password").read_bytes()
    assert len(fresh.file("ada", "password").read_bytes()) == 8
    assert fresh.file("ada", "password").stat().st_mode & 0o777 == 0o400
    assert fresh.file("ada", "settings").stat().st_mode & 0o777 == 0o640
    fresh.settle()
    assert not fresh.foresee()["due"]
    assert not fresh.apply()["changed"] and fresh.commands == []


def test_the_web_comes_and_goes_and_no_desktop_is_restarted_for_it(host: Host) -> None:
    host.web = True
    assert host.foresee()["unit_problems"] == [f"{WEB} does not run", f"{WEB} is not enabled"]
    result = host.apply()
    assert host.commands == ["daemon-reload", f"enable --quiet {WEB}", f"start {WEB}"]
    assert "dlhost_action_needed" not in result
    host.settle()
    assert not host.foresee()["due"]

    (host.path / "units" / WEB).write_text("edited")
    host.apply()
    assert host.commands == ["daemon-reload", f"stop {WEB}", f"start {WEB}"]

    host.web = False
    assert host.foresee()["outdated"] == [WEB]
    host.apply()
    assert host.commands == ["daemon-reload", f"stop {WEB}", f"disable --quiet {WEB}"]
    assert not (host.path / "units" / WEB).exists()
    assert not host.foresee()["due"]


def test_a_port_of_the_web_that_somebody_has_is_refused_by_name(host: Host) -> None:
    host.web = True
    host.listen(180, "x.service")
    with pytest.raises(host.outside.RefusedError, match=f"Port 6080, which {WEB} should have, is held by Xtigervnc"):
        host.foresee()


def test_a_password_is_new_without_a_restart_and_not_shown(host: Host) -> None:
    host.password = "another one"  # noqa: S105
    result = host.apply()
    assert host.commands == []
    assert result["changed_paths"] == [str(host.file(user, "password")) for user in ("ada", "grace")]
    assert "content not shown" in str(result["diff"])
    assert "another" not in str(result)
    assert not host.foresee()["due"]


def test_a_running_desktop_is_restarted_by_its_user_or_by_force(host: Host) -> None:
    host.settings = "two"
    result = host.apply()
    assert (host.commands, result["changed"]) == ([], True)
    assert result["dlhost_action_needed"].startswith(f"the restart of {ADA} (its user has not logged out), {GRACE} (")

    # Until then every run says so, and drift sees it.
    again = host.apply()
    assert (host.commands, again["changed"], "dlhost_action_needed" in again) == ([], False, True)
    assert host.foresee()["changed"]

    host.change(ADA, started=time.time() + 1)
    time.sleep(0.002)
    assert host.apply()["outdated"] == [GRACE]
    result = host.apply(restart="force")
    assert host.commands == [f"stop {GRACE}", f"start {GRACE}"]
    assert "dlhost_action_needed" not in result
    assert not host.foresee()["due"]


def test_what_the_wrapper_reads_is_no_reason_to_restart(host: Host) -> None:
    (host.path / "services.json").write_text("edited")
    result = host.apply()
    assert (result["changed"], result["outdated"], host.commands) == (True, [], [])


@pytest.mark.parametrize(
    ("change", "problem", "commands"),
    [
        ({"enabled": False}, "is not enabled", [f"enable --quiet {ADA}"]),
        ({"active": False}, "does not run", [f"start {ADA}"]),
        ({"active": False, "failed": True}, "does not run", [f"reset-failed {ADA}", f"start {ADA}"]),
        (
            {"active": False, "masked": "masked", "enabled": False},
            "is masked",
            [f"unmask --quiet {ADA}", f"enable --quiet {ADA}", f"start {ADA}"],
        ),
    ],
)
def test_what_does_not_run_is_started(host: Host, change: dict[str, Any], problem: str, commands: list[str]) -> None:
    host.change(ADA, **change)
    if "active" in change:
        del host.ports[5901]
    assert f"{ADA} {problem}" in host.foresee()["unit_problems"]
    host.apply()
    assert host.commands == commands
    assert not host.foresee()["due"]


def test_a_desktop_that_listens_for_the_network_is_told(host: Host) -> None:
    host.listen(1, ADA, "0.0.0.0")  # noqa: S104
    assert host.foresee()["unit_problems"] == [f"{ADA} listens on 0.0.0.0, for the network"]
    host.strangers.clear()
    del host.ports[5901]
    assert f"{ADA} does not listen on 127.0.0.1 port 5901" in host.foresee()["unit_problems"]


def test_a_desktop_that_listens_elsewhere_is_put_off_as_well(host: Host) -> None:
    host.displays["ada"] = 5
    host.settings = "changed"
    host.listen(2, GRACE, "0.0.0.0")  # noqa: S104
    assert host.apply()["changed"]
    again = host.apply()
    assert (again["changed"], host.commands, again["outdated"]) == (False, [], [ADA, GRACE])
    for unit, where in [
        (ADA, "does not listen on 127.0.0.1 port 5905"),
        (GRACE, "listens on 0.0.0.0, for the network"),
    ]:
        assert f"{unit} {where}" in again["unit_problems"]
        assert f"{unit} (its user has not logged out; until then it {where})" in again["dlhost_action_needed"]
    assert host.foresee()["changed"]
    # The tunnel leads to where it is.
    assert host.listed() == {"ada": 5901, "grace": 5902}
    host.strangers.clear()
    host.apply(restart="force")
    assert host.listed() == {"ada": 5905, "grace": 5902}
    assert host.commands == [f"stop {ADA} {GRACE}", f"start {ADA} {GRACE}"]
    assert not host.foresee()["due"]


def test_a_display_that_somebody_has_is_refused_by_name(fresh: Host) -> None:
    fresh.listen(1, "session-3.scope")
    with pytest.raises(fresh.module.RefusedError, match=r"Display 1, .* of ada .* by Xtigervnc, process 9 of ada"):
        fresh.apply()
    fresh.strangers.clear()
    fresh.sockets("0: 2 0 10000 1 01 7 /tmp/.X11-unix/X2\n")
    with pytest.raises(fresh.module.RefusedError, match=r"Display 2, .* of grace should have, is held by another X"):
        fresh.apply()
    fresh.change(GRACE, active=True, enabled=True)
    assert fresh.foresee()["unit_problems"][-1] == f"{GRACE} does not listen on 127.0.0.1 port 5902"
    # Of one that listens it is known where it is.
    fresh.ports = {5909: GRACE}
    with pytest.raises(fresh.module.RefusedError, match=r"is held by another X"):
        fresh.apply()
    fresh.sockets("0: 2 0 10000 1 01 7 /tmp/.X11-unix/X21\n")
    assert fresh.apply()["changed"]


def test_an_account_that_nobody_logs_in_to_is_refused(host: Host) -> None:
    host.no_login = {"grace": "has /bin/false for a shell, with which nobody logs in"}
    with pytest.raises(host.module.RefusedError, match=r"^vnc_users names grace, which has /bin/false for a shell"):
        host.apply()
    assert host.commands == []


@pytest.mark.parametrize(
    ("shell", "home", "words"),
    [("/bin/bash", "/", ""), ("/usr/sbin/nologin", "/", "has /usr/sbin/nologin"), ("/bin/sh", "/nowhere", "no home")],
)
def test_a_login_takes_a_shell_and_a_home(monkeypatch: pytest.MonkeyPatch, shell: str, home: str, words: str) -> None:
    monkeypatch.syspath_prepend(str(collections_path()))
    inside = importlib.import_module(f"{PLUGINS}.module_utils.vnc_host")
    entry = pwd.struct_passwd(("ada", "x", 1000, 1000, "", home, shell))
    monkeypatch.setattr(inside, "pwd", SimpleNamespace(getpwnam=lambda _name: entry))
    said = inside.refusal_of_login("ada")
    assert words in said if words else said == ""


def test_desktops_change_places_when_both_may_end(host: Host) -> None:
    host.displays = {"ada": 2, "grace": 1}
    host.settings = "changed"
    host.change(ADA, active=False)
    del host.ports[5901]
    result = host.apply()
    assert host.commands == []
    assert f"{ADA} (display 2 is still held by another desktop)" in result["dlhost_action_needed"]
    assert not host.apply()["changed"]
    # At ada's port is another's desktop.
    assert host.listed() == {"grace": 5902}
    host.apply(restart="force")
    assert host.commands == [f"stop {GRACE}", f"start {ADA} {GRACE}"]
    assert host.listed() == {"ada": 5902, "grace": 5901}


@pytest.mark.skipif(sys.platform != "linux", reason="the script is for hosts")
@pytest.mark.parametrize(("taken", "port"), [("X6", 5905), ("X5", 5901)])
def test_a_desktop_lists_itself_where_it_starts(fresh: Host, taken: str, port: int) -> None:
    fresh.displays = {"a.da": 1, "axda": 2}
    fresh.apply()
    # As it was meanwhile written, for the desktop's next start.
    script = (Path(__file__).parents[2] / "roles/vnc/files/desktop").read_text()
    for there, here in {
        "/etc/dlhost/services.d/vnc.json": fresh.path / "services.json",
        "/etc/dlhost/vnc ": f"{fresh.path} ",
        "/proc/net/unix": fresh.path / "proc/net/unix",
        'rm -f "/tmp/': f'rm -f "{fresh.path}/',
    }.items():
        assert there in script
        script = script.replace(there, str(here))
    fresh.sockets(f"0: 2 0 10000 1 01 7 /tmp/.X11-unix/{taken}\n")

    def start() -> None:
        settings = {"PATH": os.environ["PATH"], "USER": "a.da", "NUMBER": "5"}
        subprocess.run(["sh", "-c", script, "desktop", "clean"], env=settings, check=True)

    start()
    start()
    assert fresh.listed() == {"a.da": port, "axda": 5902}
    # As the next run would have it, when the desktop listens there.
    fresh.displays["a.da"] = port - 5900
    fresh.ports = {port: "dlhost-vnc@a.da.service", 5902: "dlhost-vnc@axda.service"}
    assert str(fresh.path / "services.json") not in fresh.foresee()["changed_paths"]
    (fresh.path / "services.json").unlink()
    start()


def test_a_desktop_that_nobody_asks_for_goes_when_nothing_runs_in_it(host: Host) -> None:
    del host.displays["ada"]
    host.work = {ADA: ["train runs in it"]}
    result = host.apply()
    assert f"{ADA} (train runs in it)" in result["dlhost_action_needed"]
    assert host.commands == []
    assert host.file("ada", "password").exists() and host.file("ada", "settings").exists()

    host.work = {}
    host.apply()
    assert host.commands == [f"stop {ADA}", f"disable --quiet {ADA}"]
    assert not host.file("ada", "password").exists()


def test_nothing_is_taken_away_while_somebody_works(host: Host) -> None:
    host.work = {GRACE: ["somebody looks at it"]}
    with pytest.raises(host.module.RefusedError, match=r"grace.service \(somebody looks at it\) would be cut off"):
        host.apply(state="absent")
    assert host.commands == []
    assert host.apply(state="absent", restart="force")["changed"]
    assert host.commands == [f"stop {ADA} {GRACE}", f"disable --quiet {ADA} {GRACE}", "daemon-reload"]
    assert list(host.path.glob("etc/*/*")) == []
    host.units.clear()
    assert not host.foresee(state="absent")["due"]


# What the end of a desktop would cut off

SOCKETS = """\
0 0 127.0.0.1:5901 127.0.0.1:40000 uid:1000 ino:1 sk:1 cgroup:/user.slice/user-1000.slice/session-c2.scope <->
0 0 127.0.0.1:40000 127.0.0.1:5901 ino:2 sk:2 cgroup:/system.slice/ssh.service <->
0 0 192.0.2.1:40001 192.0.2.2:5902 uid:1000 ino:3 sk:3 cgroup:/user.slice/user-1000.slice/session-c22.scope <->
"""


@pytest.fixture
def inside(fresh: Host, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that looks, on a host whose processes are the test's."""
    module = importlib.import_module(f"{PLUGINS}.module_utils.vnc_host")
    monkeypatch.setattr(fresh.outside, "PROC", fresh.path / "proc")
    monkeypatch.setattr(module, "run", lambda *command: subprocess.CompletedProcess(command, 0, SOCKETS, ""))
    return module


@pytest.mark.parametrize(
    ("scope", "programs", "work"),
    [
        ("session-c3.scope", ["xinit", "/usr/bin/Xtigervnc", "xfce4-session", "/usr/lib/x/wrapper-2.0", ""], []),
        ("session-c3.scope", ["xfwm4", "python3"], ["python3 runs in it"]),
        ("session-c3.scope", ["/usr/bin/xfce4-terminal", "bash"], ["bash, xfce4-terminal run in it"]),
        ("session-c2.scope", ["xfwm4"], ["somebody looks at it"]),
        # A viewer that runs within it looks at another one.
        ("session-c22.scope", ["xfwm4"], []),
    ],
)
def test_what_the_end_would_cut_off(fresh: Host, inside: Any, scope: str, programs: list[str], work: list[str]) -> None:
    for number, program in enumerate(programs, 10):
        fresh.run(number, program, f"user-1000.slice/{scope}")
    fresh.run(9, "other", "user-1000.slice/session-c9.scope")
    fresh.change(ADA, active=True, process=10)
    assert inside.work_of(fresh.unit(ADA)) == work
    assert inside.work_of(dataclasses.replace(fresh.unit(ADA), active=False)) == []


@pytest.mark.parametrize(
    ("group", "program", "works"),
    [
        ("app.slice/snap.firefox.firefox-0f1b.scope", "/snap/firefox/1/usr/lib/firefox/firefox", True),
        ("app.slice/app-org.gnome.Terminal.slice/vte-spawn-0f1b.scope", "-bash", True),
        ("user.slice/libpod-0f1b.scope/container", "python3", True),
        ("app.slice/run-u3.service", "/usr/bin/python3", True),
        # Started by its bus.
        ("app.slice/dbus.service", "/usr/bin/gnome-text-editor", True),
        ("app.slice/dbus.service", "/usr/bin/dbus-daemon", False),
        ("app.slice/dbus.service", "/usr/libexec/at-spi-bus-launcher", False),
        ("app.slice/xfconfd.service", "/usr/lib/x86_64-linux-gnu/xfce4/xfconf/xfconfd", False),
        ("session.slice/pipewire.service", "/usr/bin/pipewire", False),
        ("init.scope", "/lib/systemd/systemd", False),
        ("init.scope", "(sd-pam)", False),
    ],
)
def test_what_a_users_systemd_runs_may_be_work(fresh: Host, inside: Any, group: str, program: str, works: bool) -> None:
    fresh.run(10, "xinit", "user-1000.slice/session-c3.scope")
    fresh.run(11, program, f"user-1000.slice/user@1000.service/{group}")
    fresh.run(12, "python3", "user-1001.slice/user@1001.service/app.slice/run-u3.service")
    fresh.change(ADA, active=True, process=10)
    assert inside.work_of(fresh.unit(ADA)) == ([f"{Path(program).name} runs for its user"] if works else [])
