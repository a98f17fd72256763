# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name on the host, and which of its ports answer the controller past SSH."""

from __future__ import annotations

import socket

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
        hindrance = hindrance or hindrance_on_the_way(address, result)
        tried = [] if hindrance else [*self._task.args["open_ports"], *result["shut_ports"]]
        answers = answers_of(address, tried)
        silent = {port for port, answer in answers.items() if answer == "silent"}
        return result | {
            "skipped_because": hindrance,
            "silent": sorted(silent.difference(result["shut_ports"])),
            "answering": sorted(answers.keys() & set(result["shut_ports"]) - silent),
        }


def hindrance_on_the_way(address: str, seen: dict[str, object]) -> str:
    """Why the ports of the `address` that SSH dials tell nothing of what the host's firewall drops; else empty."""
    try:
        dialled = {found[4][0].partition("%")[0] for found in socket.getaddrinfo(address, None)}
    except OSError:
        dialled = set()
    if seen["address"].partition("%")[0] not in dialled:
        return f"{address} is not the host's own address, which is {seen['address']}, and who forwards it answers first"
    if seen["trusted_interface"]:
        return f"the controller comes in by {seen['trusted_interface']}, from which everything is let in"
    return ""
