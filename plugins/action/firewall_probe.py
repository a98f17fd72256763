# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name on the host, and which of its ports answer the controller past SSH."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.closed_ports import answers_of
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import address_from_here


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars) | self._execute_module("dlhost.host.firewall_probe", task_vars=task_vars)
        if result.get("failed"):
            return result
        address, hindrance = address_from_here(self)
        answers = answers_of(address, [*self._task.args["open_ports"], *result["shut_ports"]]) if address else {}
        silent = {port for port, answer in answers.items() if answer == "silent"}
        return result | {
            "skipped_because": hindrance,
            "silent": sorted(silent.difference(result["shut_ports"])),
            "answering": sorted(answers.keys() & set(result["shut_ports"]) - silent),
        }
