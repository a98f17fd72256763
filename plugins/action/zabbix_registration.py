# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name, with a key and a password that no file and no journal gets."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.zabbix_api import run_delegated


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        found, lost = run_delegated(self, "dlhost.host.zabbix_registration", task_vars)
        if not lost:
            return result | found
        if not self._task.check_mode:
            return result | {"failed": True, "msg": f"{lost}. Nothing was registered."}
        host = self._task.args.get("host")
        undetermined = {"dlhost_undetermined": f"whether {host} is registered: {lost}"}
        return result | {"changed": False, "version": "", "differences": [], **undetermined}
