# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, host side: one guarded transaction over sshd's configuration. The action plugin calls its phases."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sshd_config
short_description: Change sshd's configuration without losing the login
description:
  - Compares a role's drop-ins, the Include line of the main file, authorized keys, the unit and the B(effective)
    configuration (C(sshd -T -C), per account) with what is wanted. A foreign file that overrules ours is named with
    its line.
  - A change is one transaction. It is refused while the connecting user could not log in with a key. The old state is
    kept, a timer and a boot-time unit that put it back are armed, the new one is swapped in, checked by sshd, loaded.
  - The controller then opens a new connection with key login only, and through it disarms the timer. Where that
    fails, the host goes back to the old state, by itself if need be.
  - A new port is served beside the old one until it has carried a login.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: [dlhost.host.owned_files, dlhost.host.guarded_change]
options:
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
  allow_keyless_admins:
    description: Refuse passwords although an administrator of the host has no authorized key.
    type: bool
    default: false
  login_user:
    description: Set by the action plugin to the account that the connection logs in to; empty where that is not SSH.
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
"""

import dataclasses
import grp
import os
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import owned_files, sshd
from ansible_collections.dlhost.host.plugins.module_utils.firewall_host import NFT, RULES, letting_in
from ansible_collections.dlhost.host.plugins.module_utils.guarded_module import TEXTS, serve
from ansible_collections.dlhost.host.plugins.module_utils.key_login import require_admins_keys, require_key_login
from ansible_collections.dlhost.host.plugins.module_utils.service_host import AGAIN, RefusedError, must
from ansible_collections.dlhost.host.plugins.module_utils.sshd_host import (
    SOCKET_DROP_IN,
    SSHD,
    Unit,
    account,
    evaluate,
    find_connection,
    find_unit,
    fingerprints,
    host_ports,
    listening_ports,
    load,
    reload_lines,
    run,
    run_directory,
    socket_follows_sshd,
)
from ansible_collections.dlhost.host.plugins.module_utils.way_back import SSHD_WAY_BACK, PutBack, is_any_armed

OLD_PORT = Path("/etc/ssh/sshd_config.d/00-dlhost-old-port.conf")
MINIMUM_RSA_BITS = 3072  # NIST SP 800-57 part 1: 128 bits of strength.

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
    "dlhost_undetermined": "the effective SSH configuration, because openssh-server is not installed yet",
}


@dataclasses.dataclass(frozen=True)
class Plan:
    owned: owned_files.Plan
    # Besides the role's own: the Include line, authorized keys, the firewall's port.
    write: list[owned_files.OwnedFile]
    diffs: list[dict[str, str]]
    conflicts: list[sshd.Conflict]
    configuration: sshd.Configuration  # As it will be.
    unit: Unit
    ports: list[int]
    closed_ports: list[int]
    old_port: int  # The port of this very connection where the new configuration would close it; else 0.
    strays: list[Path]  # Files of a change of port that has not been finished.
    unfinished: bool
    login_key_comes: bool

    @property
    def listeners_change(self) -> bool:
        touched = [*self.owned.paths, *map(str, self.strays)]
        return bool(self.old_port or self.closed_ports or str(SOCKET_DROP_IN) in touched)

    @property
    def due(self) -> bool:
        return bool(
            self.owned.paths
            or self.write
            or self.conflicts
            or self.unit.problems
            or self.closed_ports
            or self.unfinished
            or self.strays
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
            "diff": diffs,
        }


def main() -> None:
    serve(
        {
            "users": TEXTS,
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
            "allow_keyless_admins": {"type": "bool", "default": False},
            "login_user": {"type": "str", "default": ""},
        },
        SSHD_WAY_BACK,
        plan=foresee,
        apply=apply,
        confirm=confirm,
        around=run_directory(),
    )


def foresee(request: dict) -> dict[str, object]:
    """Phase plan: what would change, and whether it may."""
    missing = owned_files.missing_packages(request["packages"]) if request["state"] == "present" else []
    packages = [_prepared(f"package {name}: not installed\n") for name in missing]
    if missing and not sshd.MAIN.exists():
        return {**NOTHING_KNOWN, "missing_packages": missing, "diff": packages}
    plan = make_plan(request)
    if plan.due:
        refuse_lockout(request, plan)
    result = plan.result()
    return {
        **result,
        "changed": plan.due or bool(missing),
        "missing_packages": missing,
        "diff": packages + result["diff"],
    }


def apply(request: dict) -> dict[str, object]:
    """Phase apply: swap the new state in, with the way back armed."""
    plan = make_plan(request)
    refuse_conflicts(plan)
    refuse_lockout(request, plan)
    for entry in request["authorized_keys"] if plan.write else []:
        _make_key_directory(entry["user"])
    both_ports = _both_ports(plan) if plan.old_port and request["guard"] else []
    # The later of two entries for one file counts.
    wanted = {file.path: file for file in [*plan.owned.write, *plan.write, *both_ports]}
    staged = owned_files.stage([*wanted.values()])
    goes = [path for path in [*plan.owned.remove, *plan.strays] if path not in staged]
    lines = reload_lines(plan.unit)
    if RULES in staged:
        lines.append(f"    {NFT} --file {RULES}")
    put_back = PutBack(lines, f"{plan.unit.name} ssh.socket", [SOCKET_DROP_IN.parent])
    with SSHD_WAY_BACK.change(staged, goes, put_back, request["guard_timeout_s"] if request["guard"] else 0):
        _require_effective(request, {str(file.path) for file in both_ports})
        if RULES in staged:
            must(NFT, "--file", str(RULES))
        load(plan.unit, plan.listeners_change)
    return plan.result()


def confirm(request: dict) -> dict[str, object]:
    """Phase confirm: this call came over the new login, so the old port closes and the way back goes."""
    SSHD_WAY_BACK.require_armed(request["guard_timeout_s"])
    plan = make_plan({**request, "login_user": ""})
    if plan.strays or plan.owned.write:
        owned_files.swap(owned_files.stage(plan.owned.write))
        for path in plan.strays:
            path.unlink()
        load(plan.unit, True)
    SSHD_WAY_BACK.disarm()
    return {"changed": True}


def make_plan(request: dict) -> Plan:
    """Compare everything with the host.

    Raises:
        RefusedError: An account or key is not what it should be, or sshd refuses the configuration.
    """
    absent = request["state"] == "absent"
    own = [] if absent else [owned_files.OwnedFile.from_argument(file) for file in request["files"]]
    keys = [] if absent else request["authorized_keys"]
    users = [] if absent else request["users"]
    for user in [*users, *(entry["user"] for entry in keys)]:
        account(user)
    if not sshd.MAIN.exists():
        raise RefusedError(f"{sshd.MAIN} is missing. Install openssh-server with its configuration and run again.")
    connection = find_connection()
    unit = find_unit()

    texts = {file.path: file.content.decode() for file in own}
    alone = sshd.Configuration({sshd.MAIN: f"Include {' '.join(map(str, texts))}\n" if texts else "", **texts})
    default = evaluate(sshd.Configuration({sshd.MAIN: ""}), "root", connection)
    ports = sorted(map(int, evaluate(alone, "root", connection)["listenport"]))
    sets_port = any("port" in sshd.promised_keywords([text], "") for text in texts.values())
    if unit.socket and sets_port and not socket_follows_sshd():
        own.append(_socket_drop_in(ports))
    owned = owned_files.plan(request["role"], own, request["packages"], absent)
    places = {*owned.remove, *(file.path for file in own)}

    overlay: dict[Path, str | None] = {**texts, OLD_PORT: None, **dict.fromkeys(owned.remove)}
    configuration = sshd.Configuration.read(overlay)
    write = []
    if not configuration.reads_drop_ins() and not absent:
        main_file = _main_file_with_include(configuration.texts[sshd.MAIN])
        write.append(main_file)
        configuration = sshd.Configuration.read({**overlay, sshd.MAIN: main_file.content.decode()})

    found = []
    login = [request["login_user"]] if request["login_user"] else []
    for user in sorted({*users, *login, *sshd.matched_users(configuration), "root"}):
        wanted = sshd.promises(evaluate(alone, user, connection), default, sshd.promised_keywords(texts.values(), user))

        def judge(candidate: sshd.Configuration, user: str = user) -> sshd.Effective:
            return evaluate(candidate, user, connection)

        found += sshd.find_conflicts(user, wanted, configuration, texts, judge) if texts else []
    found += sshd.find_exceptions(configuration, texts, default, lambda other: evaluate(other, "root", connection))
    # One line that wins for everybody is one problem; the first that it was seen for is named.
    conflicts = list({(conflict.keyword, conflict.place): conflict for conflict in reversed(found)}.values())[::-1]

    for entry in keys:
        write += _key_file(entry, evaluate(configuration, entry["user"], connection))
    if not sets_port:
        ports = host_ports(unit, configuration, connection)
    # A firewall of ours would shut out the login that proves a new port, and every one after the next boot.
    write += letting_in(ports)
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
        closed_ports=sorted({*ports} - listening_ports()),
        old_port=connection.port if connection.port and connection.port not in ports else 0,
        strays=[path for path in (OLD_PORT, SOCKET_DROP_IN) if path.exists() and path not in places],
        unfinished=is_any_armed(),
        login_key_comes=any(entry["user"] == request["login_user"] and entry["keys"] for entry in keys),
    )


def refuse_lockout(request: dict, plan: Plan) -> None:
    """Raises RefusedError where the connecting user or an administrator could not come back."""
    connection = find_connection()
    user = request["login_user"]
    if user:  # Without SSH nobody is connecting.
        require_key_login(user, evaluate(plan.configuration, user, connection), plan.login_key_comes)
    if not request["allow_keyless_admins"]:
        present = sshd.Configuration.read({})

        def before(admin: str) -> sshd.Effective:
            try:
                return evaluate(present, admin, connection)
            except RefusedError:
                return {}  # With a configuration that sshd refuses, nobody is let in for long.

        require_admins_keys(
            with_key={user, *(entry["user"] for entry in request["authorized_keys"] if entry["keys"])},
            before=before,
            after=lambda admin: evaluate(plan.configuration, admin, connection),
        )


def refuse_conflicts(plan: Plan) -> None:
    """Raises RefusedError where another file overrules ours: a run could not keep its promise."""
    if plan.conflicts:
        named = "; ".join(str(conflict) for conflict in plan.conflicts)
        raise RefusedError(
            f"{named}: it overrules what the role would set ({plan.conflicts[0].keyword} "
            f"{plan.conflicts[0].wanted}). Remove that line {AGAIN}"
        )


def _require_effective(request: dict, passing: set[str]) -> None:
    """With the files in place, sshd accepts the whole and nothing overrules them."""
    answer = run(SSHD, "-t")
    if answer.returncode != 0:
        raise RefusedError(f"sshd refuses the configuration: {' '.join(answer.stderr.split())}")
    plan = make_plan(request)
    left = [path for path in plan.result()["changed_paths"] if path not in passing]
    if left or plan.conflicts:
        raise RefusedError(f"After the change these still differ: {', '.join([*left, *map(str, plan.conflicts)])}.")


def _both_ports(plan: Plan) -> list[owned_files.OwnedFile]:
    """What keeps the old port open until the new one has carried a login."""
    if plan.unit.socket and not socket_follows_sshd():
        return [_socket_drop_in([plan.old_port, *plan.ports])]
    named = any(line.keyword == "port" for line in plan.configuration.lines())
    # The first Port line takes sshd's default away.
    ports = [plan.old_port] if named else [plan.old_port, *plan.ports]
    return [owned_files.OwnedFile(OLD_PORT, "".join(f"Port {port}\n" for port in ports).encode(), mode=0o600)]


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
    owner = account(entry["user"])
    for key in entry["keys"]:
        if sshd.key_identity(key) is None or len(fingerprints(key)) != 1:
            raise RefusedError(
                f"The key {key[:40]!r} for {entry['user']} is not one that ssh-keygen can read; nothing was changed."
            )
    paths = sshd.key_files(effective, entry["user"], owner.pw_dir, owner.pw_uid)
    if not paths:
        raise RefusedError(
            f"sshd reads no key file for {entry['user']} (AuthorizedKeysFile none); nothing was changed."
        )
    if paths[0].is_symlink():
        raise RefusedError(f"{paths[0]} is a symbolic link. Put a file in its place {AGAIN}")
    found = owned_files.find(paths[0])
    text = sshd.merge_keys((found.content or b"").decode("utf-8", "replace"), entry["keys"], entry["exclusive"])
    if found.content == text.encode():
        return []
    group = owned_files.name_of(grp.getgrgid, owner.pw_gid)
    return [owned_files.OwnedFile(paths[0], text.encode(), 0o600, entry["user"], group)]


def _make_key_directory(user: str) -> None:
    owner = account(user)
    directory = Path(owner.pw_dir, ".ssh")
    if directory.is_symlink() or (directory.exists() and directory.stat().st_uid not in (0, owner.pw_uid)):
        raise RefusedError(f"{directory} is not a directory that belongs to {user}; nothing was changed.")
    if not directory.exists():
        directory.mkdir(mode=0o700)
        os.chown(directory, owner.pw_uid, owner.pw_gid)


def _require_host_keys(alone: sshd.Effective, default: sshd.Effective) -> None:
    """A host key that we name must be there, and an RSA one long enough to be worth naming."""
    if alone.get("hostkey") == default.get("hostkey"):
        return
    for name in alone["hostkey"]:
        if not Path(name).exists():
            raise RefusedError(f"The host key {name} is missing. Run ssh-keygen -A on the host {AGAIN}")
        answer = run("ssh-keygen", "-l", "-f", name)
        if answer.returncode != 0:
            raise RefusedError(
                f"The host key {name} cannot be read ({' '.join(answer.stderr.split())}). "
                f"Remove it, run ssh-keygen -A on the host {AGAIN}"
            )
        bits, *_words, kind = answer.stdout.split()
        if kind == "(RSA)" and int(bits) < MINIMUM_RSA_BITS:
            raise RefusedError(
                f"The host key {name} has only {bits} bits. Remove it, run ssh-keygen -A on the host and run again, "
                "or set ssh_hardening_crypto to compatible; nothing was changed."
            )


def _prepared(text: str) -> dict[str, str]:
    return {"prepared": text}


if __name__ == "__main__":
    main()
