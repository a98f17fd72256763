"""Conda environments from their declaration to a cell that computes in them, as their owner and their users meet them.

Double: conda-forge is molecule's channel of small packages, among them a Python that the host does not have: Debian
12's. PyPI is PyPI, and torch is the real one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import jinja2
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.e2e.browser import Lab, browser, picture
from tests.e2e.conftest import ROOT, USER, Host, Workspace

pytestmark = pytest.mark.e2e

SHARED = ROOT / "molecule" / "shared"
PORT = 8582
# Other roles have nothing to do here, and tests of their own.
CONDA = ("--roles", "conda")
LAB = {"name": "lab", "display_name": "Numbers", "conda": ["python", "answer <2"], "pip": ["numpy", "ipykernel"]}
TENSORS = {"name": "tensors", "display_name": "Tensors", "conda": ["python"]}
COMPUTING = """\
import subprocess, sys
import numpy
there = numpy.arange(6.0).reshape(2, 3)
print("product", (there @ there.T).tolist(), subprocess.check_output(["answer"], text=True).strip())
print("in", sys.prefix)"""
LEARNING = """\
import sys, torch
weights = torch.arange(6.0, requires_grad=True)
there = weights.reshape(2, 3)
product = there @ there.T
product.sum().backward()
print("product", product.tolist(), "gradient", weights.grad.tolist())
print("torch", torch.__version__, "in", sys.prefix)"""
PROFILING = """\
%load_ext line_profiler
%load_ext memory_profiler
def squares():
    return [n * n for n in range(1 << 16)]
%memit squares()
profile = %lprun -r -f squares squares()
profile.print_stats()"""
TORCH = "2.13.0"
# Where the makers of torch keep their builds for the processor; PyPI's brings gigabytes of CUDA.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


@pytest.fixture(scope="module")
def channel(module_host: Callable[..., Host]) -> Host:
    """A machine of its own that serves the channel, and beside it wheels."""
    templates = jinja2.Environment(autoescape=False)  # noqa: S701  a shell script
    templates.filters["basename"] = os.path.basename
    serve = templates.from_string((SHARED / "conda_channel" / "serve.sh.j2").read_text())
    host = module_host("12")
    host.execute(serve.render(lookup=lambda _plugin, name: (SHARED / name).read_text()))
    # The same server once more, for the outside.
    host.execute(
        f"cd /srv/conda_channel; sed 's/port=8581/port={PORT}/; s/127.0.0.1/0.0.0.0/' serve.py > outside.py\n"
        "mkdir served/wheels\n"
        "systemd-run --quiet --unit=conda-channel-outside --working-directory=/srv/conda_channel/served "
        "python3 /srv/conda_channel/outside.py\n"
        f"until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {PORT}))' 2>&-; do sleep 0.2; done"
    )
    return host


@pytest.fixture(scope="module")
def torch(channel: Host, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The version of torch for the processor that is served beside the channel; empty where none is to be had."""
    wheels = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip"]
    python = channel.execute("python3 -c 'import platform; print(platform.python_version())'").rpartition(".")[0]
    chosen = ["--quiet", "--no-deps", "--only-binary=:all:", "--platform=manylinux_2_28_x86_64"]
    chosen += [f"--python-version={python}", f"--extra-index-url={CPU_INDEX}", "--retries=0"]
    # What would come is known from its metadata: PyPI's own is not fetched to find out.
    look = [*pip, "install", *chosen, "--dry-run", "--ignore-installed", "--target=none", "--report=-"]
    said = subprocess.run([*look, f"torch=={TORCH}"], capture_output=True, text=True, check=True, cwd=wheels).stdout
    found = json.loads(said)["install"][0]
    version = str(found["metadata"]["version"])
    if not version.endswith("+cpu"):
        return ""
    subprocess.run([*pip, "download", *chosen, f"--dest={wheels}", f"torch=={version}"], check=True)
    (wheel,) = wheels.iterdir()
    assert wheel.name == unquote(found["download_info"]["url"]).rpartition("/")[2]
    command = ["docker", "cp", str(wheel), f"{channel.name}:/srv/conda_channel/served/wheels/"]
    subprocess.run(command, check=True)
    return version


@pytest.fixture(scope="module")
def locked(workspace: Workspace, channel: Host, torch: str) -> Iterator[Workspace]:
    """The workspace with its environments declared, locked and installed."""
    url = f"http://{channel.address}:{PORT}"
    environments = [LAB, *([{**TENSORS, "pip": [f"torch=={torch}", "ipykernel"]}] if torch else [])]
    options = {"find_links": [f"{url}/wheels/"]}
    workspace.set(
        conda_environments=environments,
        conda_kernel_pip=["line-profiler", "memory-profiler"],
        conda_channels=[url],
        conda_pip_options=options,
        conda_base=False,
    )
    workspace.require(0, "env", "lock")
    workspace.require(0, "provision", *CONDA, "--yes")
    yield workspace
    workspace.set(conda_environments=[{"name": each["name"], "state": "absent"} for each in environments])
    workspace.require(0, "provision", *CONDA, "--yes")
    assert workspace.host.execute("ls /usr/local/share/jupyter/kernels 2>/dev/null || true") == ""
    for each in environments:
        (workspace.dlhost.inventories / workspace.inventory / f"environment-{each['name']}.lock.txt").unlink()
    workspace.set()


@pytest.fixture
def lab(locked: Workspace, tmp_path: Path) -> Iterator[Lab]:
    """A user's JupyterLab, logged in."""
    with sync_playwright() as playwright, browser(playwright, tmp_path, locked.authority) as context:
        lab = Lab(context.new_page(), locked.url(USER))
        lab.log_in(locked.password)
        lab.wait_until_ready()
        yield lab


def test_it_stays_as_it_is_and_proves_itself(locked: Workspace) -> None:
    locked.require(0, "drift", *CONDA)
    assert locked.checks("verify", *CONDA, code=0)["conda.kernels"] == "pass"
    assert "same packages as the lock" in locked.require(0, "env", "diff")


def test_a_cell_computes_in_its_kernel(lab: Lab, torch: str) -> None:
    kernels = lab.page.locator(".jp-LauncherCard[data-category=Notebook]")
    for name in ["Numbers", *(["Tensors"] if torch else [])]:
        expect(kernels.filter(has_text=name)).to_be_visible()
    lab.new_notebook("Numbers")
    lab.run_cell(COMPUTING)
    lab.expect_output("product [[5.0, 14.0], [14.0, 50.0]] 42")
    lab.expect_output("in /opt/dlhost/conda/envs/lab")
    picture(lab.page, "kernel-of-an-environment")


def test_a_cell_learns_with_torch(lab: Lab, torch: str) -> None:
    if not torch:
        pytest.skip(f"no build of torch {TORCH} for the processor is to be had here, neither by pip nor at {CPU_INDEX}")
    picture(lab.page, "kernels")
    lab.new_notebook("Tensors")
    lab.run_cell(LEARNING)
    lab.expect_output("product [[5.0, 14.0], [14.0, 50.0]] gradient [6.0, 10.0, 14.0, 6.0, 10.0, 14.0]")
    lab.expect_output(f"torch {torch} in /opt/dlhost/conda/envs/tensors")
    picture(lab.page, "torch")


# The server's own kernel, and that of an environment.
@pytest.mark.parametrize("kernel", ["Python 3", "Numbers"])
def test_magics_say_where_time_and_memory_go(lab: Lab, kernel: str) -> None:
    lab.new_notebook(kernel)
    lab.run_cell(PROFILING)
    lab.expect_output("peak memory:")
    lab.expect_output("Total time:")
    picture(lab.page, f"magics-{kernel.partition(' ')[0].lower()}")


def test_what_a_user_installs_behind_our_back_is_drift(locked: Workspace) -> None:
    uv = "/opt/dlhost/conda/installer/bin/uv pip install --quiet --no-cache --system-certs --break-system-packages"
    locked.host.execute(f"{uv} --python /opt/dlhost/conda/envs/lab/bin/python iniconfig")
    assert "iniconfig" in locked.require(3, "drift", *CONDA)
    assert "iniconfig" in locked.require(3, "env", "diff")
    locked.require(0, "provision", *CONDA, "--yes")
    locked.require(0, "drift", *CONDA)
