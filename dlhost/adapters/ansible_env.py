"""Ansible kept to dlhost's own settings: no ansible.cfg of a stray directory, no ANSIBLE_* of the user's shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONFIG = Path(__file__).with_name("ansible.cfg")


def isolated_environment(control_path_dir: Path) -> dict[str, str]:
    """The environment for a process of Ansible's; multiplexed connections have their sockets in control_path_dir."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(CONFIG),
        "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_path_dir),
        # Ansible wants a UTF-8 locale and refuses to start without one.
        "LC_ALL": "C.UTF-8",
        # The ansible-playbook of the same installation, whatever else is on the user's PATH.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def isolate_this_process() -> None:
    """Apply the same before this process imports Ansible, which reads its settings once, at import."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        del os.environ[name]
    os.environ["ANSIBLE_CONFIG"] = str(CONFIG)


def collections_path() -> Path:
    """The directory whose ansible_collections/dlhost/host is our content, in a wheel or in a checkout.

    A checkout's root has no such parent, so a link to it is kept in the package, out of version control.
    """
    collections = Path(__file__).parents[1] / "_collections"
    content = collections / "ansible_collections" / "dlhost" / "host"
    if not content.exists():
        content.parent.mkdir(parents=True, exist_ok=True)
        content.unlink(missing_ok=True)
        content.symlink_to(Path(__file__).parents[2], target_is_directory=True)
    return collections


def content_root() -> Path:
    """The root of the collection dlhost.host: roles/, playbooks/, plugins/."""
    return collections_path() / "ansible_collections" / "dlhost" / "host"
