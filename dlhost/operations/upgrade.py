"""Take hosts to another branch of the NVIDIA driver, or to the newest release of theirs.

One after the other, proved, and back to the old branch where the new one does not work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlhost.adapters import content, gpu_stack, inventory_source, openssh
from dlhost.adapters.gpu_stack import branch_of
from dlhost.adapters.xdg import private_place
from dlhost.errors import ExitCode, RefusedError, UnreachableError, UsageError
from dlhost.operations.provision import Provisioned, left_to_do
from dlhost.operations.run import Judged, Request
from dlhost.values.checks import CheckResult
from dlhost.values.inventory import Host, Inventory
from dlhost.values.run import RunReport
from dlhost.values.templates import is_template
from dlhost.values.upgrade import HostUpgrade, Outcome, Upgrade, question

BRANCH = "nvidia_driver_branch"
CONSENT = "nvidia_driver_allow_branch_switch"
NEWEST = "nvidia_driver_newest"
RELEASE = "nvidia_driver_version"
# Where the driver was past its end before, the way back leads there all the same, and a release that the inventory
# names is one of the new branch.
WAY_BACK = {"nvidia_driver_allow_end_of_life": True, RELEASE: ""}
CHANGED = ("nvidia_repo", "nvidia_driver")
PROVED = (*CHANGED, "cuda_toolkit", "cudnn")


@dataclass(frozen=True, slots=True)
class Outside:
    """What it takes of the world beyond values.

    `show` gets the plan before anybody is asked; `ask` and `confirm` are None where nobody can be.
    """

    provision: Callable[[Request], Provisioned]
    verify: Callable[[Request], Judged]
    show: Callable[[Provisioned], None]
    confirm: Callable[[str], bool] | None
    ask: Callable[[str], str] | None = None
    release: Callable[[Host, Path], str] = gpu_stack.driver_release
    close_connections: Callable[[Iterable[Host], Path], None] = openssh.close_connections


def upgrade_driver(name: str, branch: str, limit: tuple[str, ...], outside: Outside) -> Upgrade:
    """Plan, ask, and then for each host: apply, verify, and bring the old branch back where a check fails.

    Raises:
        UsageError: No such branch, inventory or host, or no host with a driver.
        RefusedError: The plan cannot be carried out, or nobody agreed to it; nothing was changed.
    """
    gpu_stack.require_branch(branch)
    inventory, present, without = _present(name, limit, outside)
    _require_free(inventory, branch, present)
    _plan(name, branch, present, outside)
    done: list[HostUpgrade] = []
    for host, before in present:
        if any(other.outcome in {Outcome.FAILED, Outcome.BROUGHT_BACK} for other in done):
            # What went wrong on one host is first to be understood.
            done.append(HostUpgrade(host.name, before, before, Outcome.NOT_BEGUN))
        else:
            done.append(_upgrade(name, branch, host, before, outside))
    reached = {host.host for host in done if host.outcome in {Outcome.UPGRADED, Outcome.NEWEST, Outcome.WAITS}}
    done += [HostUpgrade(host, "", "", Outcome.NOT_BEGUN, ("no driver is installed yet",)) for host in without]
    return Upgrade(branch, tuple(done), tuple(_advice(inventory, branch, reached)))


def _present(
    name: str, limit: tuple[str, ...], outside: Outside
) -> tuple[Inventory, list[tuple[Host, str]], list[str]]:
    """The inventory, the hosts with a driver and its release, and those that are to have one and have none yet."""
    location = inventory_source.find(name)
    inventory = inventory_source.load(location, inventory_source.vault_password(location, outside.ask), limit)
    driver = next(schema for schema in content.role_schemas() if schema.role == "nvidia_driver")
    hosts = [host for host in inventory.hosts if driver.applies_to(host)]
    if not hosts:
        raise UsageError(f"No host gets a driver: none is in group {', '.join(driver.groups)}.")
    present = _releases(hosts, outside)
    without = [host.name for host, release in present if not release]
    if len(without) == len(present):
        raise UsageError(
            f"{', '.join(without)}: no driver is installed, so there is none to upgrade. "
            f"dlhost provision -i {name} installs one where there is a GPU."
        )
    return inventory, [(host, release) for host, release in present if release], without


def _releases(hosts: Sequence[Host], outside: Outside) -> list[tuple[Host, str]]:
    with private_place() as sockets:
        try:
            return [(host, outside.release(host, sockets)) for host in hosts]
        finally:
            outside.close_connections(hosts, sockets)


def _require_free(inventory: Inventory, branch: str, due: Sequence[tuple[Host, str]]) -> None:
    """Refuse where the inventory keeps a host at a release that the upgrade would take it away from."""
    newest = _has_the_branch(branch, due)
    kept = []
    for host, _ in due:
        release = str(host.variables.get(RELEASE, ""))
        # What a template stands for, the role's rules judge.
        if release and not is_template(release) and (newest or branch_of(release) != branch):
            said = [
                setting for setting in inventory.settings if (setting.name, str(setting.value)) == (RELEASE, release)
            ]
            where = ", ".join(f"{setting.file}:{setting.line()}" for setting in said)
            kept.append(f"{host.name} keeps {release} by {RELEASE}{where and f' ({where})'}")
    if kept:
        instead = "empty" if newest else f"empty or a release of {branch}"
        raise RefusedError(
            f"Nothing was changed: {'; '.join(kept)}. Make it {instead} there, or leave the host out with --limit."
        )


def _has_the_branch(branch: str, due: Sequence[tuple[Host, str]]) -> bool:
    """Whether one of the hosts has it already, and goes to its newest release."""
    return any(branch_of(before) == branch for _, before in due)


def _plan(name: str, branch: str, due: Sequence[tuple[Host, str]], outside: Outside) -> None:
    """Show what would change, and see that the user wants it.

    Raises:
        RefusedError: A host cannot have the branch, or nobody agreed.
    """
    settings = {NEWEST: _has_the_branch(branch, due)}
    request = _request("provision", name, branch, [host.name for host, _ in due], settings)
    planned = outside.provision(replace(request, check=True))
    outside.show(planned)
    if planned.exit_code not in {ExitCode.DONE, ExitCode.USER_MUST_ACT}:
        raise RefusedError(f"Nothing was changed: {'; '.join(_reasons(planned.finished.report))}")
    plans = [(host.name, before, branch_of(before) == branch) for host, before in due]
    asked = question(branch, plans)
    if outside.confirm is None:
        raise RefusedError(f"{asked}\nNobody is here to agree to this; say --yes if you do.")
    if not outside.confirm(asked):
        raise RefusedError("Nothing was changed.")


def _upgrade(name: str, branch: str, host: Host, before: str, outside: Outside) -> HostUpgrade:
    old = branch_of(before)

    def ended(outcome: Outcome, after: str, reasons: tuple[str, ...], code: ExitCode) -> HostUpgrade:
        return HostUpgrade(host.name, before, after, outcome, reasons, code)

    try:
        applied = outside.provision(_request("provision", name, branch, [host.name], {NEWEST: old == branch}))
    except RefusedError as error:  # By now something else keeps it; what was done on the hosts before is still told.
        return ended(Outcome.FAILED, before, (str(error),), ExitCode.REFUSED)
    reasons, code = _reasons(applied.finished.report), applied.exit_code
    if code is ExitCode.INTERRUPTED:
        return ended(Outcome.FAILED, branch, ("interrupted; run it again to finish",), code)
    if code is ExitCode.REFUSED:
        return ended(Outcome.FAILED, before, reasons, code)
    if code is ExitCode.UNREACHABLE:
        return ended(Outcome.FAILED, branch, reasons, code)
    if code is ExitCode.USER_MUST_ACT:
        # Until then nothing can be proved.
        return ended(Outcome.WAITS, branch, left_to_do(applied.finished.report), code)
    if code is ExitCode.DONE:
        try:
            [(_, after)] = _releases([host], outside)
        except UnreachableError as error:  # What was done before is still told.
            return ended(Outcome.FAILED, branch, (str(error),), ExitCode.UNREACHABLE)
        outcome = Outcome.NEWEST if after == before else Outcome.UPGRADED
        result = _proved(ended(outcome, after, (), code), branch, name, outside)
        if result.outcome is outcome or result.exit_code is ExitCode.INTERRUPTED:
            return result
        reasons, code = result.reasons, result.exit_code
    if old == branch:
        # Of its own branch, sources keep no release but the newest.
        return ended(Outcome.FAILED, branch, reasons, code)
    back = outside.provision(_request("provision", name, old, [host.name], WAY_BACK))
    brought_back = ended(Outcome.BROUGHT_BACK, old, reasons, code)
    if back.exit_code is ExitCode.USER_MUST_ACT:
        return replace(brought_back, reasons=(*reasons, *left_to_do(back.finished.report)))
    if back.exit_code is ExitCode.DONE:
        with suppress(UnreachableError):  # Its checks tell.
            [(_, after)] = _releases([host], outside)
            brought_back = replace(brought_back, after=after)
        proved = _proved(brought_back, old, name, outside, WAY_BACK)
        if proved.outcome is Outcome.BROUGHT_BACK:
            return proved
        return replace(proved, reasons=(*reasons, f"with branch {old} again", *proved.reasons))
    reasons = (*reasons, f"branch {old} could not be brought back", *_reasons(back.finished.report))
    return ended(Outcome.FAILED, branch, reasons, code)


def _proved(
    upgraded: HostUpgrade, branch: str, name: str, outside: Outside, settings: Mapping[str, Any] | None = None
) -> HostUpgrade:
    """The host as it is if its checks pass, else as one that failed."""
    proved = outside.verify(_request("verify", name, branch, [upgraded.host], settings))
    if proved.exit_code is ExitCode.DONE:
        return upgraded
    interrupted = proved.exit_code is ExitCode.INTERRUPTED
    reasons = ("its checks were interrupted",) if interrupted else _reasons(proved.finished.report)
    return replace(upgraded, outcome=Outcome.FAILED, reasons=reasons, exit_code=proved.exit_code)


def _request(
    operation: str, name: str, branch: str, hosts: Sequence[str], settings: Mapping[str, Any] | None = None
) -> Request:
    is_proof = operation == "verify"
    return Request(
        operation=operation,
        inventory=name,
        playbook=content.VERIFY if is_proof else content.SITE,
        hosts=tuple(hosts),
        roles=PROVED if is_proof else CHANGED,
        extra_vars={BRANCH: branch, CONSENT: True, **(settings or {})},
        arguments=("upgrade", "driver", "--to", branch, "-i", name),
    )


def _reasons(report: RunReport) -> tuple[str, ...]:
    """What went wrong in a run, in its own words."""
    failed = [f"{host.host}: {host.failure.message}" for host in report.hosts if host.failure]
    checks = [
        f"{host.host}: {check.promise}: {check.reason}"
        for host in report.hosts
        for check in host.checks
        if check.result is CheckResult.FAIL
    ]
    return tuple(checks or failed or report.notices)


def _advice(inventory: Inventory, branch: str, reached: set[str]) -> Iterator[str]:
    """Where the inventory still names another branch, which the next run would refuse to go back to."""
    if not reached:
        return
    wrong = [setting for setting in inventory.settings if setting.name == BRANCH and str(setting.value) != branch]
    for setting in wrong:
        yield f'{setting.file}:{setting.line()}: set {BRANCH}: "{branch}", so that the inventory says what is there.'
    unsaid = [host for host in inventory.hosts if host.name in reached and BRANCH not in host.variables]
    if unsaid and content.default_values("nvidia_driver")[BRANCH] != branch:
        file = inventory.location.directory / "group_vars" / "all" / "nvidia_driver.yml"
        yield f'Set {BRANCH}: "{branch}" in {file}, so that the inventory says what is there.'
