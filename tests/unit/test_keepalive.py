"""keepalive: what hosts are told, what they answer, and what becomes of it; the host's program stands in for itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import openssh
from dlhost.errors import ExitCode
from dlhost.operations import keepalive
from dlhost.values.inventory import Connection, Host
from dlhost.values.preflight import Contact
from tests.unit.world import World

SHOWN: dict[str, Any] = {"schema_version": 1, "looked": 1, "said": "idle", "due": "", "idle_s": 750, "dry_run": False}
WISH = {"user": "ada", "until": 1795000000}


class Hosts:
    """The hosts of inventory rig; `answers` is by name what one prints, or why it is not reached."""

    def __init__(self) -> None:
        self.answers: dict[str, str | openssh.Answer] = {}
        self.scripts: list[str] = []

    def ask(self, host: Host, _sockets: Path, script: str, _timeout_s: float) -> openssh.Answer:
        self.scripts.append(script)
        answer = self.answers.get(host.name, json.dumps(SHOWN | {"kept": []}))
        if isinstance(answer, openssh.Answer):
            return answer
        return openssh.Answer(Contact.REACHED, printed=f"Welcome!\ndlhost-idle={answer}\ncomplete=yes\n")

    def close(self, _hosts: Iterable[Host], _sockets: Path) -> None:
        pass


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    hosts = Hosts()
    real = keepalive.Outside
    monkeypatch.setattr(
        keepalive, "Outside", lambda ask: real(ask_host=hosts.ask, close_connections=hosts.close, ask=ask)
    )
    return hosts


@pytest.mark.parametrize(("arguments", "order"), [(["4h"], " keep 4h "), (["--show"], " show "), (["--end"], " end ")])
def test_every_host_is_told(world: World, hosts: Hosts, arguments: list[str], order: str) -> None:
    assert world("keepalive", "-i", "rig", *arguments).exit_code == ExitCode.DONE
    assert len(hosts.scripts) == 2
    assert all(order in script for script in hosts.scripts)


def test_what_hosts_do_and_who_keeps_them_up_is_said(world: World, hosts: Hosts) -> None:
    busy = SHOWN | {"said": "busy: ada runs python", "kept": [WISH], "dry_run": True}
    hosts.answers = {"beta": json.dumps(busy)}
    said = world("keepalive", "-i", "rig", "--show").stdout.splitlines()
    assert said[0] == "alpha: idle for 12 min; nobody keeps it up"
    assert said[1].startswith("beta: busy: ada runs python; kept up by ada until ")
    assert said[1].endswith(" (dry run: never stopped)")


def test_a_host_without_the_role_has_nothing_to_fear(world: World, hosts: Hosts) -> None:
    hosts.answers = {"alpha": "absent"}
    result = world("keepalive", "-i", "rig", "4h")
    assert "alpha: never stopped when idle; role idle_stop is not on it" in result.stdout
    assert result.exit_code == ExitCode.DONE


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("/var/lib/x cannot be written: No space", ExitCode.TASK_FAILED, "alpha: /var/lib/x cannot be written"),
        ("", ExitCode.TASK_FAILED, "alpha: its idle-stop says nothing"),
        ('{"said": 3}', ExitCode.TASK_FAILED, "alpha: "),
        (openssh.Answer(Contact.UNREACHABLE, "does not answer"), ExitCode.UNREACHABLE, "alpha: does not answer"),
        (openssh.Answer(Contact.UNTRUSTED, "is not trusted yet"), ExitCode.UNREACHABLE, "; `dlhost doctor` tells how"),
    ],
)
def test_a_host_that_does_not_do_it_says_why(
    world: World, hosts: Hosts, answer: str | openssh.Answer, code: ExitCode, words: str
) -> None:
    hosts.answers = {"alpha": answer}
    result = world("keepalive", "-i", "rig", "7d")
    assert words in result.stdout
    assert "beta: idle" in result.stdout
    assert result.exit_code == code


@pytest.mark.parametrize(
    "arguments", [[], ["4h", "--show"], ["--show", "--end"], ["4"], ["h"], ["4h;reboot"], ["0m"], ["8d"]]
)
def test_what_is_no_order_reaches_no_host(world: World, hosts: Hosts, arguments: list[str]) -> None:
    assert world("keepalive", "-i", "rig", *arguments).exit_code == ExitCode.USAGE
    assert hosts.scripts == []


def test_programs_read_a_document(world: World, hosts: Hosts) -> None:
    hosts.answers = {"beta": json.dumps(SHOWN | {"kept": [WISH]})}
    document = json.loads(world("keepalive", "-i", "rig", "--show", "--json").stdout)
    assert (document["operation"], document["exit_code"]) == ("keepalive", 0)
    assert document["hosts"][1]["wishes"] == [WISH]


def test_the_script_runs_for_real_where_the_role_is_not(tmp_path: Path) -> None:
    here = Host("here", (), Connection(transport="local"))
    answer = openssh.ask(here, tmp_path, keepalive.SCRIPT.replace("ORDER", "show").replace("ABSENT", "absent"), 30)
    assert "dlhost-idle=absent" in answer.printed
