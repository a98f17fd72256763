"""The key within the agent's files, which no option of the module marks as a secret."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.unit.plays import results

KEY = "0123456789abcdef" * 4


def test_a_result_does_not_tell_the_key(tmp_path: Path) -> None:
    """Results are on the screen from -vvv on, and in the files of whatever drives Ansible."""
    file = {"path": "/etc/dlhost/zabbix_agent/psk", "content": KEY, "mode": "0640", "sensitive": True}
    refused = {"role": "zabbix_agent", "host": "rig", "server": "a..b", "files": [file]}
    tasks: list[dict[str, Any]] = [
        {"name": "run", "dlhost.host.zabbix_agent": refused, "register": "seen", "ignore_errors": True},
        {"name": "show", "ansible.builtin.debug": {"msg": "{{ seen }}"}},
    ]
    hosts = {"rig": {"ansible_python_interpreter": sys.executable}}

    said = {task: result for task, _host, result in results(tmp_path, hosts, tasks, "--check")}

    assert "zabbix_agent_server names a..b" in said["show"]["msg"]["msg"]
    assert KEY not in str(said)
