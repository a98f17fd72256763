"""What a Zabbix server hears of drift and verify, and what one of the user's own has to be told."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlhost.adapters import monitoring
from dlhost.errors import ExitCode
from dlhost.values.checks import Check, CheckResult
from dlhost.values.inventory import Connection, Host
from dlhost.values.monitoring import value
from dlhost.values.run import Change, Failure, HostReport, HostStatus, Outcome, RoleReport, RoleStatus
from tests.unit.world import World, ended, stats, write

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SECRET = "inventory-secret"  # noqa: S105  not a real one
# openssl dgst -sha256 -hmac inventory-secret, of "dlhost zabbix psk alpha".
KEY = "63b52637f47c5121cfc55744608cea4c2285c690b45507b232dbe6e4e52649ec"
LOCAL = Host("alpha", (), Connection(transport="local"))


def role(status: RoleStatus, changes: int = 0) -> RoleReport:
    return RoleReport("system", status, changes=(Change("Write"),) * changes)


def check(result: CheckResult) -> Check:
    return Check("system", "x", "It holds", result)


FAILURE = Failure("system", "Write", "no space")
REPORTS = {
    "in sync": ("drift", HostReport("a", HostStatus.OK, (role(RoleStatus.IN_SYNC),)), "in_sync", 0),
    "drift": (
        "drift",
        HostReport("a", HostStatus.OK, (role(RoleStatus.CHANGED, 2), role(RoleStatus.UNDETERMINED))),
        "drift",
        2,
    ),
    "unknown": ("drift", HostReport("a", HostStatus.OK, (role(RoleStatus.UNDETERMINED),)), "undetermined", 1),
    "failed": (
        "drift",
        HostReport("a", HostStatus.FAILED, (role(RoleStatus.CHANGED, 1),), failure=FAILURE),
        "failed",
        1,
    ),
    "passed": ("verify", HostReport("a", HostStatus.OK, checks=(check(CheckResult.PASS),)), "pass", 0),
    "skipped": ("verify", HostReport("a", HostStatus.OK, checks=(check(CheckResult.SKIP),)), "pass", 0),
    "not passed": ("verify", HostReport("a", HostStatus.FAILED, checks=(check(CheckResult.FAIL),)), "fail", 1),
    "broken": ("verify", HostReport("a", HostStatus.FAILED, failure=FAILURE), "fail", 0),
}


@pytest.mark.parametrize(("operation", "report", "result", "count"), REPORTS.values(), ids=REPORTS)
def test_a_hosts_result_is_one_value(operation: str, report: HostReport, result: str, count: int) -> None:
    told = json.loads(value(operation, report, NOW))

    assert told == {"schema_version": 1, "time": int(NOW.timestamp()), "result": result, "count": count}


@pytest.fixture
def monitored(world: World, rig: Path) -> World:
    """alpha is monitored; beta is not."""
    hosts = "{alpha: {zabbix_agent_psk_secret: inventory-secret}, beta: }"
    write(rig / "hosts.yml", f"all: {{hosts: {hosts}, children: {{monitored: {{hosts: {{alpha: }}}}}}}}\n")
    return world


@pytest.mark.parametrize(
    ("command", "item", "result"), [("drift", "dlhost.drift", "drift"), ("verify", "dlhost.verify", "pass")]
)
def test_only_the_monitored_host_is_told_of(monitored: World, command: str, item: str, result: str) -> None:
    if command == "drift":
        monitored.events = (ended("alpha", Outcome.CHANGED), ended("beta"), stats())

    done = monitored(command, "-i", "rig")

    (message,) = monitored.told
    assert (message.host.name, message.item, json.loads(message.value)["result"]) == ("alpha", item, result)
    assert message.password is None
    assert done.exit_code == (ExitCode.DRIFT if command == "drift" else ExitCode.DONE)


@pytest.mark.parametrize(
    "command", [("provision", "--check"), ("drift", "--roles", "system"), ("verify", "--skip", "ssh_hardening")]
)
def test_a_part_says_nothing_of_the_host(monitored: World, command: tuple[str, ...]) -> None:
    monitored(*command, "-i", "rig")

    assert not monitored.told


def test_a_lost_host_is_not_told_of(monitored: World) -> None:
    monitored.events = (ended("alpha", Outcome.UNREACHABLE), ended("beta"), stats(dark={"alpha": 1}))

    monitored("drift", "-i", "rig")

    assert not monitored.told


def test_what_does_not_arrive_is_a_warning_and_no_more(monitored: World) -> None:
    monitored.untold = ["alpha: Zabbix was not told the result: \x1b[31mno route."]

    done = monitored("verify", "-i", "rig", "--json")

    assert done.exit_code == ExitCode.DONE
    assert done.stderr.splitlines()[-1] == "alpha: Zabbix was not told the result: ␛[31mno route."
    assert json.loads(done.stdout)["exit_code"] == ExitCode.DONE


def test_sudo_gets_the_password_that_it_took_before(monitored: World) -> None:
    monitored.facts = {"alpha": {"sudo": "password"}}
    monitored.answers = [monitored.sudo_password]

    monitored("verify", "-i", "rig")

    (message,) = monitored.told
    assert message.password == monitored.sudo_password
    assert monitored.sudo_password not in repr(message)


SAYS = {
    "arrives": ('echo "processed: 1; failed: 0; total: 1"', ""),
    "no such item": (
        'echo "processed: 0; failed: 1; total: 1"; exit 2',
        "its server knows no such item of this host",
    ),
    "no server": (
        'echo "x does not answer: Connection refused." >&2; exit 1',
        "x does not answer: Connection refused",
    ),
    "silent": ("exit 3", "zabbix-sender ended with 3"),
}


@pytest.mark.parametrize(("script", "why"), SAYS.values(), ids=SAYS)
def test_a_value_is_sent_by_the_host_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    """Programs of the test's own stand in for the sender and sudo; the real ones are for tests/e2e."""
    for name, text in (("zabbix-sender", script), ("sudo", 'shift; exec "$@"')):
        (tmp_path / name).write_text(f'#!/bin/sh\n[ "${{0##*/}}" = sudo ] || echo "$*" >> {tmp_path}/sent\n{text}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(monitoring, "SENDER", str(tmp_path / "zabbix-sender"))
    message = monitoring.Message(LOCAL, "dlhost.drift", '{"result": "it\'s in_sync"}')

    (*sentence,) = monitoring.tell([message], tmp_path)

    assert sentence == ([f"alpha: Zabbix was not told the result: {why}."] if why else [])
    assert (tmp_path / "sent").read_text() == f"dlhost.drift {message.value}\n"


def test_ones_own_server_is_told_names_and_only_on_demand_keys(monitored: World) -> None:
    shown = monitored("connect", "zabbix", "-i", "rig").stdout
    with_keys = monitored("connect", "zabbix", "-i", "rig", "--psk").stdout

    assert "host name       alpha\n  PSK identity  dlhost alpha\n" in shown
    assert "beta" not in shown
    assert KEY not in shown
    assert f"  PSK           {KEY}" in with_keys


def test_a_secret_may_stand_under_another_name(monitored: World, rig: Path) -> None:
    variables = "zabbix_agent_psk_secret: '{{ ours }}', ours: inventory-secret"
    hosts = f"{{alpha: {{{variables}, zabbix_agent_hostname: '{{{{ x }}}}-lab', x: a}}}}"
    write(rig / "hosts.yml", f"all: {{hosts: {hosts}, children: {{monitored: {{hosts: {{alpha: }}}}}}}}\n")

    shown = monitored("connect", "zabbix", "-i", "rig", "--psk").stdout

    assert f"  PSK           {KEY}" in shown
    assert "host name       a-lab\n" in shown
    write(rig / "host_vars" / "alpha.yml", "zabbix_agent_psk_secret: '{{ only_a_run_knows }}'\n")
    assert monitored("connect", "zabbix", "-i", "rig").exit_code == 2


def test_a_key_of_ones_own_counts_and_none_is_an_error(monitored: World, rig: Path) -> None:
    write(rig / "host_vars" / "alpha.yml", f"zabbix_agent_psk: {'ab' * 16}\nzabbix_agent_hostname: other\n")
    assert "host name       other\n" in (shown := monitored("connect", "zabbix", "-i", "rig", "--psk").stdout)
    assert f"PSK           {'ab' * 16}" in shown

    write(rig / "host_vars" / "alpha.yml", "zabbix_agent_psk_secret: ''\n")
    done = monitored("connect", "zabbix", "-i", "rig")
    assert (done.exit_code, "secrets set -i rig zabbix_agent_psk_secret --generate" in done.stderr) == (2, True)


@pytest.mark.parametrize(("asked", "given"), [("6.0", "6.0"), ("6.4", "6.0"), ("7.0", "7.0"), ("7.4", "7.0")])
def test_templates_are_those_of_the_newest_version_that_is_not_newer(
    monitored: World, tmp_path: Path, asked: str, given: str
) -> None:
    printed = monitored("connect", "zabbix", "-i", "rig", "--template", asked).stdout
    written = monitored("connect", "zabbix", "-i", "rig", "--template", asked, "-o", str(tmp_path / "t.yaml"))

    assert f"version: '{given}'" in printed
    assert written.exit_code == ExitCode.DONE
    assert (tmp_path / "t.yaml").read_text() == printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--template", "5.0"), "6.0 is the oldest"),
        (("--template", "seven"), "seven is no version of Zabbix"),
        (("--template", "7.0", "-o", "/nowhere/t.yaml"), "/nowhere/t.yaml cannot be written: No such file"),
        (("--template", "7.0", "--psk"), "--psk goes with the hosts"),
        (("-o", "t.yaml"), "--output goes with --template"),
        (("--limit", "beta"), "none is in group monitored"),
    ],
)
def test_what_cannot_be_shown_is_code_two(monitored: World, arguments: tuple[str, ...], said: str) -> None:
    done = monitored("connect", "zabbix", "-i", "rig", *arguments)

    assert (done.exit_code, said in done.stderr) == (ExitCode.USAGE, True), done.output


def test_derived_keys_are_kept_out_of_what_is_shown(monitored: World) -> None:
    monitored.events = (ended("alpha", Outcome.FAILED, message=f"the key {KEY} is bad"), stats({"alpha": 1}))

    done = monitored("provision", "-i", "rig")

    (run,) = monitored.runs
    assert run.redaction(KEY) == "[secret]"
    assert done.exit_code == ExitCode.TASK_FAILED


def test_a_server_without_a_front_is_refused_before_a_connection(world: World, rig: Path) -> None:
    write(rig / "hosts.yml", "all: {hosts: {alpha: }, children: {monitoring_server: {hosts: {alpha: }}}}\n")

    done = world("provision", "-i", "rig")

    assert (done.exit_code, world.runs) == (ExitCode.USAGE, [])
    assert "alpha is in group monitoring_server and not in web" in done.stderr
