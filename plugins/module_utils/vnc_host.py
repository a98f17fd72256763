# SPDX-License-Identifier: GPL-3.0-or-later
"""Desktops on a host: their units, and what the end of one would take with it."""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    Process,
    Unit,
    group_of,
    processes_of,
    run,
    unit_of,
)

TEMPLATE = "dlhost-vnc@.service"
# What a desktop is made of, by the names of its programs. Whatever else there is, its user has started.
DESKTOP = {
    "(sd-pam)",
    "Thunar",
    "Xtigervnc",
    "ssh-agent",
    "wrapper-2.0",
    "xfce4-panel",
    "xfce4-session",
    "xfdesktop",
    "xfsettingsd",
    "xfwm4",
    "xinit",
}
# What the user's own systemd runs for the desktop beside it; other helpers are in directories of helpers.
HELPERS = {"dbus-daemon", "dirmngr", "gpg-agent", "pipewire", "pipewire-pulse", "pulseaudio", "wireplumber"}
HELPERS_AT = ("/usr/lib/", "/usr/libexec/")


def unit_of_user(name: str) -> str:
    """The unit that is a user's desktop."""
    return TEMPLATE.replace("@", f"@{name}")


def refusal_of_login(name: str) -> str:
    """Why nobody can log in to an account, which a desktop has to; empty where somebody can."""
    entry = pwd.getpwnam(name)
    if Path(entry.pw_shell).name in {"nologin", "false"}:
        return f"has {entry.pw_shell} for a shell, with which nobody logs in"
    if not Path(entry.pw_dir).is_dir():
        return f"has no home: {entry.pw_dir} is not there"
    return ""


def work_of(unit: Unit) -> list[str]:
    """What ending a desktop would cut off: who looks at it, and programs of its user's; one phrase each."""
    if not unit.active:
        return []
    found = ["somebody looks at it"] if is_watched(unit) else []
    for programs, where in ((programs_of(unit), "in it"), (programs_beside(unit), "for its user")):
        if names := sorted(programs - DESKTOP):
            found.append(f"{', '.join(names)} {'runs' if len(names) == 1 else 'run'} {where}")
    return found


def programs_of(unit: Unit) -> set[str]:
    """The names of the programs in a desktop."""
    return _names(processes_of(unit_of(unit.process)) if unit.active else [])


def programs_beside(unit: Unit) -> set[str]:
    """The names of the programs that the user's own systemd has started, as it does some that are opened in a desktop.

    Whether one was is not to be seen; it also ends those of others with the user's last session.
    """
    user = re.search(r"/user-(\d+)\.slice/", group_of(unit.process))
    processes = processes_of(f"user@{user[1]}.service") if user else []
    return _names(process for process in processes if not _is_helper(process))


def _is_helper(process: Process) -> bool:
    """Whether it belongs to that systemd, or is a service of the session that has no work of the user's."""
    group = group_of(process.number).strip()
    if group.endswith(".scope"):
        return group.endswith("/init.scope")
    program = process.command[0] if process.command else ""
    return program.startswith(HELPERS_AT) or Path(program).name in HELPERS


def _names(processes: Iterable[Process]) -> set[str]:
    return {Path(process.command[0]).name for process in processes if process.command}


def is_watched(unit: Unit) -> bool:
    """Whether a viewer is connected."""
    group = re.escape(unit_of(unit.process))
    seen = run("ss", "--no-header", "--tcp", "--numeric", "--extended", "state", "established").stdout
    # Received, sent, and the address on this side.
    return bool(re.search(rf"(?m)^\d+ +\d+ +\S+:59\d\d .*cgroup:\S*/{group}\b", seen))
