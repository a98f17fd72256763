"""Nobody is locked out: role ssh_hardening against a real sshd, over real logins."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import USER, Host, Play

pytestmark = pytest.mark.e2e
both = pytest.mark.parametrize("host", ["12", "13"], indirect=True)


def harden(host: Host, *arguments: str, **variables: object) -> Play:
    return host.play([role(**variables)], *arguments)


def role(entry: str = "main", **variables: object) -> dict[str, object]:
    return {
        "ansible.builtin.include_role": {"name": "dlhost.host.ssh_hardening", "tasks_from": entry},
        "vars": {f"ssh_hardening_{name}": value for name, value in variables.items()},
    }


def checks(host: Host, **variables: object) -> dict[str, str]:
    """The role's own verify: check to result."""
    play = host.play([role("verify", **variables)])
    assert not play.failed, play.output
    found = next(result["dlhost_checks"] for result in play.results() if "dlhost_checks" in result)
    return {check["id"].removeprefix("ssh_hardening."): check["result"] for check in found}


def configuration(host: Host) -> str:
    """Every file that a change may touch, and whether anything of the way back is left."""
    return host.execute(
        "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* /home/*/.ssh/authorized_keys 2>/dev/null || true;"
        "ls /etc/ssh/sshd_config.d /etc/systemd/system /var/lib/dlhost /etc/dlhost 2>/dev/null || true"
    )


def settled(host: Host) -> bool:
    return (
        host.execute(
            "ls -d /var/lib/dlhost/ssh_hardening /etc/systemd/system/dlhost-sshd-revert.service 2>/dev/null || true;"
            "systemctl list-timers --all --no-legend 'dlhost-*'"
        )
        == ""
    )


@both
def test_only_keys_open_the_door(host: Host) -> None:
    host.execute(f"echo {USER}:Secret-1 | chpasswd")
    first = harden(host, allow_users=[USER])
    assert not first.failed, first.output
    assert first.changed == 1
    assert settled(host)
    assert host.ssh().returncode == 0
    refused = host.ssh("true", "PubkeyAuthentication=no", "PreferredAuthentications=password,keyboard-interactive")
    assert refused.returncode == 255
    assert "(publickey)" in refused.stderr
    assert harden(host, allow_users=[USER]).changed == 0
    assert set(checks(host, allow_users=[USER]).values()) == {"pass"}
