"""upgrade driver: what is asked of which host in which order, and what each outcome leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlhost.errors import ExitCode, RefusedError, UnreachableError, UsageError
from dlhost.operations.provision import Provisioned
from dlhost.operations.run import Finished, Judged, Request
from dlhost.operations.upgrade import Outside, upgrade_driver
from dlhost.values.checks import Check, CheckResult
from dlhost.values.inventory import Inventory, Location
from dlhost.values.record import RunRecord
from dlhost.values.run import (
    Afterwards,
    Change,
    Failure,
    HostReport,
    HostStatus,
    RoleReport,
    RoleStatus,
    RunReport,
)
from dlhost.values.upgrade import Outcome
from tests.unit.world import write

HOSTS = """
    all:
      hosts:
        alpha: {ansible_host: 192.0.2.1}
        beta: {ansible_host: 192.0.2.2}
        gamma: {ansible_host: 192.0.2.3}
      children:
        gpu: {hosts: {alpha: , beta: }}
    """
DONE, MUST_ACT, FAILED, CHECK_FAILED = (
    ExitCode.DONE,
    ExitCode.USER_MUST_ACT,
    ExitCode.TASK_FAILED,
    ExitCode.CHECK_FAILED,
)


@dataclass
class Hosts:
    """Hosts with a driver each; `ends` are the exit codes of runs by their words, where one does not go well.

    Of every branch, release 1 is the newest, which hosts have but for those that are `outdated`.
    """

    ends: dict[str, ExitCode] = field(default_factory=dict)
    present: dict[str, str] = field(default_factory=lambda: {"alpha": "580", "beta": "580"})
    outdated: set[str] = field(default_factory=set)
    agrees: bool | None = True
    runs: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    in_sync: bool = False
    lost: set[str] = field(default_factory=set)
    shown: int = 0

    def upgrade(self, branch: str = "590", limit: tuple[str, ...] = ()) -> tuple[list[tuple[str, str, str]], ExitCode]:
        result = upgrade_driver("rig", branch, limit, self.outside())
        self.left_to_do = result.left_to_do
        self.reasons = [reason for host in result.hosts for reason in host.reasons]
        return [(host.host, host.outcome, host.after) for host in result.hosts], result.exit_code

    def outside(self) -> Outside:
        return Outside(
            provision=self.provision,
            verify=lambda request: Judged(*self.finish(request)),
            show=lambda _planned: setattr(self, "shown", self.shown + 1),
            confirm=None if self.agrees is None else self.confirm,
            release=lambda host, _sockets: self.release(host.name),
            close_connections=lambda _hosts, _sockets: None,
        )

    def release(self, host: str) -> str:
        if f"provision {host} 590" in self.runs and host in self.lost:
            raise UnreachableError(f"{host} cannot be reached.")
        return f"{self.present[host]}.{0 if host in self.outdated else 1}" if host in self.present else ""

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return bool(self.agrees)

    def provision(self, request: Request) -> Provisioned:
        return Provisioned(*self.finish(request), Afterwards())

    def finish(self, request: Request) -> tuple[Finished, Path, ExitCode]:
        did = "plan" if request.check else request.operation
        words = f"{did} {','.join(request.hosts)} {request.extra_vars['nvidia_driver_branch']}"
        self.runs.append(words)
        self.requests.append(request)
        code = self.ends.get(words, DONE)
        if code is ExitCode.REFUSED:
            raise RefusedError("Its disk is full.")
        branch = request.extra_vars["nvidia_driver_branch"]
        hosts = tuple(report(host, code, in_sync=self.in_sync) for host in request.hosts)
        if request.operation == "provision" and not request.check and code is DONE:
            self.present |= dict.fromkeys(request.hosts, branch)
            self.outdated -= set(request.hosts)
        record = RunRecord("1", request.operation, "rig", "me", datetime.now(UTC), ())
        ran = RunReport(hosts, check=request.check, complete=True, interrupted=code is ExitCode.INTERRUPTED)
        inventory = Inventory(Location("rig", Path("rig")), ())
        return Finished(record, ran, (), inventory, False, (), {}), Path("log"), code


def report(host: str, code: ExitCode, *, in_sync: bool) -> HostReport:
    """What a run that ended so says of a host."""
    if code is MUST_ACT:
        return HostReport(host, HostStatus.OK, actions_needed=("reboot",))
    if code is CHECK_FAILED:
        check = Check("nvidia_driver", "nvidia_driver.smi", "nvidia-smi agrees", CheckResult.FAIL, "it has failed")
        return HostReport(host, HostStatus.FAILED, checks=(check,))
    if code is FAILED:
        return HostReport(host, HostStatus.FAILED, failure=Failure("nvidia_driver", "Install", "apt failed"))
    if in_sync:
        return HostReport(host, HostStatus.OK, roles=(RoleReport("nvidia_driver", RoleStatus.IN_SYNC),))
    # Something of the role always changes here, and need not be the driver.
    changes = (Change("Have the files of the role"),)
    return HostReport(host, HostStatus.OK, roles=(RoleReport("nvidia_driver", RoleStatus.CHANGED, changes=changes),))


@pytest.fixture(autouse=True)
def _rig() -> None:
    write(Path("inventories/rig/hosts.yml"), HOSTS)


def settings(request: Request) -> set[str]:
    return {name for name, value in request.extra_vars.items() if value is True}


def test_hosts_with_a_gpu_are_upgraded_one_after_the_other() -> None:
    hosts = Hosts()
    assert hosts.upgrade() == ([("alpha", Outcome.UPGRADED, "590.1"), ("beta", Outcome.UPGRADED, "590.1")], MUST_ACT)
    assert hosts.runs == [
        "plan alpha,beta 590",
        "provision alpha 590",
        "verify alpha 590",
        "provision beta 590",
        "verify beta 590",
    ]
    assert hosts.shown == 1
    assert "alpha: driver 580.1 is replaced by 590" in hosts.questions[0]
    assert {frozenset(settings(request)) for request in hosts.requests} == {
        frozenset({"nvidia_driver_allow_branch_switch"})
    }
    assert hosts.left_to_do[0].startswith('Set nvidia_driver_branch: "590" in ')


def test_a_failed_check_brings_the_old_branch_back_and_stops() -> None:
    hosts = Hosts({"verify alpha 590": CHECK_FAILED})
    assert hosts.upgrade() == (
        [("alpha", Outcome.BROUGHT_BACK, "580.1"), ("beta", Outcome.NOT_BEGUN, "580.1")],
        CHECK_FAILED,
    )
    assert hosts.runs[-2:] == ["provision alpha 580", "verify alpha 580"]
    # The way back may lead to a branch that is past its end by now, and a release of the new one is none of it.
    for request in hosts.requests[-2:]:
        assert "nvidia_driver_allow_end_of_life" in settings(request)
        assert request.extra_vars["nvidia_driver_version"] == ""
    assert not [request for request in hosts.requests[:-2] if "nvidia_driver_version" in request.extra_vars]
    assert hosts.reasons == ["alpha: nvidia-smi agrees: it has failed"]
    assert hosts.left_to_do == ()


def test_a_failed_installation_brings_the_old_branch_back() -> None:
    hosts = Hosts({"provision alpha 590": FAILED})
    assert hosts.upgrade(limit=("alpha",)) == ([("alpha", Outcome.BROUGHT_BACK, "580.1")], FAILED)


def test_what_came_back_and_does_not_work_is_no_way_back() -> None:
    hosts = Hosts({"verify alpha 590": CHECK_FAILED, "verify alpha 580": CHECK_FAILED})
    assert hosts.upgrade(limit=("alpha",)) == ([("alpha", Outcome.FAILED, "580.1")], CHECK_FAILED)
    assert "with branch 580 again" in hosts.reasons


def test_a_host_without_a_driver_keeps_nobody_waiting() -> None:
    hosts = Hosts(present={"alpha": "580"})
    assert hosts.upgrade()[0] == [("alpha", Outcome.UPGRADED, "590.1"), ("beta", Outcome.NOT_BEGUN, "")]
    assert hosts.reasons == ["no driver is installed yet"]


def test_a_way_back_that_fails_is_said() -> None:
    hosts = Hosts({"verify alpha 590": CHECK_FAILED, "provision alpha 580": FAILED})
    assert hosts.upgrade(limit=("alpha",)) == ([("alpha", Outcome.FAILED, "590")], CHECK_FAILED)
    assert "branch 580 could not be brought back" in hosts.reasons


def test_a_reboot_that_is_due_is_left_to_the_user_unproved() -> None:
    hosts = Hosts({"provision alpha 590": MUST_ACT})
    assert hosts.upgrade(limit=("alpha",)) == ([("alpha", Outcome.WAITS, "590")], MUST_ACT)
    assert hosts.reasons == ["alpha: reboot"]
    assert "verify alpha 590" not in hosts.runs


def test_a_lost_host_is_not_brought_back() -> None:
    hosts = Hosts({"provision alpha 590": ExitCode.UNREACHABLE})
    assert hosts.upgrade(limit=("alpha",)) == ([("alpha", Outcome.FAILED, "590")], ExitCode.UNREACHABLE)
    assert hosts.runs[-1] == "provision alpha 590"


def test_a_host_that_is_lost_after_its_run_hides_nothing_of_the_others() -> None:
    hosts = Hosts(lost={"beta"})
    assert hosts.upgrade() == (
        [("alpha", Outcome.UPGRADED, "590.1"), ("beta", Outcome.FAILED, "590")],
        ExitCode.UNREACHABLE,
    )
    assert hosts.reasons == ["beta cannot be reached."]


def test_what_was_done_is_told_though_another_host_is_refused() -> None:
    hosts = Hosts({"provision beta 590": ExitCode.REFUSED})
    assert hosts.upgrade() == (
        [("alpha", Outcome.UPGRADED, "590.1"), ("beta", Outcome.FAILED, "580.1")],
        ExitCode.REFUSED,
    )
    assert hosts.reasons == ["Its disk is full."]


def test_a_host_that_has_the_branch_goes_to_its_newest_release() -> None:
    hosts = Hosts(present={"alpha": "590", "beta": "590"}, outdated={"beta"})
    write(Path("inventories/rig/group_vars/gpu.yml"), 'nvidia_driver_branch: "590"\n')
    assert hosts.upgrade() == ([("alpha", Outcome.NEWEST, "590.1"), ("beta", Outcome.UPGRADED, "590.1")], DONE)
    assert hosts.runs == [
        "plan alpha,beta 590",
        "provision alpha 590",
        "verify alpha 590",
        "provision beta 590",
        "verify beta 590",
    ]
    assert all(
        "nvidia_driver_newest" in settings(request) for request in hosts.requests if request.operation != "verify"
    )
    assert hosts.questions == [
        "alpha: driver 590.1 goes to the newest release of 590, where apt finds a newer one\n"
        "beta: driver 590.0 goes to the newest release of 590, where apt finds a newer one\n"
        "One host after the other. Go on?"
    ]


def test_consent_is_asked_for_what_a_dry_run_cannot_see() -> None:
    # It looks at the package lists that are there; the real run fetches new ones.
    unseen = Hosts(present={"alpha": "590", "beta": "590"}, in_sync=True, agrees=None)
    assert "--yes" in refused(unseen, RefusedError)


@pytest.mark.parametrize("where", ["provision", "verify"])
def test_a_release_of_the_same_branch_that_fails_has_no_way_back(where: str) -> None:
    hosts = Hosts({f"{where} alpha 590": CHECK_FAILED}, present={"alpha": "590", "beta": "580"})
    assert hosts.upgrade() == (
        [("alpha", Outcome.FAILED, "590"), ("beta", Outcome.NOT_BEGUN, "580.1")],
        CHECK_FAILED,
    )
    assert hosts.runs[-1] == f"{where} alpha 590"


def test_the_line_that_names_another_branch_is_shown() -> None:
    write(Path("inventories/rig/group_vars/gpu.yml"), '---\n# Ours.\nnvidia_driver_branch: "580"\n')
    hosts = Hosts()
    hosts.upgrade()
    assert len(hosts.left_to_do) == 1
    assert "group_vars/gpu.yml:3: set nvidia_driver_branch" in hosts.left_to_do[0]


def refused(hosts: Hosts, error: type[Exception], limit: Sequence[str] = ()) -> str:
    with pytest.raises(error) as raised:
        hosts.upgrade(limit=tuple(limit))
    assert not [run for run in hosts.runs if run.startswith(("provision", "verify"))]
    return str(raised.value)


@pytest.mark.parametrize("release", ["580.95.05", "580.95"])
def test_a_host_that_is_kept_at_a_release_is_named_before_anything_is_planned(release: str) -> None:
    write(Path("inventories/rig/host_vars/beta.yml"), f"---\nnvidia_driver_version: {release}\n")
    hosts = Hosts()

    said = refused(hosts, RefusedError)

    assert said.startswith(f"Nothing was changed: beta keeps {release} by nvidia_driver_version (")
    assert "/host_vars/beta.yml:2). Make it empty or a release of 590 there, or leave the host out with --l" in said
    assert hosts.runs == []
    assert hosts.upgrade(limit=("alpha",))[0] == [("alpha", Outcome.UPGRADED, "590.1")]


def test_a_release_of_the_new_branch_is_where_hosts_go() -> None:
    write(Path("inventories/rig/host_vars/beta.yml"), "nvidia_driver_version: 590.48.01\n")

    assert Hosts().upgrade()[0] == [("alpha", Outcome.UPGRADED, "590.1"), ("beta", Outcome.UPGRADED, "590.1")]
    # The newest release of the branch may be another.
    said = refused(Hosts(present={"alpha": "590", "beta": "590"}), RefusedError)
    assert "beta keeps 590.48.01" in said
    assert "Make it empty there" in said


def test_what_release_a_template_stands_for_is_left_to_the_role() -> None:
    write(Path("inventories/rig/group_vars/all.yml"), 'nvidia_driver_version: "{{ ours }}"\n')

    assert Hosts().upgrade()[0] == [("alpha", Outcome.UPGRADED, "590.1"), ("beta", Outcome.UPGRADED, "590.1")]


def test_what_changes_nothing() -> None:
    assert "apt failed" in refused(Hosts({"plan alpha,beta 590": FAILED}), RefusedError)
    assert "--yes" in refused(Hosts(agrees=None), RefusedError)
    assert refused(Hosts(agrees=False), RefusedError) == "Nothing was changed."
    assert "beta: no driver is installed" in refused(Hosts(present={}), UsageError, ["beta"])
    with pytest.raises(UsageError, match=r"There is no driver branch banana\. Maintained are 580, "):
        Hosts().upgrade("banana")
    assert "none is in group gpu" in refused(Hosts(), UsageError, ["gamma"])
