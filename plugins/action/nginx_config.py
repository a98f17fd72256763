# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name; where it is given passwords, so that no file and no journal gets them."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules import run_with_secrets_piped


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        passwords = self._task.args.get("passwords")
        return super().run(tmp, task_vars) | run_with_secrets_piped(
            self, "dlhost.host.nginx_config", task_vars, passwords
        )
