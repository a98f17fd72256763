# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the desktops of a role's users, with their files, passwords and units. An action plugin calls it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vnc_desktops
short_description: Run one desktop per user, and never end one that its user works in
description:
  - Compares the role's files, each user's settings and password, and each desktop's unit with what is wanted. What an
    account cannot have, or a display that another program holds, is refused by name before any change.
  - A running desktop whose settings or unit have changed goes on as it is, and that is said. It has the new ones when
    its user has logged out, after which it starts again, or with O(restart=force). A password needs neither.
  - The desktop of a user who is no longer named is ended when nobody looks at it and no program of the user's runs.
  - A password is kept on the host as VNC servers keep it, which is the same for the same password. The password itself
    travels on standard input only.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  packages:
    description:
      - Debian packages that the role is about to install. Those not yet on the host are recorded as brought by it.
    type: list
    elements: str
    default: []
  desktops:
    description: The desktops, each an instance of the unit C(dlhost-vnc@.service).
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: The account that it runs as.
        type: str
        required: true
      display:
        description: The number of its display. The server listens on loopback, at this port above 5900.
        type: int
        required: true
      settings:
        description: The whole text of its settings, which root writes and the user's group reads.
        type: str
        required: true
      settings_file:
        description: Where they are kept.
        type: path
        required: true
      password:
        description: The password, of which the first 8 characters count.
        type: str
        required: true
      password_file:
        description: Where it is kept.
        type: path
        required: true
      path:
        description: Where the web front shows it, if one does.
        type: str
        required: true
  web_unit:
    description: The service that shows desktops in a browser. It runs while there are O(web_files).
    type: str
    required: true
  web_port:
    description: Its port on loopback.
    type: int
    required: true
  web_files:
    description: The files that it runs from, as O(files), and no desktop does; empty for none.
    type: list
    elements: dict
    default: []
  services_file:
    description:
      - The list of the desktops for C(dlhost tunnel), each at the port where it is. That of a desktop which goes on at
        an old display is renewed by the desktop's own next start.
    type: path
    required: true
  restart:
    description: With V(force), desktops are restarted and ended although they run.
    type: str
    choices: [deferred, force]
    default: deferred
  state:
    description: With V(absent), every desktop is ended and every file of the role removed.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing.
  diff_mode:
    support: full
    description: One diff per file, and one line per unit.
"""

EXAMPLES = r"""
- name: Run the desktops
  dlhost.host.vnc_desktops:
    role: vnc
    files:
      - path: /etc/systemd/system/dlhost-vnc@.service
        content: "{{ lookup('ansible.builtin.template', 'dlhost-vnc@.service.j2') }}"
    desktops:
      - user: ada
        display: 1
        settings: |
          NUMBER=1
          GEOMETRY=1920x1080
        settings_file: /etc/dlhost/vnc/ada/settings
        password: "{{ vnc_password }}"
        password_file: /etc/dlhost/vnc/ada/password
        path: /vnc/ada/
    web_unit: dlhost-vnc-web.service
    web_port: 6080
    services_file: /etc/dlhost/services.d/vnc.json
"""

RETURN = r"""
changed_paths:
  description: Files written or removed.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Packages that are not installed.
  type: list
  elements: str
  returned: always
unit_problems:
  description: How units differ from enabled, running and listening on loopback alone, one sentence each.
  type: list
  elements: str
  returned: always
outdated:
  description:
    - Desktops that started before what they run from, that do not listen where they should and there alone, or that
      nobody asks for any more.
  type: list
  elements: str
  returned: always
deferred:
  description: Those of them that go on as they are, and why.
  type: list
  elements: str
  returned: always
due:
  description: Whether anything is to be done, now or when a user has logged out.
  type: bool
  returned: always
"""

import dataclasses
import json
import os
import re
from collections.abc import Collection
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import owned_files
from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    AGAIN,
    PROC,
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
    is_of,
    make_startable,
    must,
    stop_units,
    wait_until_listening,
)
from ansible_collections.dlhost.host.plugins.module_utils.vnc_host import (
    TEMPLATE,
    refusal_of_login,
    unit_of_user,
    work_of,
)
from ansible_collections.dlhost.host.plugins.module_utils.vnc_password import kept

LOOPBACK = ("127.0.0.1", "::1")
FIRST_PORT = 5900
STOPPED = "does not run"


@dataclasses.dataclass(frozen=True)
class Desktop:
    """One wanted desktop, with what its account makes of it."""

    user: Account
    display: int
    settings: owned_files.OwnedFile
    password: owned_files.OwnedFile
    path: str

    @property
    def unit(self) -> str:
        return unit_of_user(self.user.name)

    @property
    def port(self) -> int:
        return FIRST_PORT + self.display


@dataclasses.dataclass(frozen=True)
class Plan:
    """What differs, and why each running unit that would have to stop, first or for good, goes on."""

    desktops: list[Desktop]
    owned: owned_files.Plan
    units: dict[str, Unit]
    problems: dict[str, list[str]]
    # Of running desktops, which nothing but a restart mends.
    misplaced: dict[str, list[str]]
    outdated: list[str]
    undeclared: list[str]
    work: dict[str, list[str]]
    packages: list[str]
    # The port of each wanted unit that is no desktop.
    others: dict[str, int]

    @property
    def stops(self) -> list[str]:
        """Units that stop now."""
        return [name for name in [*self.outdated, *self.undeclared] if name not in self.work]

    @property
    def deferred(self) -> list[str]:
        return [f"{name} ({'; '.join(work)})" for name, work in sorted(self.work.items())]

    def result(self, waiting: Collection[str] = ()) -> dict[str, object]:
        """The module's result, where these units cannot be started yet."""
        problems = told(self.problems, self.misplaced)
        mended = {*told(self.problems)} - {f"{name} {STOPPED}" for name in waiting}
        lines = [f"package {name}: not installed" for name in self.packages] + problems
        lines += [f"{name}: older than what it runs from" for name in self.outdated]
        lines += [f"{name}: not asked for" for name in self.undeclared]
        lines += [f"{unit}: left alone for now" for unit in self.deferred]
        changed = bool(self.owned.paths or mended or self.stops or self.packages)
        return {
            "changed": changed,
            "due": changed or bool(problems or self.work),
            "changed_paths": self.owned.paths,
            "missing_packages": self.packages,
            "unit_problems": problems,
            "outdated": [*self.outdated, *self.undeclared],
            "deferred": self.deferred,
            "diff": [*self.owned.diffs, *({"prepared": f"{line}\n"} for line in lines)],
        }


def main() -> None:
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "role": text,
            "files": owned_files.FILES_ARGUMENT,
            "packages": {"type": "list", "elements": "str", "default": []},
            "desktops": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "user": text,
                    "display": {"type": "int", "required": True},
                    "settings": text,
                    "settings_file": path,
                    "password": {**text, "no_log": True},
                    "password_file": {**path, "no_log": False},
                    "path": text,
                },
            },
            "web_unit": text,
            "web_port": {"type": "int", "required": True},
            "web_files": owned_files.FILES_ARGUMENT,
            "services_file": path,
            "restart": {"type": "str", "choices": ["deferred", "force"], "default": "deferred"},
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
    module.exit_json(**result)


def told(*found: dict[str, list[str]]) -> list[str]:
    """What was found of units, one sentence each."""
    return sorted(f"{name} {problem}" for kind in found for name, problems in kind.items() for problem in problems)


def foresee(request: dict) -> dict[str, object]:
    """What would change, and whether it may."""
    result = make_plan(request).result()
    # A desktop that has to be restarted differs from what is wanted, however long its user keeps it.
    return {**result, "changed": result["due"]}


def converge(request: dict) -> dict[str, object]:
    """Make it so; returns the module's result."""
    plan = make_plan(request)
    if request["state"] == "absent":
        stop_units(plan.units, plan.stops, plan.undeclared)
    owned_files.carry_out(plan.owned)
    units = [path for path in plan.owned.paths if Path(path).parent == UNIT_DIRECTORY]
    if units or any(unit.reload_due for unit in plan.units.values()):
        must("systemctl", "daemon-reload")
    waiting = {}
    if request["state"] == "present":
        stop_units(plan.units, plan.stops, plan.undeclared)
        waiting = start(plan)
    result = plan.result(waiting)
    if left := [*plan.deferred, *(f"{name} ({why})" for name, why in waiting.items())]:
        result["dlhost_action_needed"] = (
            f"the restart of {', '.join(left)} was deferred; it comes when the user logs out of the desktop, "
            "or with vnc_restart set to force, which ends it with every program in it"
        )
    return result


def make_desktop(request: dict) -> Desktop:
    """One element of the module's desktops, held against the host.

    Raises:
        RefusedError: There is no such account, or nobody can log in to it.
    """
    user = account(request["user"], "vnc_users")
    if why := refusal_of_login(user.name):
        raise RefusedError(f"vnc_users names {user.name}, which {why}. Mend that or take the name out {AGAIN}")
    settings, password = Path(request["settings_file"]), Path(request["password_file"])
    return Desktop(
        user=user,
        display=request["display"],
        settings=owned_files.OwnedFile(settings, request["settings"].encode(), 0o640, "root", user.group),
        # Many accounts may be of one group.
        password=owned_files.OwnedFile(
            password, kept(request["password"]), 0o400, user.name, user.group, sensitive=True
        ),
        path=request["path"],
    )


def make_plan(request: dict) -> Plan:
    """Compare everything with the host.

    Raises:
        RefusedError: An account or a display cannot be had, or everything is to go while somebody works.
        OwnedFilesError: The record of what the role owns is damaged.
    """
    absent, forced = request["state"] == "absent", request["restart"] == "force"
    desktops = [] if absent else [make_desktop(each) for each in request["desktops"]]
    web, web_files = request["web_unit"], [] if absent else request["web_files"]
    wanted_web = {web: request["web_port"]} if web_files else {}
    names = [each.unit for each in desktops]
    others = [name for name in find_instances([TEMPLATE]) if name not in names]
    units = find_units([*names, *others, web])
    listeners = find_listeners() if desktops or others else []
    refuse_taken_displays(desktops, units, listeners)
    refuse_taken_port(wanted_web, units, listeners)

    unwanted = [*others, *({web} - wanted_web.keys())]
    undeclared = [name for name in unwanted if units[name].active or units[name].enabled]
    work = {} if forced else {name: found for name in undeclared if name != web and (found := work_of(units[name]))}
    if absent and work:
        busy = ", ".join(f"{name} ({'; '.join(found)})" for name, found in sorted(work.items()))
        raise RefusedError(f"{busy} would be cut off. Wait for the end, or set vnc_restart to force {AGAIN}")

    misplaced = {each.unit: found for each in desktops if (found := misplacements(each, units[each.unit], listeners))}
    staying = {} if forced else {name: place for name in misplaced if (place := place_of(units[name], listeners))}
    shared = [] if absent else [*request["files"], *web_files]
    own = [owned_files.OwnedFile.from_argument(file) for file in shared]
    own += [file for each in desktops for file in (each.settings, each.password)]
    if not absent:
        own.append(list_of_services(Path(request["services_file"]), desktops, staying))
    # The files of a desktop that goes on stay as long.
    own += [file for name in work for file in files_of(name, request["role"], {file.path for file in own})]
    owned = owned_files.plan(request["role"], own, request["packages"], absent)
    sources = {each.unit: sources_of(each, request) for each in desktops}
    rewritten = {file.path for file in owned.write if owned_files.find(file.path).content != file.content}
    outdated = [name for name in names if name in misplaced or is_outdated(units[name], sources[name], rewritten)]
    if not forced:
        for name in outdated:
            work[name] = [
                "its user has not logged out",
                *(f"until then it {where}" for where in misplaced.get(name, [])),
            ]
    # A browser that it shows a desktop to finds back by itself.
    outdated += [
        name for name in wanted_web if is_outdated(units[name], {Path(file["path"]) for file in web_files}, rewritten)
    ]
    return Plan(
        desktops=desktops,
        owned=owned,
        units=units,
        problems={name: found for name in [*names, *wanted_web] if (found := problems(units[name]))},
        misplaced=misplaced,
        outdated=outdated,
        undeclared=undeclared,
        work=work,
        packages=[] if absent else owned_files.missing_packages(request["packages"]),
        others=wanted_web,
    )


def sources_of(each: Desktop, request: dict) -> set[Path]:
    """What a desktop that is older than it has to be restarted for. A password is read at every login."""
    return {each.settings.path, *(Path(file["path"]) for file in request["files"])}


def list_of_services(path: Path, desktops: list[Desktop], staying: dict[str, int]) -> owned_files.OwnedFile:
    """The list for the wrapper; these units stay at these ports, where nobody else's desktop is to be looked for."""
    places = [(each.user.name, staying.get(each.unit, each.port), each.path) for each in desktops]
    others = {user for user, port, _ in places if port in staying.values() and unit_of_user(user) not in staying}
    # The script that starts a desktop knows this form: one a line, the port behind the user.
    rows = ",\n".join(
        json.dumps({"name": "vnc", "user": user, "port": port, "path": path, "scheme": "vnc"})
        for user, port, path in places
        if user not in others
    )
    text = f'{{"schema_version": 1, "services": [\n{rows}\n]}}\n'
    return owned_files.OwnedFile(path, text.encode())


def place_of(unit: Unit, listeners: list[Listener]) -> int:
    """The port that a running desktop has; 0 where it listens nowhere."""
    ports = {listener.port for listener in listeners if is_of(listener, unit)}
    return min(ports.intersection(range(FIRST_PORT, FIRST_PORT + 100)), default=0)


def refuse_taken_displays(desktops: list[Desktop], units: dict[str, Unit], listeners: list[Listener]) -> None:
    """Refuse a display that a program holds which is none of the role's.

    Raises:
        RefusedError: So it is.
    """
    for each in desktops:
        holders = in_the_way(listeners, LOOPBACK[0], each.port)
        # Two desktops may change places.
        strangers = [holder.program for holder in holders if not any(is_of(holder, unit) for unit in units.values())]
        unit = units[each.unit]
        # One that starts has its display before it listens.
        starts = unit.active and not place_of(unit, listeners)
        if not holders and not starts and each.display in displays_in_use():
            strangers = ["another X server"]
        if strangers:
            raise RefusedError(
                f"Display {each.display}, which the desktop of {each.user.name} should have, is held by "
                f"{strangers[0]}. Stop that, or set another display {AGAIN}"
            )


def refuse_taken_port(wanted: dict[str, int], units: dict[str, Unit], listeners: list[Listener]) -> None:
    """Refuse a port of these units that another program holds.

    Raises:
        RefusedError: So it is.
    """
    for name, port in wanted.items():
        for holder in in_the_way(listeners, LOOPBACK[0], port):
            if not is_of(holder, units[name]):
                raise RefusedError(
                    f"Port {port}, which {name} should have, is held by {holder.program}. Stop that {AGAIN}"
                )


def displays_in_use() -> set[int]:
    """The displays of every X server that runs."""
    return {int(number) for number in re.findall(r"(?m) /tmp/\.X11-unix/X(\d+)$", (PROC / "net/unix").read_text())}


def problems(unit: Unit) -> list[str]:
    """How a desktop's unit differs from one that runs, and will after a reboot."""
    if unit.masked:
        return ["is masked"]
    found = [] if unit.enabled else ["is not enabled"]
    return found if unit.active else [*found, STOPPED]


def misplacements(each: Desktop, unit: Unit, listeners: list[Listener]) -> list[str]:
    """How a running desktop's server listens elsewhere than it should."""
    if not unit.active:
        return []
    addresses = {listener.address for listener in listeners if listener.port == each.port and is_of(listener, unit)}
    found = [] if addresses else [f"does not listen on {LOOPBACK[0]} port {each.port}"]
    return [*found, *(f"listens on {address}, for the network" for address in sorted(addresses.difference(LOOPBACK)))]


def is_outdated(unit: Unit, sources: set[Path], rewritten: set[Path]) -> bool:
    """Whether a running desktop is older than what it runs from."""
    return unit.active and (not rewritten.isdisjoint(sources) or any(is_newer(path, unit.started) for path in sources))


def start(plan: Plan) -> dict[str, str]:
    """Enable and start what does not run; returns what has to wait until another desktop ends, and why."""
    units = {name: plan.units[name] for name in [*(each.unit for each in plan.desktops), *plan.others]}
    make_startable(units)
    listeners = find_listeners()
    waiting = {}
    starting = {
        name: (LOOPBACK[0], port) for name, port in plan.others.items() if name in plan.stops or not units[name].active
    }
    for each in plan.desktops:
        if each.unit not in plan.stops and units[each.unit].active:
            continue
        if in_the_way(listeners, LOOPBACK[0], each.port):
            waiting[each.unit] = f"display {each.display} is still held by another desktop"
        else:
            starting[each.unit] = (LOOPBACK[0], each.port)
    if starting:
        must("systemctl", "start", *starting)
        wait_until_listening(starting)
    return waiting


if __name__ == "__main__":
    main()
