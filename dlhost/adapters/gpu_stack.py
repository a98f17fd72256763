"""What the collection knows of NVIDIA's stack: its look at a host, its compatibility table, its role's plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
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


def refusals(
    host: Host, roles: Mapping[str, Mapping[str, Any]], judged: Collection[str], control_path_dir: Path
) -> tuple[str, ...]:
    """What the GPU roles would refuse of a host, before one of them or of those before them changes anything.

    Of a host that does not answer it says nothing: the run tells. `roles` and `judged` are those of advise.
    """
    sysfs = str(roles.get("nvidia_driver", {}).get("nvidia_driver_sysfs") or "/sys")
    looked = openssh.ask(host, control_path_dir, _whole(sysfs), TIMEOUT_S)
    if looked.contact is not Contact.REACHED or not looked.printed.endswith(f"{LAST_WORD}\n"):
        return ()
    return advise(facts(looked.printed), roles, judged).refusals


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


def advise(gpu: Mapping[str, Any], roles: Mapping[str, Mapping[str, Any]], judged: Collection[str] = ROLES) -> Advice:
    """What the GPU roles would say of a host, in their own words.

    Args:
        gpu: What was seen there.
        roles: The GPU roles that it gets, with their variables.
        judged: Those of them whose turn it is; the others are there for what these are told of them.
    """
    table = plugin_util("compatibility").load()
    cards = [table.card(card["device_id"], card["name"]) for card in plugin_util("nvidia_facts").own_gpus(gpu)]
    settings = {role: _settings(role, roles[role]) for role in ROLES if role in roles}
    templates = sorted(
        f"{role}_{name}" for role, values in settings.items() for name, value in values.items() if "{{" in str(value)
    )
    plans = {} if templates else _plans(settings, gpu, table)
    driver = {} if templates else settings.get("nvidia_driver", {})
    verdict = table.verdict(cards, driver.get("branch"), driver.get("kernel_module", "auto"))
    said = [plan for role, plan in plans.items() if role in judged]
    return Advice(
        # Of a distribution that dlhost does not know all roles say the same.
        refusals=tuple(dict.fromkeys(plan["refusal"] for plan in said if plan["refusal"])),
        warnings=tuple(warning for plan in said for warning in plan.get("warnings", ())),
        unjudged=f"only a run can tell, since templates set {', '.join(templates)}" if templates else "",
        nearest=", ".join(_parts(verdict)),
        package_version=_package_version(gpu["packages"]),
    )


def _settings(role: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Those variables of a role that its plan depends on, without its prefix."""
    fields = dataclasses.fields(plugin_util(f"{role}_plan").Settings)
    return {field.name: variables[f"{role}_{field.name}"] for field in fields}


def _plans(settings: Mapping[str, Mapping[str, Any]], gpu: Mapping[str, Any], table: Any) -> dict[str, Any]:
    """What each role would do, or why not, as far as that is known before its own look.

    Of the others each is told what playbooks/vars/given.yml has it told.
    """
    today = datetime.now(UTC).date()
    repository, driver, toolkit, cudnn = (settings.get(role, {}) for role in ROLES)
    releases = [str(release) for release in toolkit.get("versions", ())]
    majors = [int(major) for major in cudnn.get("cuda_majors", ())]
    plans: dict[str, Any] = {}
    # What role nvidia_repo hands on when it is to go.
    source = toolkit_source = {"source": "distro"}
    if repository:
        without_gpu = bool(driver.get("allow_no_gpu") or releases or majors)
        told = {**repository, "without_gpu": without_gpu}
        plans["nvidia_repo"] = _plan("nvidia_repo", told, facts=gpu, table=table, today=today)
        source = {"source": plans["nvidia_repo"]["source"]}
        toolkit_source = {"source": plans["nvidia_repo"]["toolkit_source"]}
    if driver:
        plans["nvidia_driver"] = _plan("nvidia_driver", {**driver, **source}, facts=gpu, table=table, today=today)
    if toolkit:
        told = {**toolkit, **toolkit_source, "versions": releases, "driver": driver.get("branch", "")}
        plans["cuda_toolkit"] = _plan("cuda_toolkit", told, facts=gpu, table=table, pairs=())
    if cudnn:
        told = {**cudnn, **toolkit_source, "cuda_majors": majors, "toolkits": releases}
        plans["cudnn"] = _plan("cudnn", told, facts=gpu, table=table, pairs=())
    return plans


def _plan(role: str, settings: Mapping[str, Any], **known: Any) -> Any:
    module = plugin_util(f"{role}_plan")
    try:
        return module.plan(settings=module.Settings(**settings), **known)
    except plugin_util("compatibility").CompatibilityError as error:
        return {"refusal": str(error)}


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
