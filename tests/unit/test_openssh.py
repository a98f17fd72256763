"""OpenSSH's words as sentences with a way out, and its command lines. What ssh said is recorded from OpenSSH 9.2."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from dlhost.adapters import openssh
from dlhost.adapters.git import revision
from dlhost.errors import RefusedError, UnreachableError
from dlhost.values.inventory import Connection, Host
from dlhost.values.preflight import Contact

ADA = Connection(address="192.0.2.1", port=2222, user="ada")
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:q0TyBUDxLxDxP8MhIVf1b/4Ec9DBgRpBVQ7DMcQN1Ks.
Please contact your system administrator.
Add correct host key in /home/ada/known_hosts to get rid of this message.
Offending ED25519 key in /home/ada/known_hosts:12
  remove with:
  ssh-keygen -f "/home/ada/known_hosts" -R "192.0.2.1"
Host key for 192.0.2.1 has changed and you have requested strict checking.
Host key verification failed.
"""
UNKNOWN = """\
No ED25519 host key is known for 192.0.2.1 and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "contact", "sentence"),
    [
        (
            CHANGED.replace("\n", "\r\n"),
            Contact.UNTRUSTED,
            r"another host key.*run `ssh-keygen -R '\[192\.0\.2\.1\]:2222' -f /home/ada/known_hosts`$",
        ),
        (UNKNOWN, Contact.UNTRUSTED, r"not trusted yet \(192\.0\.2\.1 port 2222\)$"),
        ("Host key verification failed.\r\n", Contact.UNTRUSTED, "not trusted yet"),
        (
            "ada@192.0.2.1: Permission denied (publickey,password).\r\n",
            Contact.UNREACHABLE,
            r"does not let ada log in with your key; it accepts publickey,password\. .*ssh-copy-id.* ada@192\.0\.2\.1",
        ),
        (
            "Permissions 0644 for '/home/ada/id' are too open.\r\nada@192.0.2.1: Permission denied (publickey).\r\n",
            Contact.UNREACHABLE,
            r"others may read it, and ssh does not use it so\. Run chmod 600 /home/ada/id$",
        ),
        (
            "ssh: connect to host 192.0.2.1 port 2222: Connection timed out\r\n",
            Contact.UNREACHABLE,
            "cannot be reached at 192.0.2.1 port 2222: ssh: connect to host 192.0.2.1 port 2222: Connection timed out$",
        ),
        (
            "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 192.0.2.1 port 22\r\n",
            Contact.UNREACHABLE,
            r"hangs up before a login, .* Try again in some minutes \(192\.0\.2\.1 port 2222\)$",
        ),
        ("", Contact.UNREACHABLE, "cannot be reached at 192.0.2.1 port 2222: the connection was closed$"),
    ],
)
def test_what_ssh_said_is_a_sentence_with_a_way_out(said: str, contact: Contact, sentence: str) -> None:
    found, explained = openssh._explain(said, ADA)

    assert found is contact
    assert re.search(sentence, explained, re.DOTALL), explained
    assert not explained.endswith(".")


def test_a_key_file_that_is_not_there_is_no_key_that_is_not_authorised() -> None:
    said = (
        "no such identity: /home/ada/gone: No such file or directory\r\n"
        "ada@192.0.2.1: Permission denied (publickey).\r\n"
    )

    contact, explained = openssh._explain(said, replace(ADA, key_file="/home/ada/gone"))
    _, other = openssh._explain(said, replace(ADA, key_file="/home/ada/there"))

    assert contact is Contact.UNREACHABLE
    assert explained == (
        "does not let ada log in, and the key file that the inventory names for it is not there: /home/ada/gone. "
        "Correct ansible_ssh_private_key_file, or bring the file back"
    )
    assert "with your key; it accepts publickey. Authorise it" in other


def test_a_port_for_ssh_copy_id_is_named() -> None:
    _, explained = openssh._explain("ada@192.0.2.1: Permission denied (publickey).", ADA)

    assert "ssh-copy-id -p 2222 ada@192.0.2.1" in explained


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def host(connection: Connection, **variables: object) -> Host:
    return Host("alpha", (), connection, variables)


def test_a_closed_port_is_unreachable_for_real(tmp_path: Path, closed_port: int) -> None:
    target = host(Connection(address="127.0.0.1", port=closed_port, ssh_args=("-F", "/dev/null")), ssh_hardening_port=1)

    (probe,) = openssh.probe_all([target], tmp_path)

    assert (probe.contact, probe.port) == (Contact.UNREACHABLE, None)
    assert probe.error.endswith(f"connect to host 127.0.0.1 port {closed_port}: Connection refused")


def test_a_name_nobody_knows_is_unreachable_for_real(tmp_path: Path) -> None:
    (probe,) = openssh.probe_all([host(Connection(address="nowhere.invalid", port=22))], tmp_path)

    assert probe.contact is Contact.UNREACHABLE
    assert "Could not resolve hostname nowhere.invalid" in probe.error


def test_this_machine_can_be_looked_at_for_real(tmp_path: Path) -> None:
    probe = openssh.probe(host(Connection(transport="local")), tmp_path)

    assert probe.contact is Contact.REACHED
    assert probe.facts is not None
    assert {"distribution", "version", "architecture", "user", "python", "ssh_hardened"} <= set(probe.facts)
    assert int(probe.facts["free_mib_root"]) > 0
    assert probe.sudo


def test_other_connections_cannot_be_looked_at(tmp_path: Path) -> None:
    probe = openssh.probe(host(Connection(transport="docker")), tmp_path)

    assert (probe.contact, probe.error) == (Contact.UNREACHABLE, "cannot be looked at over a docker connection")


def program(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def test_a_host_that_speaks_no_utf_8_is_explained_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "ssh", r"printf 'Gr\374\337e\n' >&2; exit 255")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    probe = openssh.probe(host(ADA), tmp_path)

    assert probe.contact is Contact.UNREACHABLE
    assert "Gr" in probe.error


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("sudo: a password is required", "password"),
        ("sudo: interactive authentication is required", "password"),
        ("sudo: sorry, you must have a tty", "sudo: sorry, you must have a tty"),
    ],
)
def test_sudo_says_in_several_ways_that_it_wants_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: str
) -> None:
    program(tmp_path, "sudo", f"echo '{said}' >&2; exit 1")
    program(tmp_path, "id", "[ $1 = -u ] && echo 1000 || echo ada")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert openssh.probe(host(Connection(transport="local")), tmp_path).sudo.strip() == found


def test_a_sudo_that_never_answers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "sudo", "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(openssh, "PROBE_TIMEOUT_S", 0.2)

    with pytest.raises(RefusedError, match="alpha: sudo takes longer than"):
        openssh.try_sudo_password(host(Connection(transport="local")), "correct horse", tmp_path)


def test_the_port_that_sshd_moved_to_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$*" in *Port=2200*) sh;; *) echo "ssh: Connection refused" >&2; exit 255;; esac'
    program(tmp_path, "ssh", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    probe = openssh.probe(host(ADA, ssh_hardening_port=2200), tmp_path)

    assert (probe.contact, probe.port) == (Contact.REACHED, 2200)


def test_a_connection_is_to_the_port_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$*" in *Port=2200*) sh;; *) echo "ssh: Connection refused" >&2; exit 255;; esac'
    program(tmp_path, "ssh", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert openssh.connection_that_answers(host(ADA, ssh_hardening_port=2200), tmp_path) == replace(ADA, port=2200)
    # Where no port answers, ssh itself says why.
    assert openssh.connection_that_answers(host(ADA), tmp_path) == ADA


def test_the_connections_of_every_port_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "ssh", f'echo "$*" >> {tmp_path}/log')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    openssh.close_connections([host(ADA, ssh_hardening_port=2200), host(Connection(transport="local"))], tmp_path)

    closed = (tmp_path / "log").read_text().splitlines()
    assert [re.findall(r"Port=(\d+).* -O (\w+)", line) for line in closed] == [
        [("2222", "exit")],
        [("2200", "exit")],
        [("22", "exit")],
    ]


def test_without_a_client_the_way_to_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RefusedError, match="apt-get install openssh-client"):
        openssh.probe(host(ADA), tmp_path)
    with pytest.raises(RefusedError, match="apt-get install openssh-client"):
        openssh.run_interactively(["ssh", "x"])
    assert revision(tmp_path) == ""


def test_a_command_line_has_ansibles_options_in_its_order() -> None:
    connection = Connection(
        address="h", port=2222, user="ada", key_file="/k", early_ssh_args=("-J", "bastion"), ssh_args=("-o", "X=y")
    )

    # ssh takes the first value of an option, so this order is Ansible's word on which one counts.
    assert openssh.ssh_command(connection, ["-N"], ["true"]) == [
        *("ssh", "-J", "bastion", "-o", "Port=2222", "-o", 'IdentityFile="/k"', "-o", "User=ada"),
        *("-o", "X=y", "-N", "h", "true"),
    ]
    assert openssh.ssh_command(Connection(address="h")) == ["ssh", "h"]


def test_no_ssh_server_means_no_host_keys(closed_port: int) -> None:
    with pytest.raises(UnreachableError, match=f"does not answer as an SSH server on port {closed_port}"):
        openssh.scan_host_keys("127.0.0.1", closed_port)


def test_a_name_without_an_address_is_said_to_be_unknown() -> None:
    # No name service is asked for a name that cannot be one.
    with pytest.raises(UnreachableError, match=r"knows no address of no\.\.such: .+\. Correct the name"):
        openssh.scan_host_keys("no..such", 22)


@pytest.fixture
def turned_away() -> Iterator[int]:
    """A port where everybody is hung up on, as sshd does with an address it has seen too much of."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    listener.accept()[0].close()

        Thread(target=hang_up, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def test_an_ssh_server_that_turns_us_away_says_nothing_of_its_keys(turned_away: int) -> None:
    with pytest.raises(UnreachableError, match=f"127.0.0.1 port {turned_away} hangs up before a login"):
        openssh.scan_host_keys("127.0.0.1", turned_away)


def test_a_new_key_is_a_pair_of_texts_with_a_fingerprint(tmp_path: Path) -> None:
    private, public = openssh.new_key(tmp_path / "key", "for a test")

    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" for a test\n")
    assert openssh._fingerprint(public).startswith("SHA256:")


@pytest.mark.parametrize("alias", ["rig", ""])
def test_a_reinstalled_hosts_keys_are_forgotten_by_the_command_named(tmp_path: Path, alias: str) -> None:
    known_hosts = tmp_path / "known_hosts"
    name = alias or "[192.0.2.1]:2222"
    keys = []
    for kind in ("ed25519", "ecdsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / kind], check=True)
        keys.append(" ".join((tmp_path / f"{kind}.pub").read_text().split()[:2]))
    known_hosts.write_text("".join(f"{host} {key}\n" for host in (name, "other") for key in keys))
    ada = replace(ADA, ssh_args=("-o", f"HostKeyAlias={alias}")) if alias else ADA

    _, sentence = openssh._explain(CHANGED.replace("/home/ada/known_hosts", str(known_hosts)), ada)
    named = re.search(r"run `(ssh-keygen [^`]+)`", sentence)

    assert named is not None
    subprocess.run(shlex.split(named[1]), check=True, capture_output=True)
    assert known_hosts.read_text() == "".join(f"other {key}\n" for key in keys)
