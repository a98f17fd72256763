"""What role nvidia_driver makes of values and of hosts, in one dry run in which each has a host of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.nvidia_host import NEWEST, RUNNING, host, module, package, with_driver
from tests.unit.plays import results, rules_of

OPTIONS = "nvidia_driver_module_options takes modules that begin with nvidia"
PYTHONS = "nvidia_driver_computing_pythons takes a list of absolute paths, such as /opt/envs/torch/bin/python"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "version": ({"branch": "580.95.05"}, "nvidia_driver_branch 580.95.05 is no branch"),
    "word": ({"branch": "latest"}, "nvidia_driver_branch latest is no branch"),
    "line": ({"branch": "580\n"}, "is no branch"),
    "version-of-another-branch": (
        {"version": "590.48.01"},
        'nvidia_driver_version 590.48.01 is no release of branch 580; give one in quotes, such as "580.95.05"',
    ),
    "version-that-begins-alike": ({"version": "5801.1"}, "is no release of branch 580"),
    "version-without-quotes": (
        {"version": 580.1},
        "nvidia_driver_version 580.1 is no release of branch 580; give one in quotes",
    ),
    "version-without-a-number": ({"version": "580"}, "is no release of branch 580"),
    "version-pattern": ({"version": "580.*"}, "is no release of branch 580"),
    "version-and-newest": (
        {"version": "580.95.05", "newest": True},
        "nvidia_driver_version keeps the driver at 580.95.05, and nvidia_driver_newest",
    ),
    "limit-below-nothing": ({"power_limit_watts": -1}, "nvidia_driver_power_limit_watts -1 is no card's limit"),
    "limit-of-none": ({"power_limit_watts": 9}, "nvidia_driver_power_limit_watts 9 is no card's limit"),
    "limit-beyond-all": ({"power_limit_watts": 10000}, "is no card's limit"),
    "limit-that-is-forgotten": (
        {"power_limit_watts": 300, "persistence": False},
        "nvidia_driver_power_limit_watts needs nvidia_driver_persistence",
    ),
    "option-as-text": ({"module_options": "modeset=1"}, f"{OPTIONS}, and for each its options with values in one word"),
    "option-without-module": ({"module_options": {"nvidia": 1}}, OPTIONS),
    "option-of-another": ({"module_options": {"nouveau": {"modeset": 1}}}, OPTIONS),
    "option-name": ({"module_options": {"nvidia": {"a b": 1}}}, OPTIONS),
    "option-value": ({"module_options": {"nvidia": {"a": "1 b=2"}}}, OPTIONS),
    "python-as-text": (
        {"computing_pythons": "/opt/envs/torch/bin/python"},
        f"{PYTHONS}; /opt/envs/torch/bin/python is",
    ),
    "python-by-name": ({"computing_pythons": ["/usr/bin/python3", "python"]}, f"{PYTHONS}; python is not like that"),
    "python-of-a-home": ({"computing_pythons": ["~/env/bin/python"]}, f"{PYTHONS}; ~/env/bin/python is not"),
    "python-line": ({"computing_pythons": ["/bin/python\n"]}, PYTHONS),
    "option-command": ({"module_options": {"nvidia\ninstall nvidia /bin/sh": {"a": 1}}}, OPTIONS),
}
# What goes whatever else is set.
GONE = {"state": "absent", "branch": "latest", "version": "590.48.01", "newest": True, "power_limit_watts": 9}
UBUNTU = {"platform": "ubuntu-24.04", "distribution": "ubuntu", "version": "24.04"}
DEBIANS = {"source": "distro", "branch": "535", "allow_end_of_life": True}
SEEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": (host("T4"), {}),
    "number-and-texts": (host("T4"), {"branch": 580, "hold": "false", "persistence": "no"}),
    "limited": (host("T4"), {"power_limit_watts": 300}),
    "one-release": (host("T4"), {"version": "580.95.05"}),
    "pythons": (host("T4"), {"computing_pythons": ["/opt/envs/torch/bin/python"]}),
    "options": (host("T4"), {"module_options": {"nvidia": {"NVreg_X": True}, "nvidia-drm": {"modeset": 1}}}),
    "debians-options": (host("T4"), DEBIANS | {"module_options": {"nvidia-drm": {"modeset": 0}}}),
    "ubuntu": (host("T4", **UBUNTU), {}),
}
# Hosts on which something is left to do for the kernel.
KERNELS: dict[str, tuple[dict[str, Any], str]] = {
    "nouveau": (
        with_driver("T4", nouveau_loaded=True, module={"loaded": "", "loaded_flavour": ""}),
        "nouveau drives the GPU until the next boot",
    ),
    "in-use": (
        with_driver("T4", users=[{"pid": 1, "command": "python3", "user": "ada"}], module={"loaded": "580.65.06"}),
        "the kernel still runs NVIDIA's module 580.65.06 of open flavour",
    ),
    "newer-kernel": (
        with_driver(
            "T4",
            kernel={"installed": [RUNNING, NEWEST], "newest": NEWEST, "headers": [RUNNING, NEWEST]},
            module={"loaded": "", "installed": {RUNNING: module("570.1"), NEWEST: module()}},
        ),
        f"the running kernel {RUNNING} has no NVIDIA module, the newest one has",
    ),
    "staged-key": (
        with_driver(
            "T4",
            secure_boot="enabled",
            mok={"key": "/var/lib/dkms/mok.pub", "pending": True},
            module={"loaded": "", "loaded_flavour": "", "installed": {RUNNING: module(signed=True)}},
            kernel={"packages": {"mokutil": package("0.6.0-2")}},
        ),
        'choose "Enroll MOK" there and give that password',
    ),
    "nothing": (with_driver("T4"), ""),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Host to what was said of it: the refusal, the files, and what is left to the user.

    It is a dry run, and this machine is a controller: it is not rebooted.
    """
    directory = tmp_path_factory.mktemp("values")
    settings = {name: values for name, (values, _words) in BAD.items()}
    settings |= {name: values | {"seen": facts} for name, (facts, values) in SEEN.items()}
    settings |= {name: {"kernel": facts} for name, (facts, _words) in KERNELS.items()}
    settings["gone"] = GONE
    hosts = {name: _variables(**values) for name, values in settings.items()}
    rules = rules_of("nvidia_driver")
    files = {
        "ansible.builtin.debug": {"msg": {"files": "{{ __nvidia_driver_files }}"}},
        "when": "'seen' in __nvidia_driver_look.case",
    }
    kernel = {
        "ansible.builtin.include_role": {"name": "dlhost.host.nvidia_driver", "tasks_from": "kernel"},
        "when": "'kernel' in __nvidia_driver_look.case",
    }
    # Where the role's own tasks find them by themselves.
    (directory / "templates").symlink_to(Path(__file__).parents[2] / "roles" / "nvidia_driver" / "templates")
    found: dict[str, dict[str, Any]] = {name: {"left": []} for name in hosts}
    for _task, name, result in results(directory, hosts, [rules, files, kernel], "--check"):
        if result.get("failed"):
            found[name]["refused"] = result["msg"]
        elif isinstance(result.get("msg"), dict):
            found[name] |= result["msg"]
        if "dlhost_action_needed" in result:
            found[name]["left"].append(result["dlhost_action_needed"])
    return found


def _variables(**values: Any) -> dict[str, Any]:
    case = next((name for name in ("seen", "kernel") if name in values), "")
    facts = values.pop(case, host())
    unchanged = {"changed": False, "changed_paths": []}
    return {
        "ansible_python_interpreter": sys.executable,
        "nvidia_driver_source": "nvidia" if facts["distribution"] == "debian" else "auto",
        **{f"nvidia_driver_{name}": value for name, value in values.items()},
        "__nvidia_driver_look": {"nvidia": facts, "case": case},
        **{f"__nvidia_driver_{name}": unchanged for name in ("written", "prepared", "installed")},
    }


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_in_one_sentence(run: dict[str, dict[str, Any]], name: str) -> None:
    assert BAD[name][1] in run[name]["refused"]


@pytest.mark.parametrize("name", [*SEEN, *KERNELS, "gone"])
def test_a_good_value_is_not(run: dict[str, dict[str, Any]], name: str) -> None:
    assert "refused" not in run[name]


def contents(run: dict[str, dict[str, Any]], name: str) -> dict[str, list[str]]:
    """Path of a file to its lines, without comments."""
    return {
        file["path"]: [line.strip() for line in file["content"].splitlines() if not line.startswith(("#", "//"))]
        for file in run[name]["files"]
    }


def test_the_files_of_a_host(run: dict[str, dict[str, Any]]) -> None:
    files = contents(run, "plain")

    assert files.pop("/etc/modprobe.d/dlhost-nouveau.conf") == ["blacklist nouveau", "options nouveau modeset=0"]
    assert files.pop("/etc/modules-load.d/dlhost-nvidia.conf") == ["nvidia-uvm"]
    begin, *blacklist, end = files.pop("/etc/apt/apt.conf.d/52dlhost-nvidia")
    assert (begin, end) == ("Unattended-Upgrade::Package-Blacklist {", "};")
    assert {'"nvidia-";', '"libnvidia-";', '"cuda-drivers";', '"linux-modules-nvidia-";'} <= set(blacklist)
    assert files == {}


def test_what_is_not_held_may_be_upgraded(run: dict[str, dict[str, Any]]) -> None:
    assert "/etc/apt/apt.conf.d/52dlhost-nvidia" not in contents(run, "number-and-texts")


def test_options_are_those_of_the_module_as_it_is_called_there(run: dict[str, dict[str, Any]]) -> None:
    path = "/etc/modprobe.d/dlhost-nvidia.conf"

    assert contents(run, "options")[path] == ["options nvidia NVreg_X=1", "options nvidia-drm modeset=1"]
    assert contents(run, "debians-options")[path] == ["options nvidia-current-drm modeset=0"]


def test_the_limit_of_power_comes_after_the_daemon_and_with_it(run: dict[str, dict[str, Any]]) -> None:
    unit, name = "/etc/systemd/system/dlhost-nvidia-power.service", "nvidia-persistenced.service"
    files = contents(run, "limited")

    assert {"Type=oneshot", "TimeoutStartSec=60", f"PartOf={name}", f"After={name}"} <= set(files[unit])
    assert "ExecStart=/usr/bin/nvidia-smi --power-limit=300" in files[unit]
    assert "Wants=dlhost-nvidia-power.service" in files[f"/etc/systemd/system/{name}.d/dlhost-power.conf"]
    assert unit not in contents(run, "plain")


def test_ubuntus_daemon_is_told_to_do_its_work(run: dict[str, dict[str, Any]]) -> None:
    path = "/etc/systemd/system/nvidia-persistenced.service.d/dlhost.conf"

    assert "--persistence-mode" in " ".join(contents(run, "ubuntu")[path])
    assert path not in contents(run, "plain")


@pytest.mark.parametrize("name", KERNELS)
def test_what_only_a_boot_can_do_is_left_to_the_user_of_this_machine(run: dict[str, dict[str, Any]], name: str) -> None:
    words = KERNELS[name][1]

    assert len(run[name]["left"]) == bool(words)
    assert all(words in sentence for sentence in run[name]["left"])
