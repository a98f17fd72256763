# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, host side: one guarded transaction over the host's firewall. The action plugin calls its phases."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: firewall
short_description: Let in what is declared, and never shut SSH out
description:
  - Makes the table C(inet dlhost) of nftables, which drops what comes in and is not declared. SSH is let in on every
    port of sshd. Tables of others are neither read nor written.
  - A change is one transaction. The old state is kept, a timer and a boot-time unit that put it back are armed, then
    files, unit and rules change.
  - The controller then opens a new connection with key login only, and through it disarms the timer. Where that
    fails, the host goes back to the old state, by itself if need be.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: [dlhost.host.owned_files, dlhost.host.guarded_change]
options:
  ssh_cidrs:
    description: Networks that may reach SSH; empty lets all in.
    type: list
    elements: str
    default: []
  ports:
    description: What is let in besides.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: A port, or a range such as C(8000-8010).
        type: str
        required: true
      protocol:
        description: Which of the two.
        type: str
        choices: [tcp, udp]
        default: tcp
      cidrs:
        description: Networks that may reach it; empty lets all in.
        type: list
        elements: str
        default: []
      comment:
        description: What it is for.
        type: str
        default: ""
  trusted_interfaces:
    description: Interfaces from which everything is let in; C(*) stands at the end for any others.
    type: list
    elements: str
    default: []
  login_port:
    description: Set by the action plugin to the port that the inventory reaches the host on; 0 where that is not SSH.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing.
  diff_mode:
    support: full
    description: One diff per file, and one line for what else differs.
"""

EXAMPLES = r"""
- name: Let in SSH and HTTPS
  dlhost.host.firewall:
    role: firewall
    packages: [nftables]
    ports:
      - port: "443"
        comment: HTTPS
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
  description: How the unit differs from one that has loaded the rules and will at every boot.
  type: list
  elements: str
  returned: always
rules_differ:
  description: The kernel has other rules than the file.
  type: bool
  returned: always
unfinished:
  description: An earlier run was cut before it proved the login; the next one begins by taking its change back.
  type: bool
  returned: always
open_ports:
  description: TCP ports that the controller reaches, of a range the first.
  type: list
  elements: int
  returned: always
let_in:
  description: TCP ports and ranges that somebody may reach.
  type: list
  elements: str
  returned: always
"""

import contextlib
import dataclasses

from ansible_collections.dlhost.host.plugins.module_utils import debian_packages, owned_files, sshd
from ansible_collections.dlhost.host.plugins.module_utils.firewall_host import (
    AT_BOOT,
    NFT,
    RULES,
    UNIT,
    load,
    loaded,
    meant,
    put_back_lines,
    refuse_other_firewalls,
    shut_out,
    unit_problems,
    unload,
)
from ansible_collections.dlhost.host.plugins.module_utils.firewall_rules import (
    Opening,
    is_within,
    require_values,
    rules,
)
from ansible_collections.dlhost.host.plugins.module_utils.guarded_module import TEXTS, serve
from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    AGAIN,
    Listener,
    RefusedError,
    Unit,
    find_listeners,
    find_units,
)
from ansible_collections.dlhost.host.plugins.module_utils.sshd_host import (
    find_connection,
    find_unit,
    host_ports,
    is_installed,
    listening_ports,
    run_directory,
)
from ansible_collections.dlhost.host.plugins.module_utils.way_back import FIREWALL_WAY_BACK, PutBack, is_any_armed

ARGUMENTS = {
    "ssh_cidrs": TEXTS,
    "ports": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "port": {"type": "str", "required": True},
            "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
            "cidrs": TEXTS,
            "comment": {"type": "str", "default": ""},
        },
    },
    "trusted_interfaces": TEXTS,
    "login_port": {"type": "int", "default": 0},
}
SSHD_UNKNOWN = "the ports of sshd, because openssh-server is not installed yet"


@dataclasses.dataclass(frozen=True)
class Plan:
    owned: owned_files.Plan
    missing: list[str]  # Packages.
    unit: Unit
    unit_problems: list[str]
    rules_differ: bool
    ssh_ports: list[int]
    openings: list[Opening]
    shut_out: list[Listener]  # Whom the first rules leave without callers.
    unfinished: bool

    @property
    def due(self) -> bool:
        return bool(self.owned.paths or self.missing or self.unit_problems or self.rules_differ or self.unfinished)

    def result(self) -> dict[str, object]:
        lines = [f"package {name}: not installed\n" for name in self.missing]
        lines += [f"{UNIT} {problem}\n" for problem in self.unit_problems]
        lines += [f"port {each.port} ({each.program}): nobody is let in any more\n" for each in self.shut_out]
        if self.rules_differ:
            lines.append("the kernel has other rules\n")
        if self.unfinished:
            lines.append("the change of a run that was cut off is taken back first\n")
        tcp = [each for each in self.openings if each.protocol == "tcp"]
        return {
            "changed": self.due,
            "changed_paths": self.owned.paths,
            "missing_packages": self.missing,
            "unit_problems": self.unit_problems,
            "rules_differ": self.rules_differ,
            "open_ports": [*self.ssh_ports, *(each.range.start for each in tcp if not each.cidrs)],
            "let_in": [*map(str, self.ssh_ports), *(each.port for each in tcp)],
            "unfinished": self.unfinished,
            "diff": [*self.owned.diffs, *({"prepared": line} for line in lines)],
        }


def main() -> None:
    serve(ARGUMENTS, FIREWALL_WAY_BACK, plan=foresee, apply=apply, confirm=confirm)


def foresee(request: dict) -> dict[str, object]:
    """Phase plan: what would change, and whether it may."""
    plan = make_plan(request)
    unknown = {} if is_installed() or not plan.due else {"dlhost_undetermined": SSHD_UNKNOWN}
    return {**plan.result(), **unknown}


def apply(request: dict) -> dict[str, object]:
    """Phase apply: change files and rules, with the way back armed."""
    plan = make_plan(request)
    absent = request["state"] == "absent"
    if absent:
        # First, as the record of them goes with the files.
        debian_packages.hand_back(owned_files.brought_packages(request["role"]), check=False)
    staged = owned_files.stage(plan.owned.write)
    put_back = PutBack(put_back_lines(plan.unit), before=UNIT)
    timeout_s = request["guard_timeout_s"] if request["guard"] else 0
    with FIREWALL_WAY_BACK.change(staged, plan.owned.remove, put_back, timeout_s):
        unload() if absent else load(plan.unit)
    return plan.result()


def confirm(request: dict) -> dict[str, object]:
    """Phase confirm: this call came over a login through the new rules, so the way back goes."""
    FIREWALL_WAY_BACK.require_armed(request["guard_timeout_s"])
    FIREWALL_WAY_BACK.disarm()
    return {"changed": True}


def make_plan(request: dict) -> Plan:
    """Compare everything with the host.

    Raises:
        RefusedError: A value cannot be meant, or would shut the controller out, or another firewall is there.
    """
    absent = request["state"] == "absent"
    packages = [] if absent else request["packages"]
    missing = owned_files.missing_packages(packages)
    unit = find_units([UNIT])[UNIT]
    openings, ports, files = [], [], []
    if not absent:
        refuse(request)
        openings = [Opening.from_argument(port) for port in request["ports"]]
        ports = ssh_ports(request["login_port"])
        text = rules(ports, request["ssh_cidrs"], openings, request["trusted_interfaces"])
        files = [owned_files.OwnedFile.from_argument(file) for file in request["files"]]
        files.append(owned_files.OwnedFile(RULES, text.encode(), validate=f"{NFT} --check --file %s"))
    owned = owned_files.plan(request["role"], files, packages, absent)
    if absent:
        problems = ["is still there"] if unit.active or AT_BOOT.is_symlink() else []
        differ = bool(loaded())
    else:
        problems = unit_problems(unit)
        # Of a file that is not in place yet it is clear.
        differ = not missing and RULES not in [file.path for file in owned.write] and loaded() != meant()
    shut = []
    if files and not loaded():
        with contextlib.suppress(RefusedError):  # Without ss nobody knows.
            shut = shut_out(find_listeners(), [*map(Opening, map(str, ports)), *openings])
    return Plan(
        owned=owned,
        missing=missing,
        unit=unit,
        unit_problems=problems,
        rules_differ=differ,
        ssh_ports=ports,
        openings=openings,
        shut_out=shut,
        unfinished=is_any_armed(),
    )


def refuse(request: dict) -> None:
    """Raise a RefusedError where the host cannot have it, or the controller could not come back."""
    require_values(request)
    cidrs = request["ssh_cidrs"]
    refuse_other_firewalls()
    connection = find_connection()
    if cidrs and connection.port and not is_within(connection.client, cidrs):
        raise RefusedError(
            f"firewall_ssh_cidrs ({', '.join(cidrs)}) leaves out {connection.client}, from where this very connection "
            f"comes. Add it {AGAIN}"
        )


def ssh_ports(login_port: int) -> list[int]:
    """Where sshd lets people in: by its configuration, by this connection, and by the inventory if anybody listens.

    Before it is installed, its configuration is taken for the one that it comes with.
    """
    connection = find_connection()
    ports = {connection.port, sshd.DEFAULT_PORT}
    if is_installed():
        with run_directory():
            ports = {connection.port, *host_ports(find_unit(), sshd.Configuration.read({}), connection)}
    return sorted((ports | ({login_port} & listening_ports())) - {0})


if __name__ == "__main__":
    main()
