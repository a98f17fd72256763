"""Hosts with NVIDIA's cards as nvidia_facts tells of them, made by hand."""

from __future__ import annotations

import copy
from typing import Any

CARDS = {
    "GTX 1070": "1b81",
    "V100": "1db4",
    "T4": "1eb8",
    "A100": "20b0",
    "RTX 4090": "2684",
    "H100": "2330",
    "B200": "2901",
    "unknown": "fff0",
}
RUNNING, NEWEST = "6.1.0-49-amd64", "6.1.0-50-amd64"
# The units and packages of a host on which the role has been.
DAEMON = {"nvidia-persistenced.service": {"loaded": "loaded", "active": "active", "enabled": "enabled"}}
META = {"linux-image-amd64": "6.1.170-1", "linux-headers-amd64": "6.1.170-1"}
DRIVER_580 = {"nvidia-driver-pinning-580": "580-1", "nvidia-driver-cuda": "580.95.05-1"}

BARE: dict[str, Any] = {
    "platform": "debian-12",
    "distribution": "debian",
    "version": "12",
    "machine": "x86_64",
    "container": False,
    "is_controller": False,
    "boot_id": "a",
    "machine_id": "b",
    "gpus": [],
    "nouveau_loaded": False,
    "kernel": {
        "running": RUNNING,
        "installed": [RUNNING],
        "newest": RUNNING,
        "headers": [],
        "packages": {},
        "stale_initramfs": [],
        "initramfs_mib": 40,
        "boot_free_mib": 400,
    },
    "dkms": [],
    "module": {"loaded": "", "loaded_flavour": "", "installed": {}},
    "packages": {},
    "dpkg_was_cut": False,
    "user_space": "",
    "smi": {"path": "", "ran": False, "error": "", "driver_version": "", "gpus": []},
    "runfile": "",
    "secure_boot": "disabled",
    "mok": {"key": "", "enrolled": False, "pending": False},
    "users": [],
    "units": {},
    "candidates": {},
}


def host(*cards: str, **differs: Any) -> dict[str, Any]:
    """A bare Debian 12 with these cards; what differs is laid over it, mappings within mappings."""
    made = copy.deepcopy(BARE)
    made["gpus"] = [
        {"address": f"0000:{at:02x}:00.0", "device_id": CARDS[card], "name": "", "bound_driver": ""}
        for at, card in enumerate(cards, 1)
    ]
    return over(made, differs)


def with_driver(*cards: str, flavour: str = "open", version: str = "580.95.05", **differs: Any) -> dict[str, Any]:
    """A host on which NVIDIA's driver runs as role nvidia_driver leaves it."""
    kernel = "nvidia-kernel-open-dkms" if flavour == "open" else "nvidia-kernel-dkms"
    branch = version.split(".")[0]
    made = host(
        *cards,
        packages={
            f"nvidia-driver-pinning-{branch}": package(f"{branch}-1"),
            "nvidia-driver-cuda": package(f"{version}-1", held=True),
            kernel: package(f"{version}-1", held=True),
            "libcuda1": package(f"{version}-1"),
        },
        kernel={"headers": [RUNNING], "packages": {name: package(found) for name, found in META.items()}},
        module={
            "loaded": version,
            "loaded_flavour": flavour,
            "installed": {RUNNING: {"version": version, "flavour": flavour, "signed": False}},
        },
        user_space=version,
        smi={"ran": True, "driver_version": version, "gpus": [{}] * len(cards)},
        units=DAEMON,
    )
    return over(made, differs)


def limited(*limits: str, active: str = "active") -> dict[str, Any]:
    """What differs where nvidia-smi tells of these limits, of 100 to 450 W, and the unit for them is in this state."""
    gpus = [
        {"index": str(at), "name": "a card", "power_limit_w": limit, "power_min_w": "100.00", "power_max_w": "450.00"}
        for at, limit in enumerate(limits)
    ]
    unit = {"loaded": "loaded" if active else "not-found", "active": active, "enabled": "static"}
    return {"smi": {"gpus": gpus}, "units": {"dlhost-nvidia-power.service": unit}}


def package(version: str, *, held: bool = False, status: str = "installed") -> dict[str, Any]:
    return {"version": version, "status": status, "held": held}


def module(version: str = "580.95.05", flavour: str = "open", *, signed: bool = False) -> dict[str, Any]:
    return {"version": version, "flavour": flavour, "signed": signed}


def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """One mapping laid over another, and those within it likewise."""
    return {
        **below,
        **{
            key: over(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
            for key, value in above.items()
        },
    }
