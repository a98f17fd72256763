# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the servers of a role's users, with their files, passwords and units. An action plugin calls it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: jupyter_servers
short_description: Run one server per user, and never stop one that works
description:
  - Compares the role's files, each user's configuration, password and directories, and each server's unit with what is
    wanted. What an account cannot have, or a port that another program holds, is refused by name before any change.
  - A server is restarted where its files or its environment are newer than its start, and only while none of its
    kernels computes and no program runs in its terminals. Otherwise the restart is left to the next run, and said.
    One that would not start again is not stopped.
  - Servers of users who are no longer named are stopped under the same condition.
  - A password is kept on the host as an argon2id hash, which stays as long as it fits. The password itself travels on
    standard input only.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  packages:
    description:
      - Debian packages that the role is about to install. Those not yet on the host are recorded as brought by it.
    type: list
    elements: str
    default: []
  templates:
    description: Template units whose instances are the role's, and for each the link to its Python environment.
    type: dict
    required: true
  servers:
    description: The servers, each an instance of one of the template units.
    type: list
    elements: dict
    default: []
    suboptions:
      unit:
        description: The instance.
        type: str
        required: true
      user:
        description: The account that it runs as.
        type: str
        required: true
      address:
        description: Where it listens.
        type: str
        required: true
      port:
        description: The port.
        type: int
        required: true
      files:
        description: Its own files, which root writes and the user's group reads.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Absolute path.
            type: path
            required: true
          content:
            description: The whole text.
            type: str
            required: true
      reads:
        description: Files of others that it reads when it starts, such as a certificate.
        type: list
        elements: str
        default: []
      trial:
        description: A command that fails as the server itself would with the files that are there. It runs as the user.
        type: list
        elements: str
        default: []
      directories:
        description: Directories that it needs, made with the user's rights. The first has to be the user's own.
        type: list
        elements: str
        default: []
      password:
        description: The password, or its argon2id hash as Jupyter writes it.
        type: str
        default: ""
      password_file:
        description: Where the hash is kept.
        type: str
        default: ""
  restart:
    description: With V(force), servers are restarted and stopped although they work.
    type: str
    choices: [when_idle, force]
    default: when_idle
  state:
    description: With V(absent), every instance is stopped and every file of the role removed.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing.
  diff_mode:
    support: full
    description: One diff per file, and one line per directory and unit.
"""

EXAMPLES = r"""
- name: Run the servers
  dlhost.host.jupyter_servers:
    role: jupyter
    templates: {dlhost-jupyter@.service: /opt/dlhost/jupyter}
    files:
      - path: /etc/systemd/system/dlhost-jupyter@.service
        content: "{{ lookup('ansible.builtin.template', 'dlhost-jupyter@.service.j2') }}"
    servers:
      - unit: dlhost-jupyter@ada.service
        user: ada
        address: 127.0.0.1
        port: 8888
        trial: [/opt/dlhost/jupyter/bin/jupyter-lab, --ServerApp.port=0, --show-config]
        directories: [~/notebooks, ~/notebooks/data]
        password: "{{ jupyter_password }}"
        password_file: /etc/dlhost/jupyter/ada/password
"""

RETURN = r"""
changed_paths:
  description: Files written or removed, and directories made.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Packages that are not installed.
  type: list
  elements: str
  returned: always
unit_problems:
  description: How units differ from enabled, running and listening, one sentence each.
  type: list
  elements: str
  returned: always
outdated:
  description: Servers that started before what they run from, or that nobody asks for any more.
  type: list
  elements: str
  returned: always
deferred:
  description: Those of them that work, and at what.
  type: list
  elements: str
  returned: always
environments:
  description: Those of the Python environments of which there is anything.
  type: list
  elements: str
  returned: always
foreign_settings:
  description: What users have set themselves in Jupyter's configuration, by whether the server reads it.
  type: dict
  returned: always
  contains:
    read:
      description: Beneath the role's own.
      type: list
      elements: str
    unread:
      description: Nowhere; a run that changes something warns of them.
      type: list
      elements: str
due:
  description: Whether anything is to be done, now or when a server has ended its work.
  type: bool
  returned: always
"""

import dataclasses
import ipaddress
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import environment_link, owned_files
from ansible_collections.dlhost.host.plugins.module_utils.jupyter_host import (
    hashes,
    look_as,
    make_directories,
    refusal_of,
    work_of,
)
from ansible_collections.dlhost.host.plugins.module_utils.jupyter_inside import KIND
from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    AGAIN,
    UNIT_DIRECTORY,
    Account,
    Listener,
    RefusedError,
    Unit,
    account,
    files_of,
    find_instances,
    find_listeners,
    find_units,
    in_the_way,
    is_newer,
    make_startable,
    must,
    stop_units,
    wait_until_listening,
)


@dataclasses.dataclass(frozen=True)
class Server:
    """One wanted server, with what its account makes of it."""

    unit: str
    user: Account
    address: str
    port: int
    environment: Path
    own: list[owned_files.OwnedFile]
    reads: list[Path]
    trial: list[str]
    directories: list[str]

    @property
    def sources(self) -> list[Path]:
        """What a server that is older than it has to be restarted for."""
        return [
            UNIT_DIRECTORY / template_of(self.unit),
            self.environment,
            *(file.path for file in self.own),
            *self.reads,
        ]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What differs, and for each running unit that has to stop, first or for good, what that would destroy."""

    servers: list[Server]
    owned: owned_files.Plan
    directories: dict[Account, list[str]]
    units: dict[str, Unit]
    problems: dict[str, list[str]]
    outdated: list[str]
    undeclared: list[str]
    environments: list[str]
    work: dict[str, list[str]]
    packages: list[str]
    foreign_settings: dict[str, list[str]]

    @property
    def stops(self) -> list[str]:
        """Units that stop now."""
        return [name for name in [*self.outdated, *self.undeclared] if name not in self.work]

    @property
    def deferred(self) -> list[str]:
        return [f"{name} ({'; '.join(work)})" for name, work in sorted(self.work.items())]

    def result(self) -> dict[str, object]:
        made = [path for paths in self.directories.values() for path in paths]
        problems = [f"{name} {problem}" for name, found in sorted(self.problems.items()) for problem in found]
        lines = [f"package {name}: not installed" for name in self.packages]
        lines += [f"{path}: not there" for path in made] + problems
        lines += [f"{name}: older than what it runs from" for name in self.outdated]
        lines += [f"{name}: not asked for" for name in self.undeclared]
        lines += [f"{unit}: left alone for now" for unit in self.deferred]
        changed = bool(self.owned.paths or made or problems or self.stops or self.packages)
        return {
            "changed": changed,
            "due": changed or bool(self.work),
            "changed_paths": [*self.owned.paths, *made],
            "missing_packages": self.packages,
            "unit_problems": problems,
            "outdated": [*self.outdated, *self.undeclared],
            "deferred": self.deferred,
            "environments": self.environments,
            "foreign_settings": self.foreign_settings,
            "diff": [*self.owned.diffs, *({"prepared": f"{line}\n"} for line in lines)],
        }


def main() -> None:
    file = {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "files": owned_files.FILES_ARGUMENT,
            "packages": {"type": "list", "elements": "str", "default": []},
            "templates": {"type": "dict", "required": True},
            "servers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "unit": {"type": "str", "required": True},
                    "user": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "files": {"type": "list", "elements": "dict", "default": [], "options": file},
                    "reads": {"type": "list", "elements": "str", "default": []},
                    "trial": {"type": "list", "elements": "str", "default": []},
                    "directories": {"type": "list", "elements": "str", "default": []},
                    "password": {"type": "str", "default": "", "no_log": True},
                    "password_file": {"type": "str", "default": "", "no_log": False},
                },
            },
            "restart": {"type": "str", "choices": ["when_idle", "force"], "default": "when_idle"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        if os.geteuid() != 0:
            raise RefusedError(f"Units and their files are root's. Set ansible_become to true {AGAIN}")
        result = foresee(module.params) if module.check_mode else converge(module.params)
    except (RefusedError, owned_files.OwnedFilesError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    if result["changed"] and not module.check_mode:
        for text in result["foreign_settings"]["unread"]:
            module.warn(f"{text} have no effect on the server that dlhost runs; jupyter_options is for such settings.")
    module.exit_json(**result)


def foresee(request: dict) -> dict[str, object]:
    """What would change, and whether it may."""
    try:
        passwords = find_hashes(request)
    except RefusedError:
        # Only an intact environment tells whose hash it is; what comes of that is seen when it has been mended.
        passwords = {each["unit"]: present_hash(each) for each in wanted(request)}
    result = make_plan(request, passwords).result()
    # A server that has to be restarted differs from what is wanted, however long its work keeps it from that.
    return {**result, "changed": result["due"]}


def converge(request: dict) -> dict[str, object]:
    """Make it so; returns the module's result."""
    plan = make_plan(request, find_hashes(request))
    for user, paths in plan.directories.items():
        make_directories(user, paths)
    if request["state"] == "absent":
        stop_units(plan.units, plan.stops, plan.undeclared)
    owned_files.carry_out(plan.owned)
    units = [path for path in plan.owned.paths if Path(path).parent == UNIT_DIRECTORY]
    if units or any(unit.reload_due for unit in plan.units.values()):
        must("systemctl", "daemon-reload")
    waiting = []
    if request["state"] == "present":
        require_trials(plan)
        if request["restart"] == "when_idle":
            # A cell may have been run since the plan was made.
            begun = work_among(plan.stops, plan.units, request["templates"])
            plan = dataclasses.replace(plan, work={**plan.work, **begun})
        stop_units(plan.units, plan.stops, plan.undeclared)
        waiting = start(plan)
    left = [*plan.deferred, *waiting]
    result = plan.result()
    if left:
        result["dlhost_action_needed"] = (
            f"the restart of {', '.join(left)} was deferred; "
            "run again when that has ended, or set jupyter_restart to force"
        )
    return result


def wanted(request: dict) -> list[dict]:
    """The servers that there shall be."""
    return request["servers"] if request["state"] == "present" else []


def template_of(unit: str) -> str:
    """The template that a unit is an instance of."""
    return f"{unit.partition('@')[0]}@.service"


def find_hashes(request: dict) -> dict[str, str]:
    """Unit to the hash of its password: the given or the present one, or a new one where that does not fit.

    Raises:
        RefusedError: The environment makes none.
    """
    found, ask = {}, {}
    for each in wanted(request):
        if each["password"].startswith(KIND):
            found[each["unit"]] = each["password"]
        elif each["password"]:
            known = [each["password"], present_hash(each)]
            ask.setdefault(request["templates"][template_of(each["unit"])], {})[each["unit"]] = known
    for environment, known in ask.items():
        found |= hashes(Path(environment), known)
    return found


def present_hash(server: dict) -> str:
    """What the server's password file has now; empty where it has none."""
    content = owned_files.find(Path(server["password_file"])).content if server["password_file"] else None
    return (content or b"").decode("utf-8", "replace").strip()


def make_server(request: dict, environment: Path, password: str) -> Server:
    """One element of the module's servers, held against the host.

    Raises:
        RefusedError: There is no such account, or no such address.
    """
    user = account(request["user"], "jupyter_users")
    try:
        address = str(ipaddress.ip_address(request["address"]))
    except ValueError:
        raise RefusedError(f"{request['address']} is no address. Correct it {AGAIN}") from None
    own = [
        owned_files.OwnedFile(Path(file["path"]), file["content"].encode(), 0o640, "root", user.group)
        for file in request["files"]
    ]
    if request["password_file"]:
        path = Path(request["password_file"])
        # Many accounts may be of one group.
        own.append(owned_files.OwnedFile(path, f"{password}\n".encode(), 0o400, user.name, user.group, sensitive=True))
    return Server(
        unit=request["unit"],
        user=user,
        address=address,
        port=request["port"],
        environment=environment,
        own=own,
        reads=[Path(user.path(path)) for path in request["reads"]],
        trial=request["trial"],
        directories=[user.path(path) for path in request["directories"]],
    )


def make_plan(request: dict, passwords: dict[str, str]) -> Plan:
    """Compare everything with the host.

    Raises:
        RefusedError: An account, a directory, a file or a port cannot be had, or everything is to go while one works.
        OwnedFilesError: The record of what the role owns is damaged.
    """
    absent, forced = request["state"] == "absent", request["restart"] == "force"
    environments = {template: Path(path) for template, path in request["templates"].items()}
    servers = [
        make_server(each, environments[template_of(each["unit"])], passwords.get(each["unit"], ""))
        for each in wanted(request)
    ]
    directories: dict[Account, list[str]] = {}
    settings: dict[str, list[str]] = {"read": [], "unread": []}
    for each in servers:
        if each.directories or each.reads:
            directories.setdefault(each.user, []).extend(missing_directories(each, settings))
    listeners = find_listeners() if servers else []
    refuse_taken_ports(servers, listeners, [*environments])

    names = [each.unit for each in servers]
    others = [name for name in find_instances([*environments]) if name not in names]
    units = find_units([*names, *others])
    undeclared = [name for name in others if units[name].active or units[name].enabled]
    work = {} if forced else work_among(undeclared, units, request["templates"])
    if absent and work:
        busy = ", ".join(f"{name} ({'; '.join(found)})" for name, found in sorted(work.items()))
        raise RefusedError(f"{busy} would be cut off. Wait for the end, or set jupyter_restart to force {AGAIN}")

    own = [] if absent else [owned_files.OwnedFile.from_argument(file) for file in request["files"]]
    own += [file for each in servers for file in each.own]
    # The files of a server that works on stay as long.
    own += [file for name in work for file in files_of(name, request["role"], {file.path for file in own})]
    owned = owned_files.plan(request["role"], own, request["packages"], absent)
    rewritten = {file.path for file in owned.write if owned_files.find(file.path).content != file.content}
    outdated = [each.unit for each in servers if is_outdated(each, units[each.unit], rewritten)]
    work |= {} if forced else work_among(outdated, units, request["templates"])
    return Plan(
        servers=servers,
        owned=owned,
        directories={user: paths for user, paths in directories.items() if paths},
        units=units,
        problems={each.unit: found for each in servers if (found := problems(each, units[each.unit], listeners))},
        outdated=outdated,
        undeclared=undeclared,
        environments=[str(path) for path in environments.values() if environment_link.what_is_there(path)],
        work=work,
        packages=[] if absent else owned_files.missing_packages(request["packages"]),
        foreign_settings=settings,
    )


def missing_directories(each: Server, settings: dict[str, list[str]]) -> list[str]:
    """The server's directories that are not there; the user's own settings are added to `settings`.

    Raises:
        RefusedError: One cannot be made, the first is not the user's, or there is no home for Jupyter's own files.
    """
    user = each.user
    seen = look_as(user, each.directories, [str(path) for path in each.reads])
    for kind, found in settings.items():
        said = [f"{path}: {', '.join(names)}" for path, names in seen[kind].items()]
        found += [text for text in said if text not in found]
    if not seen["has_home"]:
        raise RefusedError(
            f"{user.name} cannot write to the home directory {user.home}, where Jupyter keeps settings. "
            f"Make it for {user.name} {AGAIN}"
        )
    if seen["unreadable"]:
        raise RefusedError(f"{user.name} cannot read {', '.join(seen['unreadable'])}. Let the account read it {AGAIN}")
    missing = []
    for path, found in zip(each.directories, seen["directories"], strict=True):
        if found["there"] and not found["is_directory"]:
            raise RefusedError(f"{path} is no directory. Move it away, or name another for {user.name} {AGAIN}")
        if found["there"] and path == each.directories[0] and found["owner"] != user.uid:
            whose = owned_files.name_of(owned_files.pwd.getpwuid, found["owner"])
            raise RefusedError(
                f"{path} belongs to {whose}, and shall be the notebooks of {user.name}. "
                f"Give it to {user.name}, or set another root_dir {AGAIN}"
            )
        if found["obstacle"]:
            raise RefusedError(
                f"{path} is not there, and {user.name} may not make it in {found['obstacle']}. "
                f"Make it for {user.name}, or name another {AGAIN}"
            )
        if not found["there"]:
            missing.append(path)
    return missing


def refuse_taken_ports(servers: list[Server], listeners: list[Listener], templates: list[str]) -> None:
    """Refuse a port that a program holds which is none of the role's.

    Raises:
        RefusedError: So it is.
    """
    ours = tuple(template.removesuffix(".service") for template in templates)
    for each in servers:
        for listener in in_the_way(listeners, each.address, each.port):
            if not listener.unit.startswith(ours):
                unit = f" ({listener.unit})" if listener.unit else ""
                raise RefusedError(
                    f"Port {each.port}, which the server of {each.user.name} should have, is held by "
                    f"{listener.program}{unit}. Stop that, or set another port {AGAIN}"
                )


def problems(each: Server, unit: Unit, listeners: list[Listener]) -> list[str]:
    """How a server's unit differs from one that runs, and will after a reboot."""
    if unit.masked:
        return ["is masked"]
    found = [] if unit.enabled else ["is not enabled"]
    if not unit.active:
        return [*found, "does not run"]
    if not any(listener.unit == unit.name for listener in in_the_way(listeners, each.address, each.port)):
        found.append(f"does not listen on {each.address} port {each.port}")
    return found


def is_outdated(each: Server, unit: Unit, rewritten: set[Path]) -> bool:
    """Whether a running server is older than what it runs from."""
    return unit.active and (
        not rewritten.isdisjoint(each.sources) or any(is_newer(path, unit.started) for path in each.sources)
    )


def work_among(names: list[str], units: dict[str, Unit], templates: dict[str, str]) -> dict[str, list[str]]:
    """Those of the units that work, and at what."""
    found = {name: work_of(units[name], Path(templates[template_of(name)])) for name in names}
    return {name: work for name, work in found.items() if work}


def require_trials(plan: Plan) -> None:
    """Refuse to stop a server that would not start again.

    Raises:
        RefusedError: There is one.
    """
    for each in plan.servers:
        why = refusal_of(each.trial, each.user) if each.trial and each.unit in plan.stops else ""
        if why:
            raise RefusedError(
                f"{each.unit} would not start again ({why}), so it goes on as it is. Correct that and run again."
            )


def start(plan: Plan) -> list[str]:
    """Enable and start what does not run; returns what has to wait for a port of a server that works on."""
    units = {each.unit: plan.units[each.unit] for each in plan.servers}
    make_startable(units)
    listeners = find_listeners()
    waiting, starting = [], {}
    for each in plan.servers:
        holders = {listener.unit for listener in in_the_way(listeners, each.address, each.port)} - {each.unit}
        if holders:
            waiting.append(f"{each.unit} (port {each.port} is still held by {', '.join(sorted(holders))})")
        elif each.unit in plan.stops or (each.unit in plan.problems and each.unit not in plan.work):
            starting[each.unit] = (each.address, each.port)
    if starting:
        must("systemctl", "start", *starting)
        wait_until_listening(starting)
    return waiting


if __name__ == "__main__":
    main()
