"""Conda environments: solved and locked for their hosts, compared with them, taken down from them, and taken back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dlhost.adapters import conda_solver, content, inventory_source, openssh, pip_resolver
from dlhost.adapters import environments as adapter
from dlhost.adapters.xdg import private_place
from dlhost.errors import InventoryError, RefusedError, UnreachableError, UsageError
from dlhost.values.environments import (
    Change,
    Compared,
    Declared,
    HostEnvironments,
    HostLook,
    Locked,
    LockState,
    frozen,
    on_host,
    serves,
    target,
)
from dlhost.values.inventory import Host, Inventory
from dlhost.values.schema import RoleSchema, did_you_mean

ROLE = "conda"
INVENTORY_DIR = re.compile(r"\{\{\s*inventory_dir\s*\}\}")


@dataclass(frozen=True, slots=True)
class Outside:
    """What it takes of the world beyond values; `ask` is None where nobody can be asked for the vault's password.

    `announce` is told what takes a while.
    """

    ask: Callable[[str], str] | None = None
    announce: Callable[[str], None] = lambda _sentence: None
    look: Callable[[Host, Path, str], HostLook] = adapter.look
    installed: Callable[[Host, Path, str, bool], HostEnvironments] = adapter.installed
    solve: Callable[..., list[Any]] = conda_solver.solve
    resolve: Callable[[pip_resolver.Question], str] = pip_resolver.resolve
    close_connections: Callable[[Iterable[Host], Path], None] = openssh.close_connections


@dataclass(frozen=True, slots=True)
class _World:
    """An inventory's environments, and the hosts that get any of them."""

    inventory: Inventory
    declared: tuple[Declared, ...]
    hosts: tuple[Host, ...]
    driver: RoleSchema | None


def lock(name: str, chosen: Sequence[str], upgrade: bool, outside: Outside) -> list[Locked]:
    """Solve environments for the hosts that get them, and write their locks: all of them or none.

    Versions that are locked stay unless `upgrade`, or they have to go.

    Raises:
        UsageError: No such inventory or environment.
        InventoryError: A declaration is not acceptable.
        UnreachableError: A host does not answer.
        RefusedError: An environment has no solution on its hosts; nothing was written.
    """
    world = _world(name, chosen, outside)
    outside.announce(f"Looking at {', '.join(host.name for host in world.hosts)}")
    looks = _looks(world, outside)
    done: list[Locked] = []
    files: dict[Path, str] = {}
    for declared in world.declared:
        outside.announce(f"Solving {declared.name} for {', '.join(declared.hosts)}")
        old = _old(declared.lock, outside)
        new = _solved(declared, [looks[host] for host in declared.hosts], None if upgrade else old, outside)
        # Hosts with a newer kernel or driver than before are no reason to review a lock that holds the same packages.
        if old is not None and old.digest == new.digest and serves(new.virtual_packages, old.virtual_packages):
            new = replace(new, virtual_packages=old.virtual_packages)
        if old is not None and old.digest != new.digest:
            files[_previous(declared)] = adapter.lock_text(old)
        if old != new:
            files[declared.lock] = adapter.lock_text(new)
        state = LockState.NEW if old is None else LockState.UNCHANGED if old == new else LockState.CHANGED
        done.append(_locked(declared, state, new, old))
    adapter.write_files(files)
    return done


def compare(name: str, chosen: Sequence[str], outside: Outside) -> list[Compared]:
    """Every environment: whether its lock is what is declared, and its hosts are what is locked.

    Raises:
        UsageError: No such inventory or environment.
        RefusedError: A lock is damaged.
    """
    world = _world(name, chosen, outside)
    locks = [adapter.read_lock(declared.lock) for declared in world.declared]
    found = {one.host: one for one in _installed(world.hosts, outside, urls=False)}
    return [
        Compared(
            declared.name,
            declared.environment.kind,
            _state(declared, locked),
            _count(locked),
            tuple(on_host(locked, found[host], declared.name) for host in declared.hosts),
        )
        for declared, locked in zip(world.declared, locks, strict=True)
    ]


def freeze(name: str, environment: str, host: str, output: Path | None, outside: Outside) -> str:
    """What a host really has of an environment, as a text that conda reads; written to `output` where it is given.

    Raises:
        UsageError: No such environment, or it is not said of which host.
        UnreachableError: The host does not answer.
    """
    world = _world(name, [environment], outside)
    [declared] = world.declared
    hosts = [one for one in world.hosts if one.name == host] if host else list(world.hosts)
    if len(hosts) != 1:
        told = f"{host} does not get it" if host else "which host is meant"
        raise UsageError(f"Environment {environment}: {told}; say --host with one of {', '.join(declared.hosts)}.")
    [found] = _installed(hosts, outside, urls=True)
    if found.error:
        raise UnreachableError(f"{found.host} {found.error}.")
    if environment not in found.installed:
        raise RefusedError(f"{hosts[0].name} has no environment {environment}; dlhost provision -i {name} makes it.")
    text = frozen(hosts[0].name, found.installed[environment])
    if output is not None:
        adapter.write_files({output: text})
    return text


def rollback(name: str, chosen: Sequence[str], outside: Outside) -> list[Locked]:
    """Swap the locks of environments with those before them: all or none. Hosts get them with the next provision.

    Raises:
        UsageError: No such inventory or environment.
        RefusedError: There is no lock before; nothing was changed.
    """
    done: list[Locked] = []
    files: dict[Path, str] = {}
    for declared in _world(name, chosen, outside).declared:
        now, before = adapter.read_lock(declared.lock), adapter.read_lock(_previous(declared))
        if before is None or now is None:
            raise RefusedError(f"Environment {declared.name} has no lock before the present one to go back to.")
        files |= {declared.lock: adapter.lock_text(before), _previous(declared): adapter.lock_text(now)}
        stale = _state(declared, before) is LockState.STALE
        told = f"Declare {declared.name}, or conda_channels, as before, too: this lock is of another declaration."
        done.append(_locked(declared, LockState.CHANGED, before, now, (told,) if stale else ()))
    adapter.write_files(files)
    return done


# Declarations


def _world(name: str, chosen: Sequence[str], outside: Outside) -> _World:
    location = inventory_source.find(name)
    inventory = inventory_source.load(location, inventory_source.vault_password(location, outside.ask))
    schemas = {schema.role: schema for schema in content.role_schemas()}
    if ROLE not in schemas:
        raise UsageError(f"There is no role {ROLE} in this dlhost.")
    declared = _declared(inventory, schemas[ROLE])
    names = [each.name for each in declared]
    for wanted in chosen:
        if wanted not in names:
            have = f" It has: {', '.join(names)}." if names else " It declares none in conda_environments."
            raise UsageError(f"Inventory {name} has no environment {wanted}{did_you_mean(wanted, names) or '.'}{have}")
    if not declared:
        raise UsageError(
            f"No host of inventory {name} gets an environment: declare one in conda_environments of hosts in group "
            f"{', '.join(sorted(schemas[ROLE].groups))}."
        )
    left = tuple(each for each in declared if not chosen or each.name in chosen)
    concerned = {host for each in left for host in each.hosts}
    hosts = tuple(host for host in inventory.hosts if host.name in concerned)
    return _World(inventory, left, hosts, schemas.get("nvidia_driver"))


def _declared(inventory: Inventory, schema: RoleSchema) -> list[Declared]:
    """What the hosts declare, each environment once, whichever hosts get it.

    Raises:
        InventoryError: Two hosts declare something else under one name, or a template takes more than the inventory.
    """
    found: dict[str, Declared] = {}
    defaults = content.default_values(ROLE)
    for host in inventory.hosts:
        if not schema.applies_to(host):
            continue
        value = partial(_value, host, defaults)
        if value("conda_state") == "absent":
            continue
        base = adapter.is_true(value("conda_base"))
        for environment in adapter.declared(value("conda_environments"), base, value("conda_kernel_pip")):
            if environment.state == "absent":
                continue
            mine = Declared(
                environment,
                (host.name,),
                tuple(value("conda_channels")),
                value("conda_pip_options"),
                adapter.lock_path(_locks(inventory, value("conda_locks")), environment.name),
            )
            other = found.setdefault(environment.name, mine)
            if other is not mine:
                if _says(other) != _says(mine):
                    raise InventoryError(
                        f"Environment {environment.name} is declared one way for {other.hosts[0]} and another for "
                        f"{host.name}, and has one lock for both; give one of them another name."
                    )
                found[environment.name] = Declared(
                    environment, (*other.hosts, host.name), mine.channels, mine.pip_options, mine.lock
                )
    return list(found.values())


def _says(declared: Declared) -> tuple[Any, ...]:
    """What has to be the same on all hosts, as it decides what is locked."""
    return declared.environment.declared, declared.channels, dict(declared.pip_options), declared.lock


def _value(host: Host, defaults: Mapping[str, Any], name: str) -> Any:
    return adapter.resolved(host, name, defaults[name])


def _locks(inventory: Inventory, directory: str) -> Path:
    """The directory of the locks; the default that the role gives it is no template of the inventory's."""
    beside = str(inventory.location.directory.resolve())
    return Path(INVENTORY_DIR.sub(lambda _match: beside, directory))


def _previous(declared: Declared) -> Path:
    return adapter.lock_path(declared.lock.parent, declared.name, previous=True)


# Hosts


def _each(hosts: Sequence[Host], outside: Outside, ask: Callable[[Host, Path], Any]) -> list[Any]:
    """Ask every host at once; the connections are closed at the end."""
    with private_place() as sockets:
        try:
            with ThreadPoolExecutor(openssh.AT_ONCE) as pool:
                return list(pool.map(lambda host: ask(host, sockets), hosts))
        finally:
            outside.close_connections(hosts, sockets)


def _looks(world: _World, outside: Outside) -> dict[str, HostLook]:
    drivers = {host.name: _planned_driver(world, host) for host in world.hosts}
    found = _each(world.hosts, outside, lambda host, sockets: outside.look(host, sockets, drivers[host.name]))
    return {look.host: look for look in found}


def _planned_driver(world: _World, host: Host) -> str:
    if world.driver is None or not world.driver.applies_to(host):
        return ""
    return str(_value(host, content.default_values("nvidia_driver"), "nvidia_driver_branch"))


def _installed(hosts: Sequence[Host], outside: Outside, *, urls: bool) -> list[HostEnvironments]:
    defaults = content.default_values(ROLE)
    prefixes = {host.name: str(_value(host, defaults, "conda_prefix")) for host in hosts}
    return _each(hosts, outside, lambda host, sockets: outside.installed(host, sockets, prefixes[host.name], urls))


# Locks


def _old(path: Path, outside: Outside) -> Any:
    """The lock before; one that is damaged is made anew, and nothing of it counts."""
    try:
        return adapter.read_lock(path)
    except RefusedError:
        outside.announce(f"{path} cannot be used as it is; making it anew, and choosing every version afresh")
        return None


def _solved(declared: Declared, looks: Sequence[HostLook], preferred: Any, outside: Outside) -> Any:
    """The lock of one environment for these hosts."""
    environment = declared.environment
    wanted, cuda = adapter.wanted(environment, looks)
    hosts = target(declared.name, looks, cuda)
    packages = outside.solve(
        declared.name, wanted.conda, declared.channels, hosts, preferred.conda if preferred is not None else ()
    )
    lock = adapter.new_lock(
        environment=declared.name,
        platform=hosts.platform,
        virtual_packages=hosts.virtual_packages,
        channels=declared.channels,
        declared=environment.declared,
        wheels=wanted.wheels,
        conda=tuple(packages),
        pip=_resolved(declared, wanted, hosts.python_platform, packages, preferred, outside),
    )
    _require_family(wanted, lock)
    return lock


def _resolved(
    declared: Declared, wanted: Any, platform: str, packages: Sequence[Any], preferred: Any, outside: Outside
) -> str:
    names = {package.name: package.version for package in packages}
    kernel = adapter.kernel_requirement()
    requirements = (*wanted.pip, *([kernel] if declared.environment.kernel and kernel not in names else []))
    if requirements and "python" not in names:
        raise RefusedError(
            f"Environment {declared.name} has no Python, which {requirements[0]} needs; "
            "give it a python, or say kernel: false and no pip."
        )
    return outside.resolve(
        pip_resolver.Question(
            environment=declared.name,
            requirements=requirements,
            python=names.get("python", ""),
            platform=platform,
            provided=pip_resolver.distributions(packages, adapter.pypi_names()),
            constraints=wanted.constraints,
            index=wanted.index,
            options=declared.pip_options,
            preferred=preferred.pip if preferred is not None else "",
        )
    )


def _require_family(wanted: Any, lock: Any) -> None:
    """See that the framework came from the family's own index: the usual one has it under the same version.

    Raises:
        RefusedError: It did not; its wheels would be for other cards, or none.
    """
    framework = wanted.pip[0].partition("=")[0] if wanted.index else ""
    for pin in lock.pins:
        if pin.name == framework and not pin.version.endswith(f"+{wanted.wheels}"):
            raise RefusedError(
                f"Environment {lock.environment}: {wanted.index} has no {framework} for {wanted.wheels} that is as new "
                f"as the {pin.version} of the usual index; lock it again when it has."
            )


def _locked(declared: Declared, state: LockState, new: Any, old: Any, left_to_do: tuple[str, ...] = ()) -> Locked:
    return Locked(
        declared.name,
        state,
        declared.lock,
        declared.hosts,
        new.virtual_packages,
        new.wheels,
        _count(new),
        tuple(Change(each.source, each.name, each.old, each.new) for each in adapter.changes(old, new)),
        left_to_do,
    )


def _count(lock: Any) -> int:
    return len(lock.conda) + len(lock.pins) if lock is not None else 0


def _state(declared: Declared, lock: Any) -> LockState:
    if lock is None:
        return LockState.MISSING
    return LockState.LOCKED if adapter.is_of(lock, declared.environment, declared.channels) else LockState.STALE
