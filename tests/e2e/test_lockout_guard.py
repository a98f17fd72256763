"""Nobody is locked out: role ssh_hardening against a real sshd, over real logins."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import USER, Host
from tests.e2e.guarded import GuardedRole

pytestmark = pytest.mark.e2e
both = pytest.mark.parametrize("host", ["12", "13"], indirect=True)


@pytest.fixture(scope="module")
def shared_host(module_host: Callable[[], Host]) -> Host:
    """One host for every request that is refused: none of them may change it."""
    return module_host()


SSH = GuardedRole("ssh_hardening", "sshd")
harden, role, checks, settled = SSH.apply, SSH.task, SSH.checks, SSH.is_settled


def configuration(host: Host) -> str:
    """Every file that a change may touch, and the directories around them."""
    return host.execute(
        "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* /home/*/.ssh/authorized_keys 2>/dev/null || true;"
        "ls /etc/ssh/sshd_config.d /etc/systemd/system /var/lib/dlhost /etc/dlhost 2>/dev/null || true"
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


@pytest.mark.long
def test_x11_and_tunnels_are_for_whom_the_inventory_names(host: Host) -> None:
    for user in ("alice", "bob"):
        host.execute(
            f"useradd -m -s /bin/bash {user}; cp -r /home/{USER}/.ssh /home/{user}/; chown -R {user}: /home/{user}"
        )
    host.execute("apt-get -q update")
    variables = {
        # A container has no IPv6 loopback address, and then sshd gives up on its X11 socket.
        "options": {"AddressFamily": "inet"},
        "match_users": [
            {"name": "alice", "x11": True, "x11_display_offset": 20, "tcp_forwarding": "yes"},
            {"name": "bob", "tcp_forwarding": "no"},
        ],
    }
    hardened = harden(host, **variables)
    assert not hardened.failed, hardened.output

    x11 = ("ForwardX11=yes", "ForwardX11Trusted=yes")
    assert "localhost:20" in host.ssh("echo $DISPLAY", *x11, user="alice", display=":7").stdout
    assert host.ssh("echo $DISPLAY", *x11, display=":7").stdout.strip() == ""

    # A tunnel into the host's own sshd answers with its banner.
    assert "SSH-2.0" in host.tunnel().stdout
    assert "administratively prohibited" in host.tunnel(user="bob").stderr
    reverse = ("ExitOnForwardFailure=yes", "RemoteForward=17777 127.0.0.1:9")
    assert host.ssh("true", *reverse, user="alice").returncode == 0
    assert host.ssh("true", *reverse).returncode != 0

    assert harden(host, **variables).changed == 0
    assert set(checks(host, **variables).values()) == {"pass"}

    gone = harden(host, state="absent")
    assert not gone.failed, gone.output
    assert host.execute("ls /etc/ssh/sshd_config.d; ls /etc/dlhost 2>/dev/null || true") == ""
    # Handed back to apt, since somebody else may use it by now.
    assert host.execute("apt-mark showauto xauth") == "xauth\n"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"options": {"NoSuchKeyword": "x"}}, ["00-dlhost.conf", "NoSuchKeyword"]),
        ({"options": {"LogLevel": "LOUD"}}, ["00-dlhost.conf", "unsupported log level 'LOUD'"]),
        ({"match_users": [{"name": USER, "options": {"Port": 9}}]}, ["01-dlhost-match.conf", "Port"]),
        ({"match_users": [{"name": "nobody-here"}]}, ["nobody-here"]),
        ({"match_users": [{"name": USER}, {"name": USER}]}, ["twice"]),
        ({"port": 70000}, ["70000", "1 to 65535"]),
        ({"options": {"Match": "all"}}, ["ssh_hardening_match_users"]),
        ({"allow_users": ["somebody"]}, ["AllowUsers somebody", USER]),
        ({"allow_groups": ["root"]}, ["AllowGroups root", USER]),
        ({"options": {"PubkeyAuthentication": False}}, ["PubkeyAuthentication no"]),
        ({"options": {"AuthorizedKeysFile": "/nowhere/%u"}}, [f"/nowhere/{USER}", "ssh-copy-id"]),
        ({"authorized_keys": [{"user": USER, "keys": ["ssh-ed25519 AAAAnonsense"]}]}, ["ssh-keygen"]),
        ({"authorized_keys": [{"user": USER, "keys": [], "exclusive": True}]}, ["allow_exclusive_keys"]),
        ({"guard_timeout_s": 3}, ["30 seconds"]),
    ],
)
def test_what_cannot_work_is_refused_before_any_change(
    shared_host: Host, variables: dict[str, object], words: list[str]
) -> None:
    before = configuration(shared_host)
    refused = harden(shared_host, **variables)
    assert refused.failed
    for word in words:
        assert word in refused.message()
    assert "\n" not in refused.message().strip()
    assert "Traceback" not in refused.output
    assert configuration(shared_host) == before
    assert shared_host.ssh().returncode == 0


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (
            "printf '# cloud\\nPasswordAuthentication yes\\n' > /etc/ssh/sshd_config.d/00-cloud.conf",
            "/etc/ssh/sshd_config.d/00-cloud.conf line 2",
        ),
        ("sed -i '1i PermitRootLogin yes' /etc/ssh/sshd_config", "/etc/ssh/sshd_config line 1"),
        (
            f"printf 'Match User {USER}\\n  PasswordAuthentication yes\\n' > /etc/ssh/sshd_config.d/90-own.conf",
            "/etc/ssh/sshd_config.d/90-own.conf line 2",
        ),
        (
            "groupadd sftponly; printf 'Match Group sftponly\\nPasswordAuthentication yes\\n'"
            " > /etc/ssh/sshd_config.d/50-sftp.conf",
            "for those of Match Group sftponly comes from /etc/ssh/sshd_config.d/50-sftp.conf line 2",
        ),
        (
            "printf 'Match Address 10.0.0.0/8\\n  PasswordAuthentication yes\\n' >> /etc/ssh/sshd_config",
            "for those of Match Address 10.0.0.0/8 comes from /etc/ssh/sshd_config line",
        ),
        (
            "mkdir /etc/ssh/more; echo 'kbdinteractiveauthentication=yes' > /etc/ssh/more/x;"
            "echo 'Include more/*' > /etc/ssh/sshd_config.d/00-a.conf",
            "/etc/ssh/more/x line 1",
        ),
    ],
)
@pytest.mark.long
def test_a_file_that_overrules_ours_is_named(host: Host, damage: str, place: str) -> None:
    host.execute(damage)
    before = configuration(host)
    foreseen = harden(host, "--check", "--diff")
    assert not foreseen.failed, foreseen.output
    assert foreseen.changed == 1
    assert place in foreseen.output
    refused = harden(host)
    assert place in refused.message()
    assert configuration(host) == before


def test_a_file_that_comes_later_does_not_overrule(host: Host) -> None:
    host.execute("echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/50-cloud-init.conf")
    assert not harden(host).failed
    assert checks(host)["keys_only"] == "pass"


def test_a_match_block_may_forbid_more_than_the_role_does(host: Host) -> None:
    host.execute(
        "groupadd sftponly; printf 'Match Group sftponly\\n  ForceCommand internal-sftp\\n  AllowTcpForwarding no\\n'"
        " > /etc/ssh/sshd_config.d/50-sftp.conf"
    )
    assert not harden(host).failed
    assert set(checks(host).values()) == {"pass"}


@pytest.mark.long
def test_a_main_file_without_include_gets_one(host: Host) -> None:
    host.execute("sed -i /^Include/d /etc/ssh/sshd_config; sed -i '1i PasswordAuthentication yes' /etc/ssh/sshd_config")
    hardened = harden(host)
    assert not hardened.failed, hardened.output
    assert harden(host).changed == 0
    assert set(checks(host).values()) == {"pass"}


@pytest.mark.long
def test_a_password_user_without_key_is_refused_and_with_one_is_moved_over(host: Host) -> None:
    key = host.execute(f"cat /home/{USER}/.ssh/authorized_keys").strip()
    host.execute(f"rm -r /home/{USER}/.ssh; echo {USER}:Secret-1 | chpasswd")
    host.settings = {"ansible_password": "Secret-1", "ansible_ssh_password_mechanism": "ssh_askpass"}
    before = configuration(host)
    refused = harden(host)
    assert f"{USER} has no authorized key" in refused.message()
    assert configuration(host) == before

    host.execute(f"chmod g+w /home/{USER}")
    keys = [{"user": USER, "keys": [key]}]
    assert f"/home/{USER} can be written by others" in harden(host, authorized_keys=keys).message()
    assert configuration(host) == before

    host.execute(f"chmod g-w /home/{USER}")
    moved = harden(host, authorized_keys=keys)
    assert not moved.failed, moved.output
    host.settings = {}
    assert harden(host, authorized_keys=keys).changed == 0


@pytest.mark.long
def test_an_administrator_without_a_key_is_named_before_passwords_are_refused(host: Host) -> None:
    host.execute(
        "useradd -m -s /bin/bash -G sudo olga;"
        "useradd -m -s /bin/bash ivan; echo 'ivan ALL=(ALL) ALL' > /etc/sudoers.d/ivan;"
        # Neither of these could administer the host by password today.
        "useradd -m -s /bin/bash guest; useradd -m -s /bin/bash -G sudo locked;"
        "useradd -m -s /usr/sbin/nologin -G sudo robot;"
        "printf 'olga:Secret-1\\nivan:Secret-1\\nguest:Secret-1\\nrobot:Secret-1\\nroot:Secret-1\\n' | chpasswd"
    )
    before = configuration(host)
    refused = harden(host)
    assert "olga, ivan may use sudo here and log in by password, without any authorized key" in refused.message()
    assert "ssh_hardening_allow_keyless_admins" in refused.message()
    assert configuration(host) == before
    # With passwords left on, nobody is locked out.
    assert not harden(host, "--check", options={"PasswordAuthentication": True}).failed

    key = (host.directory / "id_ed25519.pub").read_text().strip()
    host.execute(f"install -d -o ivan /home/ivan/.ssh; echo '{key}' > /home/ivan/.ssh/authorized_keys")
    keys = [{"user": "olga", "keys": [key]}]
    assert not harden(host, "--check", authorized_keys=keys).failed
    allowed = harden(host, allow_keyless_admins=True)
    assert not allowed.failed, allowed.output
    # Once passwords are refused, a later change locks nobody out who was not before.
    assert not harden(host, options={"MaxAuthTries": 5}).failed


def test_sudo_that_asks_for_a_password(host: Host) -> None:
    host.execute(f"echo {USER}:Secret-1 | chpasswd; echo '{USER} ALL=(ALL) ALL' > /etc/sudoers.d/90-host-user")
    host.settings = {"ansible_become_password": "Secret-1"}
    hardened = harden(host)
    assert not hardened.failed, hardened.output
    assert settled(host)
    assert "Secret-1" not in hardened.output


# sshd accepts it and the account's key stays good, but nobody gets in from outside.
SHUT: dict[str, Any] = {"options": {"ListenAddress": "127.0.0.1"}}


def test_a_change_that_shuts_the_door_is_taken_back_over_the_open_connection(host: Host) -> None:
    before = configuration(host)
    shut = harden(host, **SHUT)
    assert shut.message().startswith("No new login could prove the change")
    assert "has its old sshd configuration back" in shut.message()
    assert configuration(host) == before
    assert settled(host)
    assert host.ssh().returncode == 0


@pytest.mark.parametrize("host", ["12"], indirect=True)
def test_the_host_opens_the_door_by_itself(host: Host) -> None:
    host.settings = {"ansible_ssh_args": "-o ControlMaster=no"}
    before = configuration(host)
    shut = harden(host, guard_timeout_s=30, **SHUT)
    assert "by itself, and a login works again" in shut.message()
    assert configuration(host) == before
    assert settled(host)
    assert host.ssh().returncode == 0


def cut_off(host: Host, **variables: Any) -> None:
    """Kill a run as soon as its change is armed on the host, and wait until the change is loaded there."""
    SSH.cut_off(host, **variables)
    time.sleep(1)


def test_a_run_killed_in_the_middle_is_taken_back_and_the_next_one_works(host: Host) -> None:
    before = configuration(host)
    cut_off(host, guard_timeout_s=30)
    assert not settled(host)
    SSH.wait_for_the_host(host)
    assert settled(host)
    assert configuration(host) == before
    assert host.ssh().returncode == 0

    cut_off(host, guard_timeout_s=120)
    foreseen = harden(host, "--check", "--diff")
    assert "a run that was cut off is taken back first" in foreseen.output
    assert checks(host)["settled"] == "fail"
    again = harden(host)
    assert not again.failed, again.output
    assert settled(host)
    assert harden(host).changed == 0


@both
def test_a_reboot_before_the_proof_brings_the_old_configuration(host: Host) -> None:
    before = configuration(host)
    cut_off(host, guard_timeout_s=600, **SHUT)
    assert not settled(host)
    host.restart()
    assert host.ssh().returncode == 0
    assert settled(host)
    assert configuration(host) == before


def activate(host: Host, activation: str) -> None:
    """Let ssh.socket hold the port, as Ubuntu does, or leave it to ssh.service."""
    if activation == "socket":
        host.execute("systemctl disable --now ssh.service; systemctl enable --now ssh.socket")


@pytest.mark.parametrize(
    ("host", "activation"),
    [pytest.param("12", "socket", marks=pytest.mark.long), ("13", "service"), ("13", "socket")],
    indirect=["host"],
)
def test_a_new_port_replaces_the_old_one_once_it_has_carried_a_login(host: Host, activation: str) -> None:
    activate(host, activation)
    moved = host.play([role(port=2222), {"ansible.builtin.command": "id -un", "changed_when": False}])
    assert not moved.failed, moved.output
    assert moved.results()[-1]["stdout"] == "root"
    assert host.ssh().returncode == 255
    host.port = 2222
    assert host.ssh().returncode == 0
    assert settled(host)
    assert harden(host, port=2222).changed == 0
    assert set(checks(host, port=2222).values()) == {"pass"}
    host.restart()
    assert host.ssh().returncode == 0

    gone = harden(host, state="absent")
    assert not gone.failed, gone.output
    host.port = 22
    assert host.ssh().returncode == 0
    assert harden(host, state="absent").changed == 0


def test_a_new_port_is_the_same_host_where_the_inventory_has_no_alias(host: Host) -> None:
    known_hosts = host.directory / "known_hosts"
    known_hosts.write_text(known_hosts.read_text().replace(host.name, host.address))
    host.settings = {"ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts}"}
    moved = host.play([role(port=2222), {"ansible.builtin.command": "id -un", "changed_when": False}])
    assert not moved.failed, moved.output


@pytest.mark.parametrize("activation", ["service", "socket"])
def test_a_port_that_sshd_cannot_have_is_given_up(host: Host, activation: str) -> None:
    activate(host, activation)
    host.execute("systemd-run --quiet --unit=squatter python3 -m http.server 2222; sleep 1")
    before = configuration(host)
    refused = harden(host, port=2222)
    assert refused.failed
    assert "Traceback" not in refused.output
    assert configuration(host) == before
    assert settled(host)
    assert host.ssh().returncode == 0


@pytest.mark.long
def test_exclusive_keys_come_back_when_they_shut_the_door(host: Host, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    other = (tmp_path / "other.pub").read_text().strip()
    own = (host.directory / "id_ed25519.pub").read_text().strip()
    before = configuration(host)
    keys = [{"user": USER, "keys": [other], "exclusive": True}]
    shut = harden(host, authorized_keys=keys, allow_exclusive_keys=True)
    assert "has its old sshd configuration back" in shut.message()
    assert configuration(host) == before
    keys = [{"user": USER, "keys": [own, other], "exclusive": True}]
    assert not harden(host, authorized_keys=keys, allow_exclusive_keys=True).failed
    assert host.execute(f"cat /home/{USER}/.ssh/authorized_keys").splitlines() == [own, other]
    assert harden(host, authorized_keys=keys, allow_exclusive_keys=True).changed == 0


def test_odd_tables_and_a_damaged_host_key_are_no_bug(host: Host) -> None:
    # A group that has no name any more, marks and rests in shadow(5).
    host.execute(f"usermod -g 4711 {USER} 2>/dev/null || sed -i -E 's/^({USER}:x:[0-9]+:)[0-9]+/\\14711/' /etc/passwd")
    host.execute("printf '+\\nrest:x\\n' >> /etc/shadow")
    key = (host.directory / "id_ed25519.pub").read_text().strip()
    other = host.execute("ssh-keygen -q -t ed25519 -N '' -f /root/other && cat /root/other.pub").strip()
    hardened = harden(host, crypto="vendor", authorized_keys=[{"user": USER, "keys": [key, other]}])
    assert not hardened.failed, hardened.output
    host.execute("echo nonsense > /etc/ssh/ssh_host_rsa_key; rm /etc/ssh/ssh_host_rsa_key.pub")
    refused = harden(host)
    assert "The host key /etc/ssh/ssh_host_rsa_key cannot be read" in refused.message()
    assert "Traceback" not in refused.output


def test_a_connection_that_is_not_ssh_proves_nothing(host: Host) -> None:
    host.settings = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": host.name,
        "ansible_user": "root",
    }
    before = configuration(host)
    assert "ssh_hardening_guard to false" in harden(host).message()
    assert configuration(host) == before


def test_a_read_only_directory_is_said_in_one_sentence(host: Host) -> None:
    host.execute(
        "mount --bind /etc/ssh/sshd_config.d /etc/ssh/sshd_config.d; mount -o remount,bind,ro /etc/ssh/sshd_config.d"
    )
    before = configuration(host)
    refused = harden(host)
    assert "Read-only file system" in refused.message()
    assert "Traceback" not in refused.output
    assert configuration(host) == before
    assert settled(host)


@both
def test_the_strict_algorithms_leave_an_audit_nothing_to_say(host: Host) -> None:
    assert not harden(host).failed
    program = Path(sys.executable).with_name("ssh-audit")
    audit = subprocess.run(
        [program, "--json", "--skip-rate-test", host.address], capture_output=True, text=True, check=False
    )
    report = json.loads(audit.stdout)
    notes = [
        (algorithm["algorithm"], algorithm["notes"])
        for kind in ("kex", "key", "enc", "mac")
        for algorithm in report[kind]
        if {"fail", "warn"} & set(algorithm["notes"])
    ]
    assert len(report["kex"]) > 0
    assert notes == []
