"""Command lines: what each asks of Ansible, its exit code, and what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import inventory_source, openssh, state
from dlhost.errors import ExitCode
from dlhost.values.checks import Check, CheckResult
from dlhost.values.preflight import Contact, Probe
from dlhost.values.run import Event, FileDiff, Outcome
from dlhost.values.services import Offer, Service
from tests.unit.world import ALL_WELL, World, ended, stats, write

SITE, VERIFY = "dlhost.host.site", "dlhost.host.verify"
RIG = ("-i", "rig")


def lost(host: str) -> Probe:
    return Probe(host, Contact.UNREACHABLE, "cannot be reached at 192.0.2.1 port 22: Connection refused")


def check(host: str, result: CheckResult, reason: str = "") -> Event:
    return ended(host, checks=(Check("system", "system.clock", "The clock is kept", result, reason),))


ASKED: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("provision", *RIG), {"playbook": SITE}),
    (("provision", *RIG, "--check"), {"playbook": SITE, "check": True}),
    (("provision", *RIG, "--check", "--diff"), {"playbook": SITE, "check": True}),
    (("provision", *RIG, "--roles", "system,portal"), {"playbook": SITE, "tags": ("system", "portal")}),
    (("provision", *RIG, "--roles", " system , "), {"playbook": SITE, "tags": ("system",)}),
    (("provision", *RIG, "--skip", "portal"), {"playbook": SITE, "skip_tags": ("portal",)}),
    (("provision", *RIG, "--limit", "alpha"), {"playbook": SITE, "limit": ("alpha",)}),
    (("provision", *RIG, "--limit", "gpu"), {"playbook": SITE, "limit": ("alpha",)}),
    (("provision", *RIG, "--limit", "all,!alpha"), {"playbook": SITE, "limit": ("beta",)}),
    (("provision", *RIG, "--limit", "alp*"), {"playbook": SITE, "limit": ("alpha",)}),
    (("provision", *RIG, "-vv"), {"playbook": SITE, "verbosity": 2}),
    (
        ("provision", *RIG, "-e", "system_swap_mib=512", "-e", "ssh_hardening_guard=false"),
        {"playbook": SITE, "extra_vars": {"system_swap_mib": 512, "ssh_hardening_guard": False}},
    ),
    (
        ("provision", *RIG, "--extra-vars=system_packages=[vim, git]", "-efree=a=b"),
        {"playbook": SITE, "extra_vars": {"system_packages": ["vim", "git"], "free": "a=b"}},
    ),
    (("provision", *RIG, "-e", "free="), {"playbook": SITE, "extra_vars": {"free": ""}}),
    (("drift", *RIG), {"playbook": SITE, "check": True}),
    (
        ("drift", *RIG, "--roles", "system", "--skip", "portal", "--limit", "beta", "-v"),
        {
            "playbook": SITE,
            "check": True,
            "tags": ("system",),
            "skip_tags": ("portal",),
            "limit": ("beta",),
            "verbosity": 1,
        },
    ),
    (("verify", *RIG), {"playbook": VERIFY}),
    (
        ("verify", *RIG, "--roles", "system", "--limit", "gpu"),
        {"playbook": VERIFY, "tags": ("system",), "limit": ("alpha",)},
    ),
]


@pytest.mark.parametrize(
    ("arguments", "expected"), ASKED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_what_a_command_line_asks_of_ansible(
    world: World, rig: Path, arguments: tuple[str, ...], expected: dict[str, Any]
) -> None:
    result = world(*arguments)

    assert result.exit_code == ExitCode.DONE, result.output
    (asked,) = world.runs
    defaults = {"check": False, "limit": (), "tags": (), "skip_tags": (), "extra_vars": {}, "verbosity": 0}
    assert {name: getattr(asked, name) for name in ("playbook", *defaults)} == {**defaults, **expected}
    assert (asked.inventory, asked.ports, asked.become_password, asked.vault_password) == (rig, {}, None, None)
    assert set(world.closed) == {probed for probed in ("alpha", "beta") if not asked.limit or probed in asked.limit}


def test_extra_variables_from_a_file_keep_their_types(world: World, tmp_path: Path) -> None:
    path = write(tmp_path / "vars.yml", "system_packages: [vim]\nnested: {deep: [1, 2.5, true, null]}\n")

    world("provision", *RIG, "-e", f"@{path}", "-e", "system_packages=[git]")

    assert world.runs[0].extra_vars == {"system_packages": ["git"], "nested": {"deep": [1, 2.5, True, None]}}


FAILED = (ended("alpha", Outcome.FAILED, message="E: no space left"), ended("beta"), stats(failures={"alpha": 1}))
LOST_MIDWAY = (ended("alpha", Outcome.UNREACHABLE, message="Broken pipe"), ended("beta"), stats(dark={"alpha": 1}))
CHANGED = (ended("alpha", Outcome.CHANGED), ended("beta"), stats())
UNKNOWN = (ended("alpha", undetermined="the package is not there yet"), ended("beta"), stats())
VERDICT = ended("alpha", Outcome.FAILED, role="", task="Require that every check passed", message="not so")

A_REFUSAL = ended("alpha", Outcome.FAILED, action="ansible.builtin.fail", message="there is no branch 999")
BAD_VALUE = ended("alpha", Outcome.FAILED, rules=True, message="Argument validation failed")

ENDED: list[tuple[str, tuple[Event, ...], ExitCode, str]] = [
    ("provision", ALL_WELL, ExitCode.DONE, "dlhost verify -i rig"),
    ("provision", CHANGED, ExitCode.DONE, "Install packages"),
    ("provision", FAILED, ExitCode.TASK_FAILED, "E: no space left"),
    ("provision", LOST_MIDWAY, ExitCode.UNREACHABLE, "Broken pipe"),
    ("provision", (*FAILED[:1], *LOST_MIDWAY[:1], stats({"alpha": 1}, {})), ExitCode.TASK_FAILED, ""),
    ("provision", (A_REFUSAL, ended("beta"), stats(failures={"alpha": 1})), ExitCode.REFUSED, "there is no branch 999"),
    ("provision", (BAD_VALUE, ended("beta"), stats(failures={"alpha": 1})), ExitCode.REFUSED, "Argument validation"),
    # Not where a host was changed before, and not where it says why another task failed.
    (
        "provision",
        (A_REFUSAL, *CHANGED[1:-1], ended("beta", Outcome.CHANGED), stats({"alpha": 1}, {})),
        ExitCode.TASK_FAILED,
        "",
    ),
    ("provision", (*FAILED[:1], A_REFUSAL, ended("beta"), stats({"alpha": 1}, {})), ExitCode.TASK_FAILED, ""),
    ("provision", (A_REFUSAL, LOST_MIDWAY[0], stats({"alpha": 1}, {})), ExitCode.TASK_FAILED, ""),
    ("provision", (), ExitCode.TASK_FAILED, "Ansible ended before the run was over"),
    ("drift", ALL_WELL, ExitCode.DONE, "in sync"),
    ("drift", CHANGED, ExitCode.DRIFT, "drifted"),
    ("drift", UNKNOWN, ExitCode.DRIFT, "the package is not there yet"),
    ("drift", FAILED, ExitCode.TASK_FAILED, "E: no space left"),
    ("drift", (A_REFUSAL, ended("beta"), stats(failures={"alpha": 1})), ExitCode.REFUSED, "there is no branch 999"),
    ("drift", LOST_MIDWAY, ExitCode.UNREACHABLE, "Broken pipe"),
    ("verify", (check("alpha", CheckResult.PASS), *ALL_WELL), ExitCode.DONE, "1 passed, 0 failed, 0 skipped"),
    ("verify", (check("alpha", CheckResult.SKIP, "no clock"), *ALL_WELL), ExitCode.DONE, "no clock"),
    (
        "verify",
        (check("alpha", CheckResult.FAIL, "it stands still"), VERDICT, ended("beta"), stats(failures={"alpha": 1})),
        ExitCode.CHECK_FAILED,
        "it stands still",
    ),
    # The same where a host was not looked at: its checks could not be made.
    (
        "verify",
        (check("alpha", CheckResult.FAIL, "it stands still"), VERDICT, stats(failures={"alpha": 1})),
        ExitCode.TASK_FAILED,
        "it stands still",
    ),
    # A check that broke is worse than one that failed, and is told even where another one failed.
    (
        "verify",
        (
            check("alpha", CheckResult.FAIL, "it stands still"),
            ended("alpha", Outcome.FAILED, role="portal", message="template error"),
            stats(failures={"alpha": 1}),
        ),
        ExitCode.TASK_FAILED,
        "template error",
    ),
    (
        "verify",
        (
            check("alpha", CheckResult.FAIL, "it stands still"),
            ended("alpha", Outcome.UNREACHABLE, message="Broken pipe"),
            ended("beta"),
            stats(dark={"alpha": 1}),
        ),
        ExitCode.CHECK_FAILED,
        "Broken pipe",
    ),
    ("verify", FAILED, ExitCode.TASK_FAILED, "E: no space left"),
    ("verify", (A_REFUSAL, ended("beta"), stats(failures={"alpha": 1})), ExitCode.REFUSED, "there is no branch 999"),
    ("verify", LOST_MIDWAY, ExitCode.UNREACHABLE, "Broken pipe"),
]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(("command", "events", "code", "said"), ENDED)
def test_how_a_run_ends(
    world: World, command: str, events: tuple[Event, ...], code: ExitCode, said: str, as_json: bool
) -> None:
    world.events = events

    result = world(command, *RIG, *(["--json"] if as_json else []))

    assert result.exit_code == code, result.output
    (record,) = state.records(inventory_source.find("rig"))
    assert (record.state, record.exit_code, record.operation) == ("done", code, command)
    if not as_json:
        assert said in result.stdout
        return
    document = json.loads(result.stdout)
    assert result.stdout == json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    assert document["schema_version"] == 1
    assert (document["operation"], document["inventory"]) == (command, "rig")
    assert (document["exit_code"], document["run"]) == (code, record.id)
    assert record.report == document


def test_a_change_is_shown_with_its_difference_where_asked(world: World) -> None:
    diff = FileDiff("/etc/motd", "old\n", "new\n")
    world.events = (ended("alpha", Outcome.CHANGED, diffs=(diff,)), ended("beta"), stats())

    assert "+new" not in world("provision", *RIG).stdout
    assert "+new" in world("provision", *RIG, "--diff").stdout
    assert "+new" in world("drift", *RIG).stdout


def test_an_interrupted_run_says_so_and_keeps_what_it_saw(world: World) -> None:
    world.events, world.interrupted = (ended("alpha", Outcome.CHANGED),), True

    result = world("provision", *RIG)

    assert result.exit_code == ExitCode.INTERRUPTED
    assert "Interrupted" in result.stdout
    assert "finishes what was interrupted" in result.stdout
    (record,) = state.records(inventory_source.find("rig"))
    assert (record.state, record.exit_code) == ("interrupted", 130)


@pytest.mark.parametrize("command", ["provision", "drift", "verify"])
def test_an_interrupt_that_ends_the_run_at_once_is_recorded(world: World, command: str) -> None:
    world.raises = KeyboardInterrupt

    result = world(command, *RIG)

    assert (result.exit_code, result.stdout) == (ExitCode.INTERRUPTED, "")
    assert "Interrupted." in result.stderr
    (record,) = state.records(inventory_source.find("rig"))
    assert (record.state, record.exit_code) == ("interrupted", 130)
    assert set(world.closed) == {"alpha", "beta"}


def test_a_run_that_met_a_bug_is_no_longer_running(world: World) -> None:
    world.raises = ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world("provision", *RIG)

    (record,) = state.records(inventory_source.find("rig"))
    assert (record.state, record.exit_code) == ("failed", 1)


def test_no_host_reached_means_no_run(world: World) -> None:
    world.probes = {name: lost(name) for name in ("alpha", "beta")}

    result = world("provision", *RIG)

    assert result.exit_code == ExitCode.UNREACHABLE
    assert world.runs == []
    assert result.stdout.count("Connection refused") == 2
    assert "Ansible ended" not in result.stdout


@pytest.mark.parametrize("command", ["provision", "drift", "verify"])
def test_one_of_two_hosts_lost_is_code_four_and_the_other_is_done(world: World, command: str) -> None:
    world.probes = {"alpha": lost("alpha")}
    world.events = (ended("beta"), stats())

    result = world(command, *RIG, "--json")

    assert result.exit_code == ExitCode.UNREACHABLE
    assert world.runs[0].limit == ("beta",)
    hosts = {host["host"]: host for host in json.loads(result.stdout)["hosts"]}
    assert (hosts["alpha"]["status"], hosts["beta"]["status"]) == ("unreachable", "ok")
    assert "Connection refused" in hosts["alpha"]["failure"]["message"]


def test_a_run_that_moved_the_port_leaves_the_inventory_to_the_user(world: World) -> None:
    world.events = (ended("alpha", facts={"ansible_port": 2222}), ended("beta"), stats())

    result = world("provision", *RIG)

    assert result.exit_code == ExitCode.USER_MUST_ACT
    assert "SSH on alpha moved: set ansible_port: 2222 in the inventory." in " ".join(result.stdout.split())
    assert state.records(inventory_source.find("rig"))[0].exit_code == ExitCode.USER_MUST_ACT


def test_a_port_that_moved_earlier_is_handed_on_and_named_again(world: World) -> None:
    world.probes = {"alpha": replace(world._probe("alpha"), port=2222)}

    result = world("provision", *RIG, "--json")

    document = json.loads(result.stdout)
    assert world.runs[0].ports == {"alpha": 2222}
    assert (result.exit_code, document["exit_code"], document["hosts"][0]["moved_to_port"]) == (6, 6, 2222)
    assert document["left_to_do"] == ["SSH on alpha moved: set ansible_port: 2222 in the inventory."]
    assert (world("drift", *RIG).exit_code, world("verify", *RIG).exit_code) == (0, 0)


def test_a_stored_sudo_password_is_tried_on_the_port_that_answers(world: World, rig: Path) -> None:
    write(rig / "host_vars" / "alpha.yml", f"ansible_become_password: {world.sudo_password}\n")
    world.facts["alpha"] = {"sudo": "password"}
    world.probes = {"alpha": replace(world._probe("alpha"), port=2222)}

    assert world("verify", *RIG).exit_code == ExitCode.DONE
    assert world.sudo_ports == [2222]


@pytest.mark.parametrize("events", [ALL_WELL, (ended("alpha", facts={"ansible_port": 2222}), *ALL_WELL)])
def test_an_inventory_that_names_the_new_port_already_needs_no_act(
    world: World, rig: Path, events: tuple[Event, ...]
) -> None:
    write(rig / "host_vars" / "alpha.yml", "ansible_port: 2222\nssh_hardening_port: 2222\n")
    world.probes = {"alpha": replace(world._probe("alpha"), port=22)}
    world.events = events

    assert world("provision", *RIG).exit_code == ExitCode.DONE


BUSY = "The restart of ada's Jupyter was put off: 2 kernels are busy. Run again when they are done."


def test_what_only_the_user_can_do_is_told_and_recorded(world: World) -> None:
    world.events = (ended("alpha", actions_needed=(BUSY,)), ended("alpha", actions_needed=(BUSY,)), *ALL_WELL[1:])

    result = world("provision", *RIG)
    document = json.loads(world("provision", *RIG, "--json").stdout)

    assert result.exit_code == document["exit_code"] == ExitCode.USER_MUST_ACT
    assert f"What is left to do:\n  alpha: {BUSY}\n" in result.stdout
    assert (document["left_to_do"], document["hosts"][0]["actions_needed"]) == ([f"alpha: {BUSY}"], [BUSY])
    record, _ = state.records(inventory_source.find("rig"))
    assert (record.exit_code, record.report["left_to_do"]) == (6, [f"alpha: {BUSY}"])
    assert f"    left to do: {BUSY}\n" in world("history", "show", record.id, *RIG).stdout
    assert (world("drift", *RIG).exit_code, world("verify", *RIG).exit_code) == (0, 0)


JUPYTER = Offer((Service("portal", "ada", 8888, "/ada/"),), "https://192.0.2.1", frozenset({"/ada/"}))


def test_a_run_that_went_well_ends_with_the_ways_in(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "portal_password: correct horse\n")
    certificate = write(rig / ".tls" / "ca.crt", "")
    world.offers = {"alpha": JUPYTER, "beta": Offer(error="beta does not answer within 60 s.")}
    world.events = (ended("alpha", facts={"ansible_port": 2222}), *ALL_WELL[1:])

    text = world("provision", *RIG).stdout
    document = json.loads(world("provision", *RIG, "--json").stdout)

    assert world.asked[:2] == [("alpha", 2222), ("beta", None)]
    assert text.partition("Open:\n")[2] == (
        "  portal of ada on alpha: https://192.0.2.1/ada/\n"
        "    its password: dlhost secrets show portal_password -i rig --host alpha\n"
        "  beta does not answer within 60 s.\n"
        f"  dlhost ca trust -i rig   lets browsers trust {certificate}\n"
        "Next:\n  dlhost verify -i rig   proves that it works\n"
    )
    (service,) = document["services"]
    assert (service["host"], service["user"], service["url"]) == ("alpha", "ada", "https://192.0.2.1/ada/")
    assert (document["authority"], document["services_unknown"]) == (str(certificate), [world.offers["beta"].error])
    assert "correct horse" not in text + json.dumps(document)


@pytest.mark.parametrize(
    ("text", "trusted"),
    [
        ("tls_mode: local_ca\n", True),
        ("tls_mode: provided\n", False),
        ("tls_state: absent\n", False),
        ("x: 1\n", True),
    ],
)
def test_only_the_inventorys_own_authority_is_to_be_trusted(world: World, rig: Path, text: str, trusted: bool) -> None:
    write(rig / "group_vars" / "all.yml", text)
    write(rig / ".tls" / "ca.crt", "")
    world.offers = {"alpha": JUPYTER}

    assert ("dlhost ca trust -i rig " in world("provision", *RIG).stdout) is trusted


@pytest.mark.parametrize(
    ("arguments", "events"), [(("provision", "--check"), ALL_WELL), (("drift",), ALL_WELL), (("verify",), ALL_WELL)]
)
def test_only_a_run_that_changes_hosts_asks_what_they_offer(
    world: World, arguments: tuple[str, ...], events: tuple[Event, ...]
) -> None:
    world.events = events

    world(*arguments, *RIG)

    assert world.asked == []


def test_a_host_that_failed_is_not_asked_what_it_offers(world: World) -> None:
    world.events = FAILED

    assert "Open:" not in world("provision", *RIG).stdout
    assert world.asked == [("beta", None)]


@pytest.mark.parametrize("left", [{"facts": {"ansible_port": 2222}}, {"actions_needed": (BUSY,)}])
def test_a_failure_counts_for_more_than_what_is_left_to_do(world: World, left: dict[str, Any]) -> None:
    world.events = (ended("alpha", **left), *FAILED)

    result = world("provision", *RIG)

    assert result.exit_code == ExitCode.TASK_FAILED
    assert "What is left to do:" in result.stdout


def test_a_shell_is_opened_on_the_port_that_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(openssh, "connection_that_answers", lambda host, _: replace(host.connection, port=2222))
    monkeypatch.setattr(openssh, "run_interactively", run)

    assert world("ssh", *RIG, "--host", "alpha").exit_code == ExitCode.DONE
    assert world("tunnel", *RIG, "--host", "alpha", "-L", "1:h:1").exit_code == ExitCode.DONE
    assert len(commands) == 2
    assert all("Port=2222" in command for command in commands)


@pytest.mark.parametrize("code", [7, 255])
def test_a_shell_ends_with_sshs_own_code_as_its_help_says(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(openssh, "connection_that_answers", lambda host, _: host.connection)
    monkeypatch.setattr(openssh, "run_interactively", lambda _command: code)

    assert world("ssh", *RIG, "--host", "alpha").exit_code == code
    assert "255 where ssh itself failed" in " ".join(world("ssh", "-h").stdout.split())


REFUSED: list[tuple[dict[str, str], tuple[str, ...], str]] = [
    ({"distribution": "fedora", "version": "42", "pretty_name": "Fedora 42"}, (), r"Fedora 42.*Debian 12, 13; Ubuntu"),
    ({"distribution": "", "version": "", "pretty_name": ""}, (), r"an unknown system.*Supported: Debian"),
    ({"distribution": "debian", "version": "11", "pretty_name": "Debian 11"}, (), "Debian 11.*does not support"),
    ({"architecture": "riscv64"}, (), "riscv64 machine; supported are x86_64 and aarch64"),
    ({"free_mib_var": "12"}, (), "12 MiB free on /var, and needs 1024"),
    ({"free_mib_tmp": "12"}, (), "12 MiB free on /tmp, and needs 64"),
    (
        {"sudo": "none"},
        (),
        "no sudo, and rig is not root. Install it: su -c 'apt-get install sudo && adduser rig sudo'",
    ),
    ({"sudo": "password"}, (), "asks rig for a sudo password.*dlhost secrets set -i rig ansible_become_password"),
    ({"sudo": "sorry, you must have a tty"}, (), "does not let rig use sudo: sorry"),
    ({"python": "no"}, ("--skip", "system"), "no Python yet; role system brings it"),
    ({"ssh_hardened": "no"}, (), "passwords will be refused.*say --yes"),
]


@pytest.mark.parametrize(("facts", "more", "said"), REFUSED)
def test_a_host_that_must_not_be_touched_is_refused_before_anything_is_changed(
    world: World, facts: dict[str, str], more: tuple[str, ...], said: str
) -> None:
    world.facts["alpha"] = facts

    result = world("provision", *RIG, *more)

    assert result.exit_code == ExitCode.REFUSED, result.output
    assert (world.runs, result.stdout) == ([], "")
    assert re.search(said, result.stderr, re.DOTALL), result.stderr
    assert "alpha" in result.stderr
    (record,) = state.records(inventory_source.find("rig"))
    assert (record.state, record.exit_code) == ("refused", 5)
    assert re.search(said, world("history", "show", record.id, *RIG).stdout, re.DOTALL)


def test_a_host_without_df_is_not_refused_for_its_disk(world: World) -> None:
    world.facts["alpha"] = {"free_mib_root": "", "free_mib_var": "", "free_mib_tmp": ""}

    assert world("provision", *RIG).exit_code == ExitCode.DONE


def test_a_full_disk_is_no_reason_not_to_look(world: World) -> None:
    world.facts["alpha"] = {"free_mib_var": "12"}

    for command in (("drift",), ("verify",), ("provision", "--check")):
        assert world(*command, *RIG).exit_code == ExitCode.DONE


def test_an_untrusted_host_key_is_refused(world: World) -> None:
    world.probes = {"beta": Probe("beta", Contact.UNTRUSTED, "has a host key that you have not trusted yet")}

    result = world("provision", *RIG)

    assert (result.exit_code, world.runs) == (ExitCode.REFUSED, [])
    assert result.stderr == (
        "beta has a host key that you have not trusted yet. "
        "To trust its key, run `dlhost ssh -i rig --host beta`, compare the fingerprint, say yes.\n"
    )


def test_consent_is_given_by_yes_and_needed_only_to_provision(world: World) -> None:
    world.facts["alpha"] = {"ssh_hardened": "no"}

    assert world("provision", *RIG, "--yes").exit_code == ExitCode.DONE
    assert world("provision", *RIG, "--check").exit_code == ExitCode.DONE
    assert world("provision", *RIG, "--skip", "ssh_hardening").exit_code == ExitCode.DONE
    assert world("drift", *RIG).exit_code == ExitCode.DONE


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 5), ("", 130)])
def test_consent_asked_for_at_a_terminal(world: World, answer: str, code: int) -> None:
    world.facts["alpha"] = {"ssh_hardened": "no"}
    world.at_terminal = True

    result = world("provision", *RIG, stdin=answer)

    assert result.exit_code == code, result.output
    assert len(world.runs) == (code == 0)
    assert state.records(inventory_source.find("rig"))[0].state == {0: "done", 5: "refused", 130: "interrupted"}[code]


def test_the_end_of_the_terminals_input_at_a_password_is_an_interrupt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_question: str) -> str:
        raise EOFError

    world.facts, world.at_terminal = {"alpha": {"sudo": "password"}}, True
    monkeypatch.setattr("getpass.getpass", closed)

    assert world("provision", *RIG).exit_code == ExitCode.INTERRUPTED
    assert state.records(inventory_source.find("rig"))[0].state == "interrupted"


def test_the_sudo_password_is_asked_once_and_reaches_ansible(world: World) -> None:
    world.facts = {"alpha": {"sudo": "password"}, "beta": {"sudo": "password"}}
    world.answers = ["correct horse"]

    assert world("provision", *RIG).exit_code == ExitCode.DONE
    assert world.questions == ["sudo password on alpha"]
    assert world.runs[0].become_password == world.sudo_password


def test_a_wrong_sudo_password_is_refused_and_not_repeated(world: World) -> None:
    world.facts = {"alpha": {"sudo": "password"}}
    world.answers = ["battery staple"]

    result = world("provision", *RIG)

    assert (result.exit_code, world.runs) == (ExitCode.REFUSED, [])
    assert "refuses the sudo password given for rig" in result.stderr
    assert "battery" not in result.output


def test_the_inventorys_sudo_password_is_used_and_not_asked_for(world: World, rig: Path) -> None:
    write(rig / "host_vars" / "alpha.yml", "ansible_become_password: correct horse\n")
    world.facts = {"alpha": {"sudo": "password"}}

    assert world("provision", *RIG).exit_code == ExitCode.DONE
    # Ansible reads it itself.
    assert world.runs[0].become_password is None


def test_an_inventory_in_use_is_refused_with_its_user_named(world: World) -> None:
    seen = []

    def second(*_: object) -> bool:
        seen.append(world("drift", *RIG))
        return False

    first, world.run = world.run, second  # type: ignore[assignment]
    world("provision", *RIG)
    world.run = first  # type: ignore[method-assign]

    (result,) = seen
    assert result.exit_code == ExitCode.REFUSED
    assert re.search(r"Inventory rig is in use: `dlhost provision` of \w+ \(process \d+\) since 20", result.stderr)


USAGE: list[tuple[tuple[str, ...], str]] = [
    (("provision", "-i", "rigg"), r"There is no inventory rigg; did you mean rig\? You have: rig\."),
    (("provision", "-i", "./nowhere"), r"There is no inventory \./nowhere"),
    (
        ("provision", *RIG, "--roles", "sistem"),
        r"no role sistem; did you mean system\? Roles: system, ssh_hardening, portal",
    ),
    (("drift", *RIG, "--skip", "zzz"), r"no role zzz\. Roles: system, ssh_hardening, portal"),
    (("verify", *RIG, "--skip", "system,ssh_hardening,portal"), "leave no role to run"),
    (("verify", *RIG, "--roles", "portal"), "No host gets these roles: none is in group portals, workspace"),
    (("provision", *RIG, "--limit", "alhpa"), r"There is no host or group alhpa; did you mean alpha\?"),
    (("provision", *RIG, "--limit", "alpha,!alpha"), "leaves no host"),
    (("provision", *RIG, "--limit", "z*"), "leaves no host"),
    (("provision", *RIG, "-e", "nonsense"), "-e nonsense is neither NAME=VALUE nor @FILE"),
    (("provision", *RIG, "-e", "=x"), "-e  is neither NAME=VALUE nor @FILE"),
    (("provision", *RIG, "-e", '{"a": "b=c"}'), "is neither NAME=VALUE nor @FILE"),
    (("provision", *RIG, "-e", "a=[1"), "-e a: the value is not valid YAML"),
    (("provision", *RIG, "-e", "@nowhere.yml"), "-e @nowhere.yml: No such file or directory"),
    (
        ("provision", *RIG, "-e", "system_swap=1"),
        r"-e role system has no variable system_swap; did you mean system_swap_mib\?",
    ),
    (
        ("provision", *RIG, "-e", "system_swap_mib=big"),
        "-e system_swap_mib should be a whole number, not the text 'big'",
    ),
    (("provision",), "Missing option '--inventory'"),
    (("provision", *RIG, "--nonsense"), "No such option"),
    (("nonsense",), "No such command"),
    (("roles", "sistem"), r"did you mean system\?"),
    (("history", "show", "2026", *RIG), "No run of inventory rig begins.*`dlhost history list -i rig`"),
    (("tunnel", *RIG, "--host", "alpha", "-L", "8888"), r"-L 8888 is not of the form \[ADDRESS:\]PORT:HOST:HOSTPORT"),
    (("ssh", *RIG), "Which host. The inventory has alpha, beta"),
    (("ssh", *RIG, "--host", "gamma"), "There is no host or group gamma"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_command_line_that_does_not_fit_is_code_two(world: World, arguments: tuple[str, ...], said: str) -> None:
    result = world(*arguments)

    assert result.exit_code == ExitCode.USAGE, result.output
    assert (result.stdout, world.runs) == ("", [])
    assert re.search(said, result.stderr), result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("provision", "-i", "rigg", "--json"), 2, "There is no inventory rigg"),
        (("provision", *RIG, "--json", "--nonsense"), 2, "No such option: --nonsense"),
        (("drift", "--json"), 2, "Missing option '--inventory'"),
        (("verify", *RIG, "--json"), 5, "alpha runs Fedora 42"),
        (("inventory", "show", "rigg", "--json"), 2, "There is no inventory rigg"),
    ],
)
def test_an_error_is_a_json_document_too(world: World, arguments: tuple[str, ...], code: int, said: str) -> None:
    world.facts["alpha"] = {"distribution": "fedora", "version": "42", "pretty_name": "Fedora 42"}

    result = world(*arguments)

    document = json.loads(result.stdout)
    assert result.exit_code == code
    assert (sorted(document), document["schema_version"]) == (["error", "exit_code", "schema_version"], 1)
    assert document["exit_code"] == code
    assert said in document["error"]
    assert said in result.stderr


def test_an_interrupt_is_a_json_document_too(world: World) -> None:
    world.raises = KeyboardInterrupt

    result = world("drift", *RIG, "--json")

    assert json.loads(result.stdout) == {"schema_version": 1, "exit_code": 130, "error": "Interrupted."}


def test_what_a_host_says_in_a_refusal_steers_no_terminal(world: World) -> None:
    world.facts["alpha"] = {"distribution": "x", "pretty_name": "\x1b]0;owned\x07\x9b2J\u202edora"}

    result = world("provision", *RIG)

    assert result.exit_code == ExitCode.REFUSED
    assert "alpha runs ␛]0;owned␇�2J" in result.stderr
    assert not set("\x1b\x07\x9b") & set(result.stderr)


def test_a_file_of_extra_variables_must_be_a_text_and_a_mapping(world: World, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    write(tmp_path / "list.yml", "- 1\n")

    assert "is not text" in world("provision", *RIG, "-e", f"@{tmp_path}/binary").stderr
    assert "should be a mapping" in world("provision", *RIG, "-e", f"@{tmp_path}/list.yml").stderr


INVALID: list[tuple[str, str, str]] = [
    (
        "group_vars/all.yml",
        "---\nsystem_pakages: [vim]\n",
        r"all\.yml:2: role system has no variable system_pakages; did you mean system_packages\?",
    ),
    (
        "group_vars/all.yml",
        "sistem_packages: [vim]\n",
        r"all\.yml:1: no role has a variable sistem_packages; did you mean system_packages\?",
    ),
    (
        "host_vars/alpha.yml",
        "ansible_hots: 192.0.2.7\n",
        r"alpha\.yml:1: Ansible has no variable ansible_hots; did you mean ansible_host\?",
    ),
    ("group_vars/all.yml", "system_zzzzzz: 1\n", r"all\.yml:1: .*`dlhost roles system` lists them"),
    (
        "host_vars/alpha.yml",
        "x: 1\n\nsystem_swap_mib: big\n",
        r"alpha\.yml:3: system_swap_mib should be a whole number, not the text 'big'",
    ),
    ("group_vars/gpu/x.yml", "system_swap_mib: true\n", r"gpu/x\.yml:1: .* a whole number, not true"),
    ("group_vars/all.yml", "system_swap_mib:\n", r"all\.yml:1: system_swap_mib should be a whole number, not empty"),
    (
        "group_vars/all.yml",
        "system_packages:\n  - vim\n  - [git]\n",
        r"all\.yml:3: system_packages\[1\] should be a text, not a list",
    ),
    (
        "group_vars/all.yml",
        "portal_users:\n  - name: a\n    shell: fish\n",
        r"all\.yml:3: portal_users\[0\]\.shell is 'fish'; allowed: bash, zsh",
    ),
    ("group_vars/all.yml", "portal_users:\n  - shell: bash\n", r"all\.yml:2: portal_users\[0\] lacks the key name"),
    (
        "group_vars/all.yml",
        "portal_users:\n  - name: a\n    shel: zsh\n",
        r"all\.yml:3: portal_users\[0\] has no key shel; did you mean shell\?",
    ),
    (
        "group_vars/all.yml",
        "portal_users:\n- name: a\n  limits:\n    memory_mib: lots\n",
        r"all\.yml:4: portal_users\[0\]\.limits\.memory_mib should be a whole",
    ),
    ("group_vars/all.yml", "portal_users: {name: a}\n", r"all\.yml:1: portal_users should be a list, not a mapping"),
    (
        "group_vars/all.yml",
        "system_time_service: chorny\n",
        r"all\.yml:1: .* is 'chorny'; allowed: timesyncd, chrony, none; did you mean chrony\?",
    ),
    (
        "group_vars/all.yml",
        "ssh_hardening_guard: 'yes'\n",
        r"all\.yml:1: ssh_hardening_guard should be true or false, not the text 'yes'",
    ),
    (
        "group_vars/all.yml",
        "portal_names: [beta]\n",
        r"all\.yml:1: portal_names has no effect here: the playbook sets it for role portal",
    ),
    ("group_vars/all.yml", "portal_url: https://rig\n", r"all\.yml:1: portal_url has no effect here"),
    ("group_vars/all.yml", "a: 1\nb: [1\n", r"all\.yml:3: this is not valid YAML"),
    ("group_vars/all.yml", "a: 1\n\tb: 2\n", r"all\.yml:2: this is not valid YAML"),
    ("group_vars/all.yml", "a: !nonsense 1\n", r"all\.yml:1: could not determine a constructor"),
    ("group_vars/all.yml", "- a\n", r"all\.yml:1: this should be a mapping"),
    ("group_vars/all.yml", "a: 1\nb: 2\na: 3\n", r"all\.yml:3: a is already set in line 1"),
    ("group_vars/all.yml", "a:\n  x: 1\n  x: 2\n", r"all\.yml:3: x is already set in line 2"),
    ("group_vars/all.yml", "a: {\n", r"all\.yml:\d: this is not valid YAML"),
    ("group_vars/all.yml", "a: \x07\n", r"all\.yml:1: this is not valid YAML"),
    ("group_vars/all.json", '{"system_swap_mib": "big"}\n', r"all\.json:1: system_swap_mib should be a whole number"),
    ("host_vars/alpha.yml", "ansible_port: ssh\n", r"alpha.*ansible_port should be a number, not 'ssh'"),
    ("host_vars/alpha.yml", 'ansible_ssh_common_args: "-o \'x"\n', r"alpha.*ansible_ssh_common_args cannot be split"),
    ("host_vars/alpha.yml", "ansible_host: '{{ nowhere }}'\n", r"'nowhere' is undefined"),
    (
        "hosts.yml",
        "all:\n  hosts:\n    alpha:\n      system_swap_mib: big\n",
        r"hosts\.yml:4: system_swap_mib should be",
    ),
    (
        "hosts.yml",
        "all:\n  children:\n    g:\n      vars:\n        system_swap_mib: big\n      hosts: {a: }\n",
        r"hosts\.yml:5: system_swap_mib",
    ),
    ("hosts.yml", "all:\n  hosts:\n", "has no hosts. Add one under all.hosts"),
    ("hosts.yml", "", "has no hosts. Add one under all.hosts|no hosts"),
]


@pytest.mark.parametrize(("path", "text", "said"), INVALID)
def test_an_inventory_that_is_wrong_is_code_two_with_file_and_line(
    world: World, rig: Path, path: str, text: str, said: str
) -> None:
    write(rig / path, "").write_text(text)

    result = world("provision", *RIG)

    assert result.exit_code == ExitCode.USAGE, result.output
    assert (result.stdout, world.runs) == ("", [])
    assert re.search(said, result.stderr), result.stderr


PORTALS = """
    all:
      hosts: {alpha: , beta: , gamma: }
      children:
        portals: {hosts: {beta: }}
        workspace: {hosts: {gamma: }}
    """


def test_what_a_role_cannot_do_without_is_missed_before_a_connection(world: World, rig: Path) -> None:
    write(rig / "hosts.yml", PORTALS)

    result = world("provision", *RIG)

    assert (result.exit_code, result.stdout, world.runs, world.closed) == (ExitCode.USAGE, "", [], [])
    assert result.stderr == (
        "beta, gamma lack portal_password, which role portal needs. "
        "Set it: dlhost secrets set -i rig portal_password (with --generate, dlhost chooses it)\n"
    )


@pytest.mark.parametrize(
    ("text", "more", "lacking"),
    [
        ("portal_password: correct horse\n", (), ""),
        ("portal_password:\n", (), "portal_password should be a text, not empty"),
        ("portal_state: absent\n", (), ""),
        ("portal_password: ''\n", (), "beta, gamma lack portal_password"),
        ("x: 1\n", ("-e", "portal_password=secret"), ""),
        ("x: 1\n", ("--skip", "portal"), "beta, gamma lack portal_password"),
        ("x: 1\n", ("--limit", "alpha"), ""),
        ("x: 1\n", ("--limit", "beta"), "beta lacks portal_password"),
        ("portal_password: '{{ elsewhere }}'\nelsewhere: correct horse\n", (), ""),
        ("portal_password: '{{ elsewhere }}'\n", ("-e", "elsewhere=secret"), ""),
        ("portal_password: '{{ elsewhere }}'\n", (), "takes the value of elsewhere, which nothing sets"),
    ],
)
def test_only_a_host_that_gets_the_role_needs_its_variables(
    world: World, rig: Path, text: str, more: tuple[str, ...], lacking: str
) -> None:
    write(rig / "hosts.yml", PORTALS)
    write(rig / "group_vars" / "all.yml", text)
    world.events = (ended("alpha"), ended("beta"), ended("gamma"), stats())

    result = world("provision", *RIG, *more)

    assert result.exit_code == (ExitCode.USAGE if lacking else ExitCode.DONE), result.output
    assert lacking in result.stderr
    assert len(world.runs) == (not lacking)


@pytest.mark.parametrize("command", ["provision", "drift", "verify"])
def test_hosts_that_get_none_of_the_roles_are_left_out(world: World, rig: Path, command: str) -> None:
    write(rig / "hosts.yml", PORTALS)
    write(rig / "group_vars" / "all.yml", "portal_password: correct horse\n")
    world.events = (ended("beta", role="portal"), ended("gamma", role="portal"), stats())

    result = world(command, *RIG, "--roles", "portal")

    assert result.exit_code == ExitCode.DONE, result.output
    assert (world.runs[0].limit, world.closed) == (("beta", "gamma"), ["beta", "gamma"])
    assert "alpha" not in result.output


def test_every_problem_of_an_inventory_is_told_at_once(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "system_swap_mib: big\nsystem_x: 1\n")
    write(rig / "host_vars" / "beta.yml", "ssh_hardening_port: ssh\n")

    assert len(world("drift", *RIG).stderr.splitlines()) == 3


def test_values_that_ansible_resolves_are_left_to_it(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "system_swap_mib: '{{ 2 * 512 }}'\nsystem_packages: '{{ more }}'\nmore: []\n")

    assert world("provision", *RIG).exit_code == ExitCode.DONE


@pytest.mark.parametrize("command", ["provision", "drift", "verify"])
def test_progress_is_on_stderr_and_the_result_on_stdout(world: World, command: str) -> None:
    result = world(command, *RIG)

    assert "2 hosts: system, ssh_hardening\n" in result.stderr
    assert "2 hosts" not in result.stdout


def test_the_command_lines_of_runs_are_recorded_without_the_values_of_variables(world: World) -> None:
    spellings = (
        ("-e", "portal_password=hunter2x"),
        ("-eportal_password=hunter2x",),
        ("-veportal_password=hunter2x",),
        ("-ve", "portal_password=hunter2x"),
        ("--extra-vars", "portal_password=hunter2x"),
        ("--extra-vars=portal_password=hunter2x",),
        ("-e", " portal_password = hunter2x"),
    )
    for spelling in spellings:
        assert world("provision", *RIG, *spelling).exit_code == ExitCode.DONE
        assert world.runs[-1].extra_vars == {"portal_password": "hunter2x"}

    recorded = [record.arguments for record in state.records(inventory_source.find("rig"))]
    assert len(recorded) == len(spellings)
    assert all("hunter2x" not in word for words in recorded for word in words)
    assert all("portal_password" in words[-1] and words[-1].endswith("=…") for words in recorded)


def test_history_shows_lists_and_compares_runs(world: World) -> None:
    world("provision", *RIG)
    world.events = CHANGED
    world("drift", *RIG)
    first, second = state.records(inventory_source.find("rig"))

    listed = world("history", "list", *RIG)
    assert [line.split()[3] for line in listed.stdout.splitlines()] == ["provision", "drift"]
    world("provision", *RIG, "--check")
    assert "  provision --check  " in world("history", "list", *RIG).stdout.splitlines()[-1]
    assert "exit 3" in listed.stdout
    assert json.loads(world("history", "list", *RIG, "--json").stdout)["schema_version"] == 1
    shown = world("history", "show", second.id, *RIG)
    assert shown.stdout.startswith("dlhost drift -i rig\n")
    assert "changed     alpha system: Install packages" in shown.stdout
    assert json.loads(world("history", "show", first.id, *RIG, "--json").stdout)["id"] == first.id
    assert "alpha system: in sync → drifted" in world("history", "diff", first.id, second.id, *RIG).stdout
    assert world("history", "diff", first.id, first.id, *RIG).stdout == "Both runs came out alike.\n"
    assert world("history", "show", "20", *RIG).exit_code == ExitCode.USAGE


def test_inventories_are_listed_with_their_last_run(world: World) -> None:
    assert re.match(r"rig +never run  /", world("inventories").stdout)
    world("drift", *RIG)
    assert re.match(r"rig +drift 20.* exit 0  /", world("inventories").stdout)
    document = json.loads(world("inventories", "--json").stdout)
    assert document["inventories"][0]["last_run"]["exit_code"] == 0


def test_an_inventory_is_shown_with_its_hosts_and_settings(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "gpu.yml", "---\nsystem_swap_mib: 512\n")

    shown = world("inventory", "show", "rig")
    document = json.loads(world("inventory", "show", "rig", "--json").stdout)

    assert "alpha  @192.0.2.1:22  gpu" in shown.stdout
    assert "system_swap_mib = 512   group_vars/gpu.yml:2" in shown.stdout
    assert document["schema_version"] == 1
    assert document["hosts"][0]["groups"] == ["gpu"]


def test_roles_and_their_variables_are_listed(world: World) -> None:
    assert world("roles").stdout.splitlines() == [
        f"{role:<16}  Role {role}" for role in ("system", "ssh_hardening", "portal")
    ]
    assert "portal_password  (str, required; default null)" in world("roles", "portal").stdout
    assert json.loads(world("roles", "--json").stdout)["schema_version"] == 1
