"""Bring every host of an inventory to its declared state."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from dlhost.errors import ExitCode
from dlhost.operations.init import CA
from dlhost.operations.run import Finished, Outside, Request, conclude, execute
from dlhost.render import documents
from dlhost.values.inventory import Host
from dlhost.values.run import Afterwards, HostStatus, RunReport
from dlhost.values.services import Offer, Trust, WayIn, ways_in


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What a provisioning run did, where its log is, and what it leaves to the user."""

    finished: Finished
    log: Path
    exit_code: ExitCode
    afterwards: Afterwards


def provision(request: Request, outside: Outside) -> Provisioned:
    """Run the site playbook; every error that `execute` raises passes through."""
    finished = execute(request, outside)
    ways = tuple(way for host in finished.inventory.hosts for way in _ways_in(host, finished))
    afterwards = Afterwards(
        left_to_do=left_to_do(finished.report),
        ways_in=ways,
        trust=_trust(finished, {way.host for way in ways if way.url}),
        unknown=tuple(offer.error for offer in finished.offers.values() if offer.error),
        next_steps=next_steps(finished),
    )
    code = exit_code(finished.report)
    document = documents.run_document(finished.record, finished.report, code, afterwards)
    return Provisioned(finished, conclude(finished, code, document), code, afterwards)


def exit_code(report: RunReport) -> ExitCode:
    """A run that went well is not the end of it where something is left that only the user can do."""
    if report.exit_code is ExitCode.DONE and left_to_do(report):
        return ExitCode.USER_MUST_ACT
    return report.exit_code


def left_to_do(report: RunReport) -> tuple[str, ...]:
    """What only the user can do: what roles said, and the port that the inventory should name."""
    said = [f"{host.host}: {action}" for host in report.hosts for action in host.actions_needed]
    moved = [
        f"SSH on {host.host} moved: set ansible_port: {host.moved_to_port} in the inventory."
        for host in report.hosts
        if host.moved_to_port is not None
    ]
    return (*said, *moved)


def next_steps(finished: Finished) -> tuple[str, ...]:
    """The command that comes next, and what for."""
    name, report = finished.record.inventory, finished.report
    if report.interrupted:
        step = (
            f"dlhost provision -i {name} --check   looks anew"
            if report.check
            else f"dlhost provision -i {name}   finishes what was interrupted"
        )
    elif report.hosts_that_are(HostStatus.FAILED) or report.hosts_that_are(HostStatus.UNREACHABLE):
        step = (
            f"dlhost provision -i {name} --check   once the cause is mended; looks anew"
            if report.check
            else f"dlhost provision -i {name}   once the cause is mended; it goes on where this run ended"
        )
    elif report.check:
        changed = any(host.changed for host in report.hosts)
        step = f"dlhost provision -i {name}   applies this" if changed else "Nothing to do."
    else:
        step = f"dlhost verify -i {name}   proves that it works"
    return (step,)


def _ways_in(host: Host, finished: Finished) -> list[WayIn]:
    offer = finished.offers.get(host.name, Offer())
    which = "" if finished.everything and len(finished.inventory.hosts) == 1 else f" --host {host.name}"
    return ways_in(host, offer, finished.schemas, f"-i {finished.record.inventory}{which}")


def _trust(finished: Finished, hosts: Container[str]) -> Trust | None:
    """The inventory's own authority, where it certifies the web front of one of the hosts."""
    certificate = finished.inventory.location.directory / CA
    certified = any(host.has_own_authority for host in finished.inventory.hosts if host.name in hosts)
    if not certified or not certificate.exists():
        return None
    return Trust(certificate, f"dlhost ca trust -i {finished.record.inventory}")
