# SPDX-License-Identifier: GPL-3.0-or-later
"""Which package sources a host needs for NVIDIA's software: from facts and the role's settings, without I/O."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.dlhost.host.plugins.module_utils import openpgp_keyring
from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import CompatibilityError, Platform, Table
from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_facts import why_no_gpus

AUTO, DISTRO, NVIDIA, TOOLKITS = "auto", "distro", "nvidia", "toolkits"
SERVER = "https://developer.download.nvidia.com/compute/cuda/repos"
# What NVIDIA calls an architecture of the kernel's.
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "sbsa"}
# The first for the repositories made since Debian 13, which takes no SHA-1 (NVIDIA/cuda-repo-management, issues 34 and
# 39); the second for those before (developer.nvidia.com/blog/updating-the-cuda-linux-gpg-repository-key).
KEYS = {
    "8793F200.pub": "02182E60104FCDC26EAE1B8597A5D4CB8793F200",
    "3bf863cc.pub": "EB693B3035CD5710E231E123A4B469963BF863CC",
}
# That blog again: 7fa2af80, with which anybody may have signed since.
RETIRED = "AE09FE4BBD223A84B2CCFCE3F60F4B3D7FA2AF80"
KEY_PATH = "/etc/apt/keyrings/dlhost-nvidia.asc"
SOURCE_PATH = "/etc/apt/sources.list.d/dlhost-nvidia.sources"
COMPONENTS_PATH = "/etc/apt/sources.list.d/dlhost-components.sources"
# apt takes the first record that fits: this file sorts before cuda-keyring's, ...
GENERAL_PATH = "/etc/apt/preferences.d/00-dlhost-nvidia"
# ... and this one after nvidia-driver-pin of NVIDIA's pinning packages, whose branch has the last word.
NAMES_PATH = "/etc/apt/preferences.d/zz-dlhost-nvidia"
# How NVIDIA's own preferences name the repository.
RELEASE = "release l=NVIDIA CUDA"
# Below the distribution's 500: what both have comes from there. Packages of NVIDIA's alone are still found.
BACKGROUND = 100
PREFERRED = 600
NEVER = -1
# Called like a driver's, and no part of it.
OTHER_NAMES = ("libnvidia-container*", "nvidia-container-*", "nvidia-fs*", "nvidia-gds*")
DRIVER_NAMES = (
    "cuda-drivers*",
    "firmware-nvidia-*",
    "libcuda1*",
    "libcudadebugger1",
    "libegl-nvidia*",
    "libgl*-nvidia*",
    "libnvcuvid1",
    "libnvidia-*",
    "libnvoptix1",
    "libxnvctrl*",
    "linux-*nvidia*",
    "nvidia-*",
    "xserver-xorg-video-nvidia*",
)
TOOLKIT_NAMES = (
    "cuda",
    "cuda-*",
    "cudnn*",
    "gds-tools-*",
    "libcublas*",
    "libcudnn*",
    "libcufft*",
    "libcufile*",
    "libcurand*",
    "libcusolver*",
    "libcusparse*",
    "libnccl*",
    "libnpp*",
    "libnvfatbin*",
    "libnvjitlink*",
    "libnvjpeg*",
    "libnvptxcompiler*",
    "libnvvm*",
    "nsight-*",
)
# What the archive's driver needs, or NVIDIA's of the archive (the driver installation guide has contrib enabled).
COMPONENTS = {
    "debian": {DISTRO: ("contrib", "non-free", "non-free-firmware"), NVIDIA: ("contrib",)},
    "ubuntu": {DISTRO: ("restricted", "universe", "multiverse"), NVIDIA: ()},
}
CODENAMES = {
    "debian-12": "bookworm",
    "debian-13": "trixie",
    "ubuntu-22.04": "jammy",
    "ubuntu-24.04": "noble",
    "ubuntu-26.04": "resolute",
}
# Sources of NVIDIA's that offer drivers and CUDA too: its server, and what its local installers leave behind.
RIVAL = re.compile(
    r"//developer\.download\.nvidia\.c(?:om|n)/compute/|^file:/+var/(?:cuda-repo|nvidia-driver-local-repo)-"
)
HEADER = "# Written by dlhost, role nvidia_repo; change nvidia_repo_source and its other variables.\n"
# Parts of a release that get what the release itself has; backports are somebody's deliberate choice.
POCKETS = ("", "-updates", "-security")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The role's variables, without its name in front."""

    source: str
    url: str
    key: str
    key_fingerprint: str
    take_over: bool
    without_gpu: bool
    state: str


def plan(facts: Mapping[str, Any], settings: Settings, table: Table, today: datetime.date) -> dict[str, Any]:
    """What the role is to do; `refusal` is one sentence, and `skip` why a host needs no source; empty otherwise."""
    if settings.state == "absent":
        return _answer()
    try:
        platform = table.platform(facts["platform"])
    except CompatibilityError as error:
        return _answer(refusal=str(error))
    source = settings.source if settings.source != AUTO else _automatic(platform, table, today)
    uses_nvidias = source != DISTRO
    chosen = {"source": DISTRO if source == TOOLKITS else source, "toolkit_source": NVIDIA if uses_nvidias else DISTRO}
    if not settings.without_gpu and (why := why_no_gpus(facts)):
        return _answer(skip=why, **chosen)
    if uses_nvidias and not settings.url and facts["machine"] not in ARCHITECTURES:
        return _answer(refusal=f"NVIDIA has no packages for {facts['machine']}; set nvidia_repo_source to distro.")
    directory = f"{SERVER}/{platform.repository}/{ARCHITECTURES.get(facts['machine'], '')}"
    url = (settings.url or directory).rstrip("/") + "/"
    rivals = _rivals(facts["sources"], url)
    components, unreadable = _components(
        facts, COMPONENTS[facts["distribution"]][DISTRO if source != NVIDIA else NVIDIA]
    )
    refusal = _key_refusal(settings) or _rivals_refusal(rivals, settings, facts["sources"]) or unreadable
    files = {}
    if uses_nvidias:
        files[SOURCE_PATH] = [_stanza(url, "/", "", KEY_PATH)]
        files[GENERAL_PATH] = [_record(["*"], BACKGROUND)]
        files[NAMES_PATH] = _names_records(source)
    if components:
        files[COMPONENTS_PATH] = components
    fingerprints = [settings.key_fingerprint.upper()] if settings.key_fingerprint else list(KEYS.values())
    key = {
        "path": KEY_PATH,
        "text": settings.key,
        "urls": [url + name for name in KEYS],
        "fingerprints": fingerprints,
    }
    return _answer(
        refusal=refusal,
        **chosen,
        url=url if uses_nvidias else "",
        files=[{"path": path, "content": HEADER + "\n".join(stanzas)} for path, stanzas in files.items()],
        key=key if uses_nvidias else {},
        supersedes=sorted(rivals) if settings.take_over else [],
        rivals=sorted(rivals),
        driver_priority=NEVER if source == TOOLKITS else PREFERRED,
    )


def _answer(**known: Any) -> dict[str, Any]:
    empty = {
        "refusal": "",
        "skip": "",
        "source": DISTRO,
        "toolkit_source": DISTRO,
        "url": "",
        "files": [],
        "key": {},
        "supersedes": [],
        "rivals": [],
        "driver_priority": PREFERRED,
        "retired": [RETIRED],
    }
    return {**empty, **known}


def _automatic(platform: Platform, table: Table, today: datetime.date) -> str:
    """The distribution's own driver, as long as somebody maintains its branch."""
    branches = map(table.branch, platform.drivers)
    return DISTRO if any(branch and branch.is_maintained(today) for branch in branches) else NVIDIA


def _key_refusal(settings: Settings) -> str:
    if not settings.key or settings.source == DISTRO:
        return ""
    wanted = [settings.key_fingerprint.upper()] if settings.key_fingerprint else list(KEYS.values())
    try:
        found = [key.fingerprint for key in openpgp_keyring.keys(settings.key.encode())]
    except openpgp_keyring.KeyringError as error:
        return f"nvidia_repo_key is no armoured OpenPGP key: {error}."
    if len(found) == 1 and found[0] in wanted:
        return ""
    return (
        f"nvidia_repo_key has the fingerprint {' and '.join(found)} instead of {' or '.join(wanted)}; "
        "compare with what its owner publishes, and set nvidia_repo_key_fingerprint to that."
    )


def _rivals(sources: Iterable[Mapping[str, Any]], url: str) -> dict[str, list[str]]:
    """Files of others that name this repository, or another of NVIDIA's; to the addresses there."""
    found: dict[str, list[str]] = {}
    for source in sources:
        if source["file"] == SOURCE_PATH:
            continue
        if _bare(source["uri"]) == _bare(url) or RIVAL.search(source["uri"]):
            found.setdefault(source["file"], []).append(source["uri"])
    return found


def _bare(url: str) -> str:
    return url.partition("://")[2].rstrip("/")


def _rivals_refusal(rivals: Mapping[str, list[str]], settings: Settings, sources: Sequence[Mapping[str, Any]]) -> str:
    for file, uris in rivals.items():
        named = f"{file} has NVIDIA's packages from {uris[0]} as well, and two sources of a driver do not get on"
        others = [source["uri"] for source in sources if source["file"] == file and source["uri"] not in uris]
        if others or not file.startswith("/etc/apt/sources.list.d/"):
            return f"{named}; take its line out of that file."
        if not settings.take_over:
            return f"{named}; set nvidia_repo_take_over to true to have that file removed, or do it yourself."
    return ""


def _components(facts: Mapping[str, Any], wanted: Sequence[str]) -> tuple[list[str], str]:
    """Sources with the distribution's components that the host lacks, none where it lacks none; and a refusal."""
    codename = CODENAMES[facts["platform"]]
    theirs = [
        source
        for source in facts["sources"]
        if source["file"] != COMPONENTS_PATH and source["suite"] in [codename + pocket for pocket in POCKETS]
    ]
    release = [source for source in theirs if source["suite"] == codename]
    missing = [each for each in wanted if not any(each in source["components"] for source in release)]
    if not missing:
        return [], ""
    names = " ".join(missing)
    suites = [source for source in theirs if "main" in source["components"]]
    if not any(source in suites for source in release):
        return [], f"No package source of this host has {codename} itself; add one with the components main {names}."
    if in_place := [source for source in suites if "-----BEGIN" in source["signed_by"]]:
        # Another source of the same address would need the very same text there.
        return [], f"{in_place[0]['file']} has its key in itself; add the components {names} there."
    stanzas = [_stanza(source["uri"], source["suite"], names, source["signed_by"]) for source in suites]
    return list(dict.fromkeys(stanzas)), ""


def _stanza(uri: str, suite: str, components: str, signed_by: str) -> str:
    fields = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": components, "Signed-By": signed_by}
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _names_records(source: str) -> list[str]:
    """The first that has a package counts: cuda-drivers is a driver before it is one of cuda-*."""
    if source == TOOLKITS:
        return [
            _record(OTHER_NAMES, PREFERRED),
            _record(DRIVER_NAMES, NEVER),
            _record(TOOLKIT_NAMES, PREFERRED),
        ]
    return [_record((*OTHER_NAMES, *DRIVER_NAMES, *TOOLKIT_NAMES), PREFERRED)]


def _record(names: Sequence[str], priority: int) -> str:
    return f"Package: {' '.join(names)}\nPin: {RELEASE}\nPin-Priority: {priority}\n"
