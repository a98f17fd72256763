"""Conda environments where they are: locks beside the inventory, what hosts offer them, and what hosts have of them."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path
from typing import Any

from dlhost.adapters import gpu_stack, openssh
from dlhost.adapters.ansible_env import isolate_this_process, plugin_util
from dlhost.errors import InventoryError, RefusedError, UnreachableError
from dlhost.values.environments import HostEnvironments, HostLook, Installed
from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact

INSIDE = Path(__file__).with_name("environments_inside.py")
# nvidia-smi has twenty of them.
TIMEOUT_S = 60


# Declarations and locks


def declared(declarations: object, base: bool, kernel_pip: object) -> list[Any]:
    """The environments of a host's conda_environments, as conda_lock.Environment.

    Raises:
        InventoryError: One is not acceptable.
    """
    module = plugin_util("conda_lock")
    try:
        found: list[Any] = module.environments(declarations, base, kernel_pip)
    except module.CondaLockError as error:
        raise InventoryError(str(error)) from None
    return found


def resolved(host: Host, name: str, default: Any) -> Any:
    """A variable of a host, with its templates as the inventory's variables have them.

    Raises:
        InventoryError: A template takes more than that.
    """
    isolate_this_process()
    from ansible.errors import AnsibleError
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    try:
        # What is in a vault is opened here, too.
        return Templar(loader=DataLoader(), variables=dict(host.variables)).template(host.variables.get(name, default))
    except AnsibleError:  # Its text may hold what the template came to so far.
        raise InventoryError(
            f"{host.name}: {name} holds a template that the inventory does not resolve; write out what it comes to."
        ) from None


def is_true(value: object) -> bool:
    """Whether Ansible's filter `bool` takes a value for true."""
    isolate_this_process()
    from ansible.module_utils.parsing.convert_bool import boolean

    return bool(boolean(value, strict=False))


def wanted(environment: Any, looks: Sequence[HostLook]) -> tuple[Any, str]:
    """What an environment is to have on these hosts (environment_kinds.Wanted), and the CUDA that all of them run.

    Raises:
        RefusedError: No wheels run on all of them, or its kind is none.
    """
    kinds, table = plugin_util("environment_kinds"), plugin_util("compatibility").load()
    rigs = [
        kinds.Rig(look.host, tuple(table.card(*card) for card in look.cards), look.driver or None) for look in looks
    ]
    with _refusals():
        return kinds.load().wanted(environment, rigs, table), str(kinds.cuda_version(rigs, table))


def kernel_requirement() -> str:
    """What pip is asked for where an environment is to be a kernel and nothing brings one."""
    return str(plugin_util("environment_kinds").load().kernel)


def pypi_names() -> Mapping[str, str]:
    """Names of conda packages to those of their distributions on PyPI, where these differ."""
    names: Mapping[str, str] = plugin_util("environment_kinds").load().pypi_names
    return names


def lock_path(directory: Path, environment: str, previous: bool = False) -> Path:
    """Where its lock is, or the lock before that."""
    return directory / str(plugin_util("conda_lock").file_name(environment, previous))


def is_of(lock: Any, environment: Any, channels: Sequence[str]) -> bool:
    """Whether a lock is of what is declared by now."""
    return bool(lock.declared == environment.declared and plugin_util("conda_lock").is_of_channels(lock, channels))


def new_lock(channels: Sequence[str], **fields: Any) -> Any:
    """A conda_lock.Lock.

    Raises:
        RefusedError: Its packages do not go together.
    """
    module = plugin_util("conda_lock")
    with _refusals():
        lock = module.Lock(channels=module.channel_addresses(channels), **fields)
        # What uv wrote is read as a host will read it.
        lock = module.parse(module.write(lock), module.file_name(lock.environment))
        if refusal := module.cuda_refusal(lock):
            raise RefusedError(refusal)
    return lock


def read_lock(path: Path) -> Any:
    """A conda_lock.Lock, or None where there is no such file.

    Raises:
        RefusedError: It is damaged.
    """
    with _refusals():
        try:
            return plugin_util("conda_lock").parse(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError(f"{path} cannot be read: {error}.") from None


def lock_text(lock: Any) -> str:
    """The text of its file."""
    return str(plugin_util("conda_lock").write(lock))


def changes(old: Any, new: Any) -> Sequence[Any]:
    """What another lock brings, takes, and has otherwise."""
    found = plugin_util("conda_lock").difference(old, new)
    return (*found.added, *found.removed, *found.changed)


def write_files(files: Mapping[Path, str]) -> None:
    """Write all of them or none, each as a whole. A link stays one; what is no file, such as a pipe, is written to.

    Raises:
        RefusedError: The place cannot be written; nothing was changed.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, text in files.items():
            if path.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            if path.exists() and not path.is_file():
                path.write_text(text, encoding="utf-8")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            target = path.resolve()
            descriptor, name = tempfile.mkstemp(prefix=".", suffix=".writing", dir=target.parent)
            staged[target] = Path(name)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            # Not a secret: read by everybody who may read the inventory.
            staged[target].chmod(0o644)
        for path, temporary in staged.items():
            temporary.replace(path)
    except OSError as error:
        raise RefusedError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        for temporary in staged.values():
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except plugin_util("conda_lock").CondaLockError as error:
        raise RefusedError(str(error)) from None


# Hosts


def look(host: Host, control_path_dir: Path, planned_driver: str) -> HostLook:
    """What a host offers, in one round trip; `planned_driver` is the branch that it gets where it has none yet.

    Raises:
        UnreachableError: It does not answer.
    """
    sysfs = str(host.variables.get("nvidia_driver_sysfs") or "/sys")
    script = f"echo \"glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)\"\n(\n{gpu_stack.script(sysfs)}\n)\n"
    answer = openssh.ask(host, control_path_dir, f"{script}echo complete=yes\n", TIMEOUT_S)
    if answer.contact is not Contact.REACHED:
        raise UnreachableError(f"{host.name} {answer.why}.")
    said = dict(line.partition("=")[::2] for line in answer.printed.splitlines())
    gpu = gpu_stack.facts(answer.printed)
    cards = tuple((str(card["device_id"]), str(card["name"])) for card in gpu["gpus"])
    driver = str(gpu["module"]["loaded"] or gpu["user_space"] or planned_driver) if cards else ""
    return HostLook(host.name, gpu["machine"], said.get("glibc", ""), gpu["kernel"]["running"], cards, driver)


def installed(host: Host, control_path_dir: Path, prefix: str, urls: bool) -> HostEnvironments:
    """The environments that a host has, in one round trip; why they are not known is part of it."""
    arguments = shlex.join([f"{prefix}/envs", "urls" if urls else ""])
    script = (
        "if [ -x /usr/bin/python3 ]; then\n"
        f"/usr/bin/python3 - {arguments} <<'END_OF_LOOK'\n{INSIDE.read_text(encoding='utf-8')}\nEND_OF_LOOK\n"
        "else echo 'environments={}'; fi\necho complete=yes\n"
    )
    answer = openssh.ask(host, control_path_dir, script, TIMEOUT_S)
    if answer.contact is not Contact.REACHED:
        return HostEnvironments(host.name, error=answer.why)
    said = dict(line.partition("=")[::2] for line in answer.printed.splitlines())
    try:
        found = json.loads(said["environments"])
    except (KeyError, ValueError):
        return HostEnvironments(host.name, error=f"does not say which environments are in {prefix}")
    return HostEnvironments(host.name, {name: Installed(name, **more) for name, more in found.items()})
