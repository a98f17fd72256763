"""The files of a new inventory, commented for a reader who has never seen one."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import yaml

from dlhost.values.templates import is_template

VARIABLE = re.compile(r"([a-z_]\w*):")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

# Words that YAML 1.1 reads as a truth value or as nothing.
NOT_TEXTS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class Profile(StrEnum):
    """What kind of machine an inventory is started for."""

    HOME_RIG = "home-rig"
    CLOUD_VM = "cloud-vm"
    CPU_ONLY = "cpu-only"


# Groups say what a machine is for; each brings its roles (playbooks/).
GROUPS = {
    Profile.HOME_RIG: ("gpu", "workspace", "web"),
    Profile.CLOUD_VM: ("gpu", "workspace", "web"),
    Profile.CPU_ONLY: ("workspace", "web"),
}
# What a host may be for besides, each with what it brings.
MORE_GROUPS = {
    "desktop": "graphical desktops",
    "monitored": "reports to Zabbix: to the server below, or to yours (zabbix_agent_server)",
    "monitoring_server": "a Zabbix server of the inventory's own; its pages are at the web front",
}
# The name is a host's too, and Ansible cannot tell a host from a group or from its own words.
TAKEN = frozenset({"all", "ungrouped", "localhost"}.union(*GROUPS.values(), MORE_GROUPS))

# `dlhost demo` makes and removes the inventory of this name.
DEMO = "demo"


@dataclass(frozen=True, slots=True)
class NewInventory:
    """The one host that a new inventory begins with; `settings` are role variables set from the start.

    `front` is where browsers reach its web front, where that is not at its address.
    """

    name: str
    address: str
    user: str
    port: int = 22
    profile: Profile = Profile.HOME_RIG
    key_file: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    front: str = ""


def hosts_file(new: NewInventory) -> str:
    """hosts.yml: the host, how it is reached, and its groups."""
    lines = [
        "---",
        f"# Inventory {new.name}: which hosts there are, how each is reached, and what each is for.",
        f"# `dlhost provision -i {new.name}` makes them so; run it again after every change here.",
        "all:",
        "  hosts:",
        f"    {_bare_or_quoted(new.name)}:",
        f"      ansible_host: {_bare_or_quoted(new.address)}",
        *([f"      ansible_port: {new.port}"] if new.port != 22 else []),
        f"      ansible_user: {_bare_or_quoted(new.user)}",
        *([f"      ansible_ssh_private_key_file: {_bare_or_quoted(new.key_file)}"] if new.key_file else []),
        *([f"      dlhost_front: {_bare_or_quoted(new.front)}"] if new.front else []),
        "  vars:",
        "    # Host keys that you have seen and trusted; the alias keeps them valid when an address or a port changes.",
        "    ansible_ssh_common_args: >-",
        # The inner quotes are for ssh, to which a blank ends the name of a file.
        """      -o 'UserKnownHostsFile="{{ inventory_dir }}/.ssh/known_hosts"'""",
        "      -o HostKeyAlias={{ inventory_hostname }}",
        "  # Groups say what a host is for; each brings its roles.",
        "  children:",
    ]
    for group in GROUPS[new.profile]:
        lines += [f"    {group}:", "      hosts:", f"        {_bare_or_quoted(new.name)}:"]
    lines += ["    # More of them; take the # away for those that you want."]
    for group, brings in MORE_GROUPS.items():
        name = _bare_or_quoted(new.name)
        lines += [f"    # {group}:  # {brings}", "    #   hosts:", f"    #     {name}:"]
    return "\n".join([*lines, ""])


def variables_file(
    role: str, defaults: str, settings: Mapping[str, object], given: Container[str] = frozenset()
) -> str:
    """group_vars/all/ROLE.yml: every variable with its explanation, commented out, below those that are set.

    Those that the playbooks set themselves (`given`) are not the reader's to set.
    """
    own = {name: value for name, value in settings.items() if name.startswith(f"{role}_")}
    told = "\n\n".join(filter(None, (_without(paragraph, given) for paragraph in defaults.split("\n\n"))))
    commented = [f"# {line}".rstrip() for line in told.splitlines() if line.strip() != "---"]
    head = [
        "---",
        f"# Role {role} on every host. Uncomment what should differ from the defaults shown here.",
        "",
    ]
    chosen = yaml.dump(own, Dumper=_Dumper, width=math.inf).splitlines() if own else []
    return "\n".join([*head, *chosen, *([""] if chosen else []), *commented, ""])


def _without(paragraph: str, given: Container[str]) -> str:
    """A paragraph of a role's defaults without some variables; empty where only their explanation is left."""
    kept: list[str] = []
    leaves = False
    for line in paragraph.splitlines():
        if variable := VARIABLE.match(line):
            leaves = variable[1] in given
        elif not line.startswith(" "):
            leaves = False
        kept += [] if leaves else [line]
    return "\n".join(kept) if any(VARIABLE.match(line) for line in kept) else ""


def vault_text(secrets: Mapping[str, str]) -> str:
    """The plain text of group_vars/all/vault.yml."""
    head = [
        "---",
        "# Secrets of this inventory, encrypted by ansible-vault: `dlhost secrets edit` opens them.",
    ]
    return "\n".join([*head, *(f"{name}: {literal(value)}" for name, value in sorted(secrets.items())), ""])


def quoted(text: str) -> str:
    """A text in double quotes on one line, as every reader of YAML gives it back.

    JSON would not do: it writes a character beyond U+FFFF as a pair of surrogates, which YAML reads as two.
    """
    dumped: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return dumped.rstrip("\n")


def literal(text: str) -> str:
    """The same for a text that Ansible has to take as it stands: one that looks like a template is tagged."""
    return f"!unsafe {quoted(text)}" if is_template(text) else quoted(text)


class _Dumper(yaml.SafeDumper):
    """YAML in which a text of several lines, such as a certificate, stays readable."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _bare_or_quoted(text: str) -> str:
    """A text as YAML, bare where no reader could take it for something else."""
    bare = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text.lower() not in NOT_TEXTS
    return text if bare else quoted(text)
