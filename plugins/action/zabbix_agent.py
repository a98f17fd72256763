# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name, with a key that no file but its own and no journal gets."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules import run_piped


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        return super().run(tmp, task_vars) | run_piped(self, "dlhost.host.zabbix_agent", task_vars)
