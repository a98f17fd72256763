"""What a host says of accounts, units, ports and processes, from recorded texts."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

UNIT = "dlhost-jupyter@ada.service"
# ss of Debian 12 and 13: in a container, where root sees no process of another user, and on a host of its own.
LISTENERS = r"""
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=38,fd=3)) ino:1 sk:13 cgroup:/docker/f1b/ssh.service <->
LISTEN 0 128 127.0.0.1:8888 0.0.0.0:* uid:4711 ino:2 cgroup:/a/dlhost-jupyter@ada.service <->
LISTEN 0 5 *:9123 *:* users:(("jupyter-lab",pid=99,fd=6)) uid:4711 cgroup:/user.slice/session-3.scope <->
LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:* uid:101 ino:5 sk:1 cgroup:/system.slice/systemd-resolved.service <->
LISTEN 0 128 [::1]:7000 [::]:* users:(("x",pid=5,fd=7)) ino:3 sk:14 v6only:1 <->
LISTEN 0 50 [::ffff:127.0.0.1]:4040 *:* users:(("java",pid=6,fd=7)) ino:4 sk:15 cgroup:/user.slice v6only:0 <->
""".strip()
UNITS = """\
Id=dlhost-jupyter@ada.service
LoadState=loaded
UnitFileState=enabled
ActiveState=active
NeedDaemonReload=yes
MainPID=99
ExecMainStartTimestampMonotonic=5000000

Id=dlhost-jupyter@grace.service
LoadState=masked
UnitFileState=masked-runtime
ActiveState=failed
NeedDaemonReload=no
MainPID=0
ExecMainStartTimestampMonotonic=0
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with /proc under tmp_path and commands that print what was recorded."""
    monkeypatch.syspath_prepend(str(collections_path()))
    module = importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.service_host")
    texts = {"ss": LISTENERS, "systemctl": UNITS}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, texts[command[0]], "")

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "PROC", tmp_path)
    return module


def test_listeners_are_known_by_their_service_where_their_process_is_hidden(host: Any) -> None:
    listeners = {listener.port: listener for listener in host.find_listeners()}
    assert listeners[8888].unit == UNIT
    assert listeners[8888].program == "a program of 4711"
    assert listeners[22].unit == "ssh.service"
    assert listeners[22].program == "sshd, process 38 of root"
    assert listeners[9123].unit == "session-3.scope"
    assert listeners[9123].program == "jupyter-lab, process 99 of 4711"
    assert (listeners[53].address, listeners[7000].address) == ("127.0.0.53", "::1")


@pytest.mark.parametrize(
    ("address", "port", "found"),
    [
        ("127.0.0.1", 8888, True),
        ("127.0.0.1", 9123, True),  # Everywhere is here as well.
        ("0.0.0.0", 8888, True),  # noqa: S104
        ("127.0.0.1", 7000, False),
        ("::", 7000, True),
        ("127.0.0.1", 4040, True),  # As Java writes it.
        ("127.0.0.1", 8889, False),
    ],
)
def test_who_is_in_the_way_depends_on_both_addresses(host: Any, address: str, port: int, found: bool) -> None:
    assert bool(host.in_the_way(host.find_listeners(), address, port)) is found


def test_units_are_read_as_systemd_has_them(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.time, "time", lambda: 1000.0)
    monkeypatch.setattr(host.time, "monotonic", lambda: 105.0)
    units = host.find_units(["any"])
    ada, grace = units[UNIT], units["dlhost-jupyter@grace.service"]
    assert (ada.masked, ada.enabled, ada.active, ada.failed, ada.reload_due) == ("", True, True, False, True)
    # Started 5 s after boot, which was 100 s ago by a clock that may have been set since.
    assert ada.started == 900.0
    assert (grace.masked, grace.enabled, grace.active, grace.failed) == ("masked-runtime", False, False, True)
    assert host.find_units([]) == {}


@pytest.mark.parametrize(("started", "since"), [("@1700000000", ["--since", "@1700000000"]), ("", [])])
def test_the_last_words_are_the_programs_own(
    host: Any, monkeypatch: pytest.MonkeyPatch, started: str, since: list[str]
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        start = f"ExecMainStartTimestamp={started}\nInvocationID=4711\n"
        said = start if command[0] == "systemctl" else "starting\n[C] Bad config: expected an int\n"
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(host, "run", run)
    assert host.log_of(UNIT) == ["starting", "[C] Bad config: expected an int"]
    # What systemd says about a unit bears no invocation of it.
    assert asked[1][-1] == "_SYSTEMD_INVOCATION_ID=4711"
    # What it writes under its own name does, of whatever start.
    assert [*asked[1][5:-3]] == since


@pytest.mark.parametrize(
    ("started", "since"), [("@1700000000", "@1700000000"), ("@1700000009", "@1700000004"), ("", "@1700000004")]
)
def test_the_last_words_are_those_of_the_attempt_that_failed(
    host: Any, monkeypatch: pytest.MonkeyPatch, started: str, since: str
) -> None:
    """systemd may have begun the next one, which has said nothing yet."""
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        said = f"ExecMainStartTimestamp={started}\n" if command[0] == "systemctl" else "starting\nxinit: giving up\n"
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(host, "run", run)
    assert host._last_words(UNIT, 1700000004.7) == "starting xinit: giving up"
    # What is still on its way to the journal is waited for.
    assert asked[1] == ("journalctl", "--sync")
    assert (asked[2][asked[2].index("--since") + 1], asked[2][-1]) == (since, f"_SYSTEMD_UNIT={UNIT}")


@pytest.mark.parametrize(("name", "words"), [("nobody-here", "no such account"), ("root", "root's rights")])
def test_an_account_that_cannot_have_a_service_is_refused(host: Any, name: str, words: str) -> None:
    with pytest.raises(host.RefusedError, match=f"lamp_users names {name}.*{words}"):
        host.account(name, "lamp_users")


def test_a_socket_of_a_login_is_its_units(host: Any) -> None:
    """Processes of a unit that logs a user in (PAMName=) are moved to the scope of the login."""
    unit = host.find_units(["any"])[UNIT]
    listeners = {listener.port: listener for listener in host.find_listeners()}
    assert not host.is_of(listeners[9123], unit)
    (host.PROC / str(unit.process)).mkdir()
    (host.PROC / str(unit.process) / "cgroup").write_text("1:cpu:/\n0::/user.slice/user-1000.slice/session-3.scope\n")
    assert host.is_of(listeners[9123], unit)
    assert host.is_of(listeners[8888], unit)
    assert not host.is_of(listeners[7000], host.find_units(["any"])["dlhost-jupyter@grace.service"])


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        (f"/system.slice/{UNIT}", UNIT),
        (f"/system.slice/docker-0f1b.scope/system.slice/{UNIT}", UNIT),
        (f"/docker-0f1b.scope/{UNIT}/kernel.scope", UNIT),
        ("/user.slice/user-1.slice/user@1.service/app.slice/shell.scope", "user@1.service"),
        ("/user.slice/user-1.slice/session-3.scope", "session-3.scope"),
        ("/docker-0f1b.scope/user.slice/session-3.scope", "session-3.scope"),
        ("/user.slice", ""),
    ],
)
def test_a_service_is_known_in_any_group(host: Any, group: str, unit: str) -> None:
    """A container without a namespace for its groups is in a scope, and so are its services."""
    (host.PROC / "7").mkdir()
    (host.PROC / "7/cgroup").write_text(f"12:cpu:/docker/x.y\n0::{group}\n")
    assert host.unit_of(7) == unit
