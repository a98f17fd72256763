# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules whose arguments are never in a file of the host."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


def pipe_modules(action: ActionBase) -> str:
    """Have the task's modules travel on standard input, whatever the configuration says; returns why that cannot be.

    Without pipelining Ansible writes a module with its arguments, such as a password, to a file on the host first.
    """
    connection = action._connection
    connection.always_pipeline_modules = True
    if (connection.become is None or connection.become.pipelining) and action._is_pipelining_enabled("new"):
        return ""
    return (
        "A password shall reach a host on standard input only, and this connection would write it to a file there. "
        "Use sudo for become, and unset ANSIBLE_KEEP_REMOTE_FILES and ssh's RequestTTY; nothing was changed."
    )
