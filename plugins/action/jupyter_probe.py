# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name on the host, and what the same host gives to the controller."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.module_utils.jupyter_session import Trust, try_out
from ansible_collections.dlhost.host.plugins.plugin_utils.closed_ports import reached
from ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules import run_piped


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars) | run_piped(self, "dlhost.host.jupyter_probe", task_vars)
        if result.get("failed"):
            return result
        return result | reached(self) | {"public": self._public()}

    def _public(self) -> dict[str, object]:
        base, authority = (self._task.args.get(name) or "" for name in ("public_url", "authority"))
        servers = self._task.args["servers"] if base else []
        return {
            server["user"]: try_out(
                urljoin(base, urlsplit(server["url"]).path), server.get("password") or "", Trust(authority)
            )
            for server in servers
        }
