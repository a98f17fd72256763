"""Whole machines for the slow tests, and what the end-to-end tests have for hosts."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlhost.adapters import container as engine
from tests.e2e.conftest import ROOT, USER, Host, collections, session_host, shared
from tests.slow.driver import CARD, Driver, install
from tests.slow.machine import FINISH, PACKAGES, Machine, copy_of, make_template

# Fixtures of the end-to-end tests that these here ask for, too.
__all__ = ["collections", "session_host", "shared"]

# A machine can be the controller, too.
CONTROLLER = ("ansible-core",)
COLLECTION = "usr/share/ansible/collections/ansible_collections/dlhost/host"


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    """Disks are made of file systems with their owners."""
    if os.geteuid() != 0:
        pytest.fail("The slow tests need root: sudo make test-slow")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian with a kernel and with this collection, and an account that has a key and sudo without a password."""
    directory = tmp_path_factory.mktemp("template")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "id_ed25519"], check=True)
    tree = tmp_path_factory.mktemp("trees") / "tree"
    packages = ",".join((*engine.PACKAGES, *PACKAGES, *CONTROLLER))
    inside = 'chroot "$1" sh -euc "$ACCOUNT" sh "$LOGIN" "$PUBLIC_KEY"; chroot "$1" sh -euc "$FINISH"'
    values = {
        "ACCOUNT": engine.ACCOUNT,
        "LOGIN": USER,
        "PUBLIC_KEY": (directory / "id_ed25519.pub").read_text().strip(),
        "FINISH": FINISH,
        # systemctl is to talk to no systemd.
        "SYSTEMD_OFFLINE": "1",
    }
    command = ["mmdebstrap", "--variant=minbase", f"--include={packages}", f"--customize-hook={inside}"]
    subprocess.run([*command, engine.RELEASES["13"], tree], check=True, env={**os.environ, **values})
    for part in ("data", "meta", "plugins"):
        shutil.copytree(ROOT / part, tree / COLLECTION / part)
    make_template(tree, directory)
    return directory


@pytest.fixture(scope="session")
def drivers(session_host: Callable[..., Host]) -> Callable[[str], Driver]:
    """A Debian's driver, installed by its role in a container; once for each release."""

    @functools.cache
    def of(release: str) -> Driver:
        host = session_host(release)
        host.execute(CARD)
        without_kernel = install(host, release)
        host.execute(
            f"DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends {' '.join(PACKAGES)}"
        )
        return Driver(host, release, without_kernel, install(host, release))

    return of


@pytest.fixture(scope="session")
def driver_template(drivers: Callable[[str], Driver], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian 13's as a machine: its kernel and the module that was built for it, and the container's account."""
    driver = drivers("13")
    directory = tmp_path_factory.mktemp("driver-template")
    for key in driver.host.directory.glob("id_ed25519*"):
        shutil.copy(key, directory)
    driver.host.execute(FINISH)
    tree = tmp_path_factory.mktemp("trees") / "driver-tree"
    tree.mkdir()
    with subprocess.Popen(["tar", "-x", "--numeric-owner", "-C", tree], stdin=subprocess.PIPE) as tar:
        assert tar.stdin is not None
        for piece in driver.host.container.export():
            tar.stdin.write(piece)
    assert tar.returncode == 0
    # By this file a container is known.
    (tree / ".dockerenv").unlink()
    make_template(tree, directory)
    return directory


@pytest.fixture(scope="module")
def new_machine(collections: Path) -> Iterator[Callable[[Path], Machine]]:
    """A factory of machines, each switched on with a disk of its own."""
    made: list[Machine] = []

    def make(template: Path) -> Machine:
        made.append(copy_of(template, collections))
        made[-1].switch_on()
        return made[-1]

    yield make
    for machine in made:
        machine.switch_off()
        shutil.rmtree(machine.directory)
