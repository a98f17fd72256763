# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: the verdict over every check that report_checks collected on a host in this play."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset()

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        checks = task_vars["ansible_facts"].get("dlhost_checks", [])
        failed = [check for check in checks if check["result"] == "fail"]
        # No check at all proves nothing, so it is no success.
        result.update(changed=False, failed=bool(failed) or not checks)
        result["msg"] = "; ".join(
            f"{check['id']}: not so: {check['promise']} ({check['reason']})" for check in failed
        ) or (f"{len(checks)} checks, none failed" if checks else "no check was made")
        return result
