# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: reboot a host where that harms nobody and wait for its GPUs; else leave it to the user."""

from __future__ import annotations

import time
from pathlib import Path
from shlex import quote

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader
from ansible_collections.dlhost.host.plugins.plugin_utils.nvidia_driver_plan import at_work

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# In a directory that the next boot begins without.
MARKER = "/run/dlhost/reboot-needed"
AGAIN = "then run dlhost again"
POLL_S = 5


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("reason", "mode", "console", "sysfs", "gpus", "reboot_timeout_s", "gpu_timeout_s"))
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = self._task.args
        # What holds a GPU now counts, not what did when the play began.
        found = self._look(task_vars)
        left = arguments.get("console") or _obstacle(found, arguments.get("mode", "auto"))
        if left:
            return result | self._leave(f"{left} ({arguments['reason']}.)")
        if self._task.check_mode:
            return result | {"changed": True, "msg": f"It would be rebooted: {arguments['reason']}."}
        rebooted = self._other(
            "ansible.builtin.reboot", {"reboot_timeout": arguments.get("reboot_timeout_s", 600)}
        ).run(task_vars=task_vars)
        if rebooted.get("failed"):
            raise AnsibleActionFail(f"The host was rebooted and does not come back: {rebooted.get('msg')}")
        waited = self._wait_for_gpus(int(arguments.get("gpus", 0)), task_vars)
        return result | {"changed": True, "elapsed": rebooted.get("elapsed", 0) + waited}

    def _leave(self, sentence: str) -> dict:
        """Have the user do it, and have it said on the host until its next boot."""
        if not self._task.check_mode:
            written = f"mkdir -p {Path(MARKER).parent} && printf '%s\\n' {quote(sentence)} >{MARKER}\n"
            self._low_level_execute_command("/bin/sh -s", in_data=written.encode(), executable="/bin/sh")
        return {"changed": False, "dlhost_action_needed": sentence, "msg": sentence}

    def _wait_for_gpus(self, wanted: int, task_vars: dict) -> int:
        """Wait until nvidia-smi sees so many; returns the seconds that took.

        SSH answers long before, and also where the driver does not load.
        """
        started = time.monotonic()
        limit_s = int(self._task.args.get("gpu_timeout_s", 300))
        while wanted:
            smi = self._look(task_vars)["smi"]
            waited_s = int(time.monotonic() - started)
            if smi["ran"] and len(smi["gpus"]) >= wanted:
                return waited_s
            if waited_s >= limit_s:
                seen = smi["error"] or f"nvidia-smi shows {len(smi['gpus'])} of {wanted}"
                raise AnsibleActionFail(
                    f"The host is back after its reboot, and {waited_s} s later its GPUs do not answer: {seen}. "
                    "`journalctl -k -b` on the host says why."
                )
            time.sleep(POLL_S)
        return 0

    def _look(self, task_vars: dict) -> dict:
        looked = self._other("dlhost.host.nvidia_facts", {"sysfs": self._task.args.get("sysfs", "/sys")})
        return looked.run(task_vars=task_vars)["nvidia"]

    def _other(self, name: str, arguments: dict) -> ActionBase:
        """Another action plugin, on the task's host."""
        task = self._task.copy()
        task.args = arguments
        return action_loader.get(
            name,
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )


def _obstacle(found: dict, mode: str) -> str:
    """Why the host is not rebooted now, as a sentence on what to do; empty where it may be."""
    if found["container"]:
        return f"Restart this container's host when it suits you, {AGAIN}."
    # A container of another kind, or a chroot, shares the boot and not the name.
    if found["is_controller"] or found["boot_id"] == _own_boot_id():
        return f"This is the machine that dlhost runs on; reboot it yourself, {AGAIN}."
    if mode == "never":
        return f"Reboot the host when it suits you, {AGAIN}."
    if found["users"] and mode != "force":
        return f"{at_work(found['users'])}, and a reboot would end that; reboot the host afterwards, {AGAIN}."
    return ""


def _own_boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # A controller with another system.
        return "none"
