"""A run of one playbook: what is asked, what happens event by event, and the report folded from that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dlhost.errors import ExitCode
from dlhost.values.checks import Check, CheckResult
from dlhost.values.redaction import Redaction
from dlhost.values.services import Trust, WayIn

# What a role says with this is meant for the user, as what is written of a task that only ran is not.
SAYS = "ansible.builtin.debug"
# The one with which it refuses; after a failure of another task it only says why.
REFUSES = "ansible.builtin.fail"


@dataclass(frozen=True, slots=True)
class PlaybookRun:
    """One playbook against one inventory. Passwords are None where Ansible needs none.

    `ports` are SSH ports that answered where the inventory's own did not, by host. Every event of the run passes
    through `redaction` before anyone sees it.
    """

    playbook: str
    inventory: Path
    check: bool = False
    limit: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    verbosity: int = 0
    forks: int = 20
    ports: Mapping[str, int] = field(default_factory=dict)
    vault_password_file: Path | None = None
    vault_password: str | None = field(default=None, repr=False)
    become_password: str | None = field(default=None, repr=False)
    redaction: Redaction = field(default=Redaction(), repr=False)


class Outcome(StrEnum):
    """How a task ended on one host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class FileDiff:
    """Two texts of one thing, named by Ansible's headers; `prepared` is a diff that a module made itself."""

    header: str
    before: str = ""
    after: str = ""
    prepared: str = ""


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """A task began on one host; `rules`: it only judges the role's values, as runs do that leave the role out."""

    host: str
    role: str
    task: str
    rules: bool = False


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task ended on one host; `path` is the file and line that define it, `seconds` how long it took.

    `items` name the elements of a loop that changed something; `actions_needed` are sentences on what only the user
    can do; `rules` is as in TaskStarted.
    """

    host: str
    role: str
    task: str
    outcome: Outcome
    path: str = ""
    action: str = ""
    seconds: float = 0.0
    message: str = ""
    diffs: tuple[FileDiff, ...] = ()
    items: tuple[str, ...] = ()
    undetermined: str = ""
    actions_needed: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    rules: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A line of Ansible's own that belongs to no task: a warning, or why it could not start."""

    text: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Ansible's closing word: how many tasks failed on each host, and which hosts were lost."""

    failures: Mapping[str, int]
    dark: Mapping[str, int]


Event = TaskStarted | TaskEnded | Notice | Stats
Listener = Callable[[Event], None]
# The real one is adapters.runner.run_playbook; True where the user interrupted it.
Run = Callable[[PlaybookRun, Listener], bool]


class RoleStatus(StrEnum):
    """What a run did to a role on a host, or in check mode would do.

    `undetermined`: it could not know. `interrupted`: the user ended it within the role.
    """

    IN_SYNC = "in sync"
    CHANGED = "changed"
    UNDETERMINED = "undetermined"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class HostStatus(StrEnum):
    """How a host came out of a run."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Change:
    """One task that changed something, or would."""

    task: str
    diffs: tuple[FileDiff, ...] = ()
    items: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.task}: {', '.join(self.items)}" if self.items else self.task


@dataclass(frozen=True, slots=True)
class RoleReport:
    """One role on one host; `notes` are sentences of the role's own on what the host gets, or does not get, and why."""

    role: str
    status: RoleStatus
    seconds: float = 0.0
    changes: tuple[Change, ...] = ()
    undetermined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a host's run: the task, where it is defined, and its message.

    `refusal`: nothing broke; a role would not go on with what the inventory says or the host is.
    """

    role: str
    task: str
    message: str
    path: str = ""
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class HostReport:
    """One host of a run. `moved_to_port` is the SSH port it listens on now, where the inventory says another."""

    host: str
    status: HostStatus
    roles: tuple[RoleReport, ...] = ()
    checks: tuple[Check, ...] = ()
    failure: Failure | None = None
    moved_to_port: int | None = None
    actions_needed: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """How many tasks changed something, or would."""
        return sum(len(role.changes) for role in self.roles)

    @property
    def failed_checks_only(self) -> bool:
        """Whether it failed for failed checks alone: verify.yml's verdict belongs to no role, a broken check does."""
        found = any(check.result is CheckResult.FAIL for check in self.checks)
        return found and self.status is HostStatus.FAILED and self.failure is not None and not self.failure.role


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run. `complete` is False where Ansible ended without its closing statistics; `notices` say why."""

    hosts: tuple[HostReport, ...]
    check: bool
    complete: bool
    interrupted: bool = False
    notices: tuple[str, ...] = ()

    def hosts_that_are(self, status: HostStatus) -> tuple[HostReport, ...]:
        """The hosts with one status."""
        return tuple(host for host in self.hosts if host.status is status)

    @property
    def refused(self) -> bool:
        """Whether roles refused, and that was before anything was changed on any host."""
        failures = [host.failure for host in self.hosts_that_are(HostStatus.FAILED)]
        refusals_only = all(failure is not None and failure.refusal for failure in failures)
        return bool(failures) and refusals_only and not any(host.changed for host in self.hosts)

    @property
    def exit_code(self) -> ExitCode:
        """The worst thing that happened: an interrupt, then a failed or forgotten host, then a lost one."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.complete and self.refused and not self.hosts_that_are(HostStatus.NOT_REACHED):
            return ExitCode.REFUSED
        if not self.complete or self.hosts_that_are(HostStatus.FAILED) or self.hosts_that_are(HostStatus.NOT_REACHED):
            return ExitCode.TASK_FAILED
        if self.hosts_that_are(HostStatus.UNREACHABLE):
            return ExitCode.UNREACHABLE
        return ExitCode.DONE


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What a run leaves to the user: what must be done still, what can be opened now, and what comes next.

    `unknown` says of which host it is not known what it offers, and why.
    """

    left_to_do: tuple[str, ...] = ()
    ways_in: tuple[WayIn, ...] = ()
    trust: Trust | None = None
    unknown: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


def report(events: Iterable[Event], hosts: Sequence[str], *, check: bool, interrupted: bool) -> RunReport:
    """Fold a run's events into its report; `hosts` are those that were asked for, in their order."""
    events = list(events)
    stats = next((event for event in events if isinstance(event, Stats)), None)
    ended = [event for event in events if isinstance(event, TaskEnded)]
    # The role that each host was in last.
    within = {event.host: event.role for event in events if interrupted and isinstance(event, TaskStarted)}
    return RunReport(
        hosts=tuple(
            _host(name, [event for event in ended if event.host == name], stats, within.get(name, "")) for name in hosts
        ),
        check=check,
        complete=stats is not None,
        interrupted=interrupted,
        notices=tuple(event.text for event in events if isinstance(event, Notice)),
    )


def _host(name: str, ended: list[TaskEnded], stats: Stats | None, cut: str) -> HostReport:
    """One host's report; `cut` is the role within which the run was interrupted there, if it was."""
    status = _host_status(name, ended, stats)
    failure = None
    if status in {HostStatus.FAILED, HostStatus.UNREACHABLE}:
        # A failed task may have been rescued, so it counts only where the host's statistics say so; the last is why.
        failures = [event for event in ended if event.outcome in {Outcome.FAILED, Outcome.UNREACHABLE}]
        failure = Failure("", "", "no reason was given")
        if failures:
            last = failures[-1]
            refusal = failures == [last] and (last.rules or last.action == REFUSES)
            failure = Failure(last.role, last.task, last.message, last.path, refusal)
    # That a role's values are good says nothing of how it is kept, that they are not ends the run.
    telling = [event for event in ended if event.role and (not event.rules or event.outcome is Outcome.FAILED)]
    roles = dict.fromkeys(event.role for event in telling)
    ports = [int(event.facts["ansible_port"]) for event in ended if "ansible_port" in event.facts]
    return HostReport(
        host=name,
        status=status,
        roles=tuple(_role(role, [event for event in ended if event.role == role], failure, cut) for role in roles),
        checks=tuple(check for event in ended for check in event.checks),
        failure=failure,
        moved_to_port=ports[0] if ports else None,
        # A sentence that several tasks said is said once.
        actions_needed=tuple(dict.fromkeys(action for event in ended for action in event.actions_needed)),
    )


def _host_status(name: str, ended: list[TaskEnded], stats: Stats | None) -> HostStatus:
    """The statistics' word where there are any: they know of a rescue, and of a failure whose event went missing."""
    outcomes = {event.outcome for event in ended}
    if stats.dark.get(name) if stats else Outcome.UNREACHABLE in outcomes:
        return HostStatus.UNREACHABLE
    if stats.failures.get(name) if stats else Outcome.FAILED in outcomes:
        return HostStatus.FAILED
    return HostStatus.OK if ended else HostStatus.NOT_REACHED


def _role(role: str, ended: list[TaskEnded], failure: Failure | None, cut: str) -> RoleReport:
    changes = tuple(Change(event.task, event.diffs, event.items) for event in ended if event.outcome is Outcome.CHANGED)
    undetermined = tuple(event.undetermined for event in ended if event.undetermined)
    if failure is not None and failure.role == role:
        status = RoleStatus.FAILED
    elif role == cut:
        status = RoleStatus.INTERRUPTED
    elif changes:
        status = RoleStatus.CHANGED
    else:
        status = RoleStatus.UNDETERMINED if undetermined else RoleStatus.IN_SYNC
    notes = tuple(event.message for event in ended if event.action == SAYS and event.outcome is Outcome.OK)
    return RoleReport(role, status, sum(event.seconds for event in ended), changes, undetermined, notes)
