"""NVIDIA's real compiler, as Debian has it, and the real cuDNN, as PyPI has it: what doubles say nothing about."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.e2e.conftest import Host

pytestmark = pytest.mark.slow

# 2 GB to fetch, and 5 to unpack.
INSTALL_S = 1500
RELEASE = "12.4"
# The host shows a card that it does not have: an RTX 4090.
SYSFS = "/srv/rtx_4090"
PREPARE = f"""
sed -i 's/ main$/ main contrib non-free/' $(find /etc/apt -name '*.list' -o -name '*.sources')
device={SYSFS}/bus/pci/devices/0000:01:00.0
mkdir -p $device
echo 0x10de >$device/vendor; echo 0x030000 >$device/class; echo 0x2684 >$device/device
"""
SETTINGS = {"cuda_toolkit_versions": [RELEASE], "cuda_toolkit_source": "distro", "cuda_toolkit_sysfs": SYSFS}


def apply(host: Host) -> list[dict[str, Any]]:
    """The results of the role's tasks, and of its checks."""
    role = {"name": "dlhost.host.cuda_toolkit"}
    probe = {"compilers": ["/usr/bin/nvcc"], "architectures": ["sm_75", "sm_90"], "gpus": 1}
    tasks: list[dict[str, object]] = [
        {"ansible.builtin.include_role": role, "vars": SETTINGS},
        {"ansible.builtin.include_role": role | {"tasks_from": "verify"}, "vars": SETTINGS},
        {"dlhost.host.cuda_probe": probe},
    ]
    command, environment = host.command(tasks)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
        env={**environment, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    events = json.loads(done.stdout[done.stdout.index("{") :])
    return [result for play in events["plays"] for task in play["tasks"] for result in task["hosts"].values()]


@pytest.fixture(scope="module")
def host(module_host: Callable[..., Host]) -> Host:
    made = module_host("13")
    made.execute(PREPARE)
    return made


def test_the_distributions_compiler_makes_code_for_the_card(host: Host) -> None:
    results = apply(host)
    checks = {check["id"]: check for result in results for check in result.get("dlhost_checks", [])}
    assert {name: check["result"] for name, check in checks.items() if check["result"] != "skip"} == {
        "cuda_toolkit.accepted": "pass",
        "cuda_toolkit.packages": "pass",
        "cuda_toolkit.files": "pass",
        "cuda_toolkit.release": "pass",
        "cuda_toolkit.compiles": "pass",
    }
    assert checks["cuda_toolkit.compiles"]["promise"].endswith("sm_89")
    assert checks["cuda_toolkit.computes"]["reason"].startswith("no NVIDIA driver runs on the host")

    # The program that would compute is built and started; it says what CUDA says without a GPU.
    (compiler,) = results[-1]["compilers"]
    assert (compiler["release"], compiler["uncompiled"], compiler["computed"]) == (RELEASE, {}, 0)
    assert len(compiler["miscomputed"]) == 1
    assert "CUDA" in compiler["miscomputed"][0]
    assert host.execute("ls -d /tmp/dlhost-cuda-* 2>/dev/null || true") == ""

    assert not any(result.get("changed") for result in apply(host))


def test_the_real_library_says_its_version_where_no_gpu_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*pip, "nvidia-cudnn-cu12"], check=True)
    monkeypatch.syspath_prepend(str(collections_path()))
    probe: Any = importlib.import_module("ansible_collections.dlhost.host.plugins.modules.cuda_probe")
    (metadata,) = tmp_path.glob("nvidia_cudnn_cu12-*.dist-info")
    said = probe.ask_library(str(tmp_path / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9"), 0)
    assert said["problem"] == ""
    assert metadata.name.startswith(f"nvidia_cudnn_cu12-{said['version']}.")
