"""Say where hosts are no longer as the inventory says, without changing anything on them."""

from __future__ import annotations

from dlhost.errors import ExitCode
from dlhost.operations.run import Judged, Outside, Request, conclude, execute
from dlhost.render import documents
from dlhost.values.run import RoleStatus, RunReport


def drift(request: Request, outside: Outside) -> Judged:
    """Run the site playbook in check mode; every error that `execute` raises passes through."""
    finished = execute(request, outside)
    code = exit_code(finished.report)
    document = documents.drift_document(finished.record, finished.report, code)
    return Judged(finished, conclude(finished, code, document), code)


def exit_code(report: RunReport) -> ExitCode:
    """A role that could not be judged counts as drift: exit 0 says that everything is known to be in sync."""
    statuses = {role.status for host in report.hosts for role in host.roles}
    if report.exit_code is ExitCode.DONE and statuses & {RoleStatus.CHANGED, RoleStatus.UNDETERMINED}:
        return ExitCode.DRIFT
    return report.exit_code
