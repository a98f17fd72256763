# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the module of this name, whose change only a new login can make stay."""

from __future__ import annotations

from ansible_collections.dlhost.host.plugins.plugin_utils.guarded_change import GuardedChange


class ActionModule(GuardedChange):
    module = "dlhost.host.firewall"
    subject = "firewall"
    lock_out = "none could prove that the firewall lets it in"

    def _login(self, settings: dict[str, str]) -> dict[str, object]:
        return {"login_port": int(settings.get("port", 0))}
