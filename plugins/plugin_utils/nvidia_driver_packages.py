# SPDX-License-Identifier: GPL-3.0-or-later
"""What the driver's packages are called, by source, branch and kernel module, and which driver a host has. No I/O.

Names read in https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/ (Debian, Ubuntu, version locking,
recent updates), https://ubuntu.com/server/docs/how-to/graphics/install-nvidia-drivers/ and in Debian's archive.
Ubuntu's have not been tried on an Ubuntu.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import OPEN, PROPRIETARY, branch_of, numbers

DISTRO, NVIDIA = "distro", "nvidia"
# NVIDIA's packages for Ubuntu lost the branch from their names with the next one.
LAST_NAMED_BRANCH = 580
PINNING = "nvidia-driver-pinning-"
# What is of the driver, and counts by itself.
OWN_COUNT = ("linux-modules-nvidia-", "nvidia-persistenced")
# What has the kernel module: built here by DKMS, or built and signed by Ubuntu.
KERNEL_PART = re.compile(
    r"nvidia-(?:(?:tesla|legacy)-\w+-)?(?:open-)?kernel-(?:open-)?dkms"
    r"|nvidia-dkms(?:-\d+)?(?:-server)?(?:-open)?"
    r"|linux-modules-nvidia-(?P<branch>\d+)(?:-server)?(?:-open)?-.+"
)
# What goes when another branch, module or source comes. The pinning packages go before, nvidia-container-toolkit and
# the toolkit of CUDA stay.
DRIVER_PART = re.compile(
    r"(?!nvidia-(?:container|cuda-(?!mps)|docker|driver-pinning|cudnn|fs|gds))"
    r"(?:nvidia-|libnvidia-(?!container)|libcuda1$|libcudadebugger1$|libnvcuvid1$|libnvoptix1$|libxnvctrl|cuda-drivers"
    r"|linux-(?:modules|objects|signatures)-nvidia-|xserver-xorg-video-nvidia|firmware-nvidia-gsp)"
)
# What machines with NVSwitch need beside the driver, of its very version: without it none of their GPUs computes.
COMPANION = re.compile(r"nvidia-(?:fabricmanager|imex)|libnvidia-nscq")
# A version of Ubuntu's own archive: 580.95.05-0ubuntu0.24.04.1; NVIDIA's end in 0ubuntu1.
OF_UBUNTU = re.compile(r"ubuntu0\.\d\d\.\d\d")
VERSION = re.compile(r"(?:\d+:)?(\d{3,}(?:\.\d+)+)")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The packages of one driver."""

    first: tuple[str, ...]
    """Installed before, so that apt knows the branch, and DKMS has what it builds with."""
    user_space: tuple[str, ...]
    """The first is of the driver's own version."""
    kernel: str

    @property
    def driver(self) -> list[str]:
        return [*self.user_space, self.kernel]

    def of(self, pattern: str, releases: Mapping[str, str]) -> list[str]:
        """The driver's packages with their releases or the pattern; those that count by themselves, without."""
        wishes = {name: releases.get(name, pattern) for name in self.driver if not name.startswith(OWN_COUNT)}
        return [f"{name}={wishes[name]}" if name in wishes else name for name in self.driver]


def wanted(
    distribution: str,
    source: str,
    branch: str,
    version: str,
    kernel_module: str,
    profile: str,
    flavour: str,
    prebuilt: bool,
    for_servers: bool,
) -> Wanted:
    """What to install.

    Args:
        distribution: debian or ubuntu.
        source: distro or nvidia.
        branch: The driver's, as 580.
        version: The one release of it that is to be there, as 580.95.05; empty for any.
        kernel_module: open or proprietary.
        profile: headless or desktop.
        flavour: What the running kernel's packages end in, as amd64 or generic-hwe-24.04; empty for a foreign kernel.
        prebuilt: Whether Ubuntu's own, signed kernel module is taken instead of one that is built here.
        for_servers: Whether, of Ubuntu's own two lines of packages, those for servers are taken.
    """
    is_open, is_desktop = kernel_module == OPEN, profile == "desktop"
    if distribution != "ubuntu":
        user_space, kernel = _debian(source, is_open, is_desktop)
    elif source == DISTRO:
        of = f"-{branch}{'-server' if for_servers else ''}"
        user_space, kernel = _ubuntu(of, f"nvidia-headless-no-dkms{of}{_open(is_open)}", is_open, is_desktop)
        if prebuilt:
            kernel = f"linux-modules-nvidia{of}{_open(is_open)}-{flavour}"
    else:
        of = f"-{branch}" if int(branch) <= LAST_NAMED_BRANCH else ""
        user_space, kernel = _ubuntu(of, f"libnvidia-compute{of}", is_open, is_desktop)
    pinning = [f"{PINNING}{version or branch}"] if source == NVIDIA else []
    # The package that follows the kernel, so that its updates bring their headers along.
    headers = [f"linux-headers-{flavour}"] if flavour and not prebuilt else []
    return Wanted((*pinning, *headers), tuple(user_space), kernel)


def _debian(source: str, is_open: bool, desktop: bool) -> tuple[list[str], str]:
    """Which branch it is, the source or the pinning says."""
    if source == DISTRO:
        compute = ["libcuda1", "nvidia-smi", "nvidia-persistenced"]
        kernel = "nvidia-open-kernel-dkms" if is_open else "nvidia-kernel-dkms"
    else:
        compute = ["nvidia-driver-cuda"]
        kernel = "nvidia-kernel-open-dkms" if is_open else "nvidia-kernel-dkms"
    return compute + (["nvidia-driver"] if desktop else []), kernel


def _ubuntu(of: str, compute: str, is_open: bool, desktop: bool) -> tuple[list[str], str]:
    """`of` is what the names of a branch and line have in them, as -580-server; `compute` has the libraries alone."""
    user_space = [compute, f"nvidia-utils{of}", f"nvidia-compute-utils{of}"]
    if desktop:
        user_space = [f"nvidia-driver{of}{_open(is_open)}"]
    return user_space, f"nvidia-dkms{of}{_open(is_open)}"


def _open(is_open: bool) -> str:
    return "-open" if is_open else ""


def flavour(kernel: str, kernel_packages: Mapping[str, Mapping[str, Any]]) -> str:
    """What the packages of a kernel end in that follow its updates; empty for a kernel that is no distribution's.

    6.1.0-40-cloud-amd64 is of cloud-amd64. 6.14.0-33-generic is of generic or, as the installed package of its series
    tells, of generic-hwe-24.04.
    """
    parts = kernel.split("-")
    kind = "-".join(parts[next((at for at, part in enumerate(parts) if not part[:1].isdigit()), len(parts)) :])
    if not kind:
        return ""
    images = {name: version for name, version in there(kernel_packages).items() if name.startswith("linux-image-")}
    # Ubuntu's for virtual machines are of the generic kernel too, and there are no modules or headers but its.
    endings = {name.removeprefix("linux-image-").replace("virtual", "generic", 1): images[name] for name in images}
    following = [ending for ending in endings if ending == kind or ending.startswith(f"{kind}-")]
    series = numbers(kernel)[:2]

    def closeness(ending: str) -> tuple[bool, tuple[int, ...]]:
        version = numbers(endings[ending])
        return version[:2] == series, version

    return max(following, key=closeness, default=kind)


def upstream(version: str) -> str:
    """The driver's own version within a package's: 580.95.05 of 580.95.05-1; empty for none."""
    match = VERSION.match(version)
    return match[1] if match else ""


@dataclasses.dataclass(frozen=True)
class Installed:
    """The driver that a host has by packages."""

    kernel: str
    """The package with its kernel module."""
    branch: str
    kernel_module: str


def installed(packages: Mapping[str, Mapping[str, Any]]) -> Installed | None:
    """The driver that is installed, or was and still has its module here."""
    versions = there(packages)
    for name, version in sorted(versions.items()):
        match = KERNEL_PART.fullmatch(name)
        branch = match and (match["branch"] or branch_of(upstream(version)))
        if branch:
            kernel_module = OPEN if "-open" in name else PROPRIETARY
            return Installed(name, branch, kernel_module)
    return None


def of_other_branch(name: str, versions: Mapping[str, str], branch: str) -> bool:
    """Whether a package is installed, and counts like a driver of another branch."""
    return branch_of(upstream(versions.get(name, ""))) not in ("", branch)


def of_other_version(name: str, versions: Mapping[str, str], version: str) -> bool:
    """Whether a package is installed that counts like the driver, and is not of this very version."""
    return not name.startswith(OWN_COUNT) and upstream(versions.get(name, "")) not in ("", version)


def ahead(versions: Mapping[str, str], version: str) -> list[str]:
    """What is there of the driver's branch that would have to go back for this version."""
    found = {name: upstream(there) for name, there in versions.items() if DRIVER_PART.match(name)}
    of_branch = {name: there for name, there in found.items() if there and branch_of(there) == branch_of(version)}
    return [name for name, there in of_branch.items() if numbers(there) > numbers(version)]


def clashing(versions: Mapping[str, str], new: Wanted, branch: str) -> list[str]:
    """Those of the installed packages that cannot stay as they are beside the new ones; nothing where none clashes.

    They are of another branch, kernel module or source. Which of them come back as parts of the new driver, apt knows.
    """
    parts = list(filter(DRIVER_PART.match, versions))
    kernels = [name for name in parts if KERNEL_PART.fullmatch(name) and not _follows(name, new.kernel)]
    if not kernels and not any(of_other_branch(name, versions, branch) for name in new.driver):
        return []
    metas = [name for name in parts if name.startswith(("cuda-drivers", "nvidia-open"))]
    others = [name for name in parts if of_other_branch(name, versions, branch)]
    # Ubuntu's for servers and any other are in each other's way in every part.
    strangers = parts if any(_is_server(name) != _is_server(new.kernel) for name in kernels) else ()
    kept = {*new.first, *new.driver}
    return [name for name in dict.fromkeys([*kernels, *metas, *others, *strangers]) if name not in kept]


def companions(versions: Mapping[str, str], branch: str) -> list[str]:
    """What is held with a driver of this branch, since it has to stay at its version."""
    return [name for name in versions if COMPANION.match(name) and branch_of(upstream(versions[name])) == branch]


def is_ubuntus_for_desktops(present: Installed, versions: Mapping[str, str]) -> bool:
    """Whether the driver is what Ubuntu itself gives a desktop; NVIDIA's packages have the same names."""
    return not _is_server(present.kernel) and any(
        OF_UBUNTU.search(version)
        for name, version in versions.items()
        if name.startswith(f"nvidia-utils-{present.branch}")
    )


def is_for_a_screen(versions: Mapping[str, str]) -> bool:
    """Whether the driver that is there is one with everything for a desktop."""
    return any(re.fullmatch(r"nvidia-driver-\d+(?:-server)?(?:-open)?", name) for name in versions)


def is_mixed(present: Installed, new: Wanted) -> bool:
    """Whether one of the two is Ubuntu's for servers and the other is not: files of both are in each other's way."""
    return _is_server(present.kernel) != _is_server(new.kernel)


def _is_server(name: str) -> bool:
    return re.search(r"\d-server\b", name) is not None


def _follows(name: str, kernel: str) -> bool:
    """Whether the package is the wanted one, or one of those that it brings for each kernel."""
    return name == kernel or (name.startswith("linux-modules-nvidia-") and stem(name) == stem(kernel))


def stem(name: str) -> str:
    """Of a package with Ubuntu's own kernel module, what comes before the kernel's name."""
    match = re.match(r"linux-modules-nvidia-\d+(?:-server)?(?:-open)?", name)
    return match[0] if match else name


def there(packages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The installed ones, to their versions."""
    return {name: about["version"] for name, about in packages.items() if about["status"] == "installed"}
