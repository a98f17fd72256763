"""Nobody is locked out: role firewall in a real kernel's packet filter, over real logins."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from tests.e2e.conftest import Host
from tests.e2e.guarded import GuardedRole

pytestmark = pytest.mark.e2e
both = pytest.mark.parametrize("host", ["12", "13"], indirect=True)

# sshd sees who comes through it as somebody of this host, as it does behind sslh, a container's proxy or a tunnel.
RELAY = """
import socket, threading
def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
listener = socket.create_server(("", 2222))
while True:
    client = listener.accept()[0]
    server = socket.create_connection(("127.0.0.1", 22))
    for pair in ((client, server), (server, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


FIREWALL = GuardedRole("firewall", "firewall", {"state": "present"})
protect, role, checks, settled = FIREWALL.apply, FIREWALL.task, FIREWALL.checks, FIREWALL.is_settled
SSH = GuardedRole("ssh_hardening", "sshd")


def firewall(host: Host) -> str:
    """The kernel's rules, and every file that a change may touch, with the directories around them."""
    return host.execute(
        "nft list ruleset 2>/dev/null || true; cat /etc/dlhost/* /etc/systemd/system/dlhost-* 2>/dev/null || true;"
        "ls -R /etc/dlhost /etc/systemd/system /var/lib/dlhost 2>/dev/null || true"
    )


def relayed(host: Host) -> Host:
    """The host behind a relay of its own on port 2222; the firewall cannot know who comes through it."""
    host.execute(f"cat > /root/relay.py <<'END'\n{RELAY}END\nsystemd-run --quiet --unit=relay python3 /root/relay.py")
    host.port = 2222
    # A login that is dropped says nothing, so that the tries end by their time.
    host.settings = {"ansible_timeout": 5, **host.settings}
    while host.ssh().returncode:
        time.sleep(0.2)
    return host


# The relay's own side is let in, and it is where this connection comes from; whoever comes to the relay is not.
SHUT: dict[str, Any] = {"ssh_cidrs": ["127.0.0.0/8"]}


def answers(host: Host, port: int) -> bool:
    """Whether the host says anything at all on a port, if only that nobody is there."""
    try:
        socket.create_connection((host.address, port), 3).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    return True


@both
def test_only_what_is_declared_comes_in_and_that_outlives_a_boot(host: Host) -> None:
    host.execute("systemd-run --quiet --unit=open python3 -m http.server 8000; systemctl enable --quiet ssh")
    variables: dict[str, Any] = {"ports": [{"port": "8080-8081", "comment": "workshop"}], "role_ports": [443]}
    first = protect(host, **variables)
    assert not first.failed, first.output
    assert first.changed == 1
    assert settled(host)
    assert host.ssh().returncode == 0
    assert [answers(host, port) for port in (443, 8081, 8000, 5901)] == [True, True, False, False]
    assert protect(host, **variables).changed == 0
    assert set(checks(host, **variables).values()) == {"pass"}

    host.restart()
    assert host.ssh().returncode == 0
    assert [answers(host, port) for port in (443, 5901)] == [True, False]
    assert protect(host, **variables).changed == 0

    gone = protect(host, state="absent")
    assert not gone.failed, gone.output
    assert answers(host, 5901)
    assert host.execute("nft list ruleset; ls -d /etc/dlhost /var/lib/dlhost 2>/dev/null || true") == ""
    assert protect(host, state="absent").changed == 0
    assert checks(host, state="absent") == {"absent": "pass"}


def test_what_would_shut_the_controller_out_is_refused_before_any_change(host: Host) -> None:
    before = firewall(host)
    refused = protect(host, ssh_cidrs=["192.0.2.0/24"])
    assert "firewall_ssh_cidrs (192.0.2.0/24) leaves out 1" in refused.message()
    assert "from where this very connection comes" in refused.message()
    host.execute("mkdir -p /etc/ufw; echo ENABLED=yes > /etc/ufw/ufw.conf")
    assert "ufw keeps this host's ports" in protect(host).message()
    assert "Traceback" not in refused.output
    assert firewall(host) == before


def test_a_firewall_that_shuts_ssh_out_is_taken_back_over_the_open_connection(host: Host) -> None:
    relayed(host)
    assert not protect(host).failed
    before = firewall(host)
    shut = protect(host, **SHUT)
    assert shut.message().startswith("No new login could prove the change")
    assert "the host has its old firewall back" in shut.message()
    assert "\n" not in shut.message().strip()
    assert firewall(host) == before
    assert settled(host)
    assert host.ssh().returncode == 0


def test_the_host_lets_ssh_in_again_by_itself(host: Host) -> None:
    host.settings = {"ansible_ssh_args": "-o ControlMaster=no"}
    shut = protect(relayed(host), guard_timeout_s=60, **SHUT)
    assert "by itself, and a login works again" in shut.message()
    assert settled(host)
    assert host.ssh().returncode == 0
    assert host.execute("nft list ruleset; ls /etc/systemd/system/sysinit.target.wants | grep dlhost || true") == ""


def test_a_boot_before_the_proof_brings_the_old_firewall(host: Host) -> None:
    assert not protect(host, ports=[{"port": "8000"}]).failed
    before = firewall(host)
    FIREWALL.cut_off(host, guard_timeout_s=600)
    host.execute("timeout 60 sh -c 'while nft list ruleset | grep -q 8000; do sleep 0.1; done'")
    assert not settled(host)
    host.restart()
    assert host.ssh().returncode == 0
    # The way back removes its own unit, so that the boot does not wait for its last line.
    host.execute("timeout 30 sh -c 'while [ -e /var/lib/dlhost/firewall ]; do sleep 0.1; done'")
    assert settled(host)
    assert firewall(host) == before


@pytest.mark.long
def test_sshd_can_move_to_a_port_that_the_firewall_does_not_know(host: Host) -> None:
    assert not protect(host).failed
    moved = SSH.apply(host, port=2222)
    assert not moved.failed, moved.output
    host.port = 2222
    assert host.ssh().returncode == 0
    host.restart()
    assert host.ssh().returncode == 0
    assert answers(host, 22)
    # The old port is no longer let in once the role looks at it.
    assert protect(host).changed == 1
    assert not answers(host, 22)
    assert host.play([SSH.task(port=2222), role()]).changed == 0


@pytest.mark.long
def test_sshd_moves_while_a_firewall_waits_for_its_proof(host: Host) -> None:
    assert not protect(host).failed
    FIREWALL.cut_off(host, ports=[{"port": "8000"}], guard_timeout_s=60)
    moved = SSH.apply(host, port=2222)
    assert not moved.failed, moved.output
    assert settled(host)
    assert SSH.is_settled(host)
    host.port = 2222
    # The firewall that the first run saw lets nobody in on that port.
    time.sleep(62)
    assert host.ssh().returncode == 0
    host.restart()
    assert host.ssh().returncode == 0
    assert host.play([SSH.task(port=2222), role()]).changed == 1


def test_a_connection_that_is_not_ssh_proves_nothing(host: Host) -> None:
    host.settings = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": host.name,
        "ansible_user": "root",
    }
    before = firewall(host)
    assert "firewall_guard to false; nothing was changed." in protect(host).message()
    # Nor has a package come.
    assert "nftables" not in host.execute("dpkg-query --show")
    assert firewall(host) == before
