"""What one look at a host says before anything is changed, and whether dlhost may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

# distribution id of os-release(5) to the versions that the roles are made for.
SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}
ARCHITECTURES = ("x86_64", "aarch64")
# What a base installation needs for its package lists, downloads and unpacked packages.
SMALLEST_FREE_MIB = 1024


class Contact(StrEnum):
    """How the attempt to reach a host ended."""

    REACHED = "reached"
    UNREACHABLE = "unreachable"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, slots=True)
class Probe:
    """One host as its probe found it.

    `facts` holds the probe script's words (adapters/probe.sh). `port` is the SSH port that answered, where it is not
    the inventory's. `sudo` is ok, password (it asks for one), wrong (it refused the one given) or none.
    """

    host: str
    contact: Contact
    error: str = ""
    sudo: str = ""
    port: int | None = None
    facts: Mapping[str, str] | None = None


def refusals(probe: Probe, roles: Sequence[str], inventory: str, *, changing: bool) -> list[str]:
    """Why dlhost will not touch this host, one sentence each; empty where it may go on with these roles.

    `inventory` is for the commands in them, as the user named it. `changing`: whether the run is to change the host;
    one that only looks needs no room there.
    """
    if probe.contact is Contact.UNTRUSTED:
        trust = f"dlhost ssh -i {inventory} --host {probe.host}"
        return [f"{probe.error}. To trust its key, run `{trust}`, compare the fingerprint, say yes"]
    return [refusal for refusal in objections(probe, roles, inventory, changing=changing).values() if refusal]


def objections(probe: Probe, roles: Sequence[str], inventory: str, *, changing: bool) -> dict[str, str]:
    """The same of a host that was reached, by what each is about; a text is empty where nothing is wrong."""
    if probe.contact is not Contact.REACHED or probe.facts is None:
        return {}
    lacking = probe.facts.get("python") == "no" and "system" not in roles
    return {
        "system": _operating_system(probe.facts),
        "sudo": _sudo(probe, inventory),
        "disk": _disk(probe.facts) if changing else "",
        "python": "has no Python yet; role system brings it, so leave it in the run" if lacking else "",
    }


def consents(probe: Probe, roles: Sequence[str]) -> list[str]:
    """What this run would do to the host that its owner should agree to first."""
    if probe.facts is None or "ssh_hardening" not in roles or probe.facts.get("ssh_hardened") == "yes":
        return []
    return ["SSH will accept keys only; passwords will be refused. The key you connect with is proved first."]


def _operating_system(facts: Mapping[str, str]) -> str:
    distribution, version = facts.get("distribution", ""), facts.get("version", "")
    if version not in SUPPORTED.get(distribution, ()):
        name = facts.get("pretty_name") or distribution or "an unknown system"
        supported = "; ".join(f"{key.title()} {', '.join(versions)}" for key, versions in SUPPORTED.items())
        return f"runs {name}, which dlhost does not support. Supported: {supported}"
    if facts.get("architecture") not in ARCHITECTURES:
        return f"is a {facts.get('architecture')} machine; supported are {' and '.join(ARCHITECTURES)}"
    return ""


def _sudo(probe: Probe, inventory: str) -> str:
    user = (probe.facts or {}).get("user", "the user")
    return {
        "ok": "",
        "password": (
            f"asks {user} for a sudo password. Run in a terminal to be asked for it, "
            f"or store it: dlhost secrets set -i {inventory} ansible_become_password"
        ),
        "wrong": (
            f"refuses the sudo password given for {user}. Nothing was changed; try again with the right one, "
            f"or store it: dlhost secrets set -i {inventory} ansible_become_password"
        ),
        "none": f"has no sudo, and {user} is not root. Install it: su -c 'apt-get install sudo && adduser {user} sudo'",
    }.get(probe.sudo, f"does not let {user} use sudo: {probe.sudo}")


def _disk(facts: Mapping[str, str]) -> str:
    paths = {"root": "/", "var": "/var", "tmp": "/tmp"}  # noqa: S108  the name of a mount, nothing is written there
    for name, path in paths.items():
        smallest = SMALLEST_FREE_MIB if name != "tmp" else 64
        mib = facts.get(f"free_mib_{name}", "")
        # Empty where the host has no df(1) or awk(1) to ask.
        if mib.isdigit() and int(mib) < smallest:
            return f"has {mib} MiB free on {path}, and needs {smallest}. Free some space first"
    return ""
