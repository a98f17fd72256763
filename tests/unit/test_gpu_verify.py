"""What the checks of the GPU roles make of hosts: each passes on one that is right, and fails on one that is not.

The roles' own report tasks run, on looks and probes made by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlhost.adapters.ansible_env import plugin_util
from tests.unit.cuda_world import ADA, alternatives, facts
from tests.unit.nvidia_host import NEWEST, RUNNING, limited, module, over, package, with_driver
from tests.unit.plays import results, rules_of

Verdicts = dict[str, dict[str, dict[str, str]]]


def verdicts(directory: Path, role: str, hosts: dict[str, dict[str, Any]]) -> Verdicts:
    """Host to check to its result; each host is told by the variables that the role's look and probes would set."""
    verify = yaml.safe_load((Path(__file__).parents[2] / "roles" / role / "tasks" / "verify.yml").read_text())
    tasks = [rules_of(role), verify[-1]]
    known = {"ansible_python_interpreter": sys.executable}
    return {
        host: {check["id"].removeprefix(f"{role}."): check for check in result["dlhost_checks"]}
        for _task, host, result in results(directory, {name: known | told for name, told in hosts.items()}, tasks)
        if "dlhost_checks" in result
    }


def failing(checks: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, check in checks.items() if check["result"] == "fail"}


# Role nvidia_driver

# Secure Boot is on, and the firmware has the key: so that there is something to check.
TRUSTED: dict[str, Any] = {
    "secure_boot": "enabled",
    "mok": {"key": "/var/lib/dkms/mok.pub", "enrolled": True},
    "module": {"installed": {RUNNING: module(signed=True)}},
    "kernel": {"packages": {"mokutil": package("0.6.0-2")}},
}
BOTH_KERNELS = {"installed": [RUNNING, NEWEST], "newest": NEWEST, "headers": [RUNNING, NEWEST]}
DAEMON = "nvidia-persistenced.service"
# What is other than right, the checks that fail for it, and the reason that the first of them gives.
DRIVERS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "right": ({}, [], ""),
    "older module runs": (
        {"module": {"loaded": "580.65.06"}},
        ["module_runs", "versions"],
        "580.65.06 runs, 580.95.05 is installed",
    ),
    "other flavour runs": (
        {"module": {"loaded_flavour": "proprietary"}},
        ["flavour"],
        "the one that runs is proprietary",
    ),
    "nothing runs": (
        {"module": {"loaded": "", "loaded_flavour": ""}},
        ["module_runs", "flavour", "versions"],
        "none runs, 580.95.05 is installed",
    ),
    "older libraries": ({"user_space": "580.65.06"}, ["versions"], "user_space 580.65.06, smi 580.95.05"),
    "older nvidia-smi": ({"smi": {"driver_version": "580.65.06"}}, ["versions"], "smi 580.65.06"),
    "a GPU is not seen": ({"smi": {"gpus": [{}]}}, ["gpus"], "it sees 1 of 2"),
    "nvidia-smi fails": (
        {"smi": {"ran": False, "error": "Failed to initialize NVML"}},
        ["gpus"],
        "Failed to initialize NVML",
    ),
    "nouveau runs": ({"nouveau_loaded": True}, ["nouveau"], "it is loaded"),
    "nouveau would be loaded": (
        {"kernel": {"stale_initramfs": [RUNNING]}},
        ["nouveau"],
        f"the initramfs of {RUNNING} is older than the blacklist",
    ),
    "key is not enrolled": (
        {"mok": {"enrolled": False}, "module": {"loaded": "", "loaded_flavour": ""}},
        ["secure_boot", "module_runs", "flavour", "versions"],
        "/var/lib/dkms/mok.pub is not enrolled",
    ),
    "daemon does not run": ({"units": {DAEMON: {"active": "failed"}}}, ["persistence"], '"active": "failed"'),
    "daemon does not come back": (
        {"units": {DAEMON: {"enabled": "disabled"}}},
        ["persistence"],
        '"enabled": "disabled"',
    ),
    "next kernel has no module": (
        {"kernel": BOTH_KERNELS},
        ["module_there", "versions"],
        f"Kernel {NEWEST}, which the next boot starts, has no NVIDIA module 580.95.05",
    ),
    "apt would take another branch": ({"candidate": "610.43.02-1"}, ["pinned"], "it would take 610.43.02-1"),
    "the night takes another": ({"blacklist": ["nvidia-"]}, ["unattended_upgrades"], "its blacklist is nvidia-"),
    "limited": ({"watts": 300, **limited("300.00", "300.00")}, [], ""),
    "another limit": ({"watts": 300, **limited("300.00", "450.00")}, ["power_limit"], "GPU 1 has 450.00 W"),
    "no limit to be read": ({"watts": 300, **limited()}, ["gpus", "power_limit"], ""),
    "limit that a boot ends": (
        {"watts": 300, **limited("300.00", "300.00", active="inactive")},
        ["power_limit"],
        "dlhost-nvidia-power.service is inactive",
    ),
    "a file differs": ({"changed_paths": ["/etc/a"]}, ["files"], "/etc/a differ"),
    "not held": (
        {"packages": {"nvidia-driver-cuda": package("580.95.05-1")}},
        ["held"],
        "nvidia-driver-cuda not held",
    ),
}
OF_GPUS = ["module_runs", "flavour", "versions", "gpus", "secure_boot", "persistence"]


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    blacklist = list(plugin_util("nvidia_driver_plan").BLACKLIST)

    def told(
        *cards: str,
        blacklist: list[str] = blacklist,
        candidate: str = "580.95.05-1",
        changed_paths: tuple[str, ...] = (),
        watts: int = 0,
        **differs: Any,
    ) -> dict[str, Any]:
        return {
            "nvidia_driver_source": "nvidia",
            "nvidia_driver_allow_no_gpu": True,
            "nvidia_driver_power_limit_watts": watts,
            "__nvidia_driver_look": {"nvidia": over(with_driver(*cards, **TRUSTED), differs)},
            "__nvidia_driver_compared": {"changed_paths": changed_paths},
            "__nvidia_driver_apt": {"stdout_lines": [*blacklist, f"={candidate}"]},
        }

    hosts = {name: told("T4", "T4", **differs) for name, (differs, _failing, _reason) in DRIVERS.items()}
    hosts["no card"] = told()
    hosts["container"] = told("T4", container=True)
    return verdicts(tmp_path_factory.mktemp("driver"), "nvidia_driver", hosts)


@pytest.mark.parametrize(("name", "wrong", "reason"), [(name, *case[1:]) for name, case in DRIVERS.items()])
def test_a_driver_that_is_not_right_fails_where_it_is_not(
    drivers: Verdicts, name: str, wrong: list[str], reason: str
) -> None:
    checks = drivers[name]

    assert failing(checks) == set(wrong)
    # No framework is to compute, and not every host has a limit; everything else is judged.
    assert {check for check in checks if checks[check]["result"] == "skip"} <= {"computes", "newest", "power_limit"}
    for check in wrong[:1]:
        assert reason in checks[check]["reason"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no card", "no NVIDIA GPU is on the PCI bus"), ("container", "a container has no kernel of its own")],
)
def test_where_no_driver_can_run_nothing_is_said_to(drivers: Verdicts, name: str, reason: str) -> None:
    checks = drivers[name]

    assert {(checks[check]["result"], checks[check]["reason"]) for check in OF_GPUS} == {("skip", reason)}
    assert failing(checks) == set()


# Role cuda_toolkit

HOME = "/usr/local/cuda-{}"
PATH = "/usr/local/cuda/bin:/usr/bin"
OLD_CARD = "nvcc fatal: Unsupported gpu architecture 'compute_89'"
TOOLKITS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "right": ({}, [], ""),
    "another release": ({"release": "12.6"}, ["release"], "/usr/local/cuda-12.9/bin/nvcc 12.6 ; /usr/local/cuda-13.0"),
    "no compiler": (
        {"release": "", "problem": "cannot be run (No such file or directory)", "computed": 0},
        ["release", "compiles", "computes"],
        "cannot be run (No such file or directory)",
    ),
    "no code for the card": (
        {"uncompiled": {"sm_89": OLD_CARD}, "computed": 0},
        ["compiles", "computes"],
        OLD_CARD,
    ),
    "one GPU of two computes": (
        {"computed": 1, "miscomputed": ["GPU 1 NVIDIA GeForce RTX 4090: wrong numbers"]},
        ["computes"],
        "GPU 1 NVIDIA GeForce RTX 4090: wrong numbers",
    ),
    "shells do not find it": ({"login_path": "/usr/bin"}, ["shells"], "its PATH is /usr/bin"),
    "services do not find it": ({"service_path": "/usr/bin"}, ["services"], "its PATH is /usr/bin"),
    "another release's libraries": (
        {"linked": f"{HOME.format('12.9')}/lib64/libcudart.so.12.9.79"},
        ["libraries"],
        "it finds /usr/local/cuda-12.9/lib64/libcudart.so.12.9.79",
    ),
    "no libraries": ({"linked": ""}, ["libraries"], "it finds none"),
    "another default": ({"home": HOME.format("12.9")}, ["default"], "it is /etc/alternatives/cuda"),
}


@pytest.fixture(scope="module")
def toolkits(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    releases = ["12.9", "13.0"]
    homes = [HOME.format(release) for release in releases]

    def told(
        driver: str = "580.95.05",
        home: str = homes[-1],
        login_path: str = PATH,
        service_path: str = PATH,
        linked: str = f"/usr/lib/x86_64-linux-gnu/libcudart.so.11.0 {homes[-1]}/lib64/libcudart.so.13.0.96 ",
        **first: Any,
    ) -> dict[str, Any]:
        """A host with both releases and two cards; `first` is what the probe says otherwise of the first compiler."""
        seen = facts(ADA, ADA, driver=driver, cuda_toolkit_12_9="12.9.1-1", cuda_toolkit_13_0="13.0.2-1")
        pairs = [
            ("link", "/etc/alternatives/cuda"),
            ("host_compiler", "installed"),
            ("login_path", login_path),
            ("service_path", service_path),
            ("linked", linked),
            *alternatives(home, *homes),
        ]
        compilers: list[dict[str, Any]] = [
            {
                "nvcc": f"{path}/bin/nvcc",
                "release": release,
                "problem": "",
                "uncompiled": {},
                "computed": 2 if driver else 0,
                "miscomputed": [],
            }
            for release, path in zip(releases, homes, strict=True)
        ]
        return {
            "cuda_toolkit_versions": releases,
            "cuda_toolkit_ld_so_conf": True,
            "__cuda_toolkit_facts": {"nvidia": seen},
            "__cuda_toolkit_look": {"stdout": printed(pairs)},
            "__cuda_toolkit_compared": {"changed_paths": []},
            "__cuda_toolkit_probe": {"compilers": [compilers[0] | first, compilers[1]]},
        }

    hosts = {name: told(**differs) for name, (differs, _failing, _reason) in TOOLKITS.items()}
    hosts["no driver"] = told(driver="")
    return verdicts(tmp_path_factory.mktemp("toolkit"), "cuda_toolkit", hosts)


def printed(pairs: list[tuple[str, str]]) -> str:
    """The lines of a role's own look."""
    return "".join(f"dlhost:{name}={value}\n" for name, value in pairs)


@pytest.mark.parametrize(("name", "wrong", "reason"), [(name, *case[1:]) for name, case in TOOLKITS.items()])
def test_a_toolkit_that_is_not_right_fails_where_it_is_not(
    toolkits: Verdicts, name: str, wrong: list[str], reason: str
) -> None:
    checks = toolkits[name]

    assert failing(checks) == set(wrong)
    assert "skip" not in {check["result"] for check in checks.values()}
    for check in wrong[:1]:
        assert reason in checks[check]["reason"]


# Role cudnn

VERSIONS = {"12": "9.15.1", "13": "9.15.1"}
CUDNNS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "right": ({}, [], ""),
    "another library": ({"version": "9.10.2"}, ["version"], "the libraries say {'12': '9.10.2', '13': '9.15.1'}"),
    "library does not load": (
        {"version": "", "problem": "libcudnn.so.9: file too short", "computed": 0},
        ["version", "computes"],
        "libcudnn.so.9: file too short",
    ),
    "another header": ({"headers": VERSIONS | {"12": "9.10.2"}}, ["headers"], "the headers say {'12': '9.10.2'"),
    "no header": ({"headers": {"12": "9.15.1"}}, ["headers"], "the headers say {'12': '9.15.1'}"),
    "one GPU of two computes": (
        {"computed": 1, "miscomputed": ["GPU 1 NVIDIA GeForce RTX 4090: wrong numbers"]},
        ["computes"],
        "GPU 1 NVIDIA GeForce RTX 4090: wrong numbers",
    ),
}


@pytest.fixture(scope="module")
def cudnns(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    def told(driver: str = "580.95.05", headers: dict[str, str] = VERSIONS, **first: Any) -> dict[str, Any]:
        """A host with cuDNN for both and two cards; `first` is what the probe says otherwise of the first library."""
        names = [f"libcudnn9_{part}cuda_{major}" for part in ("", "dev_", "headers_") for major in VERSIONS]
        seen = facts(ADA, ADA, driver=driver, held=True, **dict.fromkeys(names, "9.15.1.9-1"))
        pairs = [("library", f"{major}|/usr/lib/libcudnn/{major}/libcudnn.so.9") for major in VERSIONS]
        pairs += [("header", f"{major}|{version}") for major, version in headers.items()]
        library: dict[str, Any] = {
            "version": "9.15.1",
            "problem": "",
            "computed": 2 if driver else 0,
            "miscomputed": [],
        }
        return {
            "cudnn_cuda_majors": [12, 13],
            "cudnn_dev": True,
            "cudnn_toolkits": ["12.9", "13.0"],
            "__cudnn_facts": {"nvidia": seen},
            "__cudnn_look": {"stdout": printed(pairs)},
            "__cudnn_probe": {"libraries": [library | first, library]},
        }

    hosts = {name: told(**differs) for name, (differs, _failing, _reason) in CUDNNS.items()}
    hosts["no driver"] = told(driver="")
    return verdicts(tmp_path_factory.mktemp("cudnn"), "cudnn", hosts)


@pytest.mark.parametrize(("name", "wrong", "reason"), [(name, *case[1:]) for name, case in CUDNNS.items()])
def test_a_cudnn_that_is_not_right_fails_where_it_is_not(
    cudnns: Verdicts, name: str, wrong: list[str], reason: str
) -> None:
    checks = cudnns[name]

    assert failing(checks) == set(wrong)
    assert "skip" not in {check["result"] for check in checks.values()}
    for check in wrong[:1]:
        assert reason in checks[check]["reason"]


def test_without_a_driver_nothing_is_said_to_compute(toolkits: Verdicts, cudnns: Verdicts) -> None:
    for checks in (toolkits["no driver"], cudnns["no driver"]):
        assert checks["computes"]["result"] == "skip"
        assert "no NVIDIA driver runs" in checks["computes"]["reason"]
        assert failing(checks) == set()
