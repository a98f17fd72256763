# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that ask Zabbix's API from another host than the one that they are about."""

from __future__ import annotations

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules import run_piped


def run_delegated(action: ActionBase, name: str, task_vars: dict) -> tuple[dict, str]:
    """The result of the module of that name, and why there is none.

    Ansible would say of a delegate that it does not reach that the host itself is lost, and end the host's run.
    """
    try:
        return run_piped(action, name, task_vars), ""
    except AnsibleConnectionFailure as error:
        said = " ".join(str(error).split()).rstrip(".")
        return {}, f"{action._task.delegate_to}, which is to ask Zabbix, is not reached: {said}"
