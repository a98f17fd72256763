"""Ansible kept to dlhost's own settings: no ansible.cfg of a stray directory, no ANSIBLE_* of the user's shell."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from dlhost.adapters.xdg import cache_directory

VAULT_PASSWORD_FILE = "DLHOST_VAULT_PASSWORD_FILE"  # noqa: S105  a variable's name
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
    """Apply the same before this process imports Ansible, which reads its settings once, at import.

    The one ANSIBLE_* that dlhost honours stays, under our name: an inventory has one vault password, before and after.
    """
    if not os.environ.get(VAULT_PASSWORD_FILE) and (named := os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE")):
        os.environ[VAULT_PASSWORD_FILE] = named
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        del os.environ[name]
    os.environ["ANSIBLE_CONFIG"] = str(CONFIG)


def collections_path() -> Path:
    """The directory whose ansible_collections/dlhost/host is our content, in a wheel or in a checkout.

    Ansible wants parents of these names, which a checkout's root has not: there, a link in the user's cache has them.
    """
    package = Path(__file__).parents[1]
    installed = package / "_collections"
    if installed.is_dir():
        return installed
    root = package.parent
    linked = cache_directory() / f"checkout-{sha256(str(root).encode()).hexdigest()[:12]}"
    link = linked / "ansible_collections" / "dlhost" / "host"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # Another thread, or another dlhost, was faster.
            link.symlink_to(root, target_is_directory=True)
    return linked


def content_root() -> Path:
    """The root of the collection dlhost.host: roles/, playbooks/, plugins/."""
    return collections_path() / "ansible_collections" / "dlhost" / "host"


def plugin_util(name: str) -> Any:
    """One of the collection's plugin_utils, which roles and the wrapper share."""
    return _shared(f"plugin_utils.{name}")


def module_util(name: str) -> Any:
    """One of its module_utils, which otherwise run on hosts."""
    return _shared(f"module_utils.{name}")


def plugin_filter(name: str) -> Any:
    """One of its filters."""
    return _shared(f"filter.{name}")


def _shared(name: str) -> Any:
    path = str(collections_path())
    if path not in sys.path:
        # Last: nothing of ours hides a package.
        sys.path.append(path)
    return import_module(f"ansible_collections.dlhost.host.plugins.{name}")
