# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: ansible.builtin.raw with the script on standard input instead of on command lines."""

from __future__ import annotations

import re

from ansible.plugins.action import ActionBase

SHOWN_CHARACTERS = 1000
FACT = re.compile(r"^dlhost-fact:([a-z_]+)=(.*?)\s*$", re.MULTILINE)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("script",))
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        if self._task.check_mode:
            return result | {"skipped": True, "changed": False}
        script = self._task.args["script"].encode()
        done = self._low_level_execute_command("/bin/sh -s", in_data=script, executable="/bin/sh")
        result.update(done, changed=True, failed=done["rc"] != 0)
        if facts := dict(FACT.findall(done["stdout"])):
            result["ansible_facts"] = facts
        if result["failed"]:
            said = (done["stderr"] or done["stdout"]).strip()[-SHOWN_CHARACTERS:]
            result["msg"] = f"The script ended with status {done['rc']}: {said}"
        return result
