"""What every role keeps to, read from its YAML as data.

A rule is a function from a repository to the sentences that say where it is broken. Each is applied to this repository,
and to a small one with exactly one fault, so that a rule that can no longer fail is noticed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from dlhost.values.preflight import SUPPORTED

REPOSITORY = Path(__file__).parents[1]
BLOCKS = ("block", "rescue", "always")
COMMANDS = {f"{prefix}{name}" for prefix in ("", "ansible.builtin.") for name in ("command", "shell", "raw")}
COMMANDS.add("dlhost.host.shell_script")
Task = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Plain YAML in which !vault and !unsafe are just values."""


_Loader.add_multi_constructor("!", lambda loader, _tag, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    """The document in a YAML file; an empty one is an empty mapping."""
    return yaml.load(path.read_text(encoding="utf-8"), _Loader) or {} if path.exists() else {}  # noqa: S506


def flatten(tasks: Any) -> Iterator[Task]:
    """Every task, those inside blocks after the block itself."""
    for task in tasks or []:
        yield task
        for part in BLOCKS:
            yield from flatten(task.get(part))


@dataclass(frozen=True)
class Role:
    """One role, parsed."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        return dict(load(self.path / "defaults" / "main.yml"))

    @functools.cached_property
    def specs(self) -> dict[str, Any]:
        return dict(load(self.path / "meta" / "argument_specs.yml").get("argument_specs", {}))

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        return dict(self.specs.get("main", {}).get("options", {}))

    @functools.cached_property
    def task_files(self) -> dict[Path, list[Task]]:
        return {path: list(flatten(load(path))) for path in sorted(self.path.glob("tasks/*.yml"))}

    @functools.cached_property
    def handlers(self) -> list[Task]:
        return list(flatten(load(self.path / "handlers" / "main.yml")))

    @property
    def tasks(self) -> list[Task]:
        return [task for tasks in self.task_files.values() for task in tasks]

    @functools.cached_property
    def text(self) -> str:
        """Everything that Ansible reads of the role, without YAML and Jinja comments."""
        files = [path for path in sorted(self.path.rglob("*")) if path.is_file() and path.suffix in (".yml", ".j2")]
        text = "\n".join(path.read_text(encoding="utf-8") for path in files)
        return re.sub(r"(?m)^\s*#.*$|\{#.*?#\}", "", text)


@dataclass(frozen=True)
class Repository:
    """A repository's roles, playbooks and values."""

    path: Path

    @functools.cached_property
    def roles(self) -> list[Role]:
        return [Role(path) for path in sorted((self.path / "roles").iterdir()) if path.is_dir()]

    @functools.cached_property
    def plays(self) -> list[tuple[Path, dict[str, Any]]]:
        return [(path, play) for path in sorted(self.path.glob("playbooks/*.yml")) for play in load(path)]

    @property
    def value_files(self) -> list[Path]:
        """Where values for roles are given: inventories and molecule scenarios."""
        found = [
            *self.path.glob("inventories/**/*"),
            *self.path.glob("molecule/*/vars/*"),
            *self.path.glob("molecule/*/*.yml"),
        ]
        return sorted(path for path in found if path.suffix in (".yml", ".yaml") and path.parent.name != "shared")


def keys(value: Any) -> Iterator[str]:
    """Every key of every mapping in a document."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield str(key)
            yield from keys(below)
    elif isinstance(value, list):
        for below in value:
            yield from keys(below)


def say(role: Role, task: Task, sentence: str) -> str:
    return f"{role.name}: {task.get('name', task)}: {sentence}"


def module(task: Task) -> str:
    """The module that a task calls, by its full name or as one of Ansible's commands."""
    return next((key for key in task if "." in key or key in COMMANDS), "")


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# The rules


def defaults_and_specs_list_the_same_names(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        for name in sorted(role.defaults.keys() - role.options.keys()):
            yield f"{role.name}: {name} is in defaults/main.yml and not in meta/argument_specs.yml"
        for name in sorted(role.options.keys() - role.defaults.keys()):
            yield f"{role.name}: {name} is in meta/argument_specs.yml and not in defaults/main.yml"
        for name in sorted(role.options.keys() | role.defaults.keys()):
            if not name.startswith(f"{role.name}_"):
                yield f"{role.name}: {name} does not start with {role.name}_"


def specs_hold_no_default(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        options = [name for name, spec in role.options.items() if "default" in set(keys(spec))]
        yield from (
            f"{role.name}: {name} has a default: in its spec; defaults/main.yml is the place" for name in options
        )


def needs_are_of_options(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        needed = load(role.path / "meta" / "needed.yml")
        for name in sorted({*needed, *(other for need in needed.values() for other in need.get("when", {}))}):
            if name not in role.options:
                yield f"{role.name}: {name} in meta/needed.yml is no option"
        for name, option in role.options.items():
            if option.get("required"):
                yield f"{role.name}: {name} is required of a role that goes, too; meta/needed.yml is the place"


def every_option_is_described(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        for name, option in role.options.items():
            if not {"type", "description"} <= set(option):
                yield f"{role.name}: {name} has no type or no description"


def values_are_given_to_options_that_exist(repository: Repository) -> Iterator[str]:
    for path in repository.value_files:
        yield from (f"{path.relative_to(repository.path)}: {what}" for what in _unknown(repository, load(path)))
    for path, play in repository.plays:
        yield from (f"{path.name}: {what}" for what in _unknown(repository, play))
    for path in sorted(repository.path.glob("playbooks/vars/*.yml")):
        yield from (f"{path.name}: {what}" for what in _unknown(repository, load(path)))


def _unknown(repository: Repository, document: Any) -> Iterator[str]:
    for key in keys(document):
        # The longest name that fits, so that a role may be called like the start of another.
        owners = sorted(
            (role for role in repository.roles if key.startswith(f"{role.name}_")), key=lambda role: len(role.name)
        )
        if owners and key not in owners[-1].options:
            yield f"{key} is no option of role {owners[-1].name}"


def handlers_are_notified_and_notifications_heard(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        heard = {topic for task in role.handlers for topic in [task["name"], *_list(task.get("listen"))]}
        told = {topic for task in [*role.tasks, *role.handlers] for topic in _list(task.get("notify"))}
        yield from (f"{role.name}: nothing listens to the notification {topic}" for topic in sorted(told - heard))
        for task in role.handlers:
            if not {task["name"], *_list(task.get("listen"))} & told:
                yield say(role, task, "nothing notifies this handler")


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def commands_say_when_they_change_something(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        for task in [*role.tasks, *role.handlers]:
            given = {**mapping(task.get(module(task))), **task.get("args", {}), **task}
            if module(task) in COMMANDS and not {"creates", "removes", "changed_when"} & set(given):
                yield say(role, task, "a command needs creates, removes or changed_when")


def no_failure_is_hidden(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        for task in [*role.tasks, *role.handlers]:
            if "ignore_errors" in task:
                yield say(role, task, "ignore_errors hides what went wrong")
            read = re.findall(rf"\b{re.escape(str(task.get('register')))}\b", role.text)
            if task.get("failed_when") is False and len(read) < 2:
                yield say(role, task, "failed_when: false, and nobody reads what it registers")


def no_include_decides_by_what_it_passes_on(repository: Repository) -> Iterator[str]:
    """A condition sees the include's own variables, and not those that held until then."""
    for role in repository.roles:
        for task in [*role.tasks, *role.handlers]:
            passed = task.get("vars", {}) if "include_" in module(task) else {}
            for name in passed:
                if re.search(rf"\b{name}\b", str(task.get("when", ""))):
                    yield say(role, task, f"its condition reads {name} as it passes it on")


def nothing_is_upgraded_unasked(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        for task in [*role.tasks, *role.handlers]:
            if mapping(task.get(module(task))).get("state") == "latest":
                yield say(role, task, "state: latest is another host every day")


def private_names_carry_the_role(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        for task in [*role.tasks, *role.handlers]:
            set_here = {*task.get("vars", {}), *_list(task.get("register"))}
            set_here |= {key for key in mapping(task.get("ansible.builtin.set_fact")) if key != "cacheable"}
            set_here |= {
                value for key, value in task.get("loop_control", {}).items() if key in ("loop_var", "index_var")
            }
            # ansible_* are Ansible's own names: a role that moves a port says so there.
            for name in sorted(name for name in set_here if not re.match(rf"__{role.name}_|ansible_", name)):
                yield say(role, task, f"{name} does not start with __{role.name}_")
        for path in sorted(role.path.glob("vars/*.yml")):
            for name in load(path):
                if not name.startswith(f"__{role.name}_"):
                    yield f"{role.name}: vars/{path.name}: {name} does not start with __{role.name}_"


def roles_are_complete(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        verify = load(role.path / "tasks" / "verify.yml")
        last = mapping(verify[-1].get("dlhost.host.report_checks")) if verify else {}
        if last.get("role") != role.name:
            yield f"{role.name}: tasks/verify.yml does not end in dlhost.host.report_checks of role {role.name}"
        for needed in ("meta/argument_specs.yml", "defaults/main.yml", "tasks/main.yml"):
            if not (role.path / needed).exists():
                yield f"{role.name}: there is no {needed}"
        for needed in ("molecule.yml", "vars/main.yml"):
            if not (repository.path / "molecule" / role.name / needed).exists():
                yield f"{role.name}: there is no molecule/{role.name}/{needed}"
        if f"{role.name}_state" not in role.options:
            yield f"{role.name}: there is no {role.name}_state, so nobody can take the role away"


def every_damage_can_be_seen(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        damages = load(repository.path / "molecule" / role.name / "vars" / "main.yml").get("damages", [])
        if not damages:
            yield f"{role.name}: its scenario damages nothing"
        for damage in damages:
            if set(damage) != {"name", "run", "seen"}:
                yield f"{role.name}: damage {damage.get('name')} needs name, run and seen"


def tasks_are_named_alike(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        files = {**role.task_files, role.path / "handlers" / "main.yml": role.handlers}
        for path, tasks in files.items():
            prefix = "" if path.name == "main.yml" else f"{path.stem.replace('_', ' ').capitalize()} | "
            for task in tasks:
                name = task.get("name", "")
                first = name.removeprefix(prefix).split(" ")[0]
                if not name.startswith(prefix):
                    yield say(role, task, f"the name does not start with '{prefix}', as in the rest of {path.name}")
                elif not first[:1].isupper() or re.search(r"[a-z]{3}(ing|ed)$", first) or name.endswith("."):
                    yield say(
                        role, task, "the name is not an imperative that starts with a capital, without a full stop"
                    )


def roles_read_only_their_own_values(repository: Repository) -> Iterator[str]:
    for role in repository.roles:
        words = set(re.findall(r"\w+", role.text))
        for other in repository.roles:
            if other == role:
                continue
            foreign = {word for word in words if word in other.options or word.startswith(f"__{other.name}_")}
            own = {word for word in foreign if word.startswith((f"{role.name}_", f"__{role.name}_"))}
            yield from (f"{role.name}: {word} belongs to role {other.name}" for word in sorted(foreign - own))


def playbooks_fit_the_roles(repository: Repository) -> Iterator[str]:
    names = {role.name for role in repository.roles}
    verified = set()
    applied = set()
    for path, play in repository.plays:
        imported = play.get("ansible.builtin.import_playbook")
        if imported and not (path.parent / f"{imported.removeprefix('dlhost.host.')}.yml").exists():
            yield f"{path.name}: there is no playbook {imported}"
        for entry in play.get("roles", []):
            applied.add(_role_name(entry["role"]))
            yield from _tag_problems(path, names, entry["role"], entry)
        for task in play.get("tasks", []):
            included = mapping(task.get("ansible.builtin.import_role"))
            if included.get("tasks_from") == "verify":
                verified.add(_role_name(included["name"]))
                yield from _tag_problems(path, names, included["name"], task)
    yield from (f"no playbook applies role {name}" for name in sorted(names - applied))
    yield from (f"verify.yml leaves out role {name}" for name in sorted(names - verified))


def roles_are_told_of_others_in_one_place(repository: Repository) -> Iterator[str]:
    """What a play says to a role for itself, another play could say otherwise."""
    told = load(repository.path / "playbooks" / "vars" / "given.yml")
    said: dict[str, Path] = {}
    for path, play in repository.plays:
        tasks = [task for kind in ("pre_tasks", "tasks", "post_tasks") for task in flatten(play.get(kind))]
        for entry in [play, *play.get("roles", []), *tasks]:
            for name in mapping(entry.get("vars")):
                if name in told or name in said:
                    yield f"{path.name}: {name} is said in {said.get(name, Path('given.yml')).name} already"
                said.setdefault(name, path)


def rules_come_before_every_role(repository: Repository) -> Iterator[str]:
    """What needs no look at a host is refused before any role has changed one."""
    ruled = {role.name for role in repository.roles if (role.path / "tasks" / "rules.yml").exists()}
    site = load(repository.path / "playbooks" / "site.yml")
    if ruled and site[0].get("ansible.builtin.import_playbook") != "dlhost.host.rules":
        yield "site.yml does not begin with dlhost.host.rules"
    judged = set()
    for path, play in repository.plays:
        for task in play.get("tasks", []) if path.name == "rules.yml" else []:
            imported = task["ansible.builtin.import_role"]
            judged.add(_role_name(imported["name"]))
            yield from _tag_problems(path, ruled, imported["name"], task)
    yield from (f"rules.yml leaves out role {name}" for name in sorted(ruled - judged))


def _role_name(reference: str) -> str:
    return reference.removeprefix("dlhost.host.")


def _tag_problems(path: Path, names: set[str], reference: str, entry: dict[str, Any]) -> Iterator[str]:
    name = _role_name(reference)
    if name not in names:
        yield f"{path.name}: there is no role {name}"
    if entry.get("tags") != name:
        yield f"{path.name}: role {name} has the tag {entry.get('tags')} instead of its name"


def no_task_file_is_a_copy(repository: Repository) -> Iterator[str]:
    seen: dict[str, Path] = {}
    for role in repository.roles:
        for path in role.task_files:
            # Two roles' files are the same when only the roles' names differ.
            text = path.read_text(encoding="utf-8").replace(role.name, "ROLE")
            if text in seen:
                yield f"{path.relative_to(repository.path)} is a copy of {seen[text].relative_to(repository.path)}"
            seen.setdefault(text, path)


def scripts_quote_what_they_are_given(repository: Repository) -> Iterator[str]:
    """An inventory's text in a shell script is a word of it, never a command; a role's constants need no quotes."""
    for role in repository.roles:
        constants = {name for name, value in load(role.path / "vars" / "main.yml").items() if "{{" not in str(value)}
        for path in sorted(role.path.glob("templates/*.sh.j2")):
            for expression in re.findall(r"\{\{(.*?)\}\}", path.read_text(encoding="utf-8"), re.DOTALL):
                quoted = re.search(r"\|\s*(quote|map\('quote'\)\s*\|\s*join\(' '\))\s*$", expression)
                if not quoted and expression.strip() not in constants:
                    yield f"{role.name}: {path.name}: {expression.strip()} is not quoted"


Rule = Callable[[Repository], Iterator[str]]

# A repository that keeps to every rule ...
GOOD = {
    "roles/lamp/defaults/main.yml": "{lamp_state: present, lamp_colour: red}",
    "roles/lamp/meta/argument_specs.yml": """
        argument_specs:
          main:
            options:
              lamp_state: {type: str, description: Whether it is there.}
              lamp_colour: {type: str, description: Its colour.}
        """,
    "roles/lamp/meta/needed.yml": "{lamp_colour: {when: {lamp_state: present}}}",
    "roles/lamp/vars/main.yml": "{__lamp_file: /etc/lamp}",
    "roles/lamp/templates/light.sh.j2": """
        light {{ __lamp_file }} {{ lamp_colour | quote }} {{ lamp_colours | map('quote') | join(' ') }}
        """,
    "roles/lamp/tasks/main.yml": """
        - name: Light the lamp
          ansible.builtin.command: {cmd: light, creates: /run/lamp}
          notify: Look at it
        """,
    "roles/lamp/tasks/verify.yml": """
        - name: Verify | Report the checks
          dlhost.host.report_checks: {role: lamp, checks: []}
        """,
    "roles/lamp/handlers/main.yml": """
        - name: Look
          listen: Look at it
          ansible.builtin.debug: {msg: "{{ lamp_colour }}"}
        """,
    "roles/oven/defaults/main.yml": "{oven_state: present}",
    "roles/oven/meta/argument_specs.yml": """
        argument_specs: {main: {options: {oven_state: {type: str, description: Whether it is there.}}}}
        """,
    "roles/oven/tasks/main.yml": "[{name: Heat the oven, ansible.builtin.debug: {msg: hot}}]",
    "roles/oven/tasks/verify.yml": """
        - name: Verify | Look into the oven
          ansible.builtin.debug: {msg: hot}
        - name: Verify | Report the checks
          dlhost.host.report_checks: {role: oven, checks: []}
        """,
    "molecule/lamp/molecule.yml": "---",
    "molecule/lamp/vars/main.yml": "{lamp_colour: blue, damages: [{name: out, run: rm lamp, seen: test ! -e lamp}]}",
    "molecule/oven/molecule.yml": "---",
    "molecule/oven/vars/main.yml": "{damages: [{name: cold, run: rm oven, seen: test ! -e oven}]}",
    "inventories/home/group_vars/all/lamp.yml": "{lamp_colour: green}",
    "playbooks/site.yml": """
        - {name: First, ansible.builtin.import_playbook: dlhost.host.rules}
        - {name: All, ansible.builtin.import_playbook: dlhost.host.room}
        """,
    "playbooks/rules.yml": """
        - name: Rules
          hosts: all
          tasks:
            - {name: Lamp, ansible.builtin.import_role: {name: dlhost.host.lamp, tasks_from: rules}, tags: lamp}
        """,
    "playbooks/vars/given.yml": "{lamp_colour: '{{ oven_state }}'}",
    "roles/lamp/tasks/rules.yml": "[{name: Rules | Refuse it, ansible.builtin.fail: {msg: no}}]",
    "playbooks/room.yml": """
        - name: Room
          hosts: all
          roles: [{role: dlhost.host.lamp, tags: lamp}, {role: dlhost.host.oven, tags: oven}]
        """,
    "playbooks/verify.yml": """
        - name: Verify
          hosts: all
          tasks:
            - {name: Lamp, ansible.builtin.import_role: {name: dlhost.host.lamp, tasks_from: verify}, tags: lamp}
            - {name: Oven, ansible.builtin.import_role: {name: dlhost.host.oven, tasks_from: verify}, tags: oven}
        """,
}

OVEN = "roles/oven/tasks/main.yml"
LAMP = "roles/lamp/tasks/main.yml"

# ... and one fault each, with a word of the sentence that must name it.
FAULTS: list[tuple[Rule, str, str, str]] = [
    (
        defaults_and_specs_list_the_same_names,
        "roles/oven/defaults/main.yml",
        "{oven_state: a, oven_heat: 1}",
        "oven_heat",
    ),
    (defaults_and_specs_list_the_same_names, "roles/oven/defaults/main.yml", "{}", "oven_state"),
    (
        defaults_and_specs_list_the_same_names,
        "roles/lamp/defaults/main.yml",
        "{lamp_state: 1, lamp_colour: 1, hue: 1}",
        "hue",
    ),
    (
        specs_hold_no_default,
        "roles/oven/meta/argument_specs.yml",
        "argument_specs: {main: {options: {oven_state: {type: dict, options: {on: {default: true}}}}}}",
        "oven_state has a default",
    ),
    (needs_are_of_options, "roles/oven/meta/needed.yml", "{oven_heat: {}}", "oven_heat"),
    (
        needs_are_of_options,
        "roles/oven/meta/argument_specs.yml",
        "argument_specs: {main: {options: {oven_state: {type: str, required: true}}}}",
        "oven_state is required",
    ),
    (needs_are_of_options, "roles/oven/meta/needed.yml", "{oven_state: {when: {oven_fuel: gas}}}", "oven_fuel"),
    (
        every_option_is_described,
        "roles/oven/meta/argument_specs.yml",
        "argument_specs: {main: {options: {oven_state: {type: str}}}}",
        "oven_state",
    ),
    (values_are_given_to_options_that_exist, "inventories/home/host_vars/a.yml", "{lamp_color: red}", "lamp_color"),
    (
        values_are_given_to_options_that_exist,
        "inventories/home/hosts.yml",
        "{all: {vars: {oven_temp: 1}}}",
        "oven_temp",
    ),
    (values_are_given_to_options_that_exist, "molecule/oven/vars/main.yml", "{oven_temp: 1}", "oven_temp"),
    (values_are_given_to_options_that_exist, "playbooks/more.yml", "[{name: A, vars: {oven_temp: 1}}]", "oven_temp"),
    (values_are_given_to_options_that_exist, "playbooks/vars/given.yml", "{oven_temp: 1}", "oven_temp"),
    (handlers_are_notified_and_notifications_heard, OVEN, "[{name: A, debug: {}, notify: Ring}]", "Ring"),
    (
        handlers_are_notified_and_notifications_heard,
        "roles/oven/handlers/main.yml",
        "[{name: Ring, debug: {}}]",
        "Ring",
    ),
    (commands_say_when_they_change_something, OVEN, "[{name: Burn, ansible.builtin.command: burn}]", "Burn"),
    (commands_say_when_they_change_something, OVEN, "[{name: A, block: [{name: Burn, raw: burn}]}]", "Burn"),
    (commands_say_when_they_change_something, "roles/oven/handlers/main.yml", "[{name: Burn, shell: burn}]", "Burn"),
    (no_failure_is_hidden, OVEN, "[{name: Burn, debug: {}, ignore_errors: true}]", "ignore_errors"),
    (no_failure_is_hidden, OVEN, "[{name: Burn, debug: {}, register: __oven_x, failed_when: false}]", "nobody reads"),
    (
        no_include_decides_by_what_it_passes_on,
        OVEN,
        "[{name: Burn, ansible.builtin.include_tasks: a.yml, vars: {__oven_x: 1}, when: __oven_x == 0}]",
        "__oven_x",
    ),
    (nothing_is_upgraded_unasked, OVEN, "[{name: Burn, ansible.builtin.apt: {name: a, state: latest}}]", "latest"),
    (private_names_carry_the_role, OVEN, "[{name: Burn, debug: {}, register: result}]", "result"),
    (private_names_carry_the_role, OVEN, "[{name: Burn, debug: {}, vars: {heat: 1}}]", "heat"),
    (private_names_carry_the_role, OVEN, "[{name: Burn, ansible.builtin.set_fact: {oven_state: 1}}]", "oven_state"),
    (private_names_carry_the_role, OVEN, "[{name: Burn, debug: {}, loop_control: {loop_var: pie}}]", "pie"),
    (private_names_carry_the_role, "roles/oven/vars/main.yml", "{oven_file: /etc/oven}", "oven_file"),
    (roles_are_complete, "roles/oven/tasks/verify.yml", "[{name: Verify | Look, debug: {}}]", "report_checks"),
    (roles_are_complete, "roles/bath/tasks/main.yml", "[]", "molecule/bath/vars/main.yml"),
    (roles_are_complete, "roles/bath/tasks/main.yml", "[]", "meta/argument_specs.yml"),
    (roles_are_complete, "roles/bath/tasks/main.yml", "[]", "bath_state"),
    (every_damage_can_be_seen, "molecule/oven/vars/main.yml", "{}", "damages nothing"),
    (every_damage_can_be_seen, "molecule/oven/vars/main.yml", "{damages: [{name: cold, run: rm oven}]}", "cold"),
    (tasks_are_named_alike, OVEN, "[{name: heat the oven, debug: {}}]", "capital"),
    (tasks_are_named_alike, OVEN, "[{name: Heating the oven, debug: {}}]", "imperative"),
    (tasks_are_named_alike, OVEN, "[{debug: {}}]", "imperative"),
    (tasks_are_named_alike, "roles/oven/tasks/hot_air.yml", "[{name: Blow, debug: {}}]", "Hot air | "),
    (roles_read_only_their_own_values, OVEN, "[{name: A, debug: {msg: '{{ lamp_colour }}'}}]", "lamp_colour"),
    (roles_read_only_their_own_values, "roles/oven/templates/a.j2", "{{ __lamp_file }}", "__lamp_file"),
    (playbooks_fit_the_roles, "playbooks/site.yml", "[{ansible.builtin.import_playbook: dlhost.host.attic}]", "attic"),
    (playbooks_fit_the_roles, "playbooks/room.yml", "[{roles: [{role: dlhost.host.lamp, tags: lights}]}]", "lights"),
    (
        playbooks_fit_the_roles,
        "playbooks/room.yml",
        "[{roles: [{role: dlhost.host.sofa, tags: sofa}]}]",
        "no role sofa",
    ),
    (playbooks_fit_the_roles, "playbooks/room.yml", "[]", "no playbook applies role oven"),
    (playbooks_fit_the_roles, "playbooks/verify.yml", "[]", "leaves out role oven"),
    (
        roles_are_told_of_others_in_one_place,
        "playbooks/room.yml",
        """
        - roles: [{role: dlhost.host.oven, vars: {oven_name: "{{ one }}"}}]
          tasks: [{ansible.builtin.import_role: {name: dlhost.host.oven}, vars: {oven_name: "{{ two }}"}}]
        """,
        "oven_name is said in room.yml",
    ),
    (
        roles_are_told_of_others_in_one_place,
        "playbooks/room.yml",
        "[{roles: [{role: dlhost.host.lamp, vars: {lamp_colour: red}}]}]",
        "lamp_colour is said in given.yml",
    ),
    (
        roles_are_told_of_others_in_one_place,
        "playbooks/room.yml",
        "[{pre_tasks: [{block: [{vars: {lamp_colour: red}}]}]}]",
        "lamp_colour is said in given.yml",
    ),
    (rules_come_before_every_role, "playbooks/rules.yml", "[]", "leaves out role lamp"),
    (
        rules_come_before_every_role,
        "playbooks/rules.yml",
        "[{tasks: [{ansible.builtin.import_role: {name: dlhost.host.lamp, tasks_from: rules}}]}]",
        "role lamp has the tag None",
    ),
    (
        rules_come_before_every_role,
        "playbooks/site.yml",
        "[{ansible.builtin.import_playbook: dlhost.host.room}]",
        "does not begin with",
    ),
    (scripts_quote_what_they_are_given, "roles/oven/templates/a.sh.j2", "light {{ oven_name }}", "oven_name"),
    (scripts_quote_what_they_are_given, "roles/oven/templates/a.sh.j2", "light {{ a | quote ~ b }}", "~ b"),
    (no_task_file_is_a_copy, "roles/oven/tasks/main.yml", GOOD[LAMP].replace("lamp", "oven"), "is a copy of"),
]

RULES = list(dict.fromkeys(rule for rule, *_ in FAULTS))


def write(root: Path, files: dict[str, str]) -> Repository:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(text))
    return Repository(root)


def test_all_tables_of_supported_platforms_agree() -> None:
    """dlhost refuses a host by its own table before a role does by its."""
    values = {role.name: load(role.path / "vars" / "main.yml") for role in Repository(REPOSITORY).roles}
    platforms = values["system"]["__system_platforms"]
    names = [f"{name.title()} {version}" for name, versions in SUPPORTED.items() for version in versions]

    assert {name: tuple(platform["versions"]) for name, platform in platforms.items()} == SUPPORTED
    assert values["ssh_hardening"]["__ssh_hardening_platforms"] == names
    # Another copy would have to agree as well; the collection needs none.
    assert list(REPOSITORY.glob("roles/*/meta/main.yml")) == []
    for path in REPOSITORY.glob("roles/*/vars/*-*.yml"):
        assert path.stem.replace("-", " ") in names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_role_keeps_to(rule: Rule) -> None:
    assert list(rule(Repository(REPOSITORY))) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_repository_passes(rule: Rule, tmp_path: Path) -> None:
    assert list(rule(write(tmp_path, GOOD))) == []


@pytest.mark.parametrize(("rule", "file", "text", "named"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_fault_is_named(rule: Rule, file: str, text: str, named: str, tmp_path: Path) -> None:
    problems = list(rule(write(tmp_path, {**GOOD, file: text})))

    assert any(named in problem for problem in problems), problems
