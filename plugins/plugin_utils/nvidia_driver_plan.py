# SPDX-License-Identifier: GPL-3.0-or-later
"""What role nvidia_driver is to do on a host, from what was seen there, the settings and the table. No I/O."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils import nvidia_driver_packages as names
from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import (
    OPEN,
    Card,
    CompatibilityError,
    Table,
    branch_of,
    numbers,
)
from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_facts import own_gpus, why_no_gpus

AUTO = "auto"
DISTRO, NVIDIA = names.DISTRO, names.NVIDIA
PERSISTENCED = "nvidia-persistenced.service"
POWER = "dlhost-nvidia-power.service"
# nvidia-smi's words for what a card does not have. Others, such as [Unknown Error], tell of trouble.
WITHOUT_LIMIT = {"[N/A]", "[Not Supported]"}
# Debian's own packages call the module nvidia-current; nvidia is an alias, which takes no options.
DEBIANS_MODULE = "nvidia-current"
# What installs itself by night does not replace a driver (Python regular expressions, matched from the start).
BLACKLIST = (
    "nvidia-",
    "libnvidia-",
    "libcuda1",
    "cuda-drivers",
    "firmware-nvidia-",
    "linux-modules-nvidia-",
    "xserver-xorg-video-nvidia",
)
# Ubuntu's own kernel module, its driver and its kernel are of one piece: a newer kernel alone would have no driver.
KERNEL_BLACKLIST = ("linux-image-", "linux-headers-", "linux-modules-")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The role's variables, without the prefix."""

    state: str
    branch: str
    version: str
    source: str
    kernel_module: str
    profile: str
    hold: bool
    persistence: bool
    power_limit_watts: int
    reboot: str
    newest: bool
    allow_branch_switch: bool
    allow_end_of_life: bool
    allow_no_gpu: bool


@dataclasses.dataclass(frozen=True)
class Host:
    """What was seen, with the few words on it that the plan uses over and over."""

    facts: Mapping[str, Any]
    cards: Sequence[Card]
    no_cards: str
    """Why there is none to drive."""
    no_kernel: str
    """Why nothing of a kernel can be done or proved here."""

    @classmethod
    def read(cls, facts: Mapping[str, Any], table: Table) -> Host:
        no_kernel = ""
        if facts["container"]:
            no_kernel = "a container has no kernel of its own"
        elif not facts["kernel"]["installed"]:
            no_kernel = f"no kernel is installed here, nor the modules of the running one, {facts['kernel']['running']}"
        cards = [table.card(gpu["device_id"], gpu["name"]) for gpu in own_gpus(facts)]
        return cls(facts, cards, why_no_gpus(facts), no_kernel)

    @property
    def title(self) -> str:
        return f"{self.facts['distribution'].capitalize()} {self.facts['version']}"

    @property
    def running(self) -> str:
        """The kernel that runs, or in an image that is being built, the one that will."""
        kernel = self.facts["kernel"]
        return kernel["running"] if kernel["running"] in kernel["installed"] else kernel["newest"]

    @property
    def kernels(self) -> list[str]:
        """Those that need a module: what runs, and what the next boot starts."""
        return list(dict.fromkeys(filter(None, (self.running, self.facts["kernel"]["newest"]))))

    @property
    def versions(self) -> dict[str, str]:
        """Installed packages to their versions."""
        return names.there(self.packages)

    @property
    def packages(self) -> dict[str, Mapping[str, Any]]:
        """What is known of packages, of NVIDIA's and of kernels."""
        return {**self.facts["packages"], **self.facts["kernel"]["packages"]}

    @property
    def present(self) -> names.Installed | None:
        return names.installed(self.facts["packages"])

    @property
    def secure_boot(self) -> bool:
        return bool(self.facts["secure_boot"] == "enabled")


@dataclasses.dataclass(frozen=True)
class Choice:
    """The driver that the host shall have."""

    branch: str
    source: str
    kernel_module: str
    prebuilt: bool
    flavour: str
    wanted: names.Wanted

    @property
    def packages(self) -> list[str]:
        return [*self.wanted.first, *self.wanted.driver]


def plan(facts: Mapping[str, Any], settings: Settings, table: Table, today: datetime.date) -> dict[str, Any]:
    """What is due, as values for the role's tasks.

    Args:
        facts: What nvidia_facts found.
        settings: The role's variables.
        table: What fits together.
        today: By it a branch is past its end or not.
    """
    host = Host.read(facts, table)
    skip = host.no_cards if host.no_cards and not settings.allow_no_gpu else ""
    if settings.state == "absent":
        return {**_nothing(host, ""), "power_left": _power_left(host)}
    if table.branch(settings.branch) is None:
        # On a host without a card, too: no host can have it.
        return {**_nothing(host, ""), "refusal": table.driver_refusal(host.cards, settings.branch, today=today)}
    if skip:
        return _nothing(host, skip)
    refusal = _refusal_of_the_host(host, settings, table, today)
    if refusal:
        return {**_nothing(host, ""), "refusal": refusal}
    choice = choose(host, settings, table)
    transaction = _transaction(host, choice, settings)
    refusal = _refusal_of_the_change(host, choice, settings, transaction)
    module = _module(host, choice, settings, bool(transaction["packages_due"]))
    return {
        "refusal": refusal,
        "skip": "",
        "no_kernel": host.no_kernel,
        "no_cards": host.no_cards,
        "warnings": _warnings(host, choice, settings),
        "to_ask_apt": _to_ask_apt(host, choice, settings),
        "branch": choice.branch,
        "source": choice.source,
        "kernel_module": choice.kernel_module,
        "prebuilt": choice.prebuilt,
        "gpus": len(host.cards),
        "module_name": DEBIANS_MODULE if facts["distribution"] == "debian" and choice.source == DISTRO else "nvidia",
        "blacklist": [*BLACKLIST, *(KERNEL_BLACKLIST if choice.prebuilt else ())] if settings.hold else [],
        # Ubuntu's unit has the daemon do nothing, and nobody start it at boot.
        "daemon_needs_telling": facts["distribution"] == "ubuntu" and settings.persistence,
        **transaction,
        **module,
        **_power(host, settings, module["persistence_starts"]),
        "versions": versions(host, choice),
    }


def _nothing(host: Host, skip: str) -> dict[str, Any]:
    return {
        "refusal": "",
        "skip": skip,
        "no_kernel": host.no_kernel,
        "no_cards": host.no_cards,
        "warnings": [],
        "to_ask_apt": [],
        "packages": [],
        "packages_due": False,
        "work_due": False,
        "held": [name for name in host.versions if _is_the_drivers(name, host) and host.packages[name]["held"]],
    }


def _is_the_drivers(name: str, host: Host) -> bool:
    """Whether the role would hold the package, with whatever settings."""
    waits = host.present is not None and host.present.kernel.startswith("linux-modules-")
    return bool(names.DRIVER_PART.match(name)) or (waits and name in _of_the_kernel(_flavour(host)))


def _flavour(host: Host) -> str:
    return names.flavour(host.running, host.facts["kernel"]["packages"])


def choose(host: Host, settings: Settings, table: Table) -> Choice:
    """The driver for this host: module and source where they are left open, prebuilt before built here."""
    facts = host.facts
    own = table.platform(facts["platform"])
    source = settings.source
    if source == AUTO:
        source = DISTRO if settings.branch in own.drivers else NVIDIA
    branch = table.branch(settings.branch)
    kernel_module = settings.kernel_module
    if kernel_module == AUTO:
        fitting = table.kernel_modules(host.cards, branch) if branch else ()
        # A module that drives the cards stays, even where another would be preferred on a new host.
        stays = host.present and host.present.kernel_module in fitting and host.present.kernel_module
        kernel_module = stays or next(iter(fitting), "")
    flavour = _flavour(host)
    prebuilt = source == DISTRO and settings.branch in own.prebuilt and bool(flavour)
    prebuilt = prebuilt and _is_prebuilt(host, settings, kernel_module)
    for_servers, profile = True, settings.profile
    if source == DISTRO and _keeps_its_desktop(host, settings):
        for_servers, profile = False, "desktop" if names.is_for_a_screen(host.versions) else settings.profile
    chosen = names.wanted(
        facts["distribution"],
        source,
        settings.branch,
        settings.version,
        kernel_module,
        profile,
        flavour,
        prebuilt,
        for_servers,
    )
    return Choice(settings.branch, source, kernel_module, prebuilt, flavour, chosen)


def _keeps_its_desktop(host: Host, settings: Settings) -> bool:
    """Whether Ubuntu's driver for desktops, which works as well as the one for servers, stays where it is."""
    present = host.present
    return (
        present is not None
        and present.branch == settings.branch
        and not settings.allow_branch_switch
        and host.facts["distribution"] == "ubuntu"
        and names.is_ubuntus_for_desktops(present, host.versions)
    )


def _is_prebuilt(host: Host, settings: Settings, kernel_module: str) -> bool:
    """Whether Ubuntu's own module is taken: it is there, or apt has it for the newest kernel, or was not asked."""
    if host.present and host.present.branch == settings.branch:
        return host.present.kernel.startswith("linux-modules-")
    known = host.facts["candidates"]
    return not known or bool(known.get(_ubuntus_module(host, settings, kernel_module)))


def _ubuntus_module(host: Host, settings: Settings, kernel_module: str) -> str:
    """The package with Ubuntu's own module for the kernel that the next boot starts."""
    line = "" if _keeps_its_desktop(host, settings) else "-server"
    kind = "-open" if kernel_module == OPEN else ""
    return f"linux-modules-nvidia-{settings.branch}{line}{kind}-{host.facts['kernel']['newest']}"


def _to_ask_apt(host: Host, choice: Choice, settings: Settings) -> list[str]:
    """Packages whose candidates the plan has to know; apt is slow to tell, and asked where something is to be done."""
    kernel = host.facts["kernel"]
    is_there = host.present is not None and host.present.branch == settings.branch
    builds = {*kernel["headers"], *host.facts["module"]["installed"]}
    if host.facts["candidates"]:
        return []
    newest = choice.wanted.driver if settings.newest else []
    if host.no_kernel or (is_there and host.running in builds):
        return newest
    flavour = _flavour(host)
    own = [_ubuntus_module(host, settings, choice.kernel_module)] if host.facts["distribution"] == "ubuntu" else []
    headers = [f"linux-headers-{flavour}", f"linux-headers-{kernel['running']}"] if flavour else []
    return [*headers, *own, *newest]


# What speaks against it


def _refusal_of_the_host(host: Host, settings: Settings, table: Table, today: datetime.date) -> str:
    """Why no driver of this branch can be on the host, in one sentence with what works instead."""
    facts = host.facts
    try:
        own = table.platform(facts["platform"])
    except CompatibilityError as error:
        return str(error)
    refusal = table.driver_refusal(
        host.cards, settings.branch, settings.kernel_module, today, settings.allow_end_of_life
    )
    if refusal:
        return refusal
    if settings.source == DISTRO and settings.branch not in own.drivers:
        has = f"has branch {' and '.join(own.drivers)}" if own.drivers else "has no driver"
        instead = f", or nvidia_driver_branch to {own.drivers[-1]}" if own.drivers else ""
        newest = table.branch(own.drivers[-1]) if own.drivers else None
        if newest and not newest.is_maintained(today) and not settings.allow_end_of_life:
            instead += " with nvidia_driver_allow_end_of_life, since it gets no fixes any more"
        return (
            f"{host.title} itself {has} and not {settings.branch}; set nvidia_repo_source to nvidia for NVIDIA's own "
            f"packages{instead}."
        )
    if facts["runfile"]:
        return (
            "A driver from one of NVIDIA's .run files is on this host, which packages would mix with; remove it with "
            f"`{facts['runfile']}` and run again."
        )
    return ""


def _refusal_of_the_change(host: Host, choice: Choice, settings: Settings, transaction: Mapping[str, Any]) -> str:
    """Why the driver that is there is not replaced just now."""
    present = host.present
    if present and present.branch != choice.branch and not settings.allow_branch_switch:
        return (
            f"This host has driver branch {present.branch} ({present.kernel}); set nvidia_driver_allow_branch_switch "
            f"to true to replace it by {choice.branch}, or nvidia_driver_branch to {present.branch} to keep it."
        )
    if present and names.is_mixed(present, choice.wanted) and not settings.allow_branch_switch:
        return (
            f"This host has the driver of another source ({present.kernel}), which cannot be mixed with "
            f"{choice.wanted.kernel}; set nvidia_driver_allow_branch_switch to true to replace it."
        )
    if settings.version and choice.source == DISTRO and not settings.hold:
        return (
            f"Nothing but nvidia_driver_hold keeps the distribution's packages at {settings.version}, which apt would "
            "upgrade; set it to true, or leave nvidia_driver_version empty."
        )
    loaded = host.facts["module"]["loaded"]
    if host.facts["container"] and loaded and transaction["driver_changes"]:
        return (
            f"This container computes with the driver {loaded} of the machine that it runs on, which libraries of "
            "another version would end; set nvidia_driver_state to absent, and see to the driver on that machine."
        )
    bound = [name for name in transaction["replaces"] if names.COMPANION.match(name)]
    if bound:
        return (
            f"{', '.join(bound)} has to be of the driver's version, and would go without a successor; remove it, run "
            f"again, and install the one for {choice.branch} then."
        )
    in_use = loaded and host.facts["users"]
    if transaction["driver_changes"] and in_use and settings.reboot != "force":
        return (
            f"{at_work(host.facts['users'])}, and a driver is not changed under it; run again when that has ended, or "
            "set nvidia_driver_reboot to force."
        )
    return _without_headers(host, choice) or _without_room(host, transaction) or _power_refusal(host, settings)


def _power_refusal(host: Host, settings: Settings) -> str:
    """Why a card cannot be limited like that, as far as the driver tells already."""
    for gpu in host.facts["smi"]["gpus"] if settings.power_limit_watts and not host.no_kernel else ():
        card = f"GPU {gpu['index']} ({gpu['name']})"
        bounds = gpu["power_min_w"], gpu["power_max_w"]
        if set(bounds) & WITHOUT_LIMIT:
            return f"{card} does not let its power be limited; set nvidia_driver_power_limit_watts to 0."
        low, high = map(_watts, bounds)
        if low is not None and high is not None and not low <= settings.power_limit_watts <= high:
            return (
                f"{card} can be limited to {low:g} W at least and {high:g} W at most, and not to "
                f"{settings.power_limit_watts} W; change nvidia_driver_power_limit_watts."
            )
    return ""


def _watts(text: str) -> float | None:
    """A number of nvidia-smi's; None where it has none."""
    try:
        return float(text)
    except ValueError:
        return None


def _without_room(host: Host, transaction: Mapping[str, Any]) -> str:
    """Why no initramfs could be written, which a cut one would leave the next boot without."""
    kernel = host.facts["kernel"]
    is_due = not host.no_kernel and (transaction["driver_changes"] or kernel["stale_initramfs"])
    if not is_due or kernel["boot_free_mib"] >= kernel["initramfs_mib"]:
        return ""
    return (
        f"/boot has {kernel['boot_free_mib']} MiB free, and a new initramfs takes {kernel['initramfs_mib']} beside the "
        "old one; remove old kernels with `sudo apt-get autoremove --purge` and run again."
    )


def _without_headers(host: Host, choice: Choice) -> str:
    """Why DKMS could build a module for no kernel that this host can start."""
    facts = host.facts
    kernel = facts["kernel"]
    if host.no_kernel or choice.prebuilt or set(host.kernels) & {*kernel["headers"], *facts["module"]["installed"]}:
        return ""
    if not choice.flavour:
        return (
            f"The kernel {kernel['running']} is none of {host.title}'s and its headers are not in "
            f"/lib/modules/{kernel['running']}/build; install them, or start a kernel of the distribution."
        )
    known = facts["candidates"]
    is_gone = known.get(f"linux-headers-{choice.flavour}") and not known.get(f"linux-headers-{kernel['running']}")
    if kernel["running"] == kernel["newest"] and is_gone:
        return (
            f"apt has no headers of the running kernel {kernel['running']} any more, so DKMS could not build the "
            f"module; install linux-image-{choice.flavour}, reboot and run again."
        )
    return ""


def at_work(users: Sequence[Mapping[str, Any]]) -> str:
    """Who holds a GPU, as the beginning of a sentence."""
    shown = [f"{user['command']} ({user['user']}, process {user['pid']})" for user in users[:3]]
    more = f" and {len(users) - 3} more" if len(users) > 3 else ""
    return f"{', '.join(shown)}{more} {'uses' if len(users) == 1 else 'use'} the GPU"


def _warnings(host: Host, choice: Choice, settings: Settings) -> list[str]:
    found = [card.warning for card in dict.fromkeys(host.cards) if card.warning]
    ubuntus = host.facts["distribution"] == "ubuntu" and choice.source == DISTRO
    if ubuntus and not choice.prebuilt:
        newest = host.facts["kernel"]["newest"]
        found.append(
            f"{host.title} has no kernel module of branch {settings.branch} for kernel {newest}; DKMS builds it."
        )
    return found


# Packages


def _transaction(host: Host, choice: Choice, settings: Settings) -> dict[str, Any]:
    versions, wanted = host.versions, choice.wanted
    first = [*wanted.first, *(["mokutil"] if host.secure_boot and not choice.prebuilt else [])]
    following = _following_the_kernel(host, choice) + names.companions(versions, choice.branch)
    pinned = [name for name in versions if name.startswith(names.PINNING) and name not in first]
    replaces = names.clashing(versions, wanted, choice.branch)
    missing = [name for name in [*first, *wanted.driver] if name not in versions]
    # Debian's names have no branch in them: what is there may be of another.
    other_branch = [name for name in wanted.driver if names.of_other_branch(name, versions, choice.branch)]
    exact = settings.version
    bound = [*wanted.driver, *following] if exact else []
    outdated = other_branch + [name for name in bound if names.of_other_version(name, versions, exact)]
    pattern = f"{exact}-*" if exact else f"{choice.branch}.*"
    behind = _behind(host, choice) if settings.newest else {}
    loose = [
        name
        for name in [*wanted.driver, *following]
        if name in versions and host.packages[name]["held"] != settings.hold
    ]
    installs = bool(missing or pinned or replaces or outdated or behind)
    return {
        "packages": [*first, *wanted.driver, *following],
        "main": wanted.user_space[0],
        "outdated": list(dict.fromkeys(outdated)),
        "first": first,
        # Until then apt would mix the branches.
        "pin_due": choice.source == NVIDIA and wanted.first[0] not in versions,
        "pinned": pinned,
        "first_due": bool(pinned or set(first) - set(versions)),
        "driver": [
            *wanted.of(pattern, behind),
            *(f"{name}={pattern}" if exact and names.COMPANION.match(name) else name for name in following),
        ],
        "downgrades": names.ahead(versions, exact) if exact else [],
        "behind": sorted(behind),
        "replaces": replaces,
        "missing": missing,
        "loose": loose,
        "driver_changes": bool(replaces or outdated or behind or set(wanted.driver) & set(missing)),
        "installs": installs,
        "packages_due": bool(installs or loose or host.facts["dpkg_was_cut"]),
    }


def _behind(host: Host, choice: Choice) -> dict[str, str]:
    """Packages of the driver of which apt has a newer release of the branch, to that one."""
    candidates, versions = host.facts["candidates"], host.versions

    def is_newer(name: str) -> bool:
        known, there = names.upstream(candidates.get(name, "")), names.upstream(versions.get(name, ""))
        return bool(there) and branch_of(known) == choice.branch and numbers(known) > numbers(there)

    return {name: candidates[name] for name in choice.wanted.driver if is_newer(name)}


def _following_the_kernel(host: Host, choice: Choice) -> list[str]:
    """The kernel's own packages, which are held with a driver that is made for each kernel anew."""
    return [name for name in _of_the_kernel(choice.flavour) if name in host.versions] if choice.prebuilt else []


def _of_the_kernel(flavour: str) -> list[str]:
    flavours = dict.fromkeys((flavour, flavour.replace("generic", "virtual", 1)))
    return [f"linux-{kind}-{each}" for each in flavours for kind in ("image", "headers")]


# The kernel's side


def versions(host: Host, choice: Choice) -> dict[str, str]:
    """The four versions that have to agree, and that of the kernel that the next boot starts."""
    facts = host.facts
    installed = facts["module"]["installed"]
    return {
        "package": names.upstream(host.versions.get(choice.wanted.user_space[0], "")),
        "installed": installed.get(host.running, {}).get("version", ""),
        "next": installed.get(facts["kernel"]["newest"], {}).get("version", ""),
        "loaded": facts["module"]["loaded"],
        "user_space": facts["user_space"],
        "smi": facts["smi"]["driver_version"],
    }


def _module(host: Host, choice: Choice, settings: Settings, packages_due: bool) -> dict[str, Any]:
    """What is to be done until the right module runs; empty or false throughout where it does."""
    facts = host.facts
    unit = facts["units"].get(PERSISTENCED, {})
    kernel_due = not host.no_kernel
    lacking = [kernel for kernel in host.kernels if not _fits(host, choice, kernel)] if kernel_due else []
    without_headers = [kernel for kernel in lacking if kernel not in facts["kernel"]["headers"]]
    if choice.prebuilt:
        kernel_packages = [f"{names.stem(choice.wanted.kernel)}-{kernel}" for kernel in lacking]
    else:
        kernel_packages = [f"linux-headers-{kernel}" for kernel in without_headers if choice.flavour]
    stale = facts["kernel"]["stale_initramfs"] if kernel_due else []
    enrol = _enrolment(host, choice, lacking) if kernel_due else ""
    load = _load(host, lacking, enrol) if kernel_due and host.cards else ""
    # Without a module, or with one of another version, the daemon cannot start.
    package = names.upstream(host.versions.get(choice.wanted.user_space[0], ""))
    starts = kernel_due and bool(package) and facts["module"]["loaded"] == package
    runs = unit.get("enabled") == "enabled" and (unit.get("active") == "active" or not starts)
    return {
        "kernel_packages": kernel_packages,
        "build_for": [] if choice.prebuilt else lacking,
        "stale_initramfs": stale,
        "enrol": enrol,
        "mok_key": facts["mok"]["key"],
        "load": load,
        "reboot_reason": _reboot_reason(facts),
        "persistence_due": settings.persistence and not runs,
        "persistence_starts": starts,
        "failure": _failure(host, choice, lacking),
        "work_due": bool(packages_due or lacking or stale or load or enrol or (settings.persistence and not runs)),
    }


def _power(host: Host, settings: Settings, driver_runs: bool) -> dict[str, Any]:
    """What keeps the GPUs from their limit, and whether it is to be set now, or was left behind."""
    watts = settings.power_limit_watts
    if not watts:
        return {"power_wrong": [], "power_due": False, "power_left": _power_left(host)}
    active = host.facts["units"].get(POWER, {}).get("active", "")
    gpus = host.facts["smi"]["gpus"]
    wrong = [] if active == "active" else [f"{POWER} is {active or 'unknown'}"]
    wrong += [
        f"GPU {gpu['index']} has {gpu['power_limit_w']} W" for gpu in gpus if _watts(gpu["power_limit_w"]) != watts
    ]
    wrong += [] if gpus else ["nvidia-smi tells of no GPU"]
    return {"power_wrong": wrong, "power_due": driver_runs and bool(wrong), "power_left": False}


def _power_left(host: Host) -> bool:
    unit = host.facts["units"].get(POWER, {})
    return unit.get("loaded") == "loaded" or unit.get("active") == "active"


def _fits(host: Host, choice: Choice, kernel: str) -> bool:
    """Whether this kernel would load the module that the packages are for."""
    module = host.facts["module"]["installed"].get(kernel)
    package = names.upstream(host.versions.get(choice.wanted.user_space[0], ""))
    return bool(
        module
        and module["version"] == package
        and module["flavour"] == choice.kernel_module
        # Secure Boot would refuse it.
        and (module["signed"] or not host.secure_boot)
    )


def _enrolment(host: Host, choice: Choice, lacking: Sequence[str]) -> str:
    """What Secure Boot waits for: `stage` the key, `confirm` what is staged, or nothing. Ubuntu's own are signed."""
    module = host.facts["module"]
    # DKMS can be told of another key; that the kernel has taken the module shows that the firmware trusts it.
    runs = host.running not in lacking and module["loaded"] == module["installed"][host.running]["version"]
    if not host.secure_boot or choice.prebuilt or host.facts["mok"]["enrolled"] or host.no_cards or runs:
        return ""
    if host.facts["mok"]["pending"]:
        return "confirm"
    return "" if lacking or not host.facts["mok"]["key"] else "stage"


def _load(host: Host, lacking: Sequence[str], enrol: str) -> str:
    """How the right module comes to run: `load` it, `reload` it or `reboot`; empty where it does or cannot be."""
    facts = host.facts
    loaded, running = facts["module"], host.running
    if facts["kernel"]["newest"] in lacking or enrol:
        return ""
    if running in lacking or facts["nouveau_loaded"]:
        return "reboot"
    there = loaded["installed"][running]
    if (loaded["loaded"], loaded["loaded_flavour"]) == (there["version"], there["flavour"]):
        return ""
    # Of a kernel that was removed under the feet of the running system, modprobe finds nothing any more.
    if facts["kernel"]["running"] != running:
        return "reboot"
    if not loaded["loaded"]:
        return "load"
    return "reboot" if facts["users"] else "reload"


def _failure(host: Host, choice: Choice, lacking: Sequence[str]) -> str:
    """What is still wrong when everything has been tried, and forbids a reboot; one sentence."""
    facts = host.facts
    newest = facts["kernel"]["newest"]
    if newest not in lacking:
        return ""
    version = names.upstream(host.versions.get(choice.wanted.user_space[0], ""))
    lost = f"Kernel {newest}, which the next boot starts, has no NVIDIA module {version} ({choice.kernel_module})"
    if choice.prebuilt:
        return f"{lost}; {host.title} has none for it, so remove that kernel or wait for its module, and run again."
    if newest not in facts["kernel"]["headers"]:
        return f"{lost}, because its headers are missing; install linux-headers-{newest} and run again."
    module = facts["module"]["installed"].get(newest)
    if module and module["version"] == version and not module["signed"]:
        return f"{lost} that is signed, and Secure Boot is on; /etc/dkms/framework.conf says what DKMS signs with."
    return f"{lost}; DKMS could not build it, and the reason is in /var/lib/dkms/nvidia*/{version}/build/make.log."


def _reboot_reason(facts: Mapping[str, Any]) -> str:
    """Why only a reboot helps, for the user."""
    if facts["nouveau_loaded"]:
        return "nouveau drives the GPU until the next boot"
    loaded = facts["module"]["loaded"]
    if loaded:
        return f"the kernel still runs NVIDIA's module {loaded} of {facts['module']['loaded_flavour']} flavour"
    return f"the running kernel {facts['kernel']['running']} has no NVIDIA module, the newest one has"
