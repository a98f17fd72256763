"""NVIDIA's real compiler, as Debian has it, and the real cuDNN, as PyPI has it: what doubles say nothing about."""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.e2e.conftest import Host
from tests.unit.apt_host import PLUGINS

pytestmark = pytest.mark.slow

# 2 GB to fetch, and 5 to unpack.
INSTALL_S = 1500
# Debian to the release of CUDA that it has.
RELEASES = {"12": "11.8", "13": "12.4"}
# The host shows a card that it does not have: an RTX 4090.
SYSFS = "/srv/rtx_4090"
PREPARE = f"""
sed -i 's/ main$/ main contrib non-free/' $(find /etc/apt -name '*.list' -o -name '*.sources')
device={SYSFS}/bus/pci/devices/0000:01:00.0
mkdir -p $device
echo 0x10de >$device/vendor; echo 0x030000 >$device/class; echo 0x2684 >$device/device
"""


def apply(host: Host, release: str) -> list[dict[str, Any]]:
    """The results of the role's tasks, and of its checks."""
    role = {"name": "dlhost.host.cuda_toolkit"}
    settings = {"cuda_toolkit_versions": [release], "cuda_toolkit_source": "distro", "cuda_toolkit_sysfs": SYSFS}
    probe = {"compilers": ["/usr/bin/nvcc"], "architectures": ["sm_75", "sm_90"], "gpus": 1}
    tasks: list[dict[str, object]] = [
        {"ansible.builtin.include_role": role, "vars": settings},
        {"ansible.builtin.include_role": role | {"tasks_from": "verify"}, "vars": settings},
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


@pytest.mark.parametrize(("debian", "release"), RELEASES.items())
def test_the_distributions_compiler_makes_code_for_the_card(
    session_host: Callable[..., Host], debian: str, release: str
) -> None:
    host = session_host(debian)
    host.execute(PREPARE)
    results = apply(host, release)
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
    assert (compiler["release"], compiler["uncompiled"], compiler["computed"]) == (release, {}, 0)
    assert len(compiler["miscomputed"]) == 1
    assert "CUDA" in compiler["miscomputed"][0]
    assert host.execute("ls -d /tmp/dlhost-cuda-* 2>/dev/null || true") == ""

    assert not any(result.get("changed") for result in apply(host, release))


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(f"{PLUGINS}.modules.cuda_probe")


def installed(directory: Path, *names: str) -> Path:
    """Where pip has put wheels of NVIDIA's."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(directory)]
    subprocess.run([*pip, *names], check=True)
    return directory / "nvidia"


def test_nvidias_newest_compiler_makes_code_and_a_program(probe: Any, tmp_path: Path) -> None:
    parts = ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-runtime", "nvidia-cuda-cccl")
    (nvcc,) = installed(tmp_path, *parts).glob("*/bin/nvcc")
    seen = probe.cuda_kernel.try_out(str(nvcc), ["sm_75", "sm_120"], 1)
    assert int(seen.release.split(".")[0]) >= 13
    assert (seen.problem, seen.uncompiled, seen.computed) == ("", {}, 0)
    assert seen.miscomputed[0].startswith("GPU 0: CUDA driver version is insufficient")
    # It has left Pascal behind.
    refused = probe.cuda_kernel.try_out(str(nvcc), ["sm_61"], 1)
    assert "Unsupported gpu architecture" in refused.uncompiled["sm_61"]


@pytest.mark.parametrize("major", ["12", "13"])
def test_the_real_cudnn_says_its_version_where_no_gpu_is(probe: Any, tmp_path: Path, major: str) -> None:
    library = installed(tmp_path, f"nvidia-cudnn-cu{major}") / "cudnn" / "lib" / "libcudnn.so.9"
    (metadata,) = tmp_path.glob("nvidia_cudnn_cu*.dist-info")
    said = probe.ask_library(str(library), 0)
    assert (said["problem"], said["miscomputed"]) == ("", [])
    assert metadata.name.split("-")[1].startswith(f"{said['version']}.")
    # What a convolution takes is there; on this machine it can go no further than that.
    calls = set(re.findall(r'"(cudnn[A-Z]\w+)"', Path(probe.cudnn_inside.__file__).read_text(encoding="utf-8")))
    assert len(calls) > 5
    assert [name for name in calls if not hasattr(ctypes.CDLL(str(library)), name)] == []
