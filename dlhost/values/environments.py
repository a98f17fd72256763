"""Conda environments from the wrapper's side: what hosts offer, what was locked, and what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dlhost.errors import ExitCode, RefusedError

PLATFORMS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}
# conda's own environment.
BASE = "base"
# What a directory is called after.
DIGEST = re.compile(r"[0-9a-f]{12}")
# What uv has a name for; an older wheel runs on a newer glibc, so the next lower one is taken.
MANYLINUX = (28, *range(31, 41))


@dataclass(frozen=True, slots=True)
class HostLook:
    """What a host offers its environments. `cards` are pairs of PCI device id and name.

    `driver` is the version of the driver that it has, or the branch that it is to get; empty for none.
    """

    host: str
    machine: str
    glibc: str
    kernel: str
    cards: tuple[tuple[str, str], ...] = ()
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What all hosts of an environment have at least. `virtual_packages` are conda's names with versions."""

    machine: str
    platform: str
    virtual_packages: Mapping[str, str]

    @property
    def python_platform(self) -> str:
        """The same for uv."""
        minor = int(self.virtual_packages["__glibc"].split(".")[1])
        return f"{self.machine}-manylinux_2_{max((known for known in MANYLINUX if known <= minor), default=17)}"


def target(environment: str, looks: Sequence[HostLook], cuda: str) -> Target:
    """What an environment is solved for.

    Raises:
        RefusedError: The hosts have not one architecture, or one that there are no packages for.
    """
    machines = {look.machine: look.host for look in looks}
    if len(machines) > 1:
        told = ", ".join(f"{host} is {machine}" for machine, host in sorted(machines.items()))
        # The one of conda itself is declared by nobody.
        way_out = (
            "set conda_base to false for one of them" if environment == BASE else "declare one of its own for each"
        )
        raise RefusedError(
            f"Environment {environment} has one lock, which cannot be for two architectures: {told}; {way_out}."
        )
    machine = looks[0].machine
    if machine not in PLATFORMS:
        raise RefusedError(
            f"Environment {environment}: {looks[0].host} is {machine}, for which there are no packages; "
            f"there are for {' and '.join(PLATFORMS)}."
        )
    for look in looks:
        if not re.fullmatch(r"2\.\d+", look.glibc):
            raise RefusedError(f"Environment {environment}: {look.host} does not say which glibc it has; see `ldd`.")
    virtual = {"__glibc": _lowest(look.glibc for look in looks), "__linux": _lowest(look.kernel for look in looks)}
    if cuda:
        virtual["__cuda"] = cuda
    return Target(machine, PLATFORMS[machine], virtual)


def _lowest(versions: Iterable[str]) -> str:
    """The lowest of versions as packages ask for them: 6.1 of 6.1.0-18-amd64, whichever of them was booted."""
    found = [re.match(r"\d+\.\d+", version) for version in versions]
    return min((match[0] for match in found if match), key=_numbers)


def serves(offered: Mapping[str, str], solved_for: Mapping[str, str]) -> bool:
    """Whether hosts with these virtual packages can have what was solved for others."""
    return all(name in offered and _numbers(offered[name]) >= _numbers(least) for name, least in solved_for.items())


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


@dataclass(frozen=True, slots=True)
class Declared:
    """One environment, the hosts that get it, and where it comes from. `environment` is a conda_lock.Environment."""

    environment: Any
    hosts: tuple[str, ...]
    channels: tuple[str, ...]
    pip_options: Mapping[str, Any]
    lock: Path

    @property
    def name(self) -> str:
        return str(self.environment.name)


class LockState(StrEnum):
    """How a lock came out of `env lock`, or stands to its declaration."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    LOCKED = "locked"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Change:
    """One package: what was there and what is, empty for nothing. `source` is conda or pip."""

    source: str
    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Locked:
    """What `env lock` and `env rollback` did to one environment's lock; `packages` are how many it has."""

    environment: str
    state: LockState
    path: Path
    hosts: tuple[str, ...]
    virtual_packages: Mapping[str, str]
    wheels: str
    packages: int
    changes: tuple[Change, ...] = ()
    left_to_do: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment as a host has it: a package's name to its version, with conda's build behind it.

    `lock` is the beginning of the digest of the lock that it was made from; `urls` are of conda's packages, by name.
    """

    name: str
    lock: str
    conda: Mapping[str, str]
    pip: Mapping[str, str]
    urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostEnvironments:
    """All environments of one host; `error` says why they are not known."""

    host: str
    installed: Mapping[str, Installed] = field(default_factory=dict)
    error: str = ""


class HostState(StrEnum):
    """How a host stands to the lock of an environment, by what its packages say of themselves; files are drift's."""

    SAME = "same packages as the lock"
    OTHER = "another lock"
    DIFFERS = "differs"
    ABSENT = "not installed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OnHost:
    """One environment on one host, held against its lock."""

    host: str
    state: HostState
    changes: tuple[Change, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """One environment: its lock held against the declaration, and its hosts against the lock."""

    environment: str
    kind: str
    state: LockState
    packages: int
    hosts: tuple[OnHost, ...]


def locking_exit_code(done: Sequence[Locked]) -> ExitCode:
    """Whether the user must act before hosts can get what was locked."""
    return ExitCode.USER_MUST_ACT if any(one.left_to_do for one in done) else ExitCode.DONE


def listing_exit_code(found: Sequence[Compared]) -> ExitCode:
    """A list judges nobody; only a host that was not reached counts."""
    lost = any(on.state is HostState.UNKNOWN for one in found for on in one.hosts)
    return ExitCode.UNREACHABLE if lost else ExitCode.DONE


def difference_exit_code(found: Sequence[Compared]) -> ExitCode:
    """A lost host first, then whether anything differs; a lock that is missing or stale does."""
    if listing_exit_code(found) is not ExitCode.DONE:
        return ExitCode.UNREACHABLE
    well = all(one.state is LockState.LOCKED and all(on.state is HostState.SAME for on in one.hosts) for one in found)
    return ExitCode.DONE if well else ExitCode.DRIFT


def on_host(lock: Any, found: HostEnvironments, environment: str) -> OnHost:
    """A host held against a lock, which is None where there is none."""
    if found.error:
        return OnHost(found.host, HostState.UNKNOWN, error=found.error)
    installed = found.installed.get(environment)
    if installed is None:
        return OnHost(found.host, HostState.ABSENT)
    if lock is None:
        return OnHost(found.host, HostState.OTHER)
    wanted = {("conda", package.name): f"{package.version} {package.build}" for package in lock.conda}
    wanted |= {("pip", pin.name): pin.version for pin in lock.pins}
    there = {("conda", name): version for name, version in installed.conda.items()}
    there |= {("pip", name): version for name, version in installed.pip.items()}
    changes = tuple(
        Change(*key, wanted.get(key, ""), there.get(key, ""))
        for key in sorted({*wanted, *there})
        if wanted.get(key) != there.get(key)
    )
    # A link that leads elsewhere says nothing, or too little to know a lock by.
    if not DIGEST.fullmatch(installed.lock) or not str(lock.digest).startswith(installed.lock):
        return OnHost(found.host, HostState.OTHER, changes)
    return OnHost(found.host, HostState.DIFFERS if changes else HostState.SAME, changes)


def frozen(host: str, installed: Installed) -> str:
    """What a host really has, as a file that `conda create --file` reads; pip's part is in its comments."""
    lines = [
        f"# Environment {installed.name} as {host} has it: what is there, not what its lock says.",
        "@EXPLICIT",
        *(url for _, url in sorted(installed.urls.items())),
    ]
    lines += [f"# pip: {name}=={version}" for name, version in sorted(installed.pip.items())]
    return "\n".join(lines) + "\n"
