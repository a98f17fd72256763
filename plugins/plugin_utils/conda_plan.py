# SPDX-License-Identifier: GPL-3.0-or-later
"""What role conda is to keep on a host, from declarations and the locks beside the inventory; reads only those."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils import conda_lock
from ansible_collections.dlhost.host.plugins.plugin_utils.conda_lock import CondaLockError, Environment, Lock

# What frameworks that compute on a GPU bring: PyPI's wheels of CUDA, or conda-forge's.
CUDA_RUNTIME = ("nvidia-", "cuda-cudart")

# The kinds of data/environments.yml whose device is cpu; to read them there would cost every run 20 ms and more.
CPU_KINDS = ("tensorflow-cpu",)

FOR_BUILDING = {"conda", "pip", "holds"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of role conda, under their names without the prefix."""

    environments: list[dict[str, Any]]
    base: bool
    kernel_pip: list[str]
    channels: list[str]
    locks: str
    """A directory on the controller."""
    state: str


def plan(settings: Settings, inventory: str, build: bool = False, prove: bool = False) -> dict[str, Any]:
    """What is refused, or what module conda_environments is given, and which environments are kernels, or for a GPU.

    `look` has of every environment what a comparison needs, and `build`, where it is wanted, all of it: thousands of
    addresses and checksums, which a run that changes nothing need not carry about. `imports` is what a proof has of
    each Python, where it is to `prove`. `inventory` is named in refusals.
    """
    try:
        wanted = _wanted(settings) if settings.state == "present" else []
        _require_locks(wanted, Path(settings.locks), inventory)
        locked = [_locked(environment, settings, inventory, build) for environment in wanted]
        imports = _imports(wanted) if prove else {}
    except CondaLockError as error:
        return {"refusal": str(error), "look": [], "build": [], "kernels": [], "imports": {}, "computing": []}
    return {
        "refusal": "",
        "look": [{key: value for key, value in entry.items() if key not in FOR_BUILDING} for entry in locked],
        "build": locked if build else [],
        "kernels": [
            {
                "name": environment.name,
                "display_name": environment.display_name or environment.name,
                "sees_gpus": environment.kind not in CPU_KINDS,
            }
            for environment in wanted
            if environment.kernel and environment.state == "present"
        ],
        "imports": imports,
        "computing": [
            entry["name"] for entry in locked if any(name.startswith(CUDA_RUNTIME) for name in entry.get("holds", ()))
        ],
    }


def _wanted(settings: Settings) -> list[Environment]:
    found = conda_lock.environments(settings.environments, base=settings.base, kernel_pip=settings.kernel_pip)
    if any(environment.name == conda_lock.BASE for environment in found):
        return found
    # Nobody can declare conda's own environment, so nobody could say that it is to go.
    return [*found, Environment(conda_lock.BASE, kernel=False, state="absent")]


def _require_locks(wanted: Sequence[Environment], locks: Path, inventory: str) -> None:
    """See that each environment was locked once.

    Raises:
        CondaLockError: All that were not are named at once, with the command for them.
    """
    present = [each.name for each in wanted if each.state == "present"]
    lacking = [name for name in present if not (locks / conda_lock.file_name(name)).exists()]
    if not lacking:
        return
    # Without a name, all are locked; what has a lock keeps its versions.
    command = f"dlhost env lock -i {inventory}{f' {lacking[0]}' if len(lacking) == 1 else ''}"
    has = "Environment {} has no lock" if len(lacking) == 1 else "Environments {} have no lock"
    raise CondaLockError(f"{has.format(', '.join(lacking))} yet; make it with `{command}`.")


def _locked(environment: Environment, settings: Settings, inventory: str, build: bool) -> dict[str, Any]:
    """An environment as module conda_environments takes it."""
    said = {"name": environment.name, "optional": environment.optional, "state": environment.state}
    if environment.state == "absent":
        return said
    command = f"dlhost env lock -i {inventory} {environment.name}"
    lock = _read(environment, Path(settings.locks, conda_lock.file_name(environment.name)), command)
    if not conda_lock.is_of_channels(lock, settings.channels):
        raise CondaLockError(
            f"Environment {environment.name} was locked from other channels than conda_channels has; "
            f"lock it with `{command}`."
        )
    refusal = conda_lock.cuda_refusal(lock)
    if refusal:
        raise CondaLockError(refusal)
    return {
        **said,
        **conda_lock.to_host(lock, build),
        "virtual_packages": dict(lock.virtual_packages),
        "holds": _holds(lock),
        "python": _site_packages(lock),
        "index": _wheel_index(lock.wheels),
        "lock_command": command,
    }


def _read(environment: Environment, path: Path, command: str) -> Lock:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CondaLockError(f"{path} is no text; make it anew with `{command}`.") from None
    except OSError as error:
        raise CondaLockError(f"{path} cannot be read: {error.strerror}.") from None
    lock = conda_lock.parse(text, str(path))
    if lock.environment != environment.name:
        raise CondaLockError(
            f"{path} is the lock of environment {lock.environment}; make the right one with `{command}`."
        )
    if lock.declared != environment.declared:
        raise CondaLockError(
            f"Environment {environment.name} is declared otherwise than it was when locked; lock it with `{command}`."
        )
    return lock


def _holds(lock: Lock) -> dict[str, str]:
    """What an environment of the lock has, by name: versions of conda packages with their builds, those of pip."""
    conda = {package.name: f"{package.version}={package.build}" for package in lock.conda}
    return {**conda, **{f"{pin.name} (pip)": pin.version for pin in lock.pins}}


def _wheel_index(wheels: str) -> str:
    if not wheels:
        return ""
    # It brings the compatibility table, and most runs do without.
    from ansible_collections.dlhost.host.plugins.plugin_utils import environment_kinds

    return str(environment_kinds.wheel_index(wheels))


def _imports(wanted: Sequence[Environment]) -> dict[str, dict[str, str]]:
    """Name of an environment to its declared distributions, each with its module where data/environments.yml has it."""
    from ansible_collections.dlhost.host.plugins.plugin_utils import environment_kinds

    kinds = environment_kinds.load()
    return {each.name: kinds.imports(each) for each in wanted if each.state == "present"}


def _site_packages(lock: Lock) -> str:
    """Where its Python's distributions lie; empty where there is none."""
    python = next((package for package in lock.conda if package.name == "python"), None)
    if python is None:
        return ""
    # Only newer Pythons say it themselves.
    minor = ".".join(python.version.split(".")[:2])
    return python.python_site_packages_path or f"lib/python{minor}/site-packages"
