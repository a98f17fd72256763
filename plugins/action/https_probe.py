# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the HTTPS front as the controller sees it; where it has no way there, as the host itself does."""

from __future__ import annotations

import dataclasses

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.module_utils import nginx_front
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import address_from_here
from ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules import run_with_secrets_piped


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        address, hindrance = address_from_here(self)
        if hindrance:
            passwords = [site for site in self._task.args.get("sites", []) if site.get("password")]
            result.update(run_with_secrets_piped(self, "dlhost.host.https_probe", task_vars, passwords))
            if "reachable" not in result.get("problems", {"reachable": "the module failed"}):
                result["unasked"]["reachable"] = f"{hindrance}, so the host looked at itself"
            return result
        _checked, arguments = self.validate_argument_spec(nginx_front.LOOK_ARGUMENTS)
        return result | {"changed": False} | dataclasses.asdict(nginx_front.look(address, **arguments))
