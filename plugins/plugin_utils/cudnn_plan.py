# SPDX-License-Identifier: GPL-3.0-or-later
"""What role cudnn is to do on a host, from what was seen there, the settings and the table. No I/O."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import Card, Table, numbers
from ansible_collections.dlhost.host.plugins.plugin_utils.cuda_look import DRIVER_PACKAGES, Look, computing
from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_facts import own_gpus

ROLE = "cudnn"
# cuDNN before 9, whose development files have the places of those of 9.
EARLIER = re.compile(r"libcudnn[0-8](?:-dev|-samples)?\Z")
# The distribution's package, which fetches a copy that dpkg knows nothing of.
FETCHED = "nvidia-cudnn"
OF_MAJOR = re.compile(r"libcudnn9.*-cuda-(\d+)\Z")
RUNTIME = re.compile(r"libcudnn9-cuda-(\d+)\Z")
TOOLKIT = re.compile(r"cuda-(?:toolkit|minimal-build|compiler|libraries|cudart)-(\d+)-\d+\Z")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The role's variables, without the prefix."""

    state: str
    cuda_majors: Sequence[int]
    default: int
    version: str
    dev: bool
    hold: bool
    source: str
    toolkits: Sequence[str]


def plan(
    facts: Mapping[str, Any] | None, pairs: Sequence[Sequence[str]], settings: Settings, table: Table
) -> dict[str, Any]:
    """What is due, as values for the role's tasks; the arguments are those of cuda_toolkit_plan.plan."""
    look = Look.read(pairs)
    majors = sorted(settings.cuda_majors) if settings.state == "present" and facts else []
    default = settings.default or (majors or [0])[-1]
    cards = [table.card(gpu["device_id"]) for gpu in own_gpus(facts)]
    refusal = _refusal(facts, look, settings, cards, table, majors) if facts and majors else ""
    packages = [name for major in majors for name in _packages(table, major, settings)] if not refusal else []
    known = (facts or {}).get("packages", {})
    installed = {name: about for name, about in known.items() if about["status"] == "installed"}
    unmet = [name for name in packages if not _is_met(name, settings.version, installed)]
    unheld = [name for name in packages if name in installed and installed[name]["held"] != settings.hold]
    dropped = [] if refusal else [name for name in look.brought(ROLE) if name not in packages]
    return {
        "refusal": refusal,
        "packages": packages,
        "wishes": [f"{name}={settings.version}" for name in packages],
        "unmet": unmet,
        "unheld": unheld,
        "install_due": bool(unmet or unheld or (majors and facts and facts["dpkg_was_cut"])),
        "dropped": sorted(set(dropped) & set(look.lines("installed"))),
        "protects": list(DRIVER_PACKAGES),
        "alternatives": _alternatives(look, default),
        "default": default,
        "owns": look.owns_something(ROLE),
        "left": sorted(set(look.brought(ROLE)) & set(look.lines("installed"))),
        "record_due": bool(dropped or (look.owns_something(ROLE) and not majors)),
        "versions": {
            match[1]: ".".join(map(str, numbers(installed[name]["version"])[:3]))
            for name in packages
            if (match := RUNTIME.match(name)) and name in installed
        },
        "libraries": _rows(look, "library"),
        "headers": _rows(look, "header"),
    } | computing(facts)


def _packages(table: Table, major: int, settings: Settings) -> list[str]:
    row = table.cudnn(major, settings.version)
    names = row.packages if row else {}
    return [names[part] for part in (("runtime", "development", "headers") if settings.dev else ("runtime",)) if names]


def _is_met(name: str, version: str, installed: Mapping[str, Any]) -> bool:
    return name in installed and fnmatch.fnmatchcase(installed[name]["version"], version)


def _refusal(
    facts: Mapping[str, Any],
    look: Look,
    settings: Settings,
    cards: Sequence[Card],
    table: Table,
    majors: Sequence[int],
) -> str:
    """Why this host cannot have it, in one sentence with what works instead."""
    if settings.source != "nvidia":
        title = f"{facts['distribution'].capitalize()} {facts['version']}"
        return f"{title} itself has no cuDNN to install; set nvidia_repo_source to nvidia, or cudnn_cuda_majors to []."
    refused = (table.cudnn_refusal(cards, major, settings.version) for major in majors)
    return next(filter(None, refused), "") or _without_toolkit(facts, settings, majors) or _in_the_way(facts, look)


def _without_toolkit(facts: Mapping[str, Any], settings: Settings, majors: Sequence[int]) -> str:
    there = {
        int(match[1])
        for name, about in facts["packages"].items()
        if about["status"] == "installed" and (match := TOOLKIT.match(name))
    }
    there |= {numbers(release)[0] for release in settings.toolkits}
    lonely = next((major for major in majors if major not in there), None)
    if lonely is None:
        return ""
    return (
        f"cuDNN for CUDA {lonely} is of no use without CUDA {lonely} itself; add a release of it to "
        f"cuda_toolkit_versions, or take {lonely} out of cudnn_cuda_majors."
    )


def _in_the_way(facts: Mapping[str, Any], look: Look) -> str:
    earlier = sorted(
        name
        for name, about in facts["packages"].items()
        if about["status"] == "installed" and (EARLIER.match(name) or name == FETCHED)
    )
    if earlier:
        return (
            f"Another cuDNN is installed, and a program would be built with one and run with the other; remove "
            f"{', '.join(earlier)} and run again."
        )
    copies = list(look.lines("copy"))
    if copies:
        return (
            f"Copies of cuDNN that belong to no package would be taken for this one; remove {', '.join(copies)} "
            f"and run again."
        )
    return ""


def _alternatives(look: Look, default: int) -> list[dict[str, str]]:
    """The groups of update-alternatives(1) that do not lead to the default's files, and where they are to lead."""
    choices = [line.split("|") for line in look.lines("choice")]
    due = []
    for line in look.lines("group"):
        group, status, value = line.split("|")
        of_group = [(path, package) for other, path, package in choices if other == group]
        own = next((path for path, package in of_group if _is_of(package, default)), "")
        # With one choice alone there is nothing that an upgrade could choose instead.
        if own and (value != own or (status != "manual" and len(of_group) > 1)):
            due.append({"group": group, "path": own})
    return due


def _is_of(package: str, major: int) -> bool:
    match = OF_MAJOR.match(package.partition(":")[0])
    return bool(match) and int(match[1]) == major


def _rows(look: Look, name: str) -> dict[str, str]:
    """CUDA's major release to what the look says of it."""
    return dict(line.split("|", 1) for line in look.lines(name))
