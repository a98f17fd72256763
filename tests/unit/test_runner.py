"""Runner's events as ours: from a recorded run, and from the real engine on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import runner
from dlhost.values.redaction import HIDDEN, redaction
from dlhost.values.run import (
    Event,
    FileDiff,
    HostStatus,
    Notice,
    Outcome,
    PlaybookRun,
    RoleStatus,
    Stats,
    TaskEnded,
    TaskStarted,
    report,
)
from tests.unit.world import write

HERE = Path(__file__).parent / "recorded"
RECORDED: list[dict[str, Any]] = json.loads((HERE / "ansible-runner-2.4.recorded.json").read_text())


def converted(documents: list[dict[str, Any]] = RECORDED, *secrets: str) -> list[Event]:
    convert = runner.Conversion(redaction(secrets))
    return [event for event in map(convert, documents) if event is not None]


def outcomes(events: list[Event], host: str) -> dict[str, Outcome]:
    return {event.task: event.outcome for event in events if isinstance(event, TaskEnded) and event.host == host}


EXPECTED = {
    "Say hello": Outcome.OK,
    "Write a file": Outcome.CHANGED,
    "Write files in a loop": Outcome.CHANGED,
    "Write a secret": Outcome.CHANGED,
    "Write secrets in a loop": Outcome.CHANGED,
    "Read a secret": Outcome.OK,
    "Leave something out": Outcome.SKIPPED,
    "Fail and be rescued": Outcome.FAILED,
    "Come to the rescue": Outcome.OK,
    "Fail and be ignored": Outcome.FAILED,
    "Move sshd": Outcome.OK,
    "Fail in a loop": Outcome.FAILED,
}


def event(kind: str, result: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    data = {"host": "alpha", "role": "dlhost.host.system", "task": "Do it", "task_uuid": "1", "res": result}
    return {"event": kind, "stdout": more.pop("stdout", ""), "event_data": data | more}


def task_ended(document: dict[str, Any], *secrets: str) -> TaskEnded:
    (found,) = converted([document], *secrets)
    assert isinstance(found, TaskEnded)
    return found


def test_every_task_of_the_recorded_run_has_its_outcome() -> None:
    assert outcomes(converted(), "alpha") == EXPECTED


def test_the_recorded_run_folds_into_its_report() -> None:
    alpha, beta = report(converted(), ["alpha", "beta"], check=False, interrupted=False).hosts

    assert (alpha.status, beta.status) == (HostStatus.FAILED, HostStatus.UNREACHABLE)
    assert alpha.failure is not None
    assert beta.failure is not None
    assert (alpha.failure.task, alpha.failure.path.rpartition("/")[2].partition(":")[0]) == (
        "Fail in a loop",
        "playbook.yml",
    )
    assert "3 is wrong" in alpha.failure.message
    assert "0 is wrong" not in alpha.failure.message
    assert "Connection refused" in beta.failure.message
    assert alpha.moved_to_port == 2222


def test_differences_of_files_and_of_loops_are_kept() -> None:
    diffs = {found.task: found.diffs for found in converted() if isinstance(found, TaskEnded) and found.diffs}

    assert diffs["Write a file"] == (FileDiff("/target/plain", "", "new\n"),)
    assert [diff.after for diff in diffs["Write files in a loop"]] == ["one\n", "two\n"]
    assert "Write a secret" not in diffs


def test_nothing_of_a_secret_is_in_the_events() -> None:
    assert "hunter2" not in repr(converted())


def test_the_role_is_named_without_its_collection() -> None:
    assert task_ended(event("runner_on_ok", {})).role == "system"
    assert task_ended(event("runner_on_ok", {}, role="system")).role == "system"
    assert task_ended(event("runner_on_ok", {}, role=None)).role == ""


@pytest.mark.parametrize(
    ("more", "rules"),
    [
        ({"task_path": "/c/roles/tls/tasks/rules.yml:2"}, True),
        ({"task_action": "ansible.builtin.validate_argument_spec"}, True),
        ({"task_path": "/c/roles/tls/tasks/main.yml:2", "task_action": "ansible.builtin.command"}, False),
        ({}, False),
    ],
)
def test_a_look_at_values_is_known_as_one(more: dict[str, Any], rules: bool) -> None:
    started, over = converted([event("runner_on_start", **more), event("runner_on_ok", {}, **more)])

    assert isinstance(started, TaskStarted)
    assert isinstance(over, TaskEnded)
    assert started.rules is over.rules is rules


def test_a_failed_secret_task_says_why_nothing_is_said() -> None:
    assert "no_log" in task_ended(event("runner_on_failed", {"censored": "hidden due to 'no_log: true'"})).message


def test_messages_join_what_the_task_and_its_program_said() -> None:
    ended = task_ended(event("runner_on_failed", {"msg": "non-zero return code", "stderr": "no such file\n"}))

    assert ended.message == "non-zero return code\nno such file"


def test_states_that_are_no_texts_differ_as_yaml() -> None:
    result = {"changed": True, "diff": {"before": {"mode": "0600"}, "after": {"mode": "0644"}}}

    assert task_ended(event("runner_on_ok", result)).diffs == (FileDiff("", "mode: '0600'\n", "mode: '0644'\n"),)


def test_a_prepared_difference_is_kept_and_an_empty_one_left_out() -> None:
    result = {"changed": True, "diff": [{"prepared": "+ package"}, {"before": "a", "after": "a"}, {}]}

    assert task_ended(event("runner_on_ok", result)).diffs == (FileDiff("", prepared="+ package"),)


@pytest.mark.parametrize("kind", ["warning", "error", "verbose", "system_warning"])
def test_what_belongs_to_no_task_is_a_notice_without_colour(kind: str) -> None:
    assert converted([{"event": kind, "stdout": "\x1b[1;35m[WARNING]: odd\x1b[0m\r\n"}]) == [Notice("[WARNING]: odd")]
    assert converted([{"event": kind, "stdout": "\r\n"}]) == []


def test_what_could_not_be_foreseen_and_what_was_checked_are_kept() -> None:
    checks = [{"role": "system", "id": "system.clock", "promise": "The clock is kept", "result": "pass"}]
    ended = task_ended(event("runner_on_ok", {"dlhost_undetermined": "no package yet", "dlhost_checks": checks}))

    assert ended.undetermined == "no package yet"
    assert ended.checks[0].promise == "The clock is kept"


def test_what_only_the_user_can_do_is_kept_of_loops_too_without_secrets() -> None:
    items = [{"dlhost_action_needed": "reboot"}, {"item": 2}, {"dlhost_action_needed": "use hunter2hunter2"}]
    loop = task_ended(event("runner_on_ok", {"results": items}), "hunter2hunter2")

    assert loop.actions_needed == ("reboot", f"use {HIDDEN}")
    assert task_ended(event("runner_on_ok", {"dlhost_action_needed": "enrol"})).actions_needed == ("enrol",)
    assert task_ended(event("runner_on_ok", {"dlhost_action_needed": ""})).actions_needed == ()


@pytest.mark.parametrize(
    "secret", ["alpha", "changed", "event", "host", "msg", "pass", "runner", "system", "task", "diff", "before"]
)
def test_a_secret_that_is_a_word_of_ours_hides_texts_and_nothing_else(secret: str) -> None:
    checks = [{"role": "system", "id": "system.clock", "promise": f"The {secret} is kept", "result": "pass"}]
    result = {
        "changed": True,
        "msg": f"it is {secret}",
        "diff": [{"before": "x", "after": f"y {secret}"}],
        "dlhost_checks": checks,
    }
    found = converted(
        [event("runner_on_start"), event("runner_on_ok", result), event("playbook_on_stats", failures={}, dark={})],
        secret,
    )

    started, ended, closing = found
    assert isinstance(started, TaskStarted)
    assert isinstance(ended, TaskEnded)
    assert isinstance(closing, Stats)
    assert (ended.host, ended.role, ended.outcome) == ("alpha", "system", Outcome.CHANGED)
    hidden = HIDDEN if len(secret) > 3 else secret
    assert (ended.message, ended.diffs[0].after) == (f"it is {hidden}", f"y {hidden}")
    assert ended.checks[0].promise == f"The {hidden} is kept"
    fold = report(found, ["alpha"], check=False, interrupted=False)
    assert fold.hosts[0].roles[0].status is RoleStatus.CHANGED


def test_a_long_secret_within_a_state_is_hidden_before_yaml_folds_it() -> None:
    secret = "word " * 40 + "end"
    result = {"changed": True, "diff": {"before": {}, "after": {"note": secret, secret: 1}}}

    (diff,) = task_ended(event("runner_on_ok", result), secret).diffs

    assert "word word" not in diff.after
    assert diff.after.count(HIDDEN) == 2


def test_a_secret_that_a_loop_goes_over_is_hidden() -> None:
    items = [{"changed": True, "item": "hunter2hunter2"}, {"changed": True, "item": "plain"}]

    assert task_ended(event("runner_on_ok", {"results": items}), "hunter2hunter2").items == (HIDDEN, "plain")


def test_the_real_engine_still_speaks_as_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")  # Not ours, so it must not count.
    target = tmp_path / "target"
    target.mkdir()
    hosts = {"alpha": {"ansible_connection": "local", "target": str(target)}}
    inventory = write(tmp_path / "inventory" / "hosts.yml", json.dumps({"all": {"hosts": hosts}}))
    events: list[Event] = []
    seen: list[str] = []

    def listen(found: Event) -> None:
        events.append(found)
        files = [path for path in Path(os.environ["XDG_RUNTIME_DIR"]).rglob("*") if path.is_file()]
        told = [path for path in files if "hunter2" in path.read_text(errors="replace")]
        seen.extend(f"{path.name} {path.stat().st_mode & 0o777:o}" for path in told)

    interrupted = runner.run_playbook(
        PlaybookRun(
            playbook=str(HERE / "playbook.yml"),
            inventory=inventory.parent,
            tags=("again",),
            extra_vars={"password": "hunter2hunter2", "numbers": [1, 2.5]},
            ports={"alpha": 2200},
            redaction=redaction(["hunter2hunter2"]),
        ),
        listen,
    )

    assert not interrupted
    again = ("Write a file", "Write secrets in a loop", "Move sshd")
    assert outcomes(events, "alpha") == {name: EXPECTED[name] for name in again}
    assert (target / "plain").read_text() == "new\n"
    assert "hunter2" not in repr(events)
    # The variables' own file, for this user alone; nothing of it is left.
    assert set(seen) == {"extra_vars.yml 600"}
    assert [path.name for path in (Path(os.environ["XDG_RUNTIME_DIR"]) / "dlhost").iterdir()] == ["cp"]


def test_a_playbook_that_cannot_be_read_is_no_success(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts.yml", "all: {hosts: {alpha: {ansible_connection: local}}}\n")
    playbook = write(tmp_path / "broken.yml", "- hosts: all\n  tasks:\n    - nonsense.module:\n")
    events: list[Event] = []

    runner.run_playbook(PlaybookRun(playbook=str(playbook), inventory=hosts), events.append)

    found = report(events, ["alpha"], check=False, interrupted=False)
    assert (found.complete, found.exit_code) == (False, 1)
    assert any("nonsense.module" in notice for notice in found.notices), events


def test_an_interrupt_stops_the_real_engine_and_is_told(tmp_path: Path) -> None:
    hosts = write(tmp_path / "hosts.yml", "all: {hosts: {alpha: {ansible_connection: local}}}\n")
    playbook = write(
        tmp_path / "slow.yml",
        """
        - hosts: all
          gather_facts: false
          tasks:
            - name: Wait
              ansible.builtin.command: {argv: [sleep, "301"]}
        """,
    )
    events: list[Event] = []

    def listen(found: Event) -> None:
        events.append(found)
        if isinstance(found, TaskStarted):
            threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()

    begun = time.monotonic()
    assert runner.run_playbook(PlaybookRun(playbook=str(playbook), inventory=hosts), listen)
    assert time.monotonic() - begun < runner.GRACE_S
    assert report(events, ["alpha"], check=False, interrupted=True).exit_code == 130


def test_an_interrupt_after_the_end_is_an_interrupt_still() -> None:
    interrupt = runner._Interrupt()
    with subprocess.Popen(["true"]) as ended_already:
        pass
    interrupt.pid = ended_already.pid

    with interrupt:
        signal.raise_signal(signal.SIGINT)

    assert interrupt.asked


def test_no_inventory_uses_or_closes_anothers_connections(tmp_path: Path) -> None:
    one, other = runner.control_path_dir(tmp_path / "one"), runner.control_path_dir(tmp_path / "other")

    assert one != other
    assert one == runner.control_path_dir(tmp_path / "other" / ".." / "one")
    assert one.stat().st_mode & 0o777 == 0o700
