# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations and locks of conda environments: what was asked for, and the exact packages that it came to. No I/O.

A declaration is an entry of `conda_environments`. A lock is a YAML file beside the inventory, one per environment, in
which every package has an address and a checksum; it is read by people as a difference, so one package is one line.
Its name ends with .txt, for of what lies in an inventory and ends with .yml Ansible makes groups and hosts; of a
directory there without either it warns with every run, so locks lie in none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from ansible_collections.dlhost.host.plugins.module_utils import python_lock

# libyaml reads a lock of 200 packages ten times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
VERSION = 1
BASE = "base"
"""The environment of conda and mamba themselves, and its kind."""
# How `write` begins the packages, and each of them.
CONDA_LINE, PACKAGE = "\nconda:\n", "  - {"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
PYTHON = re.compile(r"3\.\d+(\.\d+)?")
SHA256 = re.compile(r"[0-9a-f]{64}")
HEADER = """\
# The packages of conda environment {name}, solved once and the same on every host.
# Written by `dlhost env lock`, which is how it changes too; review it like code, and do not edit it.
"""
# The libraries of CUDA as PyPI has them: up to CUDA 12, and for some of its parts still, the name ends with the major
# release; from 13 on the version begins with it.
SUFFIXED = re.compile(r".+-cu(?:da)?(?P<major>1\d)(?:x|-.+)?")
CUDA_ITSELF = ("cuda-toolkit", "nvidia-cublas", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime")
CONDA_CUDA = ("cuda-version", "cudatoolkit")
# What a channel without an address is on, as conda and rattler have it.
CHANNELS = "https://conda.anaconda.org/"
# What an address means without saying so, at the end of what names its host.
IMPLIED = {"file": "localhost", "http": ":80", "https": ":443"}
# Anaconda's own channels, whose terms are not conda-forge's, by their addresses.
NOT_OURS = re.compile(
    r"https?://conda\.anaconda\.org/(?:defaults|anaconda|main|r|msys2|pkgs/\w+)/*"
    r"|https?://repo\.(?:anaconda\.com|continuum\.io)(?:/.*)?"
)
# A user's name and password, or the token that anaconda.org and its like take in a path.
HOLDS_A_SECRET = re.compile(r"://[^/]*@|/t/[^/]+/")


class CondaLockError(ValueError):
    """One sentence for the user: which environment's declaration or lock is not acceptable, and the way out."""


@dataclasses.dataclass(frozen=True)
class Environment:
    """An entry of `conda_environments` with everything that it leaves out."""

    name: str
    python: str = ""
    """3.12; empty for that of its kind."""
    kind: str = ""
    """A ready-made one; empty for none."""
    conda: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    kernel: bool = True
    display_name: str = ""
    optional: bool = False
    state: str = "present"

    @property
    def declared(self) -> str:
        """The SHA-256 of what decides which packages it has; the order of specs does not."""
        says = {
            "python": self.python,
            "kind": self.kind,
            "conda": sorted(set(self.conda)),
            "pip": sorted(set(self.pip)),
            "kernel": self.kernel,
        }
        return hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Package:
    """A conda package: where it is, and what its channel says about it."""

    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    url: str
    sha256: str
    noarch: str = ""
    """python or generic; empty for a package of the platform."""
    md5: str = ""
    size: int = 0
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    python_site_packages_path: str = ""
    """What a Python says about where its distributions lie; empty in all others."""


@dataclasses.dataclass(frozen=True)
class Lock:
    """An environment's packages, for the hosts that it was solved for."""

    environment: str
    platform: str
    virtual_packages: Mapping[str, str]
    """What the hosts have at least: {"__glibc": "2.36", "__cuda": "12.8"}."""
    channels: tuple[str, ...]
    declared: str
    """`Environment.declared` at the time."""
    wheels: str
    """The family of framework wheels, as the compatibility table names it: cu126, cpu; empty where there is none."""
    conda: tuple[Package, ...]
    """By name."""
    pip: str
    """A requirements file with hashes, which `module_utils.python_lock` reads; empty for none."""

    @functools.cached_property
    def pins(self) -> tuple[python_lock.Pin, ...]:
        """What pip installs."""
        return tuple(python_lock.parse(self.pip)) if self.pip.strip() else ()

    @property
    def digest(self) -> str:
        """One name for what is installed from it, the same wherever the packages come from."""
        files = [(package.name, package.version, package.build, package.sha256) for package in self.conda]
        return python_lock.digest(list(self.pins), json.dumps(files))


@dataclasses.dataclass(frozen=True)
class Change:
    """One package in two locks; a version is empty where the lock has none of it."""

    source: str
    """conda or pip."""
    name: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Difference:
    """What another lock brings, takes, and has otherwise; each sorted, conda's first."""

    added: tuple[Change, ...] = ()
    removed: tuple[Change, ...] = ()
    changed: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def file_name(environment: str, previous: bool = False) -> str:
    """What the file of its lock is called, or of the lock before that."""
    return f"environment-{environment}.lock{'.previous' if previous else ''}.txt"


def environments(declarations: object, base: bool = False, kernel_pip: object = ()) -> list[Environment]:
    """The declared environments, first the one of conda itself where it is wanted, and of use for one of them.

    Each that is a kernel has `kernel_pip` beside its own requirements of pip.

    Raises:
        CondaLockError: A declaration is not acceptable.
    """
    if not isinstance(declarations, list):
        raise CondaLockError("conda_environments is to be a list of environments.")
    if not isinstance(kernel_pip, (list, tuple)) or not all(isinstance(each, str) for each in kernel_pip):
        raise CondaLockError("conda_kernel_pip is to be a list of requirements of pip.")
    found = [_environment(declaration) for declaration in declarations]
    found = [dataclasses.replace(each, pip=(*each.pip, *kernel_pip)) if each.kernel else each for each in found]
    names = [environment.name for environment in found]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise CondaLockError(f"conda_environments has {twice} twice; give one of them another name.")
    of_use = base and any(environment.state == "present" for environment in found)
    return [*([Environment(BASE, kind=BASE, kernel=False)] if of_use else ()), *found]


def declared(environment: Mapping[str, Any]) -> str:
    """The SHA-256 of what a declaration says about packages.

    Raises:
        CondaLockError: It is not acceptable.
    """
    return _environment(environment).declared


def channels_refusal(channels: Sequence[str]) -> str:
    """Why environments do not come from these channels, as a sentence that names no password; empty where they may."""
    refused = next((channel for channel in channels if NOT_OURS.fullmatch(_address(channel))), "")
    if refused:
        return (
            f"conda_channels has {refused}, a channel of Anaconda's with terms of its own; "
            "take conda-forge, or a mirror of it."
        )
    if any(HOLDS_A_SECRET.search(channel) for channel in channels):
        return (
            "conda_channels has an address that holds a password or a token, which everybody who reads the lock, or "
            "conda's settings on a host, would see; name a channel without, such as a mirror on your own network."
        )
    relative = next((channel for channel in channels if channel.startswith((".", "~"))), "")
    if relative:
        return (
            f"conda_channels has {relative}, which is another directory for whoever reads it; "
            "name it from / on, or take the address of a mirror."
        )
    return ""


def channel_addresses(channels: Sequence[str]) -> tuple[str, ...]:
    """The channels as a lock names them: each by one address, however it was written."""
    return tuple(f"{_address(channel).rstrip('/')}/" for channel in channels)


def is_of_channels(lock: Lock, channels: Sequence[str]) -> bool:
    """Whether it was solved from these channels, in this order, which is that of their priority."""
    return channel_addresses(lock.channels) == channel_addresses(channels)


def parse(text: str, where: str) -> Lock:
    """Read a lock; `where` is how a refusal names the file.

    Raises:
        CondaLockError: It is no lock, or none that this dlhost knows.
    """
    try:
        said = _yaml_of(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        at = "" if line is None else f" at line {line + 1}"
        raise CondaLockError(f"{where} is not YAML{at}; make it anew with `dlhost env lock`.") from None
    if not isinstance(said, dict) or "version" not in said:
        raise CondaLockError(f"{where} is no lock of an environment; make it anew with `dlhost env lock`.")
    if said.pop("version") != VERSION:
        raise CondaLockError(f"{where} was written by another dlhost, which has to read it; or make it anew.")
    try:
        lock = _lock(said)
    except (TypeError, ValueError, python_lock.LockError) as error:
        sentence = str(error).rstrip(".")
        raise CondaLockError(f"{where} is damaged: {sentence}; make it anew with `dlhost env lock`.") from None
    names = [package.name for package in lock.conda]
    if sorted(set(names)) != names:
        raise CondaLockError(f"{where} is damaged: its packages are not sorted by name, or one is there twice.")
    return lock


def _yaml_of(text: str) -> Any:
    """A lock's YAML. `write` puts each package on a line as JSON, which is read twenty times faster than YAML."""
    head, _, rest = text.partition(CONDA_LINE)
    lines = rest.splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith(PACKAGE)), len(lines))
    # Where somebody else laid it out, or damaged it, all of it is YAML, which says where.
    if count and "".join(lines[count : count + 1])[:1].isalpha():
        with contextlib.suppress(ValueError, yaml.YAMLError):
            packages = [json.loads(line.removeprefix(PACKAGE[:-1])) for line in lines[:count]]
            said = yaml.load("\n".join([head, *lines[count:], ""]), Loader=LOADER)  # noqa: S506  both are safe
            if isinstance(said, dict) and "conda" not in said:
                return {**said, "conda": packages}
    return yaml.load(text, Loader=LOADER)  # noqa: S506


def write(lock: Lock) -> str:
    """A lock as the text of its file, which `parse` reads to the same value."""
    lines = [f"version: {VERSION}"]
    lines += [f"{field}: {_json(getattr(lock, field))}" for field in ("environment", "platform")]
    lines += ["virtual_packages:"]
    lines += [f"  {name}: {_json(version)}" for name, version in sorted(lock.virtual_packages.items())]
    lines += ["channels:", *(f"  - {_json(channel)}" for channel in lock.channels)]
    lines += [f"{field}: {_json(getattr(lock, field))}" for field in ("declared", "wheels")]
    lines += ["conda:" if lock.conda else "conda: []", *(f"  - {_json(_said(package))}" for package in lock.conda)]
    lines += ["pip: |", *(f"  {line}" for line in lock.pip.splitlines())] if lock.pip else ['pip: ""']
    return HEADER.format(name=lock.environment) + "\n".join(lines) + "\n"


def difference(old: Lock | None, new: Lock) -> Difference:
    """What a lock changes of the one before it, or of nothing."""
    before, after = _versions(old), _versions(new)
    changes = [Change(*key, before.get(key, ""), after.get(key, "")) for key in sorted({*before, *after})]
    return Difference(
        added=tuple(change for change in changes if not change.old),
        removed=tuple(change for change in changes if not change.new),
        changed=tuple(change for change in changes if change.old and change.new and change.old != change.new),
    )


def to_host(lock: Lock, build: bool = True) -> dict[str, Any]:
    """What a host needs to know of a lock to build the environment, or only to compare it, as JSON types."""
    known = {"name": lock.environment, "digest": lock.digest, "platform": lock.platform}
    return {**known, "conda": [_said(package) for package in lock.conda], "pip": lock.pip} if build else known


def cuda_refusal(lock: Lock) -> str:
    """Why its packages do not go together: the libraries of two CUDA releases overwrite each other.

    Empty where they do.
    """
    found: dict[int, str] = {}
    for pin in lock.pins:
        match = SUFFIXED.fullmatch(pin.name)
        if match:
            found.setdefault(int(match["major"]), pin.name)
        elif pin.name in CUDA_ITSELF:
            found.setdefault(int(pin.version.partition(".")[0]), pin.name)
    for package in lock.conda:
        if package.name in CONDA_CUDA:
            found.setdefault(int(package.version.partition(".")[0]), f"conda's {package.name}")
    if len(found) < 2:
        return ""
    told = " and ".join(f"CUDA {major} ({name})" for major, name in sorted(found.items()))
    return (
        f"Environment {lock.environment} would have the libraries of {told}, which overwrite each other; "
        "give each framework an environment of its own."
    )


def _environment(declaration: object) -> Environment:
    if not isinstance(declaration, Mapping):
        raise CondaLockError(f"conda_environments has {declaration!r}, which is to be a name with what belongs to it.")
    name = declaration.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise CondaLockError(
            f"conda_environments has the name {name!r}; a name begins with a lowercase letter or a digit, and goes on "
            "with those, - and _."
        )
    if name == BASE:
        raise CondaLockError(f"{BASE} is conda's own environment, for conda_base to ask for; take another name.")
    known = {field.name: field.default for field in dataclasses.fields(Environment)}
    strange = sorted(set(declaration) - set(known))
    if strange:
        raise CondaLockError(f"Environment {name} has {', '.join(map(str, strange))}, which is nothing it could have.")
    given = {key: value for key, value in declaration.items() if value is not None}
    for key, value in given.items():
        _require(name, key, value, known[key])
    python = given.get("python", "")
    if python and not PYTHON.fullmatch(python):
        raise CondaLockError(f"Environment {name} has python {python!r}, which is to be a version such as 3.12.")
    if given.get("state", "present") not in {"present", "absent"}:
        raise CondaLockError(f"Environment {name} has state {given['state']!r}; it is present or absent.")
    return Environment(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def _address(channel: str) -> str:
    if "://" not in channel:
        return f"file://{channel}" if channel.startswith("/") else CHANNELS + channel
    scheme, _, rest = channel.partition("://")
    host, slash, path = rest.partition("/")
    scheme = scheme.lower()
    return f"{scheme}://{host.lower().removesuffix(IMPLIED.get(scheme, ''))}{slash}{path}"


def _require(name: str, key: str, value: object, default: object) -> None:
    if isinstance(default, tuple):
        fits, kind = isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of texts"
    elif isinstance(default, bool):
        fits, kind = isinstance(value, bool), "true or false"
    else:
        # 3.10 without quotes is the number 3.1.
        fits, kind = isinstance(value, str), "a text, so in quotes"
    if not fits:
        raise CondaLockError(f"Environment {name} has {key} {value!r}, which is to be {kind}.")


def _lock(said: Mapping[str, Any]) -> Lock:
    packages = [_read(Package, line, "a package") for line in _typed(said.get("conda"), list, "conda")]
    for package in packages:
        if not SHA256.fullmatch(package.sha256):
            raise ValueError(f"{package.name} has no checksum")
        if not package.url.endswith((".conda", ".tar.bz2")):
            raise ValueError(f"{package.name} has no address of a package")
    lock: Lock = _read(Lock, {**said, "conda": packages}, "it")
    _ = lock.pins  # A line that is no pin with hashes is refused here, not on a host.
    return lock


def _read(kind: Any, said: object, what: str) -> Any:
    """A value of one of the classes above, of which every field has the type that it is declared with."""
    if not isinstance(said, Mapping):
        raise TypeError(f"{what} is no mapping")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    strange = set(map(str, said)) - set(fields)
    missing = {name for name, field in fields.items() if field.default is dataclasses.MISSING} - set(said)
    if strange or missing:
        told = f"without {min(missing)}" if missing else f"with {min(strange)}"
        raise ValueError(f"{said.get('name', what)} is {told}")
    return kind(**{name: _value(fields[name].type, value, name) for name, value in said.items()})


def _value(declared_type: str, value: object, name: str) -> object:
    if declared_type.startswith("tuple"):
        return tuple(_typed(item, (str, Package), name) for item in _typed(value, list, name))
    return _typed(value, {"str": str, "int": int}.get(declared_type, Mapping), name)


def _typed(value: Any, kind: type | tuple[type, ...], name: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}")
    return value


def _said(package: Package) -> dict[str, Any]:
    """A package without what it leaves out."""
    fields = dataclasses.asdict(package)
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return {name: value for name, value in said.items() if value or name in _REQUIRED}


_REQUIRED = [field.name for field in dataclasses.fields(Package) if field.default is dataclasses.MISSING]


def _versions(lock: Lock | None) -> dict[tuple[str, str], str]:
    """What is installed, by source and name; of conda's packages the build is part of the version."""
    if lock is None:
        return {}
    conda: Iterable[tuple[str, str, str]] = (
        ("conda", package.name, f"{package.version} {package.build}") for package in lock.conda
    )
    pip: Sequence[tuple[str, str, str]] = [("pip", pin.name, pin.version) for pin in lock.pins]
    return {(source, name): version for source, name, version in [*conda, *pip]}


def _json(value: object) -> str:
    """JSON is YAML too, and has one way to write a value."""
    return json.dumps(value, ensure_ascii=False)
