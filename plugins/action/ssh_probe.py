# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: what this host's sshd gives to somebody who logs in from the controller."""

from __future__ import annotations

import re
import subprocess

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import fresh_connection, is_ssh, ssh_command

NO_KEY = (
    "PubkeyAuthentication=no",
    "PreferredAuthentications=password,keyboard-interactive",
    "NumberOfPasswordPrompts=1",
    # ssh asks no human: it would wait for an answer.
    "BatchMode=yes",
)
TIMEOUT_S = 60


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset()

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        if not is_ssh(self._connection):
            return result | {"changed": False, "skipped_because": f"connection {self._connection.transport} is not SSH"}
        key_code, key_words = _log_in(fresh_connection(self))
        code, words = _log_in(fresh_connection(self, options=NO_KEY), "-v")
        offers = re.findall(r"Authentications that can continue: (\S+)", words)
        return result | {
            "changed": False,
            "skipped_because": "",
            "key_login": key_code == 0,
            "key_login_error": key_words if key_code else "",
            "offered": sorted(offers[0].split(",")) if offers else [],
            "login_without_key": code == 0,
        }


def _log_in(connection, *arguments: str) -> tuple[int, str]:
    command = [*ssh_command(connection, *arguments), "true"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return 255, f"no answer within {TIMEOUT_S} s"
    return answer.returncode, " ".join(answer.stderr.split())
