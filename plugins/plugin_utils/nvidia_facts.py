# SPDX-License-Identifier: GPL-3.0-or-later
"""What nvidia_facts.sh prints on a host, as values that the roles' plans and `dlhost doctor` decide from. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import Card

SCRIPT = Path(__file__).with_suffix(".sh")
LINE = re.compile(r"^nvidia:([a-z_]+)=(.*?)\s*$", re.MULTILINE)
# "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build …", and without "Open … for".
LOADED = re.compile(r"NVRM version: .*?\b(\d+\.\d+(?:\.\d+)?)\b")
# dkms 3 separates name and version by a slash, dkms 2 by a comma.
DKMS = re.compile(
    r"(?P<module>nvidia[^/,]*)[/,] *(?P<version>[^,:]+)(?:, *(?P<kernel>[^,]+), *[^:]+)?: *(?P<state>\w+)"
)
ONE_LINE_SOURCE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)")
# A line that begins with a blank goes on with the field before.
FIELD = re.compile(r"^([^\s:]+):((?:.*)(?:\n[ \t].*)*)", re.MULTILINE)
SMI_COLUMNS = (
    *("index", "uuid", "name", "pci_bus_id", "driver_version", "memory_total_mib"),
    *("power_limit_w", "power_min_w", "power_max_w"),
)
OPEN_LICENSE = "Dual MIT/GPL"
# The driver of devices that a virtual machine is given.
BOUND_ELSEWHERE = "vfio-pci"


def script(sysfs: str = "/sys", units: Iterable[str] = (), candidates: Iterable[str] = ()) -> str:
    """The look for one host.

    Args:
        sysfs: Where its GPUs are read; a copy of a tree stands in for a host that has none.
        units: systemd units whose states are wanted.
        candidates: Packages whose version apt would install is wanted.
    """
    head = f"sysfs={quote(sysfs)} units={quote(' '.join(units))} candidates={quote(' '.join(candidates))}\n"
    return head + SCRIPT.read_text(encoding="utf-8")


def facts(printed: str, card: Callable[[str, str], Card]) -> dict[str, Any]:
    """What the script printed, as the value that module nvidia_facts documents.

    Args:
        printed: The script's standard output.
        card: The compatibility table's card with a PCI device id, and a name where the driver tells one.
    """
    said: dict[str, list[str]] = {}
    for name, value in LINE.findall(printed):
        said.setdefault(name, []).append(value)

    def one(name: str) -> str:
        return said.get(name, [""])[0]

    def rows(name: str, width: int) -> list[list[str]]:
        return [value.split("|", width - 1) for value in said.get(name, []) if value.count("|") >= width - 1]

    def packages(kind: str) -> dict[str, dict[str, Any]]:
        native = f":{one('architecture')}"
        return {
            name.removesuffix(native): {"version": version, "status": status, "held": want == "hold"}
            for name, version, status, want in rows(kind, 4)
        }

    smi = _smi(one("smi_path"), one("smi_status"), said.get("smi", []))
    # The driver writes a PCI domain with eight digits, the kernel with four.
    names = {gpu["pci_bus_id"][4:].lower(): gpu["name"] for gpu in smi["gpus"]}
    return {
        "platform": f"{one('distribution')}-{one('version')}",
        "distribution": one("distribution"),
        "version": one("version"),
        "machine": one("machine"),
        "container": one("container") == "yes",
        "boot_id": one("boot_id"),
        "machine_id": one("machine_id"),
        "uptime_s": int(one("uptime_s") or 0),
        "reboot_required": one("reboot_required") == "yes",
        "gpus": [
            _gpu(address, driver, card(device, names.get(address, ""))) for address, device, driver in rows("gpu", 3)
        ],
        "nouveau_loaded": one("nouveau_loaded") == "yes",
        "kernel": {
            "running": one("running_kernel"),
            "installed": said.get("kernel", []),
            "newest": said.get("kernel", [""])[-1],
            "headers": said.get("headers", []),
            "packages": packages("kernel_package"),
            "stale_initramfs": said.get("stale_initramfs", []),
            "initramfs_mib": int(one("initramfs_mib") or 0),
            "boot_free_mib": int(one("boot_free_mib") or 0),
        },
        "dkms": _dkms(said.get("dkms", [])),
        "module": _loaded(one("loaded"))
        | {
            "installed": {
                kernel: {"version": version, "flavour": _flavour(license_), "signed": signer != ""}
                for kernel, version, license_, signer in rows("module", 4)
            }
        },
        "packages": packages("package"),
        "dpkg_was_cut": one("dpkg_was_cut") == "yes",
        "user_space": one("user_space"),
        "smi": smi,
        "runfile": one("runfile"),
        "secure_boot": one("secure_boot") or "unsupported",
        "mok": {
            "key": one("mok_key"),
            "enrolled": "already enrolled" in one("mok"),
            "pending": "already in the enrollment request" in one("mok"),
        },
        "users": [{"pid": int(pid), "command": command, "user": user} for pid, command, user in rows("user", 3)],
        "sources": _sources(LINE.findall(printed)),
        "units": {unit: _unit(states) for unit, states in rows("unit", 2)},
        "candidates": _candidates(said.get("policy", [])),
    }


def own_gpus(found: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The GPUs that the host itself computes with; those that virtual machines have are not its own."""
    return [gpu for gpu in (found or {}).get("gpus", []) if gpu["bound_driver"] != BOUND_ELSEWHERE]


def why_no_gpus(found: Mapping[str, Any]) -> str:
    """Why the host has no GPU of its own; empty where it has one."""
    if own_gpus(found):
        return ""
    if found["gpus"]:
        return "every NVIDIA GPU is passed through to virtual machines (vfio-pci)"
    return "no NVIDIA GPU is on the PCI bus"


def _gpu(address: str, driver: str, card: Card) -> dict[str, Any]:
    return {
        "address": address,
        "device_id": card.device_id,
        "name": card.name,
        "chip": card.chip,
        "architecture": card.architecture.name,
        "compute_capability": card.compute_capability,
        "known": card.known,
        "bound_driver": driver,
    }


def _dkms(lines: Sequence[str]) -> list[dict[str, str]]:
    return [match.groupdict(default="") for line in lines if (match := DKMS.match(line))]


def _loaded(line: str) -> dict[str, str]:
    found = LOADED.search(line)
    if not found:
        return {"loaded": "", "loaded_flavour": ""}
    return {"loaded": found[1], "loaded_flavour": "open" if "Open Kernel Module" in line else "proprietary"}


def _flavour(license_: str) -> str:
    return "open" if license_ == OPEN_LICENSE else "proprietary"


def _smi(path: str, status: str, lines: Sequence[str]) -> dict[str, Any]:
    ran = status == "0"
    gpus = [
        dict(zip(SMI_COLUMNS, (value.strip() for value in line.split(",")), strict=False))
        for line in lines
        if ran and line.count(",") >= len(SMI_COLUMNS) - 1
    ]
    error = "" if ran or not path else " ".join(lines) or f"nvidia-smi ended with status {status}"
    return {
        "path": path,
        "ran": ran and bool(gpus),
        "error": error,
        "driver_version": gpus[0]["driver_version"] if gpus else "",
        "gpus": gpus,
    }


def _unit(states: str) -> dict[str, str]:
    """The three states of one unit, in systemd's words; `loaded` is not-found where there is no such unit."""
    said = dict(part.split("=", 1) for part in states.split("|") if "=" in part)
    return {
        "loaded": said.get("LoadState", ""),
        "active": said.get("ActiveState", ""),
        "enabled": said.get("UnitFileState", ""),
    }


def _candidates(lines: Sequence[str]) -> dict[str, str]:
    """Package to the version that apt would install, empty where there is none; unknown names are absent."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line.startswith("="):
            found[name] = "" if line == "=(none)" else line[1:]
        else:
            name = line
    return found


def _sources(lines: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Every source of packages that apt reads, of both formats: sources.list(5)."""
    found: list[dict[str, Any]] = []
    texts: dict[str, list[str]] = {}
    file = ""
    for name, value in lines:
        if name == "source_file":
            file = value
            texts[file] = []
        elif name == "source_line" and not value.lstrip().startswith("#"):
            texts[file].append(value)
    for file, text in texts.items():
        if file.endswith(".sources"):
            found += _stanzas(file, text)
        else:
            found += [_source(file, **match.groupdict()) for line in text if (match := ONE_LINE_SOURCE.match(line))]
    return found


def _source(file: str, uri: str, suite: str, components: str, options: str | None) -> dict[str, Any]:
    given = dict(part.split("=", 1) for part in (options or "").split() if "=" in part)
    return {
        "file": file,
        "uri": uri.rstrip("/"),
        "suite": suite,
        "components": components.split("#")[0].split(),
        "signed_by": given.get("signed-by", ""),
    }


def _stanzas(file: str, text: Iterable[str]) -> list[dict[str, Any]]:
    """The enabled sources of a deb822 file, one per URI and suite."""
    found = []
    for stanza in "\n".join(text).split("\n\n"):
        fields = {name.lower(): " ".join(value.split()) for name, value in FIELD.findall(stanza)}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        found += [
            {
                "file": file,
                "uri": uri.rstrip("/"),
                "suite": suite,
                "components": fields.get("components", "").split(),
                # A key may also stand in the file itself.
                "signed_by": fields.get("signed-by", ""),
            }
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return found
