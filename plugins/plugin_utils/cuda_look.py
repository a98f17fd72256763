# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles cuda_toolkit and cudnn have in common: how their looks are read, and what they leave alone. No I/O."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_facts import own_gpus

# What no transaction of these roles may change: a driver. libnvidia-ml-dev is a header of the toolkit's.
DRIVER_PACKAGES = (
    "cuda-drivers*",
    "firmware-nvidia-*",
    "libcuda1*",
    "libnvidia-[!m]*",
    "libnvidia-ml1*",
    "linux-modules-nvidia-*",
    "nvidia-dkms-*",
    "nvidia-driver*",
    "nvidia-kernel-*",
    "nvidia-open*",
    "nvidia-smi",
    "xserver-xorg-video-nvidia*",
)


@dataclasses.dataclass(frozen=True)
class Look:
    """What the role's own look printed, as NAME=VALUE pairs; values of a name that comes more than once are lines."""

    said: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, pairs: Sequence[Sequence[str]]) -> Look:
        said: dict[str, list[str]] = {}
        for name, value in pairs:
            said.setdefault(name, []).append(value)
        return cls(said)

    def one(self, name: str) -> str:
        return next(iter(self.said.get(name, [])), "")

    def lines(self, name: str) -> Sequence[str]:
        return self.said.get(name, [])

    def brought(self, role: str) -> list[str]:
        """Packages that the role has brought to the host; that a manifest is damaged is for owned_files to say."""
        try:
            return list(json.loads(self.one("manifest") or "{}")["roles"][role]["installed"])
        except (ValueError, KeyError, TypeError):
            return []

    def owns_something(self, role: str) -> bool:
        return f'"{role}"' in self.one("manifest")


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """One group of update-alternatives(1), as --query prints it."""

    status: str
    value: str

    @classmethod
    def read(cls, lines: Sequence[str]) -> Alternatives:
        fields = [line.partition(": ")[::2] for line in lines]
        first = dict(reversed(fields))
        return cls(first.get("Status", ""), first.get("Value", ""))


def computing(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """How many GPUs should compute, and why none can; whether the driver runs is another role's promise."""
    gpus = len(own_gpus(facts))
    runs = bool(facts and facts["module"]["loaded"])
    why = "no NVIDIA driver runs on the host, so no GPU can compute" if gpus else "the host has no NVIDIA GPU"
    return {"computing_gpus": gpus if runs else 0, "cannot_compute": "" if gpus and runs else why}
