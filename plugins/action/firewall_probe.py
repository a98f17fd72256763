# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name on the host, and which of its ports answer the controller past SSH."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.closed_ports import answering
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import address_from_here


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars) | self._execute_module("dlhost.host.firewall_probe", task_vars=task_vars)
        if result.get("failed"):
            return result
        address, hindrance = address_from_here(self)
        should, shut = self._task.args["open_ports"], result["shut_ports"]
        answers = answering(address, [*should, *shut]) if address else set()
        return result | {
            "skipped_because": hindrance,
            "silent": [port for port in should if address and port not in answers],
            "answering": [port for port in shut if port in answers],
        }
