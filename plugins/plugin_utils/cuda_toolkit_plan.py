# SPDX-License-Identifier: GPL-3.0-or-later
"""What role cuda_toolkit is to do on a host, from what was seen there, the settings and the table. No I/O."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import Card, Table, numbers
from ansible_collections.dlhost.host.plugins.plugin_utils.cuda_look import (
    DRIVER_PACKAGES,
    Alternatives,
    Look,
    computing,
)
from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_facts import own_gpus

ROLE = "cuda_toolkit"
LINK = "/usr/local/cuda"
# Never `cuda` or `cuda-12-9`, which bring a driver along, nor an unversioned name, which moves on to the next major
# release by itself; cuda-runtime-12-9 brings a driver too. cuda-compiler-12-9 alone has not the runtime's headers.
NVIDIA_PACKAGES = {"toolkit": "cuda-toolkit-{}", "compiler": "cuda-minimal-build-{}", "runtime": "cuda-libraries-{}"}
DISTRIBUTION_PACKAGE = "nvidia-cuda-toolkit"
# nvcc has the processor's part of a program compiled by it. Debian 12's comes with an older one for that, and yet ends
# without this one: "Failed to preprocess host compiler properties".
HOST_COMPILER = "g++"
# What belongs to one release of NVIDIA's packages, among which are many that the one asked for has brought along.
RELEASE_PACKAGES = ("cuda-*-{}", "cuda-toolkit-{}-config-common", "lib*-{}", "gds-tools-{}", "nvidia-gds-{}")
VERSIONED = re.compile(r"cuda-(?:toolkit|minimal-build|libraries)-(\d+)-(\d+)\Z")
# The architecture for which a kernel is compiled where there is no card: every release since 10 makes code for it.
DEFAULT_ARCHITECTURE = "7.5"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The role's variables, without the prefix."""

    state: str
    versions: Sequence[str]
    default: str
    packages: str
    paths: bool
    source: str
    driver: str

    @property
    def from_nvidia(self) -> bool:
        """Whether every release has a directory of its own, and one of them is the default."""
        return self.source == "nvidia"


def plan(
    facts: Mapping[str, Any] | None, pairs: Sequence[Sequence[str]], settings: Settings, table: Table
) -> dict[str, Any]:
    """What is due, as values for the role's tasks.

    Args:
        facts: What nvidia_facts found; None where nothing is wanted, so that nobody asked.
        pairs: What the role's own look printed, name and value.
        settings: The role's variables.
        table: What fits together.
    """
    look = Look.read(pairs)
    wanted = list(settings.versions) if settings.state == "present" and facts else []
    default = (settings.default or max(wanted, key=numbers)) if settings.from_nvidia and wanted else ""
    home = f"{LINK}-{default}" if default else ""
    packages = _packages(wanted, settings) if wanted else []
    cards = [table.card(gpu["device_id"]) for gpu in own_gpus(facts)]
    installed = {name for name, about in (facts or {}).get("packages", {}).items() if about["status"] == "installed"}
    if look.one("host_compiler"):
        installed.add(HOST_COMPILER)
    missing = [name for name in packages if name not in installed]
    dropped = _dropped(look.brought(ROLE), packages)
    alternatives = Alternatives.read(look.lines("alternatives"))
    link_is_right = look.one("link") == "/etc/alternatives/cuda" and alternatives.value == home
    return {
        "refusal": _refusal(facts, look, settings, cards, table, wanted) if facts and wanted else "",
        "warnings": _warnings(facts, settings, table, wanted) if facts and wanted else [],
        "packages": packages,
        "missing": missing,
        "install_due": bool(missing or (wanted and facts and facts["dpkg_was_cut"])),
        "dropped": dropped,
        # The distribution's toolkit needs the libraries of its driver: those that are there stay as they are.
        "protects": list(DRIVER_PACKAGES) if settings.from_nvidia else _of_driver(installed),
        "default": default,
        "home": home,
        "default_due": bool(home) and (bool(missing) or alternatives.status != "manual" or not link_is_right),
        "link": look.one("link"),
        "paths": bool(home) and settings.paths,
        "owns": look.owns_something(ROLE),
        "left": sorted(set(look.brought(ROLE)) & set(look.lines("installed"))),
        "architectures": _architectures(cards),
        "compilers": _compilers(wanted, settings),
    } | computing(facts)


def _architectures(cards: Sequence[Card]) -> list[str]:
    """What the kernel of the check is compiled for, as nvcc calls it."""
    capabilities = [card.compute_capability for card in cards] or [DEFAULT_ARCHITECTURE]
    return [f"sm_{capability.replace('.', '')}" for capability in dict.fromkeys(capabilities)]


def _compilers(wanted: Sequence[str], settings: Settings) -> dict[str, str]:
    """Release to the path of its nvcc."""
    if settings.packages == "runtime":
        return {}
    path = f"{LINK}-{{}}/bin/nvcc" if settings.from_nvidia else "/usr/bin/nvcc"
    return {release: path.format(release) for release in sorted(wanted, key=numbers)}


def _of_driver(installed: Iterable[str]) -> list[str]:
    return sorted(name for name in installed if any(fnmatch.fnmatchcase(name, glob) for glob in DRIVER_PACKAGES))


def _packages(wanted: Sequence[str], settings: Settings) -> list[str]:
    if not settings.from_nvidia:
        return [DISTRIBUTION_PACKAGE, HOST_COMPILER]
    names = [NVIDIA_PACKAGES[settings.packages].format(release.replace(".", "-")) for release in wanted]
    return names + ([HOST_COMPILER] if settings.packages != "runtime" else [])


def _dropped(brought: Sequence[str], packages: Sequence[str]) -> list[str]:
    """What goes, as globs of package names: what the role once brought, and no release that is still wanted."""
    kept = {match.groups() for name in packages if (match := VERSIONED.match(name))}
    gone = dict.fromkeys(match.groups() for name in brought if (match := VERSIONED.match(name)))
    globs = [glob.format("-".join(release)) for release in gone if release not in kept for glob in RELEASE_PACKAGES]
    if DISTRIBUTION_PACKAGE in brought and DISTRIBUTION_PACKAGE not in packages:
        globs.append(DISTRIBUTION_PACKAGE)
    # The same release with less of it: its toolkit goes, what of it is asked for stays.
    fewer = [name for name in brought if VERSIONED.match(name) and name not in packages]
    globs += [name for name in fewer if VERSIONED.match(name).groups() in kept]  # type: ignore[union-attr]
    return globs


def _refusal(
    facts: Mapping[str, Any],
    look: Look,
    settings: Settings,
    cards: Sequence[Card],
    table: Table,
    wanted: Sequence[str],
) -> str:
    """Why this host cannot have it, in one sentence with what works instead."""
    driver = settings.driver or facts["module"]["loaded"] or facts["user_space"] or None
    refused = (table.cuda_refusal(cards, release, driver) for release in wanted)
    return (
        (_not_the_distributions(facts, settings, table, wanted) if not settings.from_nvidia else "")
        or next(filter(None, refused), "")
        or (_in_the_way(look, wanted) if settings.from_nvidia else "")
    )


def _warnings(facts: Mapping[str, Any], settings: Settings, table: Table, wanted: Sequence[str]) -> list[str]:
    """What is worth knowing of compilers; the distribution's own package brings one that fits."""
    if not settings.from_nvidia or settings.packages == "runtime":
        return []
    return [warning for release in wanted if (warning := table.compiler_warning(facts["platform"], release))]


def _not_the_distributions(facts: Mapping[str, Any], settings: Settings, table: Table, wanted: Sequence[str]) -> str:
    title = f"{facts['distribution'].capitalize()} {facts['version']}"
    own = table.platform(facts["platform"]).cuda
    other = next((release for release in wanted if release != own), "")
    if not own:
        return f"{title} has no CUDA toolkit of its own; set nvidia_repo_source to nvidia."
    if other:
        return (
            f"{title} itself has CUDA {own} and not {other}; set cuda_toolkit_versions to ['{own}'], or "
            f"nvidia_repo_source to nvidia for NVIDIA's own packages."
        )
    if settings.packages == "runtime":
        return (
            f"{title} has no package with CUDA's libraries alone; set cuda_toolkit_packages to toolkit, or "
            f"nvidia_repo_source to nvidia."
        )
    return ""


def _in_the_way(look: Look, wanted: Sequence[str]) -> str:
    """What somebody put where packages put their files, outside of the package management."""
    strange = [home for home in look.lines("foreign_home") if home in {f"{LINK}-{release}" for release in wanted}]
    if strange:
        return (
            f"{strange[0]} belongs to no package, as after one of NVIDIA's .run files; run "
            f"{strange[0]}/bin/cuda-uninstaller or remove the directory, and run again."
        )
    link = look.one("link")
    if link == "directory":
        return f"{LINK} is a directory and no link to a release; move it away and run again."
    # Another release of the packages' is just another default; anything else is somebody's decision.
    if link not in ("", "/etc/alternatives/cuda") and (
        not link.startswith(f"{LINK}-") or link in look.lines("foreign_home")
    ):
        return f"{LINK} is somebody's own link to {link}; remove it and run again, and the role will own it."
    return ""
