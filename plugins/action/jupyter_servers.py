# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name, with passwords that reach the host on standard input only."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules import pipe_modules


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        refusal = pipe_modules(self)
        if refusal:
            return result | {"failed": True, "changed": False, "msg": refusal}
        return result | self._execute_module("dlhost.host.jupyter_servers", self._task.args, task_vars=task_vars)
