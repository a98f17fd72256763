"""Bring every host of an inventory to its declared state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlhost.errors import ExitCode
from dlhost.operations.run import Finished, Outside, Request, conclude, execute
from dlhost.render import documents
from dlhost.values.run import HostStatus, RunReport


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What a provisioning run did, where its log is, and what the user should do next, one sentence each."""

    finished: Finished
    log: Path
    exit_code: ExitCode
    next_steps: tuple[str, ...]


def provision(request: Request, outside: Outside) -> Provisioned:
    """Run the site playbook; every error that `execute` raises passes through."""
    finished = execute(request, outside)
    code, steps = exit_code(finished.report), next_steps(finished)
    document = documents.run_document(finished.record, finished.report, code, steps)
    return Provisioned(finished, conclude(finished, code, document), code, steps)


def exit_code(report: RunReport) -> ExitCode:
    """A run that went well is not the end of it where the inventory names another SSH port than the host has."""
    if report.exit_code is ExitCode.DONE and any(host.moved_to_port for host in report.hosts):
        return ExitCode.USER_MUST_ACT
    return report.exit_code


def next_steps(finished: Finished) -> tuple[str, ...]:
    """What the run leaves to the user."""
    name, report = finished.record.inventory, finished.report
    steps = [
        f"SSH on {host.host} moved: set ansible_port: {host.moved_to_port} in the inventory."
        for host in report.hosts
        if host.moved_to_port is not None
    ]
    if report.interrupted:
        steps.append(f"dlhost provision -i {name}   finishes what was interrupted")
    elif report.hosts_that_are(HostStatus.FAILED) or report.hosts_that_are(HostStatus.UNREACHABLE):
        steps.append(f"dlhost provision -i {name}   once the cause is mended; it goes on where this run ended")
    elif report.check:
        changed = any(host.changed for host in report.hosts)
        steps.append(f"dlhost provision -i {name}   applies this" if changed else "Nothing to do.")
    else:
        steps.append(f"dlhost verify -i {name}   proves that it works")
    return tuple(steps)
