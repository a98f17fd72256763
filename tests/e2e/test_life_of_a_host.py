"""The wheel, alone and away from the checkout, against a real host: provisioned, damaged, found out, repaired."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import Host, Installed

pytestmark = pytest.mark.e2e

# What breaks, how, and in which role's report it must show. The peers' list (modes, drop-in, stopped and masked units,
# removed packages, edited configuration, a deleted file) as far as these roles reach, and our own.
DAMAGES = {
    "mode of the SSH drop-in": ("chmod 0666 /etc/ssh/sshd_config.d/00-dlhost.conf", "ssh_hardening"),
    "edited SSH drop-in": (
        "sed -i 's/MaxAuthTries .*/MaxAuthTries 99/' /etc/ssh/sshd_config.d/00-dlhost.conf",
        "ssh_hardening",
    ),
    "deleted apt policy": ("rm /etc/apt/apt.conf.d/90dlhost", "system"),
    "edited needrestart policy": ("echo broken > /etc/needrestart/conf.d/90-dlhost.conf", "system"),
    "removed package": ("apt-get -qq remove -y tmux", "system"),
    "masked unit": ("systemctl mask --now systemd-timesyncd.service", "system"),
    "removed group": ("groupdel dlusers", "system"),
}


@pytest.mark.parametrize("release", [pytest.param("12", marks=pytest.mark.long), "13"])
def test_provisioned_damaged_found_out_repaired(
    dlhost: Installed, make_host: Callable[..., Host], release: str
) -> None:
    host = make_host(release)
    dlhost.begin("home-rig", host)

    foreseen = dlhost.document("provision", "-i", "home-rig", "--check")
    assert foreseen["exit_code"] == 0
    assert foreseen["hosts"][0]["changed"] > 0

    first = dlhost.run("provision", "-i", "home-rig", "--yes")
    assert first.returncode == 0, first.stdout + first.stderr
    assert dlhost.document("provision", "-i", "home-rig")["hosts"][0]["changed"] == 0
    assert dlhost.run("drift", "-i", "home-rig").returncode == 0
    verified = dlhost.document("verify", "-i", "home-rig")
    assert verified["exit_code"] == 0
    assert verified["hosts"][0]["count"]["pass"] >= 15

    host.execute("; ".join(command for command, _ in DAMAGES.values()))
    before = host.files()
    found = dlhost.run("drift", "-i", "home-rig")
    assert found.returncode == 3, found.stdout + found.stderr
    assert host.files() == before, "drift changed the host"
    for trace in ("00-dlhost.conf", "MaxAuthTries 99", "90dlhost", "90-dlhost.conf", "tmux", "timesyncd", "group"):
        assert trace in found.stdout, f"drift does not name {trace}:\n{found.stdout}"
    assert dlhost.run("verify", "-i", "home-rig").returncode == 7

    repaired = dlhost.run("provision", "-i", "home-rig")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert dlhost.run("drift", "-i", "home-rig").returncode == 0
    assert dlhost.run("verify", "-i", "home-rig").returncode == 0


@pytest.fixture(scope="module")
def rig(module_host: Callable[..., Host], provisioned_image: str) -> Host:
    """One provisioned host for all damages: each test ends with the proof that it is as it was."""
    return module_host(image=provisioned_image)


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.long
def test_each_damage_is_found_and_repaired_alone(dlhost: Installed, rig: Host, name: str) -> None:
    dlhost.begin("rig", rig)
    command, role = DAMAGES[name]
    rig.execute(command)
    drift = dlhost.document("drift", "-i", "rig")
    statuses = {report["role"]: report["status"] for report in drift["hosts"][0]["roles"]}
    assert drift["exit_code"] == 3
    assert {name for name, status in statuses.items() if status != "in sync"} == {role}
    assert dlhost.run("provision", "-i", "rig").returncode == 0
    assert dlhost.document("drift", "-i", "rig")["exit_code"] == 0
