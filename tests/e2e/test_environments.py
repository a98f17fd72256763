"""A conda environment from its declaration to a cell that computes in it, as its owner and its users meet it.

Double: conda-forge is molecule's channel of small packages, among them the host's own Python. PyPI is PyPI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.e2e.browser import Lab, browser, picture
from tests.e2e.conftest import ROOT, USER, Workspace

pytestmark = pytest.mark.e2e

SHARED = ROOT / "molecule" / "shared"
PORT = 8582
LAB = {"name": "lab", "display_name": "Numbers", "conda": ["python", "answer <2"], "pip": ["numpy", "ipykernel"]}
LOCK = "environment-lab.lock.txt"
COMPUTING = """\
import subprocess, sys
import numpy
there = numpy.arange(6.0).reshape(2, 3)
print("product", (there @ there.T).tolist(), subprocess.check_output(["answer"], text=True).strip())
print("in", sys.prefix)"""


@pytest.fixture(scope="module")
def channel(workspace: Workspace) -> Iterator[str]:
    """The channel's address, which is the same for the host and for this machine."""
    templates = jinja2.Environment(autoescape=False)  # noqa: S701  a shell script
    templates.filters["basename"] = os.path.basename
    serve = templates.from_string((SHARED / "conda_channel" / "serve.sh.j2").read_text())
    host = workspace.host
    host.execute(serve.render(lookup=lambda _plugin, name: (SHARED / name).read_text()))
    url = f"http://{host.address}:{PORT}"
    # The same server once more, for the outside.
    host.execute(
        f"cd /srv/conda_channel; sed 's/port=8581/port={PORT}/; s/127.0.0.1/0.0.0.0/' serve.py > outside.py\n"
        "systemd-run --quiet --unit=conda-channel-outside --working-directory=/srv/conda_channel/served "
        "python3 /srv/conda_channel/outside.py\n"
        f"until curl --silent --fail --output /dev/null {url}/noarch/repodata.json; do sleep 0.2; done"
    )
    yield url
    host.execute("systemctl stop conda-channel conda-channel-outside; rm -r /srv/conda_channel")


@pytest.fixture(scope="module")
def locked(workspace: Workspace, channel: str) -> Iterator[Workspace]:
    """The workspace with the environment declared, locked and installed."""
    workspace.set(conda_environments=[LAB], conda_channels=[channel], conda_base=False)
    workspace.require(0, "env", "lock")
    workspace.require(0, "provision", "--yes")
    yield workspace
    workspace.set(conda_environments=[{"name": "lab", "state": "absent"}])
    workspace.require(0, "provision", "--yes")
    assert workspace.host.execute("ls /usr/local/share/jupyter/kernels 2>/dev/null || true") == ""
    (workspace.dlhost.inventories / workspace.inventory / LOCK).unlink()
    workspace.set()


def test_it_stays_as_it_is_and_proves_itself(locked: Workspace) -> None:
    locked.require(0, "drift")
    assert locked.checks("verify", code=0)["conda.kernels"] == "pass"
    assert "in sync" in locked.require(0, "env", "diff")


def test_a_cell_computes_in_its_kernel(locked: Workspace, tmp_path: Path) -> None:
    with sync_playwright() as playwright, browser(playwright, tmp_path, locked.authority) as context:
        lab = Lab(context.new_page(), locked.url(USER))
        lab.log_in(locked.password)
        lab.wait_until_ready()
        expect(lab.page.locator(".jp-LauncherCard[data-category=Notebook]", has_text="Numbers")).to_be_visible()
        lab.new_notebook("Numbers")
        lab.run_cell(COMPUTING)
        lab.expect_output("product [[5.0, 14.0], [14.0, 50.0]] 42")
        lab.expect_output("in /opt/dlhost/conda/envs/lab")
        picture(lab.page, "kernel-of-an-environment")


def test_what_a_user_installs_behind_our_back_is_drift(locked: Workspace) -> None:
    uv = "/opt/dlhost/conda/installer/bin/uv pip install --quiet --no-cache --system-certs --break-system-packages"
    locked.host.execute(f"{uv} --python /opt/dlhost/conda/envs/lab/bin/python iniconfig")
    assert "iniconfig" in locked.require(3, "drift")
    assert "iniconfig" in locked.require(3, "env", "diff")
    locked.require(0, "provision", "--yes")
    locked.require(0, "drift")
