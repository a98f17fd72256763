"""A role's variables as a reference page: for the terminal, for docs/, and as JSON types."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dlhost.values.schema import Option, RoleSchema

# Ansible's own markup for code, values, options and modules.
MARKUP = re.compile(r"\b[CVOM]\(([^)]*)\)")


def document(schema: RoleSchema) -> dict[str, Any]:
    """The role as JSON types."""
    return {
        "role": schema.role,
        "summary": schema.summary,
        "options": [{**asdict(option), "choices": list(option.choices)} for option in schema.options.values()],
    }


def plain(schema: RoleSchema, defaults: Mapping[str, Any]) -> str:
    """The role for a terminal."""
    lines = [f"{schema.role}: {schema.summary}", ""]
    for option in schema.options.values():
        lines += [f"{option.name}  ({_kind(option)}{_by(schema, option)}; default {_value(defaults.get(option.name))})"]
        lines += textwrap.wrap(_unmarked(option), 76, initial_indent="    ", subsequent_indent="    ")
        for name, inner in option.options.items():
            lines += textwrap.wrap(
                f"{name} ({_kind(inner)}): {_unmarked(inner)}",
                76,
                initial_indent="      ",
                subsequent_indent="        ",
            )
    return "\n".join(lines)


def markdown(schema: RoleSchema, defaults: Mapping[str, Any]) -> str:
    """The role as a page of docs/roles/."""
    rows = list(_rows(schema, schema.options, defaults, ""))
    head = [
        f"# {schema.role}",
        "",
        f"{schema.summary}.",
        "",
        "| variable | type | default | what it is for |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _rows(
    schema: RoleSchema, options: Mapping[str, Option], defaults: Mapping[str, Any] | None, prefix: str
) -> Iterator[str]:
    for name, option in options.items():
        default = "" if defaults is None else f"`{_value(defaults.get(name))}`"
        description = MARKUP.sub(r"`\1`", option.description).replace("|", "\\|")
        kind = f"{_kind(option)}{_by(schema, option)}"
        yield f"| `{prefix}{name}` | {kind} | {default.replace('|', chr(92) + '|')} | {description} |"
        yield from _rows(schema, option.options, None, f"{prefix}{name}{'[]' if option.type == 'list' else ''}.")


def _kind(option: Option) -> str:
    kind = f"list of {option.elements}" if option.type == "list" and option.elements else option.type
    if option.choices:
        kind += ": " + ", ".join(map(str, option.choices))
    return f"{kind}, required" if option.required else kind


def _by(schema: RoleSchema, option: Option) -> str:
    return ", set by the playbooks" if option.name in schema.given else ""


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def index(schemas: Sequence[RoleSchema]) -> str:
    """The page that lists the roles."""
    rows = [f"| [{schema.role}]({schema.role}.md) | {schema.summary} |" for schema in schemas]
    head = [
        "# Roles",
        "",
        "Made by `make docs` from the roles' argument specs.",
        "",
        "| role | what for |",
        "|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _unmarked(option: Option) -> str:
    return MARKUP.sub(r"\1", option.description)
