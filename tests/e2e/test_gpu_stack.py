"""The GPU stack as a user gets it. Doubles: the card is a tree like sysfs, NVIDIA's packages are molecule's double."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest

from tests.e2e.conftest import ROOT, Host, Installed

pytestmark = pytest.mark.e2e

SHARED = ROOT / "molecule" / "shared"
RTX_4090, GTX_1070 = "2684", "1b81"
SETTINGS = """
      nvidia_driver_sysfs: /srv/sysfs
      nvidia_driver_allow_end_of_life: true
      nvidia_repo_url: http://127.0.0.1:8580/repo
      nvidia_repo_key_fingerprint: 3C8ABCAC253D657843F562FF4CD3FA369A193C11
      cuda_toolkit_versions: ["12.9"]
      cudnn_cuda_majors: [12]
"""
# apt stops before it touches a package where this fails.
STUMBLING_BLOCK = "/etc/apt/apt.conf.d/99-stumbling-block"


class Rig:
    """A host with a card, its owner's dlhost, and an inventory that has it in group gpu."""

    def __init__(self, host: Host, dlhost: Installed) -> None:
        self.host, self.dlhost = host, dlhost
        self.directory = dlhost.begin("rig", host)
        hosts = self.directory / "hosts.yml"
        text = hosts.read_text().replace("    rig:\n", f"    rig:{SETTINGS}", 1)
        hosts.write_text(text + "  children: {gpu: {hosts: {rig: }}}\n")
        serve = jinja2.Environment(autoescape=False).from_string(  # noqa: S701  a shell script
            (SHARED / "nvidia_apt_double" / "serve.sh.j2").read_text()
        )
        host.execute(serve.render(lookup=lambda _plugin, name: (SHARED / name).read_text()))
        self.card(RTX_4090)

    def card(self, device: str) -> None:
        self.host.execute(
            "mkdir -p /srv/sysfs/bus/pci/devices/0000:01:00.0 && cd /srv/sysfs/bus/pci/devices/0000:01:00.0\n"
            f"echo 0x10de >vendor; echo 0x030000 >class; echo 0x{device} >device"
        )

    def run(self, code: int, *command: str) -> str:
        done = self.dlhost.run(*command, "-i", "rig")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def driver(self) -> str:
        """The branch of the driver's packages, and whether apt may replace them."""
        shown = self.host.execute("dpkg-query --show --showformat='${Version} ${db:Status-Want}' nvidia-driver-cuda")
        version, want = shown.split()
        return f"{version.partition('.')[0]} {want}"


@pytest.fixture(scope="module")
def rig(
    module_host: Callable[..., Host], provisioned_image: str, program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Rig:
    """One for the tests of this module, which go on from each other."""
    return Rig(module_host(image=provisioned_image), Installed(program, tmp_path_factory.mktemp("owner")))


def test_a_dry_run_says_what_it_cannot_know_of_packages_before_their_source_is_there(rig: Rig) -> None:
    before = rig.host.files()
    foreseen = rig.dlhost.document("provision", "-i", "rig", "--check")

    assert foreseen["exit_code"] == 0, foreseen
    roles = {role["role"]: role for role in foreseen["hosts"][0]["roles"]}
    assert roles["nvidia_repo"]["changes"]
    assert [name for name, role in roles.items() if role["undetermined"]] == ["nvidia_driver", "cuda_toolkit", "cudnn"]
    assert rig.host.files() == before


def test_driver_toolkit_and_cudnn_come_and_stay(rig: Rig) -> None:
    rig.run(0, "provision", "--yes")
    assert rig.driver() == "580 hold"
    # The repository has newer branches of the driver, and other versions of cuDNN.
    upgrade = rig.host.execute("apt-get --simulate dist-upgrade")
    assert not re.search("^(?:Inst|Remv) .*(?:nvidia|cuda|cudnn)", upgrade, re.MULTILINE), upgrade
    proved = rig.dlhost.document("verify", "-i", "rig")
    results = {check["id"]: check["result"] for check in proved["hosts"][0]["checks"]}
    assert proved["exit_code"] == 0, proved
    for check in ("nvidia_repo.signed", "nvidia_driver.held", "nvidia_driver.pinned", "cuda_toolkit.packages"):
        assert results[check] == "pass", check
    # Nothing computes here, and nothing claims that it did.
    assert results["nvidia_driver.gpus"] == "skip"

    again = rig.dlhost.document("provision", "-i", "rig", "--yes")
    assert [role["status"] for role in again["hosts"][0]["roles"]] == ["in sync"] * len(again["hosts"][0]["roles"])
    rig.run(0, "drift")


@pytest.mark.long
def test_a_driver_that_apt_may_replace_is_drift(rig: Rig) -> None:
    rig.host.execute("apt-mark unhold nvidia-driver-cuda; rm /etc/modprobe.d/dlhost-nouveau.conf")
    said = rig.run(3, "drift")
    assert "nvidia-driver-cuda" in said
    assert "dlhost-nouveau.conf" in said
    rig.run(0, "provision", "--yes")
    rig.run(0, "drift")


def test_another_branch_needs_a_word(rig: Rig) -> None:
    said = rig.run(5, "provision", "--yes", "-e", "nvidia_driver_branch=590")
    assert "nvidia_driver_allow_branch_switch" in said
    assert rig.driver() == "580 hold"


def test_a_branch_that_the_card_has_not_is_refused(rig: Rig) -> None:
    rig.card(GTX_1070)
    try:
        said = rig.run(5, "upgrade", "driver", "--to", "590", "--yes")
    finally:
        rig.card(RTX_4090)
    assert "GP104 (Pascal) is supported up to branch 580, not by 590" in said
    assert rig.driver() == "580 hold"


@pytest.mark.long
def test_an_upgrade_to_the_present_branch_takes_its_newest_release(rig: Rig) -> None:
    rig.host.execute(
        "apt-get install --yes --quiet --allow-downgrades --allow-change-held-packages "
        "$(dpkg-query --show --showformat='${Package} ${Version}\\n' | sed -n 's/ 580.126.20-1$/=580.95.05-1/p')\n"
        "apt-mark hold nvidia-driver-cuda nvidia-kernel-open-dkms"
    )
    rig.run(0, "drift")
    said = rig.run(0, "upgrade", "driver", "--to", "580", "--yes")
    assert "package nvidia-driver-cuda: 580.95.05-1, would be 580.126.20-1" in said
    assert "rig: upgraded: driver 580.95.05 → 580.126.20\n" in said
    assert rig.driver() == "580 hold"
    assert "rig: the newest already: driver 580.126.20\n" in rig.run(0, "upgrade", "driver", "--to", "580", "--yes")


@pytest.mark.long
def test_an_upgrade_that_fails_brings_the_old_branch_back(rig: Rig) -> None:
    # The new branch's packages only: the way back is free.
    block = 'DPkg::Pre-Install-Pkgs { "! grep -q /nvidia-driver-cuda_590"; };'
    rig.host.execute(f"echo '{block}' > {STUMBLING_BLOCK}")
    try:
        said = rig.run(1, "upgrade", "driver", "--to", "590", "--yes")
    finally:
        rig.host.execute(f"rm {STUMBLING_BLOCK}")
    assert "brought back: driver 580.126.20\n" in said
    assert rig.driver() == "580 hold"
    rig.run(0, "verify")


@pytest.mark.long
def test_an_upgrade_replaces_proves_and_says_what_the_inventory_lacks(rig: Rig) -> None:
    said = rig.run(6, "upgrade", "driver", "--to", "590", "--yes")
    assert "rig: upgraded: driver 580.126.20 → 590.48.01" in said
    assert 'Set nvidia_driver_branch: "590" in ' in said
    assert rig.driver() == "590 hold"

    (rig.directory / "group_vars" / "gpu.yml").write_text('nvidia_driver_branch: "590"\n')
    rig.run(0, "upgrade", "driver", "--to", "590", "--yes")
    rig.run(0, "drift")
    rig.run(0, "verify")
