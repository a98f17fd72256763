"""The collection's own content as data: which roles there are, in which order, and what each reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dlhost.adapters.ansible_env import content_root
from dlhost.values.inventory import Host
from dlhost.values.schema import RoleSchema, role_schema

# Every command reads some twenty files of the collection; libyaml does that several times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NAMESPACE = "dlhost.host."
SITE = f"{NAMESPACE}site"
VERIFY = f"{NAMESPACE}verify"


def role_schemas() -> tuple[RoleSchema, ...]:
    """The schema of every role that site.yml applies, in its order."""
    root = content_root()
    plays = list(_plays(root / "playbooks" / "site.yml"))
    verifying = dict(_variables_to_verify(root / "playbooks" / "verify.yml"))
    return tuple(
        _role_schema(root, name, [play for play in plays if name in play.roles], verifying.get(name, ()))
        for name in dict.fromkeys(name for play in plays for name in play.roles)
    )


def _role_schema(root: Path, name: str, plays: list[_Play], verifying: Iterable[str]) -> RoleSchema:
    meta = root / "roles" / name / "meta"
    needed = _yaml(meta / "needed.yml") if (meta / "needed.yml").exists() else {}
    return role_schema(
        name,
        _yaml(meta / "argument_specs.yml"),
        groups=(group for play in plays for group in play.groups),
        given=(*(variable for play in plays for variable in play.variables), *verifying),
        needed=needed,
        # What a need may depend on; reading them takes time.
        defaults=default_values(name) if any("when" in need for need in needed.values()) else {},
    )


@dataclass(frozen=True, slots=True)
class _Play:
    """A play's hosts, as names of groups, its roles, and the variables that it sets for them."""

    groups: tuple[str, ...]
    roles: tuple[str, ...]
    variables: tuple[str, ...]


def _plays(playbook: Path) -> Iterator[_Play]:
    for play in _yaml(playbook):
        if "ansible.builtin.import_playbook" in play:
            imported = play["ansible.builtin.import_playbook"].removeprefix(NAMESPACE)
            yield from _plays(playbook.with_name(f"{imported}.yml"))
        elif roles := play.get("roles"):
            files = [_yaml(playbook.parent / name) for name in play.get("vars_files", ())]
            given = (*files, play.get("vars", ()), *(entry.get("vars", ()) for entry in roles))
            yield _Play(
                groups=tuple(re.split("[:,]", play["hosts"])),
                roles=tuple(entry["role"].removeprefix(NAMESPACE) for entry in roles),
                variables=tuple(name for variables in given for name in variables),
            )


def _variables_to_verify(playbook: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each role that is verified, with the variables that the playbook sets for it."""
    for task in (task for play in _yaml(playbook) for task in play.get("tasks", ())):
        if task.get("ansible.builtin.import_role", {}).get("tasks_from") == "verify":
            yield task["ansible.builtin.import_role"]["name"].removeprefix(NAMESPACE), tuple(task.get("vars", ()))


def _yaml(path: Path) -> Any:
    return _parsed(path.read_text(encoding="utf-8"))


def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=LOADER)  # noqa: S506  both are safe


def defaults(role: str) -> str:
    """The text of a role's defaults/main.yml, which explains every variable to a reader."""
    return (content_root() / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")


def present_settings(schemas: Iterable[RoleSchema], host: Host) -> dict[str, dict[str, Any]]:
    """The variables of those roles that the host gets and that are not to go."""
    found = {schema.role: settings(schema, host) for schema in schemas if schema.applies_to(host)}
    return {role: values for role, values in found.items() if values.get(f"{role}_state") != "absent"}


def settings(schema: RoleSchema, host: Host) -> dict[str, Any]:
    """A role's variables for a host: the inventory's over the role's own, a number as text where it is one."""
    values = default_values(schema.role)
    values |= {name: host.variables[name] for name in values if name in host.variables}
    texts = {name for name, option in schema.options.items() if option.type == "str"}
    return {
        name: str(value) if name in texts and isinstance(value, (int, float)) else value
        for name, value in values.items()
    }


def default_values(role: str) -> dict[str, Any]:
    """The same as values."""
    values: dict[str, Any] = _parsed(defaults(role))
    return values
