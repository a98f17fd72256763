"""What the collection knows of NVIDIA's stack: its look at a host, its compatibility table, its role's plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlhost.adapters import openssh
from dlhost.adapters.ansible_env import plugin_util
from dlhost.errors import UnreachableError, UsageError
from dlhost.values.doctor import Advice
from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact

ROLES = ("nvidia_repo", "nvidia_driver", "cuda_toolkit", "cudnn")
# Twenty seconds are nvidia-smi's.
TIMEOUT_S = 60
LAST_WORD = "complete=yes"


def script(sysfs: str) -> str:
    """The look for a host's sh; `sysfs` is where GPUs are looked for."""
    text: str = plugin_util("nvidia_facts").script(sysfs=sysfs)
    return text


def facts(printed: str) -> dict[str, Any]:
    """What the look printed, as module nvidia_facts documents it."""
    found: dict[str, Any] = plugin_util("nvidia_facts").facts(printed, plugin_util("compatibility").load().card)
    return found


def require_branch(branch: str) -> None:
    """See that the compatibility table has a branch.

    Raises:
        UsageError: It has not; the branches that are maintained are named.
    """
    table = plugin_util("compatibility").load()
    if table.branch(branch) is None or not branch.isdecimal():
        today = datetime.now(UTC).date()
        maintained = [each.name for each in table.branches if each.is_maintained(today)]
        raise UsageError(f"There is no driver branch {branch}. Maintained are {', '.join(maintained)}.")


def refusals(host: Host, roles: Mapping[str, Mapping[str, Any]], control_path_dir: Path) -> tuple[str, ...]:
    """What the GPU roles would refuse of a host, before one of them or of those before them changes anything.

    Of a host that does not answer it says nothing: the run tells.
    """
    sysfs = str(roles.get("nvidia_driver", {}).get("nvidia_driver_sysfs") or "/sys")
    looked = openssh.ask(host, control_path_dir, _whole(sysfs), TIMEOUT_S)
    if looked.contact is not Contact.REACHED or not looked.printed.endswith(f"{LAST_WORD}\n"):
        return ()
    return advise(facts(looked.printed), roles).refusals


def driver_release(host: Host, control_path_dir: Path) -> str:
    """The version of the driver that is installed on a host, such as 580.95.05; empty where there is none.

    Raises:
        UnreachableError: It does not answer.
    """
    looked = openssh.ask(host, control_path_dir, _whole("/sys"), TIMEOUT_S)
    if looked.contact is not Contact.REACHED:
        raise UnreachableError(f"{host.name} {looked.why}.")
    return _package_version(facts(looked.printed)["packages"])


def _whole(sysfs: str) -> str:
    """The look with a last word, so that one that was cut is known."""
    return f"(\n{script(sysfs)}\n)\necho {LAST_WORD}\n"


def branch_of(release: str) -> str:
    """The branch of a driver's version: 580 of 580.95.05."""
    branch: str = plugin_util("compatibility").branch_of(release)
    return branch


def advise(gpu: Mapping[str, Any], roles: Mapping[str, Mapping[str, Any]]) -> Advice:
    """What the GPU roles would say of a host, in their own words; `roles` are those that it gets, with settings."""
    table = plugin_util("compatibility").load()
    cards = [table.card(card["device_id"], card["name"]) for card in gpu["gpus"]]
    driver = _settings("nvidia_driver", roles)
    branch = str(driver["branch"]) if "branch" in driver else None
    judged = {f"{role}_{name}": roles[role].get(f"{role}_{name}") for role in roles for name in _judged(role)}
    templates = sorted(name for name, value in judged.items() if "{{" in str(value))
    refusals: list[str] = []
    warnings: list[str] = []
    if driver and not templates:
        if "nvidia_repo" in roles:
            repository = _plan("nvidia_repo", _settings("nvidia_repo", roles), gpu, table)
            refusals.append(repository["refusal"])
            # The playbook hands it on.
            driver["source"] = repository["source"]
        planned = _plan("nvidia_driver", driver, gpu, table)
        warnings += planned["warnings"]
        refusals.append(planned["refusal"])
    if not templates:
        refusals += _toolkit_refusals(table, cards, roles, branch)
    verdict = table.verdict(
        cards, None if templates else branch, "auto" if templates else driver.get("kernel_module", "auto")
    )
    return Advice(
        refusals=tuple(filter(None, refusals)),
        warnings=tuple(warnings),
        unjudged=f"only a run can tell, since templates set {', '.join(templates)}" if templates else "",
        nearest=", ".join(_parts(verdict)),
        package_version=_package_version(gpu["packages"]),
    )


def _judged(role: str) -> Iterable[str]:
    """Those variables of a role that its advice depends on."""
    if role in {"nvidia_repo", "nvidia_driver"}:
        return [field.name for field in dataclasses.fields(plugin_util(f"{role}_plan").Settings)]
    return {"cuda_toolkit": ["versions"], "cudnn": ["cuda_majors"]}.get(role, [])


def _plan(role: str, settings: Mapping[str, Any], gpu: Mapping[str, Any], table: Any) -> Any:
    """What the role would do here, or why not."""
    module = plugin_util(f"{role}_plan")
    wanted = module.Settings(**{name: settings[name] for name in _judged(role)})
    return module.plan(gpu, wanted, table, datetime.now(UTC).date())


def _toolkit_refusals(
    table: Any, cards: Any, roles: Mapping[str, Mapping[str, Any]], branch: str | None
) -> Iterator[str]:
    for release in _settings("cuda_toolkit", roles).get("versions", ()):
        yield table.cuda_refusal(cards, str(release), branch)
    for major in _settings("cudnn", roles).get("cuda_majors", ()):
        yield table.cudnn_refusal(cards, int(major))


def _settings(role: str, roles: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A role's variables without its prefix."""
    return {name.removeprefix(f"{role}_"): value for name, value in roles.get(role, {}).items()}


def _parts(verdict: Any) -> Iterator[str]:
    """The nearest combination that works."""
    if verdict.branch is None:
        yield "no driver that still gets fixes drives all these cards"
        return
    yield f"driver {verdict.branch.name} ({verdict.kernel_module} kernel module)"
    if verdict.cuda:
        yield f"CUDA {verdict.cuda.release}"
    if verdict.cudnn:
        yield f"cuDNN {verdict.cudnn.last or verdict.cudnn.release} for CUDA {verdict.cudnn.cuda_major}"
    for build in verdict.builds.values():
        yield f"{build.framework} {build.release} ({build.wheel})"


def _package_version(packages: Mapping[str, Mapping[str, Any]]) -> str:
    """The driver's version as its packages tell it, that of the kernel module's first."""
    names = plugin_util("nvidia_driver_packages")
    versions, present = names.there(packages), names.installed(packages)
    first = [present.kernel] if present else []
    # Tools beside the driver, such as nvidia-settings, have versions of their own.
    others = sorted(name for name in versions if name.startswith(("libcuda1", "libnvidia-ml", "libnvidia-compute")))
    return next((version for name in [*first, *others] if (version := str(names.upstream(versions[name])))), "")
