# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, host side: one guarded transaction over sshd's configuration. The action plugin calls its phases."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sshd_config
short_description: Change sshd's configuration without losing the login
description:
  - Compares a role's drop-ins, the Include line of the main file, authorized keys, the unit and the B(effective)
    configuration (C(sshd -T -C), per account) with what is wanted. A foreign file that wins over ours is named with its line.
  - A change is one transaction. It is refused while the connecting user could not log in with a key. The old state is kept,
    a timer and a boot-time unit that put it back are armed, the new one is swapped in, checked by sshd and loaded.
  - The controller then opens a new connection with key login only, and through it disarms the timer. Where that fails, the host
    goes back to the old state, by itself if need be.
  - A new port is served beside the old one until it has carried a login.
author: dlhost maintainers (@dlhost)
options:
  role:
    description: The owner's name.
    type: str
    required: true
  files:
    description: Drop-ins under C(/etc/ssh/sshd_config.d), complete.
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
      mode:
        description: Octal mode.
        type: str
        default: "0644"
      owner:
        description: Owner's name.
        type: str
        default: root
      group:
        description: Group's name.
        type: str
        default: root
      validate:
        description: Not needed here, since sshd checks the whole configuration.
        type: str
      sensitive:
        description: Keep the content out of the diff.
        type: bool
        default: false
  packages:
    description: Debian packages that the role wants. Installed where missing; removal takes only what the role brought.
    type: list
    elements: str
    default: []
  users:
    description: Accounts whose effective configuration is compared, besides the connecting user.
    type: list
    elements: str
    default: []
  authorized_keys:
    description: Public keys per account.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: The account.
        type: str
        required: true
      keys:
        description: Lines of an authorized_keys file.
        type: list
        elements: str
        required: true
      exclusive:
        description: Remove every other key of the account.
        type: bool
        default: false
  guard:
    description: Arm the self-revert and prove the login from the controller. Needs an SSH connection.
    type: bool
    default: true
  guard_timeout_s:
    description: Seconds after which an unproved change is taken back by the host.
    type: int
    default: 120
  state:
    description: With V(absent), the role's files are removed.
    type: str
    choices: [present, absent]
    default: present
  phase:
    description: Set by the action plugin.
    type: str
    choices: [plan, claim, apply, confirm, revert]
    default: plan
  login_user:
    description: Set by the action plugin to the account that the connection logs in to; empty where it is no SSH connection.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing.
  diff_mode:
    support: full
    description: One diff per file, unit and overruled setting.
"""

EXAMPLES = r"""
- name: Allow keys only
  dlhost.host.sshd_config:
    role: ssh_hardening
    users: [alice]
    files:
      - path: /etc/ssh/sshd_config.d/00-dlhost.conf
        content: |
          PasswordAuthentication no
"""

RETURN = r"""
changed_paths:
  description: Files written or removed.
  type: list
  elements: str
  returned: always
conflicts:
  description: Settings that another file overrules; only in check mode, since a real run fails then.
  type: list
  elements: str
  returned: always
unit_problems:
  description: How the unit differs from enabled and running.
  type: list
  elements: str
  returned: always
ports:
  description: Ports that sshd should listen on.
  type: list
  elements: int
  returned: always
closed_ports:
  description: Those of them on which nothing listens.
  type: list
  elements: int
  returned: always
missing_packages:
  description: Packages that are not installed.
  type: list
  elements: str
  returned: always
unfinished:
  description: An earlier run was cut before it proved the login; the next one begins by taking its change back.
  type: bool
  returned: always
new_port:
  description: The port on which the connecting user logs in from now on, where this run changed it; else 0.
  type: int
  returned: always
host_key_alias:
  description: The name under which the controller knows the host's key; empty where the inventory says so itself.
  type: str
  returned: when the port changed
removable_packages:
  description: Packages that this role brought and no other role wants; only with O(state=absent).
  type: list
  elements: str
  returned: always
"""

import contextlib
import dataclasses
import grp
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import owned_files, sshd

SSHD = "/usr/sbin/sshd"
RUN_DIRECTORY = Path("/run/sshd")
PROCESS_FILE = Path("/run/sshd.pid")
STATE = Path("/var/lib/dlhost/ssh_hardening")
PENDING, REVERTING, CONFIRMED = STATE / "pending", STATE / "reverting", STATE / "confirmed"
REVERT_SCRIPT = STATE / "revert.sh"
REVERT_UNIT = "dlhost-sshd-revert"
REVERT_SERVICE = Path(f"/etc/systemd/system/{REVERT_UNIT}.service")
OLD_PORT = Path("/etc/ssh/sshd_config.d/00-dlhost-old-port.conf")
SOCKET_DROP_IN = Path("/etc/systemd/system/ssh.socket.d/dlhost.conf")
# Ubuntu's generator derives ssh.socket's addresses from sshd_config; elsewhere the socket needs a drop-in.
SOCKET_GENERATORS = (
    Path("/usr/lib/systemd/system-generators/sshd-socket-generator"),
    Path("/lib/systemd/system-generators/sshd-socket-generator"),
)
MINIMUM_RSA_BITS = 3072  # NIST SP 800-57 part 1: 128 bits of strength.
RELOAD_TIMEOUT_S = 10


# The result where there is no sshd to ask yet.
NOTHING_KNOWN = {
    "changed": True,
    "changed_paths": [],
    "conflicts": [],
    "unit_problems": [],
    "ports": [],
    "closed_ports": [],
    "unfinished": False,
    "new_port": 0,
    "login_key_comes": False,
    "removable_packages": [],
    "dlhost_undetermined": "the effective SSH configuration, because openssh-server is not installed yet",
}


class Refused(Exception):
    """One sentence for the user: why, and what to do. The host is as it was."""


@dataclasses.dataclass(frozen=True)
class Connection:
    """The SSH connection that carries this call, as sshd sees it; port 0 where there is none."""

    client: str = "127.0.0.1"
    address: str = "127.0.0.1"
    port: int = 0


@dataclasses.dataclass(frozen=True)
class Unit:
    """The unit that serves SSH. `socket` is true where ssh.socket holds the port."""

    name: str
    problems: list[str]
    socket: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    owned: owned_files.Plan
    write: list[owned_files.OwnedFile]  # Besides the role's own: the Include line and authorized keys.
    diffs: list[dict[str, str]]
    conflicts: list[sshd.Conflict]
    configuration: sshd.Configuration  # As it will be.
    unit: Unit
    ports: list[int]
    closed_ports: list[int]
    old_port: int  # The port of this very connection where the new configuration would close it; else 0.
    unfinished: bool
    login_key_comes: bool

    @property
    def due(self) -> bool:
        return bool(
            self.owned.paths
            or self.write
            or self.conflicts
            or self.unit.problems
            or self.closed_ports
            or self.unfinished
            or OLD_PORT.exists()
        )

    def result(self) -> dict[str, object]:
        diffs = [*self.owned.diffs, *self.diffs]
        diffs += [_prepared(f"{problem}\n") for problem in self.unit.problems]
        diffs += [_prepared(f"port {port}: nothing listens\n") for port in self.closed_ports]
        if self.unfinished:
            diffs.append(_prepared("the change of a run that was cut off is taken back first\n"))
        for conflict in self.conflicts:
            diffs.append(
                {
                    "before_header": f"effective configuration for {conflict.user}",
                    "after_header": f"effective configuration for {conflict.user}",
                    "before": f"{conflict.keyword} {conflict.value} (set by {conflict.place})\n",
                    "after": f"{conflict.keyword} {conflict.wanted}\n",
                }
            )
        return {
            "changed": self.due,
            "changed_paths": [*self.owned.paths, *(str(file.path) for file in self.write)],
            "conflicts": [str(conflict) for conflict in self.conflicts],
            "unit_problems": self.unit.problems,
            "ports": self.ports,
            "closed_ports": self.closed_ports,
            "unfinished": self.unfinished,
            "new_port": self.ports[0] if self.old_port else 0,
            "login_key_comes": self.login_key_comes,
            "removable_packages": self.owned.removable_packages,
            "diff": diffs,
        }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "files": owned_files.FILES_ARGUMENT,
            "packages": {"type": "list", "elements": "str", "default": []},
            "users": {"type": "list", "elements": "str", "default": []},
            "authorized_keys": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": {
                    "user": {"type": "str", "required": True},
                    "keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
                    "exclusive": {"type": "bool", "default": False},
                },
            },
            "guard": {"type": "bool", "default": True},
            "guard_timeout_s": {"type": "int", "default": 120},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "phase": {"type": "str", "choices": ["plan", "claim", "apply", "confirm", "revert"], "default": "plan"},
            "login_user": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    phases = {"plan": foresee, "claim": claim, "apply": apply, "confirm": confirm, "revert": revert}
    phase = "plan" if module.check_mode else module.params["phase"]
    try:
        with _run_directory():
            result = phases[phase](module.params)
    except (Refused, owned_files.OwnedFilesError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(**result)


def claim(request: dict) -> dict[str, object]:
    """Phase claim: remember which packages the role is about to bring."""
    owned_files.claim_packages(request["role"], request["packages"])
    return {"changed": True}


def foresee(request: dict) -> dict[str, object]:
    """Phase plan: what would change, and whether it may."""
    missing = owned_files.missing_packages(request["packages"]) if request["state"] == "present" else []
    packages = [_prepared(f"package {name}: not installed\n") for name in missing]
    if missing and not sshd.MAIN.exists():
        return {**NOTHING_KNOWN, "missing_packages": missing, "diff": packages}
    plan = make_plan(request)
    if plan.due and request["login_user"]:
        require_key_login(request, plan.configuration)
    result = plan.result()
    return {
        **result,
        "changed": plan.due or bool(missing),
        "missing_packages": missing,
        "diff": packages + result["diff"],
    }


def apply(request: dict) -> dict[str, object]:
    """Phase apply: swap the new state in, with the way back armed."""
    if PENDING.exists() or REVERTING.exists():
        _take_back()
    plan = make_plan(request)
    refuse_conflicts(plan)
    if request["login_user"]:
        require_key_login(request, plan.configuration)
    if request["guard"] and not Path("/run/systemd/system").exists():
        raise Refused("The lock-out guard needs systemd as the first process of the host; it is not.")
    for entry in request["authorized_keys"]:
        _make_key_directory(entry["user"])
    files = [*plan.owned.write, *plan.write]
    if plan.old_port:
        files = [*files, *_both_ports(plan)]
    staged = owned_files.stage(files)
    try:
        _arm(request, plan, [*staged, *plan.owned.remove, *([OLD_PORT] if OLD_PORT.exists() else [])])
    except BaseException:
        owned_files.discard(staged)
        raise
    try:
        owned_files.swap(staged)
        for path in plan.owned.remove:
            path.unlink()
        if OLD_PORT not in staged:
            OLD_PORT.unlink(missing_ok=True)
        _require_effective(request, bool(plan.old_port))
        _load(plan.unit, bool(plan.old_port))
    except BaseException as error:
        _take_back()
        if isinstance(error, Exception):
            raise Refused(f"{error} The host is as it was.") from None
        raise
    if not request["guard"]:
        _disarm()
    return plan.result()


def confirm(request: dict) -> dict[str, object]:
    """Phase confirm: this call came over the new login, so the old port closes and the way back goes."""
    if not PENDING.exists():
        raise Refused(
            f"The new login works, but came after guard_timeout_s ({request['guard_timeout_s']} s): the host has "
            "taken the change back. Raise the limit and run again."
        )
    plan = make_plan({**request, "login_user": ""})
    if OLD_PORT.exists() or plan.owned.write:
        owned_files.swap(owned_files.stage(plan.owned.write))
        OLD_PORT.unlink(missing_ok=True)
        _load(plan.unit, True)
    _disarm()
    return {"changed": True}


def revert(request: dict) -> dict[str, object]:
    """Phase revert: take the change back now instead of when the timer runs out."""
    del request
    _take_back()
    return {"changed": True}


def make_plan(request: dict) -> Plan:
    """Compare everything with the host.

    Raises:
        Refused: An account or key is not what it should be, or sshd refuses the configuration.
    """
    absent = request["state"] == "absent"
    own = [] if absent else [owned_files.OwnedFile.from_argument(file) for file in request["files"]]
    keys = [] if absent else request["authorized_keys"]
    users = [] if absent else request["users"]
    for user in [*users, *(entry["user"] for entry in keys)]:
        _account(user)
    if not sshd.MAIN.exists():
        raise Refused(f"{sshd.MAIN} is missing. Install openssh-server with its configuration and run again.")
    connection = find_connection()
    unit = find_unit()

    texts = {file.path: file.content.decode() for file in own}
    alone = sshd.Configuration({sshd.MAIN: f"Include {' '.join(map(str, texts))}\n" if texts else "", **texts})
    default = evaluate(sshd.Configuration({sshd.MAIN: ""}), "root", connection)
    ports = sorted(map(int, evaluate(alone, "root", connection)["listenport"]))
    sets_port = any("port" in sshd.promised_keywords([text], "") for text in texts.values())
    if unit.socket and sets_port and not any(path.exists() for path in SOCKET_GENERATORS):
        own.append(_socket_drop_in(ports))
    owned = owned_files.plan(request["role"], own, request["packages"], absent)

    overlay: dict[Path, str | None] = {**texts, OLD_PORT: None, **{path: None for path in owned.remove}}
    configuration = sshd.Configuration.read(overlay)
    write = []
    if not configuration.reads_drop_ins() and not absent:
        main_file = _main_file_with_include(configuration.texts[sshd.MAIN])
        write.append(main_file)
        configuration = sshd.Configuration.read({**overlay, sshd.MAIN: main_file.content.decode()})

    conflicts = []
    login = [request["login_user"]] if request["login_user"] else []
    seen = set()
    for user in sorted({*users, *login, *sshd.matched_users(configuration), "root"}):
        wanted = sshd.promises(evaluate(alone, user, connection), default, sshd.promised_keywords(texts.values(), user))

        def judge(candidate: sshd.Configuration, user: str = user) -> sshd.Effective:
            return evaluate(candidate, user, connection)

        for conflict in sshd.find_conflicts(user, wanted, configuration, texts, judge) if texts else []:
            # One line that wins for everybody is one problem.
            if (conflict.keyword, conflict.place) not in seen:
                seen.add((conflict.keyword, conflict.place))
                conflicts.append(conflict)

    for entry in keys:
        write += _key_file(entry, evaluate(configuration, entry["user"], connection))
    if not sets_port:
        ports = _present_ports(unit, configuration, connection)
    login_keys = [entry for entry in keys if entry["user"] == request["login_user"]]
    if owned.paths:
        _require_host_keys(evaluate(alone, "root", connection), default)
    return Plan(
        owned=owned,
        write=write,
        diffs=[owned_files.difference(owned_files.find(file.path), file, file.path) for file in write],
        conflicts=conflicts,
        configuration=configuration,
        unit=unit,
        ports=ports,
        closed_ports=sorted({*ports} - _listening_ports()),
        old_port=connection.port if connection.port and connection.port not in ports else 0,
        unfinished=PENDING.exists() or REVERTING.exists(),
        login_key_comes=bool(login_keys),
    )


def refuse_conflicts(plan: Plan) -> None:
    """Raises Refused where another file overrules ours: a run could not keep its promise."""
    if plan.conflicts:
        named = "; ".join(str(conflict) for conflict in plan.conflicts)
        raise Refused(
            f"{named}: it overrules what the role would set ({plan.conflicts[0].keyword} "
            f"{plan.conflicts[0].wanted}). Remove that line and run again; nothing was changed."
        )


def require_key_login(request: dict, configuration: sshd.Configuration) -> None:
    """Refuse while the connecting user could not log in with a key under the new configuration.

    Raises:
        Refused: One reason and its remedy.
    """
    user = request["login_user"]
    account = _account(user)
    effective = evaluate(configuration, user, find_connection())
    groups = [grp.getgrgid(gid).gr_name for gid in os.getgrouplist(user, account.pw_gid)]
    closed_by = sshd.may_log_in(user, groups, effective)
    if closed_by:
        raise Refused(
            f"{closed_by} would shut out {user}, the account of this very connection. Let it in and run again; "
            "nothing was changed."
        )
    _require_open_account(user, effective)
    if effective.get("authorizedkeyscommand", ["none"]) != ["none"]:
        return  # Keys come from a program: the login probe is the proof.
    entries = request["authorized_keys"] if request["state"] == "present" else []
    keys = [key for entry in entries if entry["user"] == user for key in entry["keys"]]
    paths = sshd.key_files(effective, user, account.pw_dir, account.pw_uid)
    found = [path for path in paths if path.is_file() and _fingerprints(path.read_text(errors="replace"))]
    if not found and not keys:
        where = " or ".join(map(str, paths)) or "no file at all"
        raise Refused(
            f"{user} has no authorized key ({where}), so key-only login would lock this connection's account out. "
            f"Run ssh-copy-id {user}@HOST or set ssh_hardening_authorized_keys, and run again; nothing was changed."
        )
    if effective.get("strictmodes") == ["yes"]:
        for path in found or paths[:1]:
            _require_strict_modes(path, account)


def evaluate(configuration: sshd.Configuration, user: str, connection: Connection) -> sshd.Effective:
    """What sshd makes of a configuration for one account.

    Raises:
        Refused: sshd does not accept it; the message has sshd's own words.
    """
    # In memory, and readable by root alone.
    with tempfile.TemporaryDirectory(prefix="dlhost-sshd-", dir="/run") as directory:
        copies = configuration.shadow(Path(directory))
        specification = f"user={user},host={connection.client},addr={connection.client},laddr={connection.address}"
        specification += f",lport={connection.port or 22}"
        answer = _run(SSHD, "-T", "-f", str(copies[sshd.MAIN]), "-C", specification)
        if answer.returncode != 0:
            words = answer.stderr
            for path, copy in copies.items():
                words = words.replace(str(copy), str(path))
            raise Refused(f"sshd refuses the configuration, so it was not put in place: {' '.join(words.split())}")
    return sshd.parse_effective(answer.stdout)


def find_connection() -> Connection:
    """sudo drops SSH_CONNECTION, so it is looked for in the processes above this one as well."""
    process = os.getpid()
    while process > 1:
        try:
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            break
        for entry in environment:
            if entry.startswith(b"SSH_CONNECTION="):
                client, _client_port, address, port = entry.decode().partition("=")[2].split()
                return Connection(client, address, int(port))
        # The name in parentheses may hold spaces.
        process = int(status.rpartition(")")[2].split()[1])
    return Connection()


def find_unit() -> Unit:
    """Debian and Ubuntu call the unit ssh; sshd is an alias that may be missing.

    Raises:
        Refused: The host has no such unit.
    """
    properties = "Id,LoadState,ActiveState,UnitFileState"
    answer = _run("systemctl", "show", f"--property={properties}", "ssh.service", "sshd.service", "ssh.socket")
    units = [dict(row.split("=", 1) for row in block.splitlines()) for block in answer.stdout.strip().split("\n\n")]
    if answer.returncode != 0 or len(units) != 3:
        raise Refused(
            f"systemd does not answer ({' '.join(answer.stderr.split())}), and it runs sshd on this platform."
        )
    *services, socket = units
    known = [unit for unit in services if unit["LoadState"] != "not-found"]
    if not known:
        raise Refused("The host has neither ssh.service nor sshd.service. Install openssh-server and run again.")
    service = known[0]
    by_socket = socket["ActiveState"] == "active"
    problems = []
    if service["LoadState"] == "masked":
        problems.append(f"{service['Id']} is masked")
    serving = socket if by_socket else service
    if serving["UnitFileState"] not in ("enabled", "masked"):
        problems.append(f"{serving['Id']} is {serving['UnitFileState'] or 'not enabled'}")
    if serving["ActiveState"] not in ("active", "reloading"):
        problems.append(f"{serving['Id']} is {serving['ActiveState']}")
    return Unit(service["Id"], problems, by_socket)


def revert_script(paths: list[Path], kept: set[Path], unit: Unit) -> str:
    """A plain sh script that puts `paths` back: from REVERTING/N where kept, else by removing what is there now."""
    restore = []
    for index, path in enumerate(paths):
        place, beside = shlex.quote(str(path)), shlex.quote(f"{path}.dlhost-revert")
        if path in kept:
            restore.append(f"cp -p {REVERTING}/{index} {beside} && mv -f {beside} {place}")
        else:
            restore.append(f"rm -f {place}")
    if unit.socket:
        load = f"systemctl stop {unit.name}; systemctl restart ssh.socket"
    else:
        load = f"systemctl reload {unit.name} || systemctl restart {unit.name}"
    serving = "ssh.socket" if unit.socket else unit.name
    return "\n".join(
        [
            "#!/bin/sh",
            "# Written by dlhost, role ssh_hardening. Puts sshd back as it was before a change that was never proved by a login.",
            # A rename is atomic: this script or the confirming run has the word, never both.
            f"[ -d {REVERTING} ] || mv -T {PENDING} {REVERTING} 2>/dev/null",
            f"if [ -d {REVERTING} ]; then",
            *(f"    {command}" for command in restore),
            "    systemctl daemon-reload",
            # While the host boots, sshd has not been started yet and reads the restored files by itself.
            f"    if systemctl is-active --quiet {serving}; then {load}",
            '    else case "$(systemctl is-system-running)" in',
            f"        initializing|starting) ;; *) systemctl start {serving};; esac",
            "    fi",
            f"    rm -rf {REVERTING}",
            "    echo 'sshd is as it was: the change was not proved by a login.'",
            "fi",
            f"rm -f {REVERT_SERVICE} /etc/systemd/system/multi-user.target.wants/{REVERT_UNIT}.service",
            f"systemctl stop {REVERT_UNIT}.timer 2>/dev/null",
            "systemctl daemon-reload",
            f"rm -rf {STATE}",
            "",
        ]
    )


REVERT_UNIT_TEXT = f"""\
# Written by dlhost, role ssh_hardening, while a change of sshd's configuration waits for the login that proves it.
[Unit]
Description=Put sshd's configuration back unless a login has proved the new one
DefaultDependencies=no
After=local-fs.target
Before={{unit}} ssh.socket

[Service]
Type=oneshot
ExecStart=/bin/sh {REVERT_SCRIPT}

[Install]
WantedBy=multi-user.target
"""


def _arm(request: dict, plan: Plan, paths: list[Path]) -> None:
    """Keep what is at `paths`, write the way back, and (guarded) set the timer and the boot-time unit."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=STATE) as made:
        backup = Path(made, "backup")
        backup.mkdir()
        kept = {path for path in paths if path.is_file()}
        for index, path in enumerate(paths):
            if path in kept:
                shutil.copy2(path, backup / str(index))
                status = path.stat()
                os.chown(backup / str(index), status.st_uid, status.st_gid)
        REVERT_SCRIPT.write_text(revert_script(paths, kept, plan.unit))
        os.sync()
        backup.rename(PENDING)
    if request["guard"]:
        REVERT_SERVICE.write_text(REVERT_UNIT_TEXT.format(unit=plan.unit.name))
        _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", f"{REVERT_UNIT}.service")
        _must(
            "systemd-run",
            "--quiet",
            f"--on-active={request['guard_timeout_s']}s",
            "--timer-property=AccuracySec=1s",
            f"--unit={REVERT_UNIT}.service",
        )


def _disarm() -> None:
    """The change stays. What is left of the way back is removed by its own last lines."""
    try:
        PENDING.rename(CONFIRMED)
    except FileNotFoundError:
        raise Refused("The host has just taken the change back. Raise guard_timeout_s and run again.") from None
    _run("/bin/sh", str(REVERT_SCRIPT))


def _take_back() -> None:
    answer = _run("/bin/sh", str(REVERT_SCRIPT))
    if PENDING.exists() or REVERTING.exists():
        raise Refused(f"The old sshd configuration could not be put back: {' '.join(answer.stderr.split())}")


def _load(unit: Unit, listeners_change: bool) -> None:
    """Make sshd use the files in place, by reload so that no session ends.

    Raises:
        Refused: sshd does not come back.
    """
    if any("masked" in problem for problem in unit.problems):
        _systemctl("unmask", "--quiet", unit.name)
    serving = "ssh.socket" if unit.socket else unit.name
    if unit.problems:
        _systemctl("enable", "--quiet", serving)
    if unit.socket and listeners_change:
        _systemctl("daemon-reload")
        # The sessions live on (KillMode=process); the next connection starts the service again.
        _systemctl("stop", unit.name)
        _systemctl("restart", "ssh.socket")
        return
    if _run("systemctl", "is-active", "--quiet", unit.name).returncode != 0:
        _systemctl("start", serving)
        return
    before = _written(PROCESS_FILE)
    _systemctl("reload", unit.name)
    # The reload is only a signal. sshd listens again before it writes this file anew.
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while before and _written(PROCESS_FILE) in (0, before):
        if time.monotonic() > deadline or _run("systemctl", "is-active", "--quiet", unit.name).returncode != 0:
            raise Refused(f"sshd did not load the new configuration within {RELOAD_TIMEOUT_S} s.")
        time.sleep(0.02)


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _require_effective(request: dict, both_ports: bool) -> None:
    """With the files in place, sshd accepts the whole and nothing overrules them."""
    answer = _run(SSHD, "-t")
    if answer.returncode != 0:
        raise Refused(f"sshd refuses the configuration: {' '.join(answer.stderr.split())}")
    plan = make_plan(request)
    left = [path for path in plan.result()["changed_paths"] if not (both_ports and path == str(SOCKET_DROP_IN))]
    if left or plan.conflicts:
        raise Refused(f"After the change these still differ: {', '.join([*left, *map(str, plan.conflicts)])}.")


def _both_ports(plan: Plan) -> list[owned_files.OwnedFile]:
    """What keeps the old port open until the new one has carried a login."""
    if any(file.path == SOCKET_DROP_IN for file in plan.owned.write):
        return [_socket_drop_in([plan.old_port, *plan.ports])]
    return [owned_files.OwnedFile(OLD_PORT, f"Port {plan.old_port}\n".encode(), mode=0o600)]


def _socket_drop_in(ports: list[int]) -> owned_files.OwnedFile:
    streams = "".join(f"ListenStream={port}\n" for port in ports)
    text = f"# Written by dlhost, role ssh_hardening; change ssh_hardening_port.\n[Socket]\nListenStream=\n{streams}"
    return owned_files.OwnedFile(SOCKET_DROP_IN, text.encode())


def _main_file_with_include(text: str) -> owned_files.OwnedFile:
    found = owned_files.find(sshd.MAIN)
    head = f"# Drop-ins come first, since sshd keeps the first value it reads.\nInclude {sshd.DROP_INS}\n\n"
    return owned_files.OwnedFile(sshd.MAIN, (head + text).encode(), found.mode, found.owner, found.group)


def _key_file(entry: dict, effective: sshd.Effective) -> list[owned_files.OwnedFile]:
    """The account's key file where it has to change."""
    account = _account(entry["user"])
    for key in entry["keys"]:
        if sshd.key_identity(key) is None or len(_fingerprints(key)) != 1:
            raise Refused(
                f"The key {key[:40]!r} for {entry['user']} is not one that ssh-keygen can read; nothing was changed."
            )
    paths = sshd.key_files(effective, entry["user"], account.pw_dir, account.pw_uid)
    if not paths:
        raise Refused(f"sshd reads no key file for {entry['user']} (AuthorizedKeysFile none); nothing was changed.")
    found = owned_files.find(paths[0])
    text = sshd.merge_keys((found.content or b"").decode("utf-8", "replace"), entry["keys"], entry["exclusive"])
    if found.content == text.encode():
        return []
    group = grp.getgrgid(account.pw_gid).gr_name
    return [owned_files.OwnedFile(paths[0], text.encode(), 0o600, entry["user"], group)]


def _make_key_directory(user: str) -> None:
    account = _account(user)
    directory = Path(account.pw_dir, ".ssh")
    if directory.is_symlink() or (directory.exists() and directory.stat().st_uid not in (0, account.pw_uid)):
        raise Refused(f"{directory} is not a directory that belongs to {user}; nothing was changed.")
    if not directory.exists():
        directory.mkdir(mode=0o700)
        os.chown(directory, account.pw_uid, account.pw_gid)


def _require_open_account(user: str, effective: sshd.Effective) -> None:
    """shadow(5): fields 3 (last change), 8 (expiry), in days since 1970."""
    rows = [row.split(":") for row in Path("/etc/shadow").read_text().splitlines()]
    for name, password, changed, _minimum, _maximum, _warn, _inactive, expires, *_rest in rows:
        if name != user:
            continue
        if expires and int(expires) <= time.time() // 86400:
            raise Refused(
                f"The account {user} has expired. Run chage -E -1 {user} on the host and run again; nothing was changed."
            )
        if changed == "0":
            raise Refused(
                f"{user} must change the password at the next login. Do so and run again; nothing was changed."
            )
        if password.startswith("!") and effective.get("usepam") == ["no"]:
            raise Refused(
                f"The account {user} is locked, which sshd refuses without PAM. Run usermod -p '*' {user} on the host and run again; nothing was changed."
            )


def _require_strict_modes(path: Path, account: pwd.struct_passwd) -> None:
    """What sshd's StrictModes asks of a key file and each directory from it up to the home."""
    home = Path(account.pw_dir)
    up = [path, *path.parents]
    for part in up[: up.index(home) + 1] if home in up else up:
        if not part.exists():
            continue
        status = part.stat()
        if status.st_uid not in (0, account.pw_uid) or stat.S_IMODE(status.st_mode) & 0o022:
            raise Refused(
                f"sshd would not trust the keys of {account.pw_name}, because {part} can be written by others. "
                f"Run chown {account.pw_name} {part} && chmod go-w {part} on the host and run again; nothing was changed."
            )


def _require_host_keys(alone: sshd.Effective, default: sshd.Effective) -> None:
    """A host key that we name must be there, and an RSA one long enough to be worth naming."""
    if alone.get("hostkey") == default.get("hostkey"):
        return
    for name in alone["hostkey"]:
        if not Path(name).exists():
            raise Refused(
                f"The host key {name} is missing. Run ssh-keygen -A on the host and run again; nothing was changed."
            )
        bits, *_words, kind = _run("ssh-keygen", "-l", "-f", name).stdout.split()
        if kind == "(RSA)" and int(bits) < MINIMUM_RSA_BITS:
            raise Refused(
                f"The host key {name} has only {bits} bits. Remove it, run ssh-keygen -A on the host and run again, "
                "or set ssh_hardening_crypto to compatible; nothing was changed."
            )


def _present_ports(unit: Unit, configuration: sshd.Configuration, connection: Connection) -> list[int]:
    """Ports that are the host's own choice."""
    if not unit.socket:
        return sorted(map(int, evaluate(configuration, "root", connection)["listenport"]))
    answer = _run("systemctl", "show", "--property=Listen", "ssh.socket")
    streams = [row.partition("=")[2].split()[0] for row in answer.stdout.splitlines() if "(Stream)" in row]
    return sorted({int(stream.rpartition(":")[2]) for stream in streams if ":" in stream})


def _listening_ports() -> set[int]:
    """proc(5): state 0A is LISTEN, the local address HEX:HEXPORT."""
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for row in table.read_text().splitlines()[1:] if table.exists() else []:
            _slot, local, _remote, state, *_rest = row.split()
            if state == "0A":
                ports.add(int(local.rpartition(":")[2], 16))
    return ports


def _fingerprints(text: str) -> list[str]:
    answer = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines() if answer.returncode == 0 else []


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Refused(
            f"The host has no account {user}. Make it first, or take it out of the inventory; nothing was changed."
        ) from None


@contextlib.contextmanager
def _run_directory():
    """sshd checks nothing without this directory, which is there only while the service runs."""
    missing = not RUN_DIRECTORY.exists()
    if missing:
        RUN_DIRECTORY.mkdir(mode=0o755)
    try:
        yield
    finally:
        # Gone or in use by now: then it is no longer ours.
        with contextlib.suppress(OSError):
            if missing and _run("systemctl", "is-active", "--quiet", "ssh.service").returncode != 0:
                RUN_DIRECTORY.rmdir()


def _prepared(text: str) -> dict[str, str]:
    return {"prepared": text}


def _systemctl(*arguments: str) -> None:
    _must("systemctl", *arguments)


def _must(*command: str) -> None:
    answer = _run(*command)
    if answer.returncode != 0:
        raise Refused(f"{' '.join(command)} failed: {' '.join(answer.stderr.split())}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
