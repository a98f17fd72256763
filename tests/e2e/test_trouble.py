"""What can go wrong: one sentence, a documented exit code, the host as it was or finished by the next run."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.conftest import USER, Host, Installed

pytestmark = pytest.mark.e2e

# Of a container that lives for one test. As a template it would be another one.
PASSWORD = "correct-horse{{1}}battery"  # noqa: S105
MakeHost = Callable[..., Host]


@pytest.fixture
def rig(dlhost: Installed, make_host: MakeHost, provisioned_image: str) -> Host:
    """A provisioned host, with the inventory `rig`."""
    host = make_host(image=provisioned_image)
    dlhost.begin("rig", host)
    return host


@pytest.fixture
def bare(dlhost: Installed, make_host: MakeHost) -> Host:
    """A host as its image made it, with the inventory `rig`."""
    host = make_host()
    dlhost.begin("rig", host)
    return host


def terminal(dlhost: Installed, *arguments: str) -> Any:
    """dlhost with a person at the terminal."""
    return pexpect.spawn(
        str(dlhost.program), list(arguments), cwd=dlhost.home, env=dlhost.environment, encoding="utf-8", timeout=120
    )


def set_variable(dlhost: Installed, text: str) -> None:
    (dlhost.inventories / "rig" / "group_vars" / "all" / "test.yml").write_text(f"---\n{text}\n")


def test_a_host_that_is_off(dlhost: Installed, rig: Host) -> None:
    rig.execute("systemctl stop ssh.service ssh.socket")
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 4
    assert f"rig cannot be reached at {rig.address} port 22" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_no_key_authorised(dlhost: Installed, rig: Host) -> None:
    rig.execute(f"rm /home/{USER}/.ssh/authorized_keys")
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 4
    assert f"ssh-copy-id {USER}@{rig.address}" in done.stdout


def test_another_host_key(dlhost: Installed, rig: Host) -> None:
    rig.execute("rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; systemctl restart ssh")
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 5
    assert "rig has another host key than the one you trusted" in done.stderr
    assert str(dlhost.inventories / "rig" / ".ssh" / "known_hosts") in done.stderr


def test_an_unsupported_system(dlhost: Installed, bare: Host) -> None:
    bare.execute("sed -i -e 's/VERSION_ID=.*/VERSION_ID=11/' -e 's/PRETTY_NAME=.*/PRETTY_NAME=Eleven/' /etc/os-release")
    done = dlhost.run("provision", "-i", "rig", "--yes")
    assert done.returncode == 5
    assert "rig runs Eleven, which dlhost does not support. Supported: Debian 12, 13; Ubuntu" in done.stderr
    assert "absent" in bare.execute("test -e /etc/dlhost || echo absent")


def test_values_of_the_last_role_are_refused_before_the_first_has_acted(dlhost: Installed, make_host: MakeHost) -> None:
    bare = make_host()
    dlhost.begin("rig", bare, workspace=True)
    site = "path: /mine/, upstream: 'http://127.0.0.1:9000'"
    password = f"{site}, basic_auth: [{{name: ada, password: '{{{{ %s }}}}'}}]"
    for wrong, code, said in (
        ("path: /mine, upstream: 'http://127.0.0.1:9000'", 5, "/mine is not like that"),
        (password % "nobody_set_it | trim", 5, "'nobody_set_it' is undefined"),
        (password % "nobody_set_it", 2, "nginx_proxy_sites[0].basic_auth[0].password takes the value of nobody_set_it"),
    ):
        set_variable(dlhost, f"nginx_proxy_sites: [{{{wrong}}}]")
        done = dlhost.run("provision", "-i", "rig", "--yes")
        assert done.returncode == code, done.stdout + done.stderr
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert "absent" in bare.execute("test -e /etc/dlhost || echo absent")


def test_no_room_on_the_disk(dlhost: Installed, rig: Host) -> None:
    rig.execute("mount -o remount,size=1m /tmp")
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 5
    assert re.search(r"rig has \d MiB free on /tmp, and needs 64", done.stderr)


def test_the_disk_fills_up_in_mid_run(dlhost: Installed, rig: Host) -> None:
    rig.execute(
        "rm /etc/apt/apt.conf.d/90dlhost /etc/needrestart/conf.d/90-dlhost.conf;"
        "mount -t tmpfs -o size=4k tmpfs /etc/needrestart/conf.d;"
        "dd if=/dev/zero of=/etc/needrestart/conf.d/full bs=4k count=1 2>/dev/null"
    )
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 1
    assert "cannot be written: No space left on device" in done.stdout
    # All or nothing: the file that would have fitted was not put in place either.
    assert rig.execute("ls /etc/apt/apt.conf.d/ | grep dlhost || true") == ""
    rig.execute("umount /etc/needrestart/conf.d")
    assert dlhost.run("provision", "-i", "rig").returncode == 0
    assert dlhost.run("drift", "-i", "rig").returncode == 0


def test_the_sudo_password(dlhost: Installed, rig: Host) -> None:
    rig.execute(f"echo '{USER} ALL=(ALL) ALL' > /etc/sudoers.d/90-host-user; echo '{USER}:{PASSWORD}' | chpasswd")

    alone = dlhost.run("provision", "-i", "rig")
    assert alone.returncode == 5
    assert f"asks {USER} for a sudo password" in alone.stderr

    wrong = terminal(dlhost, "provision", "-i", "rig")
    wrong.expect("sudo password on rig:")
    wrong.sendline("not-the-password")
    wrong.expect("refuses the sudo password")
    wrong.expect(pexpect.EOF)
    wrong.close()
    assert wrong.exitstatus == 5

    rig.execute("groupdel dlusers")
    right = terminal(dlhost, "provision", "-i", "rig")
    right.expect("sudo password on rig:")
    right.sendline(PASSWORD)
    right.expect("verify")
    said = right.before
    right.expect(pexpect.EOF)
    right.close()
    assert right.exitstatus == 0, said
    assert PASSWORD not in said
    assert_nowhere(dlhost, PASSWORD)


def test_a_sudo_password_in_the_vault_is_seen_nowhere(dlhost: Installed, rig: Host) -> None:
    rig.execute(f"echo '{USER} ALL=(ALL) ALL' > /etc/sudoers.d/90-host-user; echo '{USER}:{PASSWORD}' | chpasswd")
    given = terminal(dlhost, "secrets", "set", "ansible_become_password", "-i", "rig")
    for _ in range(2):
        given.expect("ansible_become_password.*:")
        given.sendline(PASSWORD)
    given.expect(pexpect.EOF)
    assert dlhost.run("secrets", "check", "-i", "rig").returncode == 0
    rig.execute("groupdel dlusers; rm /etc/apt/apt.conf.d/90dlhost")

    running = dlhost.start("provision", "-i", "rig", "-v")
    command_lines: set[str] = set()
    while running.poll() is None:
        command_lines |= set(_command_lines())
        time.sleep(0.05)
    out, err = running.communicate()
    assert running.returncode == 0, out + err
    assert any("ansible-playbook" in line for line in command_lines)
    assert not [line for line in command_lines if PASSWORD in line]
    assert PASSWORD not in out + err
    shown = dlhost.run("inventory", "show", "rig")
    assert shown.returncode == 0
    assert PASSWORD not in shown.stdout
    assert_nowhere(dlhost, PASSWORD)


@pytest.mark.usefixtures("rig")
def test_another_run_holds_the_inventory(dlhost: Installed) -> None:
    first = dlhost.start("verify", "-i", "rig")
    _wait(lambda: (dlhost.runs / "rig" / "lock").exists() and (dlhost.runs / "rig" / "lock").read_text() != "")
    second = dlhost.run("provision", "-i", "rig")
    assert second.returncode == 5
    assert "Inventory rig is in use: `dlhost verify` of" in second.stderr
    first.communicate()
    assert first.returncode == 0


@pytest.mark.usefixtures("bare")
def test_interrupted_in_mid_run(dlhost: Installed) -> None:
    run = terminal(dlhost, "provision", "-i", "rig", "--yes")
    run.expect("Install")
    time.sleep(1)
    run.sendintr()
    run.expect("Interrupted")
    run.expect(pexpect.EOF)
    run.close()
    assert run.exitstatus == 130
    assert dlhost.document("history", "list", "-i", "rig")["runs"][-1]["state"] == "interrupted"
    _assert_next_run_finishes(dlhost)


@pytest.mark.long
def test_killed_in_mid_run(dlhost: Installed, bare: Host) -> None:
    run = dlhost.start("provision", "-i", "rig", "--yes")
    _wait(lambda: "apt-get" in bare.execute("ps -eo args 2>/dev/null || cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
    run.kill()
    run.communicate()
    assert dlhost.document("history", "list", "-i", "rig")["runs"][-1]["state"] == "killed"
    _assert_next_run_finishes(dlhost)


def test_the_apt_lock_is_held(dlhost: Installed, rig: Host) -> None:
    lock = "open('/var/lib/dpkg/lock-frontend', 'w')"
    holder = f"import fcntl, time; held = {lock}; fcntl.lockf(held, fcntl.LOCK_EX); time.sleep(600)"
    rig.execute(f'apt-get -qq remove -y tmux; nohup python3 -c "{holder}" >/dev/null 2>&1 &')
    set_variable(dlhost, "system_apt_options: {'DPkg::Lock::Timeout': '5'}")
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 1
    assert re.search(r"apt waited 5 s for its lock, held by process \d+ \(python3\)", done.stdout), done.stdout
    rig.execute("pkill python3")
    assert dlhost.run("provision", "-i", "rig").returncode == 0


@pytest.mark.long
def test_dpkg_was_cut_in_mid_installation(dlhost: Installed, rig: Host) -> None:
    rig.execute("apt-get -qq remove -y tmux unzip")
    # dpkg itself leaves its journal behind when it is killed while a maintainer script runs.
    rig.execute(
        "mkdir -p /tmp/cut/DEBIAN; printf 'Package: cut\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b.c>\\n"
        "Description: a package whose installation is cut\\n' > /tmp/cut/DEBIAN/control;"
        "printf '#!/bin/sh\\n[ -e /etc/cut ] || { touch /etc/cut; kill -9 $PPID; }\\n' > /tmp/cut/DEBIAN/postinst;"
        "chmod 0755 /tmp/cut/DEBIAN/postinst; dpkg-deb --build /tmp/cut /root/cut.deb; dpkg -i /root/cut.deb || true;"
        "ls /var/lib/dpkg/updates | grep -q ."
    )
    drift = dlhost.run("drift", "-i", "rig")
    assert drift.returncode == 3
    assert "an installation that was cut is finished" in drift.stdout
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 0, done.stdout
    assert "installed" in rig.execute("dpkg-query --show --showformat='${db:Status-Status}' cut tmux")
    assert dlhost.run("drift", "-i", "rig").returncode == 0


def test_a_keyword_that_sshd_rejects(dlhost: Installed, rig: Host) -> None:
    before = rig.execute("cat /etc/ssh/sshd_config.d/*")
    set_variable(dlhost, "ssh_hardening_options: {NoSuchKeyword: 1}")
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 1
    assert "NoSuchKeyword" in done.stdout
    assert "Traceback" not in done.stdout
    assert rig.execute("cat /etc/ssh/sshd_config.d/*") == before
    assert rig.ssh().returncode == 0


@pytest.mark.long
def test_a_foreign_file_that_wins(dlhost: Installed, rig: Host) -> None:
    foreign = "/etc/ssh/sshd_config.d/00-a-foreign.conf"
    rig.execute(f"echo 'PasswordAuthentication yes' > {foreign}; systemctl reload ssh")
    drift = dlhost.run("drift", "-i", "rig")
    assert drift.returncode == 3
    assert foreign in drift.stdout
    done = dlhost.run("provision", "-i", "rig")
    assert done.returncode == 1
    assert f"{foreign}:1" in done.stdout or f"{foreign} line 1" in done.stdout
    assert dlhost.run("verify", "-i", "rig").returncode == 7


@pytest.mark.usefixtures("rig")
@pytest.mark.long
def test_the_port_moves_and_every_command_follows(dlhost: Installed) -> None:
    set_variable(dlhost, "ssh_hardening_port: 2222")
    moved = dlhost.run("provision", "-i", "rig")
    assert moved.returncode == 6, moved.stdout
    assert "set ansible_port: 2222 in the inventory" in moved.stdout
    # The inventory still says 22: the host is found all the same.
    again = dlhost.document("provision", "-i", "rig")
    assert (again["exit_code"], again["hosts"][0]["changed"]) == (6, 0)
    assert dlhost.run("drift", "-i", "rig").returncode == 0
    assert dlhost.run("ssh", "-i", "rig", "--", "true").returncode == 0
    set_variable(dlhost, "ssh_hardening_port: 2222\nansible_port: 2222")
    assert dlhost.run("provision", "-i", "rig").returncode == 0
    assert dlhost.run("drift", "-i", "rig").returncode == 0
    assert dlhost.run("ssh", "-i", "rig", "--", "true").returncode == 0


def test_a_fleet_of_which_one_is_off_and_one_fails(
    dlhost: Installed, make_host: MakeHost, provisioned_image: str
) -> None:
    hosts = {name: make_host(image=provisioned_image) for name in ("good", "off", "bad")}
    dlhost.begin("rig", hosts["good"])
    inventory = dlhost.inventories / "rig"
    (inventory / ".ssh" / "known_hosts").write_text(
        "".join((host.directory / "known_hosts").read_text().replace(host.name, name) for name, host in hosts.items())
    )
    common = "-o UserKnownHostsFile={{ inventory_dir }}/.ssh/known_hosts -o HostKeyAlias={{ inventory_hostname }}"
    document = {
        name: {"ansible_host": host.address, "ansible_user": USER, "ansible_private_key_file": str(host.key_file)}
        for name, host in hosts.items()
    }
    text = json.dumps({"all": {"hosts": document, "vars": {"ansible_ssh_common_args": common}}})
    (inventory / "hosts.yml").write_text(text)
    for host in hosts.values():
        host.execute("rm /etc/apt/apt.conf.d/90dlhost")
    hosts["bad"].execute(
        "mount --bind -o ro /etc/apt/apt.conf.d /etc/apt/apt.conf.d; mount -o remount,ro,bind /etc/apt/apt.conf.d"
    )
    hosts["off"].execute("systemctl stop ssh.service ssh.socket")

    result = dlhost.document("provision", "-i", "rig")
    statuses = {host["host"]: host["status"] for host in result["hosts"]}
    assert statuses == {"good": "ok", "off": "unreachable", "bad": "failed"}
    assert result["exit_code"] == 1
    assert (
        "Read-only file system" in next(host for host in result["hosts"] if host["host"] == "bad")["failure"]["message"]
    )
    assert dlhost.run("drift", "-i", "rig", "--limit", "good").returncode == 0
    assert dlhost.run("drift", "-i", "rig", "--limit", "good,off").returncode == 4


@pytest.mark.usefixtures("rig")
def test_a_tunnel_and_a_port_that_is_taken(dlhost: Installed) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        taken = dlhost.run("tunnel", "-i", "rig", "-L", f"127.0.0.1:{port}:127.0.0.1:22")
        assert taken.returncode == 4
    tunnel = dlhost.start("tunnel", "-i", "rig", "-L", f"127.0.0.1:{port}:127.0.0.1:22")
    try:
        _wait(lambda: _banner(port).startswith(b"SSH-2.0"))
    finally:
        tunnel.send_signal(signal.SIGINT)
        tunnel.communicate()
    assert tunnel.returncode == 0


def assert_nowhere(dlhost: Installed, secret: str) -> None:
    """Nothing that dlhost keeps or leaves behind holds the secret."""
    places = [dlhost.home, Path(f"/tmp/dlhost-{os.getuid()}")]  # noqa: S108
    for path in (path for place in places for path in place.rglob("*") if path.is_file()):
        assert secret.encode() not in path.read_bytes(), path


def _assert_next_run_finishes(dlhost: Installed) -> None:
    done = dlhost.run("provision", "-i", "rig", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert dlhost.document("provision", "-i", "rig")["hosts"][0]["changed"] == 0
    assert dlhost.run("verify", "-i", "rig").returncode == 0


def _wait(condition: Callable[[], object], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not come"
        time.sleep(0.1)


def _banner(port: int) -> bytes:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(16)
    except OSError:
        return b""


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
