"""Prove that what the roles promise holds."""

from __future__ import annotations

from dlhost.errors import ExitCode
from dlhost.operations.run import Judged, Outside, Request, conclude, execute
from dlhost.render import documents
from dlhost.values.checks import CheckResult
from dlhost.values.run import HostStatus, RunReport


def verify(request: Request, outside: Outside) -> Judged:
    """Run every role's verify entry point; every error that `execute` raises passes through."""
    finished = execute(request, outside)
    code = exit_code(finished.report)
    document = documents.verify_document(finished.record, finished.report, code)
    return Judged(finished, conclude(finished, code, document), code)


def exit_code(report: RunReport) -> ExitCode:
    """A failed check has a code of its own; a host whose checks could not all be made has failed as a task does."""
    broken = [host for host in report.hosts_that_are(HostStatus.FAILED) if not host.failed_checks_only]
    if report.interrupted or not report.complete or broken or report.hosts_that_are(HostStatus.NOT_REACHED):
        return report.exit_code
    if any(check.result is CheckResult.FAIL for host in report.hosts for check in host.checks):
        return ExitCode.CHECK_FAILED
    return report.exit_code
