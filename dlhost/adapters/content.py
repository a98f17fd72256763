"""The collection's own content as data: which roles there are, in which order, and what each reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dlhost.adapters.ansible_env import content_root
from dlhost.values.schema import RoleSchema, role_schema

NAMESPACE = "dlhost.host."
SITE = f"{NAMESPACE}site"
VERIFY = f"{NAMESPACE}verify"


def role_schemas() -> tuple[RoleSchema, ...]:
    """The schema of every role that site.yml applies, in its order."""
    root = content_root()
    names = dict.fromkeys(_roles(root / "playbooks" / "site.yml"))
    return tuple(role_schema(name, _yaml(root / "roles" / name / "meta" / "argument_specs.yml")) for name in names)


def _roles(playbook: Path) -> Iterator[str]:
    for play in _yaml(playbook):
        if "ansible.builtin.import_playbook" in play:
            imported = play["ansible.builtin.import_playbook"].removeprefix(NAMESPACE)
            yield from _roles(playbook.with_name(f"{imported}.yml"))
        for entry in play.get("roles", ()):
            yield entry["role"].removeprefix(NAMESPACE)


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def defaults(role: str) -> str:
    """The text of a role's defaults/main.yml, which explains every variable to a reader."""
    return (content_root() / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")


def default_values(role: str) -> dict[str, Any]:
    """The same as values."""
    values: dict[str, Any] = yaml.safe_load(defaults(role))
    return values
