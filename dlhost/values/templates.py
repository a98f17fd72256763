"""What Ansible takes for a template in a value of an inventory, and what is wrong with one before anything is run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

# Ansible takes a text for a template from the first of these on, what Jinja calls a comment included.
MARKS = ("{{", "{%", "{#")
# Those of Ansible's that Jinja reads by itself.
EXTENSIONS = ("jinja2.ext.do", "jinja2.ext.loopcontrols")
# What Ansible lets every template know, beside the variables of a host and those that begin with its name.
MAGIC = frozenset({"environment", "groups", "hostvars", "omit", "play_hosts", "playbook_dir", "role_path", "vars"})

Path = tuple[str | int, ...]


class Literal(str):
    """A text that stands for itself, whatever Jinja would make of it: Ansible's tag is !unsafe."""

    __slots__ = ()


def is_template(value: object) -> bool:
    """Whether Ansible renders it."""
    return isinstance(value, str) and not isinstance(value, Literal) and any(mark in value for mark in MARKS)


def templates_in(name: str, value: Any, path: Path = ()) -> Iterator[tuple[str, str, Path]]:
    """Every template within a value: what a user calls the place, such as a[0].b, the text, and the path to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from templates_in(f"{name}.{key}", item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from templates_in(f"{name}[{index}]", item, (*path, index))
    elif is_template(value):
        yield name, value, path


def unset_in(template: str, known: Collection[str]) -> tuple[str, ...]:
    """The variables that a template puts out as they are and that nothing sets, so that rendering it fails.

    One that a filter is asked of may have a default, and what stands within an if or a loop may never be reached.

    Raises:
        ValueError: It is no valid template; the message says nothing of its text, which may be a secret.
    """
    from jinja2 import Environment, TemplateSyntaxError, meta, nodes

    try:
        parsed = Environment(extensions=EXTENSIONS).parse(template)  # noqa: S701  nothing is rendered.
    except TemplateSyntaxError:
        raise ValueError("No template that Jinja can read.") from None
    put_out = [part for output in parsed.body if isinstance(output, nodes.Output) for part in output.nodes]
    free = meta.find_undeclared_variables(parsed)
    names = dict.fromkeys(part.name for part in put_out if isinstance(part, nodes.Name) and part.name in free)
    return tuple(name for name in names if name not in known and name not in MAGIC and not name.startswith("ansible_"))
