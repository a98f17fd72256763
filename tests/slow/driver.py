"""Debian's real driver for a card that is not there: role nvidia_driver with the distribution's own packages."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.conftest import Host, Play

# Each Debian's own, for a card that takes the proprietary module only.
BRANCHES = {"12": "535", "13": "550"}
GTX_1070 = "1b81"
SYSFS = "/srv/gtx_1070"
# As the kernel would show it, and what apt needs to know of Debian's packages that are not free.
CARD = f"""
mkdir -p {SYSFS}/bus/pci/devices/0000:01:00.0
cd {SYSFS}/bus/pci/devices/0000:01:00.0
echo 0x10de >vendor; echo 0x030000 >class; echo 0x{GTX_1070} >device
. /etc/os-release
echo "deb http://deb.debian.org/debian $VERSION_CODENAME contrib non-free non-free-firmware" \\
  >/etc/apt/sources.list.d/non-free.list
apt-get update --quiet
"""
PROVISION_TIMEOUT_S = 800


@dataclass(frozen=True)
class Driver:
    """A container with the driver, and how it got there: before it had a kernel, and since."""

    host: Host
    release: str
    without_kernel: Play
    with_kernel: Play


def settings(release: str) -> dict[str, object]:
    return {
        "nvidia_driver_branch": BRANCHES[release],
        # Debian keeps to one branch, longer than NVIDIA does.
        "nvidia_driver_allow_end_of_life": True,
        "nvidia_driver_sysfs": SYSFS,
    }


def install(host: Host, release: str) -> Play:
    """Run the role."""
    return host.play([role("main", release)], timeout_s=PROVISION_TIMEOUT_S)


def checks(host: Host, release: str) -> dict[str, str]:
    """The role's own verify: check to result."""
    play = host.play([role("verify", release)])
    assert not play.failed, play.output
    found = next(result["dlhost_checks"] for result in play.results() if "dlhost_checks" in result)
    return {check["id"].removeprefix("nvidia_driver."): check["result"] for check in found}


def role(entry: str, release: str) -> dict[str, object]:
    return {
        "ansible.builtin.include_role": {"name": "dlhost.host.nvidia_driver", "tasks_from": entry},
        "vars": {**settings(release), "nvidia_driver_source": "distro"},
    }
