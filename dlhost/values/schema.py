"""The roles' argument specs, and an inventory held against them before any connection is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from dlhost.values.inventory import Host, Inventory, Setting
from dlhost.values.redaction import HIDDEN
from dlhost.values.templates import is_template, templates_in, unset_in

# A misspelt prefix is only called one when it is this close to a real variable (difflib's ratio).
NEARLY_THE_SAME = 0.85

# What most inventories set of Ansible's own, and what Ansible calls almost the same (of the 334 names that ansible-doc
# lists for connections, become and shells, 2.19).
ANSIBLES = (
    "ansible_become",
    "ansible_become_password",
    "ansible_connection",
    "ansible_host",
    "ansible_password",
    "ansible_port",
    "ansible_python_interpreter",
    "ansible_ssh_common_args",
    "ansible_ssh_private_key_file",
    "ansible_user",
)
ALMOST_ANSIBLES = {"ansible_become_pass", "ansible_private_key_file", "ansible_ssh_private_key"}
ALMOST = 0.9


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an argument spec; Ansible's vocabulary. A variable is required where its role always needs it."""

    name: str
    type: str = "str"
    elements: str | None = None
    choices: tuple[Any, ...] = ()
    required: bool = False
    secret: bool = False
    description: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def holds_secrets(self) -> bool:
        """Whether it, or a part of it, must never be shown."""
        return self.secret or any(option.holds_secrets for option in self.options.values())


@dataclass(frozen=True, slots=True)
class Need:
    """What a role that is present cannot do without: always, or where variables have the values (or one) in `when`.

    `made_by` is the dlhost command that makes it; without one the user chooses.
    """

    when: Mapping[str, Any] = field(default_factory=dict)
    made_by: str = ""

    def is_due(self, values: Mapping[str, Any]) -> bool:
        """Whether the variables have such values."""
        return all(
            values.get(other) in wanted if isinstance(wanted, list) else values.get(other) == wanted
            for other, wanted in self.when.items()
        )


@dataclass(frozen=True, slots=True)
class RoleSchema:
    """What a role is for and which variables it reads.

    `groups` are those whose hosts get it; `given` are variables that the playbooks set themselves; `needs` are those
    that a host cannot do without, with `defaults` for the variables that they depend on.
    """

    role: str
    summary: str
    options: Mapping[str, Option]
    groups: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()
    needs: Mapping[str, Need] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def lacks(self, host: Host, name: str) -> bool:
        """Whether the host has no value for a variable that it needs."""
        if name in self.given or host.variables.get(f"{self.role}_state") == "absent":
            return False
        values = {**self.defaults, **host.variables}
        if not self.needs[name].is_due(values):
            return False
        return host.variables.get(name) is None or not str(host.variables[name]).strip()

    def applies_to(self, host: Host) -> bool:
        """Whether a group of the host's brings the role."""
        return not self.groups.isdisjoint((host.name, *host.groups))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an inventory, for a person to mend."""

    message: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def role_schema(
    role: str,
    document: Mapping[str, Any],
    groups: Iterable[str] = (),
    given: Iterable[str] = (),
    needed: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> RoleSchema:
    """The main entry point of a parsed meta/argument_specs.yml, with meta/needed.yml and what the playbooks say."""
    main = document["argument_specs"]["main"]
    needs = {name: Need(**more) for name, more in needed.items()}
    options = {
        name: replace(option, required=name in needs and not needs[name].when)
        for name, option in _options(main.get("options", {})).items()
    }
    return RoleSchema(role, main["short_description"], options, frozenset(groups), frozenset(given), needs, defaults)


def problems(inventory: Inventory, schemas: Iterable[RoleSchema]) -> list[Problem]:
    """Every variable that no role knows, is of the wrong type, or misses an allowed value."""
    schemas = list(schemas)
    known = {name: option for schema in schemas for name, option in schema.options.items()}
    found = []
    for setting in inventory.settings:
        option = known.get(setting.name)
        if option is not None:
            found += [_problem(setting, *wrong) for wrong in _wrongs(option, setting.name, setting.value, ())]
        elif (message := unknown(setting.name, schemas)) is not None:
            found.append(_problem(setting, message, ()))
    return found


def unknown(name: str, schemas: Iterable[RoleSchema]) -> str | None:
    """Why a variable that no role declares is an error: it is in a role's namespace, or a near miss of it or Ansible's.

    None for a declared one, and for a name that is the user's own.
    """
    schemas = list(schemas)
    known = [option for schema in schemas for option in schema.options]
    if name in known or name in ALMOST_ANSIBLES:
        return None
    role = max((schema.role for schema in schemas if name.startswith(f"{schema.role}_")), key=len, default=None)
    if role is not None:
        ours = [other for other in known if other.startswith(f"{role}_")]
        return f"role {role} has no variable {name}{did_you_mean(name, ours) or f'; `dlhost roles {role}` lists them'}"
    if name.startswith("ansible_"):
        meant = "" if name in ANSIBLES else did_you_mean(name, ANSIBLES, cutoff=ALMOST)
        return f"Ansible has no variable {name}{meant}" if meant else None
    meant = did_you_mean(name, known, cutoff=NEARLY_THE_SAME)
    return f"no role has a variable {name}{meant}" if meant else None


def without_effect(inventory: Inventory, schemas: Iterable[RoleSchema]) -> list[Problem]:
    """Every variable that the playbooks set for a role, whatever the inventory says."""
    roles = {name: schema.role for schema in schemas for name in schema.given if name in schema.options}
    return [
        _problem(setting, f"{setting.name} has no effect here: the playbook sets it for role {roles[setting.name]}", ())
        for setting in inventory.settings
        if setting.name in roles
    ]


def unrenderable(inventory: Inventory, schemas: Iterable[RoleSchema]) -> Iterator[Problem]:
    """Every template that fails whatever host it is for, in the roles' variables and in what is encrypted.

    Ansible would say so in mid-run, and show a part of a password that has a brace in it.
    """
    options = {name for schema in schemas for name in schema.options}
    settings = {setting.name for setting in inventory.settings}
    known = options | settings | {name for host in inventory.hosts for name in host.variables}
    set_it = f"dlhost secrets set -i {inventory.name}"
    for setting in inventory.settings:
        for place, template, path in templates_in(setting.name, setting.value):
            is_secret = template in inventory.secrets
            if not is_secret and setting.name not in options:
                continue
            literally = "If it is meant as it stands, write !unsafe before it"
            if is_secret and not path:
                literally += f", as {set_it} {setting.name} does"
            try:
                for name in unset_in(template, known):
                    fix = did_you_mean(name, settings) or f". If that is a secret: {set_it} {name}"
                    message = f"{place} takes the value of {name}, which nothing sets{fix}"
                    yield _problem(setting, f"{message}. {literally}" if is_secret else message, path)
            except ValueError:
                yield _problem(setting, f"Ansible takes {place} for a template, and cannot read it. {literally}", path)


def misspelt_groups(hosts: Sequence[Host], schemas: Iterable[RoleSchema]) -> Iterator[str]:
    """Every group that brings no role but is called almost like one that does, as a sentence with the fix.

    A group of the user's own whose hosts all are in the other one, too, is meant as it is.
    """
    bringing = {group for schema in schemas for group in schema.groups} | {"all"}
    for name in dict.fromkeys(group for host in hosts for group in host.groups if group not in bringing):
        close = get_close_matches(name, bringing, n=1, cutoff=0.8)
        members = [host for host in hosts if name in host.groups]
        if close and not all(close[0] in host.groups for host in members):
            named = ", ".join(host.name for host in members)
            yield f"Group {name} ({named}) brings no role; did you mean {close[0]}? If not, rename it a little."


def missing(hosts: Sequence[Host], schemas: Iterable[RoleSchema], inventory: str) -> Iterator[str]:
    """Every variable that a host of the role's needs and lacks, as a sentence with the fix.

    `inventory` is for the commands in it, as the user named it.
    """
    for schema in schemas:
        for name, need in schema.needs.items():
            lacking = [host.name for host in hosts if schema.applies_to(host) and schema.lacks(host, name)]
            if lacking:
                verb = "lacks" if len(lacking) == 1 else "lack"
                where = "".join(f" where {other} is {_either(value)}" for other, value in need.when.items())
                fix = _fix(schema.options[name], need, inventory)
                yield f"{', '.join(lacking)} {verb} {name}, which role {schema.role} needs{where}. {fix}"


def _either(value: Any) -> str:
    return " or ".join(map(str, value if isinstance(value, list) else [value]))


def _fix(option: Option, need: Need, inventory: str) -> str:
    if need.made_by:
        return f"Make it: {need.made_by} -i {inventory}"
    if not option.secret:
        return "Set it in the inventory, for instance in group_vars/all."
    generate = "" if need.when else " (with --generate, dlhost chooses it)"
    return f"Set it: dlhost secrets set -i {inventory} {option.name}{generate}"


def secrets_in(option: Option, value: Any) -> Iterator[Any]:
    """The parts of a value that must never be shown: what its spec says, and what has no place in the spec."""
    if option.secret:
        yield value
    elif option.holds_secrets:
        if isinstance(value, dict):
            for key, part in value.items():
                yield from secrets_in(option.options.get(key, _STRAY), part)
        elif isinstance(value, list):
            for item in value:
                yield from secrets_in(option, item)
        else:
            yield value


def masked(option: Option, value: Any) -> Any:
    """The value with the same parts hidden, however short they are."""
    if option.holds_secrets and isinstance(value, dict) and not option.secret:
        return {key: masked(option.options.get(key, _STRAY), part) for key, part in value.items()}
    if option.holds_secrets and isinstance(value, list) and not option.secret:
        return [masked(option, item) for item in value]
    return HIDDEN if option.holds_secrets else value


# What stands under a misspelt name beside secrets may be one.
_STRAY = Option("", secret=True)


def did_you_mean(name: str, candidates: Iterable[str], cutoff: float = 0.6) -> str:
    """A half-sentence with the closest candidate, or nothing."""
    close = get_close_matches(name, list(candidates), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def _options(document: Mapping[str, Mapping[str, Any]]) -> dict[str, Option]:
    return {
        name: Option(
            name=name,
            type=spec.get("type", "str"),
            elements=spec.get("elements"),
            choices=tuple(spec.get("choices", ())),
            required=spec.get("required", False),
            secret=spec.get("no_log", False),
            description=_text(spec.get("description", "")),
            options=_options(spec.get("options", {})),
        )
        for name, spec in document.items()
    }


def _text(description: str | list[str]) -> str:
    return description if isinstance(description, str) else " ".join(description)


def _problem(setting: Setting, message: str, path: tuple[str | int, ...]) -> Problem:
    return Problem(message, str(setting.file), setting.line(path))


Wrong = tuple[str, tuple[str | int, ...]]


def _wrongs(option: Option, name: str, value: Any, path: tuple[str | int, ...]) -> Iterator[Wrong]:
    """Each misfit of value as message and path; Ansible itself judges templates, once it knows their value."""
    if is_template(value):
        return
    # A list's are those of its items.
    allowed = f"; allowed: {', '.join(map(str, option.choices))}" if option.choices and option.type != "list" else ""
    if not _fits(option.type, value):
        yield f"{name} should be {_article(option.type)}, not {_shown(value, option)}{allowed}", path
    elif option.choices and option.type != "list" and value not in option.choices:
        yield f"{name} is {value!r}{allowed}{did_you_mean(str(value), map(str, option.choices))}", path
    elif option.type == "list":
        element = replace(option, type=option.elements or "raw", elements=None)
        for index, item in enumerate(value):
            yield from _wrongs(element, f"{name}[{index}]", item, (*path, index))
    elif option.type == "dict" and option.options:
        yield from _wrong_keys(option.options, name, value, path)


def _wrong_keys(
    options: Mapping[str, Option], name: str, value: Mapping[str, Any], path: tuple[str | int, ...]
) -> Iterator[Wrong]:
    for key, item in value.items():
        if key in options:
            yield from _wrongs(options[key], f"{name}.{key}", item, (*path, key))
        else:
            yield f"{name} has no key {key}{did_you_mean(str(key), options)}", (*path, key)
    for key, option in options.items():
        if option.required and key not in value:
            yield f"{name} lacks the key {key}", path


_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "dict": (dict,),
    "float": (int, float),
    "int": (int,),
    "list": (list,),
    "path": (str,),
    "str": (str, int, float),
}


def _fits(wanted: str, value: Any) -> bool:
    if wanted not in _TYPES:
        return True
    return isinstance(value, _TYPES[wanted]) and (wanted == "bool" or not isinstance(value, bool))


_ARTICLES = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a path",
    "str": "a text",
}


def _article(wanted: str) -> str:
    return _ARTICLES[wanted]


def _shown(value: Any, option: Option) -> str:
    """What was found, by kind rather than content where the content may be long or secret."""
    if value is None:
        return "empty"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    if option.holds_secrets:
        return "a text" if isinstance(value, str) else "a number" if not isinstance(value, bool) else "true or false"
    return f"the text {value!r}" if isinstance(value, str) else repr(value).lower()
