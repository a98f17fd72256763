# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: a role's checks in the one shape that molecule, `dlhost verify` and verify.yml all read."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("role", "checks"))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        role = self._task.args["role"]
        checks = [self._check(role, check) for check in self._task.args["checks"]]
        result.update(changed=False, dlhost_checks=checks)
        # Later roles are checked too: only require_checks, at the end of the play, fails.
        earlier = [check for check in task_vars["ansible_facts"].get("dlhost_checks", []) if check["role"] != role]
        result["ansible_facts"] = {"dlhost_checks": earlier + checks}
        return result

    @staticmethod
    def _check(role, check):
        unknown = set(check) - {"id", "promise", "passed", "skip", "reason"}
        if unknown or not {"id", "promise", "passed"} <= set(check) or not isinstance(check["passed"], bool):
            raise AnsibleActionFail(
                f"A check of role {role} is not of the shape id, promise, passed (true or false), skip, reason: {check}"
            )
        skip = check.get("skip") or ""
        outcome = "skip" if skip else "pass" if check["passed"] else "fail"
        return {
            "role": role,
            "id": f"{role}.{check['id']}",
            "promise": check["promise"],
            "result": outcome,
            "reason": skip or (check.get("reason") or "" if outcome == "fail" else ""),
        }
