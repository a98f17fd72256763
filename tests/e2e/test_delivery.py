"""What users receive: the collection without the wrapper, and the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Host, Installed

pytestmark = pytest.mark.e2e


def test_the_built_collection_runs_without_the_wrapper(tmp_path: Path, host: Host) -> None:
    programs = Path(sys.executable).parent
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(programs / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(tmp_path))
    archive = next(tmp_path.glob("dlhost-host-*.tar.gz"))
    run("ansible-galaxy", "collection", "install", str(archive), "--offline", "-p", str(tmp_path))
    inventory = str(host.write_inventory())
    run("ansible-playbook", "dlhost.host.site", "-i", inventory)
    assert "changed=0" in run("ansible-playbook", "dlhost.host.site", "-i", inventory)
    run("ansible-playbook", "dlhost.host.verify", "-i", inventory)


def test_the_demo_comes_and_goes(dlhost: Installed) -> None:
    try:
        made = dlhost.run("demo")
        assert made.returncode == 0, made.stdout + made.stderr
        assert "0 failed" in made.stdout
        assert "dlhost ssh -i demo" in made.stdout
        # The way into Jupyter: where, with which password, and what a browser has to trust.
        for told in (
            "https://",
            "/jupyter/demo/",
            "dlhost secrets show jupyter_password -i demo",
            "dlhost ca trust -i demo",
        ):
            assert told in made.stdout, told
        assert dlhost.run("ssh", "-i", "demo", "--", "sudo", "true").returncode == 0
    finally:
        gone = dlhost.run("demo", "--destroy")
    assert gone.stdout == "The demo host is gone.\n"
    assert not list(dlhost.inventories.iterdir())


def test_no_container_engine(dlhost: Installed) -> None:
    done = dlhost.run("demo", DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert done.returncode == 5
    assert done.stderr.startswith("No container engine answers.")
    assert "Traceback" not in done.stderr
