# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the HTTPS front as the controller sees it; where it has no way there, as the host itself does."""

from __future__ import annotations

import dataclasses
import ipaddress

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.module_utils import nginx_front
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import fresh_connection, is_ssh, ssh_settings


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        address, hindrance = self._address()
        if hindrance:
            result.update(self._execute_module("dlhost.host.https_probe", self._task.args, task_vars=task_vars))
            if "reachable" not in result.get("problems", {"reachable": "the module failed"}):
                result["unasked"]["reachable"] = f"{hindrance}, so the host looked at itself"
            return result
        _checked, arguments = self.validate_argument_spec(nginx_front.LOOK_ARGUMENTS)
        return result | {"changed": False} | dataclasses.asdict(nginx_front.look(address, **arguments))

    def _address(self) -> tuple[str, str]:
        """Where the controller reaches the host, or why it has no address for it."""
        if not is_ssh(self._connection):
            return "", f"the connection is {self._connection.transport} and not SSH"
        settings = ssh_settings(fresh_connection(self))
        if any(settings.get(hop, "none") != "none" for hop in ("proxyjump", "proxycommand")):
            return "", "SSH reaches the host through another one"
        address = settings["hostname"]
        if address == "localhost" or _is_loopback(address):
            return "", "SSH reaches the host through a port of this machine"
        return address, ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
