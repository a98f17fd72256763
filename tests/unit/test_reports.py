"""The fold from a run's events to its report."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dlhost.errors import ExitCode
from dlhost.values.run import Event, HostReport, HostStatus, Notice, Outcome, RoleStatus, RunReport, TaskStarted, report
from tests.unit.world import ended, stats


def fold(*events: Event, hosts: Sequence[str] = ("alpha",), interrupted: bool = False) -> RunReport:
    return report(events, hosts, check=False, interrupted=interrupted)


def alpha(*events: Event) -> HostReport:
    return fold(*events).hosts[0]


def test_hosts_come_in_the_order_they_were_asked_for() -> None:
    found = fold(ended("b"), ended("a"), stats(), hosts=("c", "a", "b"))

    assert [(host.host, host.status) for host in found.hosts] == [
        ("c", HostStatus.NOT_REACHED),
        ("a", HostStatus.OK),
        ("b", HostStatus.OK),
    ]


def test_roles_come_in_the_order_of_the_run_with_their_time() -> None:
    host = alpha(
        ended("alpha", role="system", seconds=1.5),
        ended("alpha", Outcome.CHANGED, role="portal", seconds=1),
        ended("alpha", role="system", seconds=0.5),
        ended("alpha", role=""),
        stats(),
    )

    assert [(role.role, role.status, role.seconds) for role in host.roles] == [
        ("system", RoleStatus.IN_SYNC, 2.0),
        ("portal", RoleStatus.CHANGED, 1.0),
    ]
    assert host.changed == 1


def test_a_role_that_was_cut_is_not_said_to_be_well() -> None:
    began = (TaskStarted("alpha", "system", "Install"), ended("alpha"), TaskStarted("alpha", "portal", "Look"))
    within = (*began, ended("alpha", role="portal"), TaskStarted("alpha", "portal", "Write"))

    (host,) = fold(*within, interrupted=True).hosts
    assert [(role.role, role.status) for role in host.roles] == [
        ("system", RoleStatus.IN_SYNC),
        ("portal", RoleStatus.INTERRUPTED),
    ]
    assert [role.status for role in fold(*within).hosts[0].roles] == [RoleStatus.IN_SYNC] * 2


def test_that_values_are_good_is_no_word_on_a_role() -> None:
    good = ended("alpha", role="portal", rules=True)
    bad = ended("alpha", Outcome.FAILED, role="portal", rules=True, message="a port is no name")

    assert [role.role for role in alpha(good, ended("alpha"), stats()).roles] == ["system"]
    assert [role.role for role in alpha(good, ended("alpha"), ended("alpha", role="portal"), stats()).roles] == [
        "system",
        "portal",
    ]
    refused = alpha(good, ended("alpha"), bad, stats(failures={"alpha": 1}))
    assert [(role.role, role.status) for role in refused.roles][1] == ("portal", RoleStatus.FAILED)
    assert refused.failure is not None
    assert refused.failure.role == "portal"


def test_a_rescued_failure_is_none() -> None:
    host = alpha(ended("alpha", Outcome.FAILED), ended("alpha", Outcome.CHANGED, task="Rescue"), stats())

    assert (host.status, host.failure, host.roles[0].status) == (HostStatus.OK, None, RoleStatus.CHANGED)


def test_the_last_failure_is_the_one_that_ended_the_run() -> None:
    rescued, fatal = (ended("alpha", Outcome.FAILED, role=role, message=role) for role in ("system", "portal"))
    host = alpha(rescued, fatal, stats(failures={"alpha": 1}))

    assert host.failure is not None
    assert host.failure.message == "portal"
    assert [role.status for role in host.roles] == [RoleStatus.IN_SYNC, RoleStatus.FAILED]


def test_what_a_failed_role_changed_before_is_kept() -> None:
    host = alpha(
        ended("alpha", Outcome.CHANGED, task="First"), ended("alpha", Outcome.FAILED), stats(failures={"alpha": 1})
    )

    assert host.roles[0].status is RoleStatus.FAILED
    assert [change.task for change in host.roles[0].changes] == ["First"]


def test_a_lost_host_is_unreachable_and_not_failed() -> None:
    host = alpha(ended("alpha", Outcome.CHANGED), ended("alpha", Outcome.UNREACHABLE), stats(dark={"alpha": 1}))

    assert (host.status, host.changed) == (HostStatus.UNREACHABLE, 1)


def test_what_a_dry_run_could_not_know_is_neither_change_nor_in_sync() -> None:
    unknown = ended("alpha", undetermined="no package yet")

    assert alpha(unknown, stats()).roles[0].status is RoleStatus.UNDETERMINED
    both = alpha(unknown, ended("alpha", Outcome.CHANGED), stats()).roles[0]
    assert (both.status, both.undetermined) == (RoleStatus.CHANGED, ("no package yet",))


def test_what_a_role_says_reaches_the_user_and_is_no_change() -> None:
    sentence = "This host gets no driver: no NVIDIA GPU is on the PCI bus."
    said = ended("alpha", action="ansible.builtin.debug", message=sentence)
    skipped = ended("alpha", Outcome.SKIPPED, action="ansible.builtin.debug", message="nothing")
    (role,) = alpha(said, skipped, ended("alpha", message="of some module's own"), stats()).roles

    assert (role.status, role.notes) == (RoleStatus.IN_SYNC, (sentence,))


def test_a_run_without_closing_statistics_is_incomplete_and_keeps_what_ansible_said() -> None:
    found = fold(TaskStarted("alpha", "system", "x"), ended("alpha"), Notice("ERROR! out of memory"))

    assert (found.complete, found.exit_code, found.notices) == (False, 1, ("ERROR! out of memory",))


def test_a_failure_counts_without_statistics_too() -> None:
    found = fold(ended("alpha", Outcome.FAILED), ended("beta", Outcome.UNREACHABLE), hosts=("alpha", "beta"))

    assert [host.status for host in found.hosts] == [HostStatus.FAILED, HostStatus.UNREACHABLE]


@pytest.mark.parametrize("events", [(), (ended("alpha"),)])
def test_the_statistics_count_where_events_are_missing(events: tuple[Event, ...]) -> None:
    failed, lost = alpha(*events, stats({"alpha": 1})), alpha(*events, stats(dark={"alpha": 1}))

    assert (failed.status, lost.status) == (HostStatus.FAILED, HostStatus.UNREACHABLE)
    assert failed.failure is not None
    assert failed.failure.message == "no reason was given"


def test_a_port_that_sshd_moved_to_is_known() -> None:
    assert alpha(ended("alpha", facts={"ansible_port": 2222}), stats()).moved_to_port == 2222
    assert alpha(ended("alpha", facts={"distribution": "Debian"}), stats()).moved_to_port is None


@pytest.mark.parametrize(
    ("events", "interrupted", "code"),
    [
        ((ended("alpha"), ended("beta"), stats()), False, ExitCode.DONE),
        ((ended("alpha"), ended("beta"), stats()), True, ExitCode.INTERRUPTED),
        # A host on which nothing was done is no success.
        ((ended("alpha"), stats()), False, ExitCode.TASK_FAILED),
        ((stats(),), False, ExitCode.TASK_FAILED),
        ((ended("alpha"), stats()), True, ExitCode.INTERRUPTED),
        ((ended("alpha", Outcome.FAILED), stats({"alpha": 1})), True, ExitCode.INTERRUPTED),
        ((ended("alpha"),), False, ExitCode.TASK_FAILED),
        (
            (ended("alpha", Outcome.FAILED), ended("beta", Outcome.UNREACHABLE), stats({"alpha": 1}, {"beta": 1})),
            False,
            ExitCode.TASK_FAILED,
        ),
        ((ended("alpha"), ended("beta", Outcome.UNREACHABLE), stats({}, {"beta": 1})), False, ExitCode.UNREACHABLE),
    ],
)
def test_the_exit_code_is_the_worst_that_happened(events: tuple[Event, ...], interrupted: bool, code: ExitCode) -> None:
    assert fold(*events, hosts=("alpha", "beta"), interrupted=interrupted).exit_code is code
