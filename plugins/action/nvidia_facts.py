# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: one read-only look at a host's GPUs, joined with the compatibility table on the controller."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils import compatibility, nvidia_facts

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
SHOWN_CHARACTERS = 1000


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("sysfs", "units", "candidates"))
    # A dry run decides from the same look.
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        script = nvidia_facts.script(**self._task.args)
        done = self._low_level_execute_command("/bin/sh -s", in_data=script.encode(), executable="/bin/sh")
        if done["rc"] != 0:
            said = (done["stderr"] or done["stdout"]).strip()[-SHOWN_CHARACTERS:]
            raise AnsibleActionFail(f"The look at the host's GPUs ended with status {done['rc']}: {said}")
        found = nvidia_facts.facts(done["stdout"], compatibility.load().card)
        found["is_controller"] = _is_this_machine(found)
        return result | {"changed": False, "nvidia": found}


def _is_this_machine(found: dict) -> bool:
    """Whether the host is the controller itself, whatever the connection; a container shares only the boot."""
    try:
        here = (BOOT_ID.read_text().strip(), MACHINE_ID.read_text().strip())
    except OSError:  # A controller with another system.
        return False
    return here == (found["boot_id"], found["machine_id"])
