# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of a guarded transaction: only a new login may make a change stay that could cost the login.

The host's side is a module with the phases plan, install, apply, confirm and revert, and module_utils/way_back.py.
"""

from __future__ import annotations

import time

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import (
    fresh_connection,
    is_ssh,
    ssh_settings,
)

# sshd is up before the host answers; this is for a loaded machine and a slow network.
LOGIN_TRIES = 3
DEFAULT_TIMEOUT_S = 120
# The timer, sshd's reload and the clocks of two machines.
REVERT_SLACK_S = 5


class GuardedChange(ActionBase):
    """An action plugin says which module it runs, what that changes, and what becomes of who cannot log in."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    module: str
    subject: str
    lock_out: str

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._variables = task_vars
        login = ssh_settings(fresh_connection(self)) if is_ssh(self._connection) else {}
        self._arguments = {**self._task.args, **self._login(login)}

        plan = self._phase("plan")
        due = not plan.get("failed") and plan["changed"] and not self._task.check_mode
        guard = boolean(self._task.args.get("guard", True))
        unprovable = self._why_unprovable(plan, login) if due and guard else ""
        if unprovable:
            return result | _failure(f"{unprovable}; nothing was changed.")
        if due and plan["missing_packages"]:
            before = plan["diff"]
            plan = self._phase("install")
            if plan.get("failed"):
                return result | _failure(plan["msg"])
            plan.update(changed=True, diff=before + plan.get("diff", []))
        new_port = plan.get("new_port", 0)
        alias = host_key_alias(login) if new_port else ""
        plan.pop("login_key_comes", None)
        result.update(plan, host_key_alias=alias)
        if not due:
            return result
        applied = self._phase("apply")
        if applied.get("failed") or not guard:
            return result | _outcome(applied)
        return result | _outcome(self._prove(new_port, alias))

    def _why_unprovable(self, plan: dict, login: dict[str, str]) -> str:
        """Why no login could prove a change; empty where one could."""
        if not login:
            return (
                f"The lock-out guard proves a change of the {self.subject} by a new SSH login, which connection "
                f"{self._connection.transport} cannot make. Reach the host by SSH, or set "
                f"{self._task.args['role']}_guard to false"
            )
        # A key that this run brings cannot log in yet, nor can anyone where a run that was cut off shut the door.
        refusal = "" if plan.get("login_key_comes") or plan["unfinished"] else self._login_refusal()
        if refusal:
            return (
                f"A new login of {login.get('user')} with a key alone does not work, so {self.lock_out} ({refusal}). "
                "Make ssh -o PreferredAuthentications=publickey work and run again"
            )
        return ""

    def _login(self, settings: dict[str, str]) -> dict[str, object]:
        """What the module is told of the login, from ssh's `settings` for it, which are empty where that is not SSH."""
        raise NotImplementedError

    def _prove(self, new_port: int, alias: str) -> dict:
        """Confirm the change through a login that is made after it."""
        reason = ""
        for attempt in range(LOGIN_TRIES):
            time.sleep(attempt)
            try:
                confirmed = self._phase("confirm", over=fresh_connection(self, port=new_port, host_key_alias=alias))
            except AnsibleConnectionFailure as error:
                reason = _one_line(error)
            else:
                return confirmed if not confirmed.get("failed") else _failure(self._give_back(confirmed["msg"]))
        return _failure(self._give_back(reason))

    def _give_back(self, reason: str) -> str:
        """Take the change back over the login that is still open, or wait until the host has done it."""
        failure = f"No new login could prove the change ({reason}), so it was not kept: "
        try:
            if not self._phase("revert").get("failed"):
                return f"{failure}the host has its old {self.subject} back."
        except AnsibleConnectionFailure:
            pass  # The old login is gone as well; the host's own timer does it.
        timeout_s = int(self._task.args.get("guard_timeout_s", DEFAULT_TIMEOUT_S))
        time.sleep(timeout_s + REVERT_SLACK_S)
        refusal = self._login_refusal()
        if refusal:
            return f"{failure}the host puts the old one back after {timeout_s} s, but a login still fails ({refusal})."
        return f"{failure}the host has put its old {self.subject} back by itself, and a login works again."

    def _phase(self, phase: str, over: ConnectionBase | None = None) -> dict:
        """Run one phase of the module over the task's connection or another one."""
        task_connection = self._connection
        self._connection = over or task_connection
        try:
            return self._execute_module(self.module, {**self._arguments, "phase": phase}, task_vars=self._variables)
        finally:
            self._connection = task_connection

    def _login_refusal(self) -> str:
        """Why a new login with a key alone fails; empty where it works."""
        try:
            code, _output, error = fresh_connection(self).exec_command("true", sudoable=False)
        except AnsibleConnectionFailure as failure:
            return _one_line(failure)
        return "" if code == 0 else _one_line(error.decode(errors="replace"))


def host_key_alias(login: dict[str, str]) -> str:
    """Under which name known_hosts has the host, where nobody said so: sshd on a new port is still that host."""
    if "hostkeyalias" in login:
        return ""
    host, port = login["hostname"], login["port"]
    return host if port == "22" else f"[{host}]:{port}"


def _outcome(phase: dict) -> dict:
    """What a later phase adds to the plan's result: its failure, or nothing."""
    return _failure(phase["msg"]) if phase.get("failed") else {}


def _failure(message: str) -> dict:
    return {"failed": True, "changed": False, "msg": message}


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())
