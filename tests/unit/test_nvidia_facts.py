"""The look at a host's GPUs: the real script on this machine over trees of sysfs, and what its lines become."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.python_environments import plugin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the script looks at a Linux host")


def device(sysfs: Path, address: str, vendor: str, class_: str, device_id: str, driver: str = "") -> None:
    """One device as the kernel shows it."""
    directory = sysfs / "bus/pci/devices" / address
    directory.mkdir(parents=True)
    for name, value in {"vendor": vendor, "class": class_, "device": device_id}.items():
        (directory / name).write_text(f"{value}\n")
    if driver:
        bound = sysfs / "bus/pci/drivers" / driver
        bound.mkdir(parents=True, exist_ok=True)
        (directory / "driver").symlink_to(bound)


def look(sysfs: Path, root: Path | None = None, **asked_for: list[str]) -> dict[str, Any]:
    """What the script finds; what it reads of kernels it may read below another root."""
    script = plugin("plugin_utils.nvidia_facts").script(str(sysfs), **asked_for)
    for directory in ("/boot", "/lib/modules", "/etc/modprobe.d") if root else ():
        script = script.replace(directory, f"{root}{directory}")
    done = subprocess.run(["/bin/sh", "-s"], input=script, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return facts(done.stdout)


def facts(printed: str) -> dict[str, Any]:
    table = plugin("plugin_utils.compatibility").load()
    found: dict[str, Any] = plugin("plugin_utils.nvidia_facts").facts(printed, table.card)
    return found


def test_a_host_without_a_gpu(tmp_path: Path) -> None:
    device(tmp_path, "0000:00:02.0", "0x8086", "0x030000", "0x3e92")
    found = look(tmp_path)
    assert found["gpus"] == []
    assert not found["nouveau_loaded"]
    assert found["secure_boot"] == "unsupported"


def test_display_controllers_of_nvidia_alone_are_gpus(tmp_path: Path) -> None:
    device(tmp_path, "0000:41:00.0", "0x10de", "0x030200", "0x2901")
    device(tmp_path, "0000:01:00.0", "0x10de", "0x030000", "0x1b81", driver="nouveau")
    # The same card's sound, and its USB controller.
    device(tmp_path, "0000:01:00.1", "0x10de", "0x040300", "0x10f0", driver="snd_hda_intel")
    device(tmp_path, "0000:01:00.2", "0x10de", "0x0c0330", "0x1ad8")
    (tmp_path / "module/nouveau").mkdir(parents=True)
    found = look(tmp_path)
    assert [(gpu["address"], gpu["device_id"], gpu["bound_driver"], gpu["chip"]) for gpu in found["gpus"]] == [
        ("0000:01:00.0", "1b81", "nouveau", "GP104"),
        ("0000:41:00.0", "2901", "", "GB100"),
    ]
    assert found["nouveau_loaded"]


@pytest.mark.parametrize(
    ("secure_boot", "shim_ignores_it", "state"), [(0, None, "disabled"), (1, 0, "enabled"), (1, 1, "disabled")]
)
def test_secure_boot(tmp_path: Path, secure_boot: int, shim_ignores_it: int | None, state: str) -> None:
    variables = tmp_path / "firmware/efi/efivars"
    variables.mkdir(parents=True)
    attributes = bytes([6, 0, 0, 0])
    (variables / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c").write_bytes(attributes + bytes([secure_boot]))
    if shim_ignores_it is not None:
        # shim's own variable can be seen once the kernel runs.
        name = "MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
        (variables / name).write_bytes(attributes + bytes([shim_ignores_it]))
    assert look(tmp_path)["secure_boot"] == state


@pytest.mark.parametrize("written", [True, False])
def test_an_initramfs_from_before_the_blacklist_is_stale(tmp_path: Path, written: bool) -> None:
    ages_s = {"6.1.0-48-amd64": 60, "6.1.0-49-amd64": 60, "6.1.0-50-amd64": 0, "6.1.0-50-amd64.bak": 60}
    for directory in ("boot", "lib/modules/6.1.0-49-amd64", "lib/modules/6.1.0-50-amd64", "etc/modprobe.d"):
        (tmp_path / directory).mkdir(parents=True)
    # Of 48 nothing is left but its initramfs.
    for release in ("6.1.0-49-amd64", "6.1.0-50-amd64"):
        (tmp_path / f"boot/vmlinuz-{release}").touch()
    now = 1_700_000_000
    for name, age_s in ages_s.items():
        initramfs = tmp_path / f"boot/initrd.img-{name}"
        initramfs.touch()
        os.utime(initramfs, (now - age_s, now - age_s))
    if written:
        blacklist = tmp_path / "etc/modprobe.d/dlhost-nouveau.conf"
        blacklist.touch()
        os.utime(blacklist, (now - 30, now - 30))

    kernel = look(tmp_path / "sys", tmp_path)["kernel"]

    assert kernel["stale_initramfs"] == (["6.1.0-49-amd64"] if written else [])
    assert kernel["newest"] == "6.1.0-50-amd64"


def test_units_that_are_asked_for(tmp_path: Path) -> None:
    assert set(look(tmp_path, units=["dlhost-nothing.service"])["units"]) == {"dlhost-nothing.service"}


@pytest.mark.parametrize(
    ("line", "version", "flavour"),
    [
        # Recorded: NVIDIA/open-gpu-kernel-modules, issues on GitHub, of both flavours.
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@host)",
            "580.95.05",
            "open",
        ),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024",
            "535.183.01",
            "proprietary",
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.48  Sun May 12", "590.48", "proprietary"),
        ("", "", ""),
    ],
)
def test_the_module_that_is_loaded(line: str, version: str, flavour: str) -> None:
    module = said(f"loaded={line}")["module"]
    assert (module["loaded"], module["loaded_flavour"]) == (version, flavour)


def test_the_modules_that_kernels_would_load() -> None:
    found = said(
        "kernel=6.1.0-49-amd64",
        "kernel=6.1.0-50-amd64",
        "running_kernel=6.1.0-49-amd64",
        "module=6.1.0-49-amd64|580.95.05|Dual MIT/GPL|host Secure Boot Module Signature key",
        "module=6.1.0-50-amd64|535.261.03|NVIDIA|",
        "kernel_package=linux-image-amd64|6.1.170-3|installed|hold",
        "stale_initramfs=6.1.0-49-amd64",
        "boot_free_mib=310",
        "initramfs_mib=78",
    )
    assert found["kernel"]["newest"] == "6.1.0-50-amd64"
    assert found["kernel"]["packages"]["linux-image-amd64"]["held"]
    assert found["kernel"]["stale_initramfs"] == ["6.1.0-49-amd64"]
    assert (found["kernel"]["boot_free_mib"], found["kernel"]["initramfs_mib"]) == (310, 78)
    assert found["module"]["installed"] == {
        "6.1.0-49-amd64": {"version": "580.95.05", "flavour": "open", "signed": True},
        "6.1.0-50-amd64": {"version": "535.261.03", "flavour": "proprietary", "signed": False},
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Recorded from dkms 3.0.10 on Debian 12 and 3.2.2 on Debian 13: added, built, installed; then the module was
        # deleted, then its source.
        ("nvidia/1.2: added", "nvidia 1.2  added"),
        ("nvidia/1.2, 6.1.0-56-cloud-amd64, x86_64: built", "nvidia 1.2 6.1.0-56-cloud-amd64 built"),
        (
            "nvidia/1.2, 6.1.0-56-cloud-amd64, x86_64: installed (WARNING! Diff between built and installed module!)",
            "nvidia 1.2 6.1.0-56-cloud-amd64 installed",
        ),
        (
            "nvidia/1.2, 6.12.117+deb13-cloud-amd64, x86_64: installed "
            "(Differences between built and installed modules)",
            "nvidia 1.2 6.12.117+deb13-cloud-amd64 installed",
        ),
        ("nvidia/1.2: broken", "nvidia 1.2  broken"),
        # As tests/slow/test_dkms.py sees it.
        (
            "nvidia-current/550.163.01, 6.12.117+deb13-cloud-amd64, x86_64: installed",
            "nvidia-current 550.163.01 6.12.117+deb13-cloud-amd64 installed",
        ),
        # dkms 2, as Ubuntu 22.04 has it.
        ("nvidia, 580.95.05, 5.15.0-157-generic, x86_64: installed", "nvidia 580.95.05 5.15.0-157-generic installed"),
    ],
)
def test_what_dkms_says(line: str, expected: str) -> None:
    (found,) = said(f"dkms={line}")["dkms"]
    assert " ".join((found["module"], found["version"], found["kernel"], found["state"])) == expected


def test_packages_of_this_architecture_have_no_suffix() -> None:
    packages = said(
        "architecture=amd64",
        "package=libcuda1:amd64|550.163.01-2|installed|hold",
        "package=libcuda1:i386|550.163.01-2|installed|install",
        "package=nvidia-driver|535.261.03-1|config-files|deinstall",
    )["packages"]
    assert packages["libcuda1"] == {"version": "550.163.01-2", "status": "installed", "held": True}
    assert packages["libcuda1:i386"]["held"] is False
    assert packages["nvidia-driver"]["status"] == "config-files"


def test_an_nvidia_smi_that_answers() -> None:
    found = said(
        "smi_path=/usr/bin/nvidia-smi",
        "smi_status=0",
        "gpu=0000:01:00.0|1b81|nvidia",
        "smi=0, GPU-8f6d, NVIDIA GeForce GTX 1070, 00000000:01:00.0, 580.95.05, 8192, 151.00, 75.50, 170.00",
        "smi=1, GPU-1a2b, NVIDIA GeForce GTX 1070, 00000000:02:00.0, 580.95.05, [N/A], [N/A], [N/A], [N/A]",
    )
    smi = found["smi"]
    assert smi["ran"]
    assert found["gpus"][0]["name"] == "NVIDIA GeForce GTX 1070"
    assert smi["driver_version"] == "580.95.05"
    assert [gpu["memory_total_mib"] for gpu in smi["gpus"]] == ["8192", "[N/A]"]
    limits = [(gpu["power_limit_w"], gpu["power_min_w"], gpu["power_max_w"]) for gpu in smi["gpus"]]
    assert limits == [("151.00", "75.50", "170.00"), ("[N/A]", "[N/A]", "[N/A]")]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["smi_status=9", "smi=Failed to initialize NVML: Unknown Error"], "Unknown Error"),
        (["smi_status=18", "smi=Failed to initialize NVML: Driver/library version mismatch"], "version mismatch"),
        (["smi_status=124", "smi="], "nvidia-smi ended with status 124"),
    ],
)
def test_an_nvidia_smi_in_trouble(lines: list[str], error: str) -> None:
    smi = said("smi_path=/usr/bin/nvidia-smi", *lines)["smi"]
    assert not smi["ran"]
    assert error in smi["error"]


@pytest.mark.parametrize(
    ("said_by_mokutil", "enrolled", "pending"),
    [
        ("/var/lib/dkms/mok.pub is already enrolled", True, False),
        ("/var/lib/dkms/mok.pub is already in the enrollment request", False, True),
        ("/var/lib/dkms/mok.pub is not enrolled", False, False),
    ],
)
def test_the_key_of_the_machine_owner(said_by_mokutil: str, enrolled: bool, pending: bool) -> None:
    mok = said("mok_key=/var/lib/dkms/mok.pub", f"mok={said_by_mokutil}")["mok"]
    assert mok == {"key": "/var/lib/dkms/mok.pub", "enrolled": enrolled, "pending": pending}


def test_sources_of_both_formats() -> None:
    found = said(
        "source_file=/etc/apt/sources.list",
        "source_line=# deb http://deb.debian.org/debian sid main",
        "source_line=deb http://deb.debian.org/debian/ bookworm main contrib # the usual",
        "source_line=deb-src http://deb.debian.org/debian bookworm main",
        "source_file=/etc/apt/sources.list.d/cuda-debian12-x86_64.list",
        "source_line=deb [arch=amd64 signed-by=/usr/share/keyrings/cuda.gpg] https://example.org/cuda/ /",
        "source_file=/etc/apt/sources.list.d/debian.sources",
        "source_line=# a comment",
        "source_line=Types: deb deb-src",
        "source_line=URIs: http://deb.debian.org/debian",
        "source_line=Suites: trixie",
        "source_line= trixie-updates",
        "source_line=Components: main non-free-firmware",
        "source_line=Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
        "source_line=",
        "source_line=Enabled: no",
        "source_line=Types: deb",
        "source_line=URIs: http://example.org",
        "source_line=Suites: stable",
    )["sources"]
    assert [(source["uri"], source["suite"], source["components"]) for source in found] == [
        ("http://deb.debian.org/debian", "bookworm", ["main", "contrib"]),
        ("https://example.org/cuda", "/", []),
        ("http://deb.debian.org/debian", "trixie", ["main", "non-free-firmware"]),
        ("http://deb.debian.org/debian", "trixie-updates", ["main", "non-free-firmware"]),
    ]
    assert found[1]["signed_by"] == "/usr/share/keyrings/cuda.gpg"
    assert found[3]["signed_by"] == "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_the_version_that_apt_would_install() -> None:
    found = said("policy=nvidia-open", "policy==580.95.05-1", "policy=nvidia-smi", "policy==(none)")
    assert found["candidates"] == {"nvidia-open": "580.95.05-1", "nvidia-smi": ""}


def test_who_holds_a_gpu() -> None:
    found = said("user=4711|python3|ada", "uptime_s=12")
    assert found["users"] == [{"pid": 4711, "command": "python3", "user": "ada"}]
    assert found["uptime_s"] == 12


def said(*lines: str) -> dict[str, Any]:
    return facts("".join(f"nvidia:{line}\n" for line in lines))
