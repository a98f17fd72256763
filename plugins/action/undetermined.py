# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: what a dry run could not know, said instead of left out."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("reason",))

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        reason = self._task.args["reason"]
        result.update(changed=False, dlhost_undetermined=reason, msg=f"A dry run cannot know: {reason}")
        return result
