# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules whose arguments are in no file and in no journal of the host."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


def run_piped(action: ActionBase, name: str, task_vars: dict, arguments: dict | None = None) -> dict:
    """Run the module of that name, whatever the configuration says; returns its result.

    Its arguments are the task's, where an action plugin has no others for it.

    Without pipelining Ansible writes a module with its arguments, such as a password, to a file on the host first.
    And every module tells the host's journal its arguments, where it knows a password again only as it was typed:
    not within a list, where quotes have backslashes. To be silent is less than no_log, which would hide errors too.
    """
    connection = action._connection
    connection.always_pipeline_modules = True
    if not (connection.become is None or connection.become.pipelining) or not action._is_pipelining_enabled("new"):
        return {
            "failed": True,
            "changed": False,
            "msg": "A password shall reach a host on standard input only, and this connection would write it to a file "
            "there. Use sudo for become, and unset ANSIBLE_KEEP_REMOTE_FILES and ssh's RequestTTY; "
            "nothing was changed.",
        }
    silent = {**task_vars, "ansible_no_target_syslog": True}
    return action._execute_module(name, arguments or action._task.args, task_vars=silent)


def run_with_secrets_piped(
    action: ActionBase, name: str, task_vars: dict, secrets: object, arguments: dict | None = None
) -> dict:
    """The same where there are secrets among the arguments; elsewhere the module runs over any connection."""
    if secrets:
        return run_piped(action, name, task_vars, arguments)
    return action._execute_module(name, arguments or action._task.args, task_vars=task_vars)
