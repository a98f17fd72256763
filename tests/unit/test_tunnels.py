"""Tunnels in the background: there once each, told apart, ended, and forgotten when they are dead."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dlhost.adapters import network, openssh, tunnels
from dlhost.errors import ExitCode
from dlhost.values.services import Offer, Service
from dlhost.values.tunnels import Tunnel
from tests.unit.world import World, write

ADA = Service("jupyter", "ada", 8888, "/jupyter/ada/")
GRACE = Service("jupyter", "grace", 8889, "/jupyter/grace/")


def listens(port: int) -> bool:
    return not network.is_free(port)


@dataclass
class Desk:
    """Where a user starts tunnels: the services of every host, and what ssh was told."""

    world: World
    kept: Path
    offer: Offer = field(default_factory=lambda: Offer((replace(ADA, port=network.free_port()),)))

    def __call__(self, *arguments: str, code: int = 0, where: tuple[str, str] = ("rig", "alpha")) -> tuple[str, str]:
        inventory, host = where
        result = self.world("tunnel", *arguments, "-i", inventory, *(("--host", host) if host else ()))
        assert result.exit_code == code, result.output
        return result.stdout, result.stderr

    def background(self, *arguments: str, where: tuple[str, str] = ("rig", "alpha")) -> int:
        """The local port of a service's tunnel."""
        url = self(*arguments, "--background", where=where)[0]
        return int(url.split(":")[2].split("/")[0])

    @property
    def commands(self) -> list[str]:
        return (self.kept / "commands").read_text().splitlines()

    @property
    def files(self) -> list[Path]:
        return sorted((self.kept / "dlhost" / "tunnels").iterdir())

    def masters(self) -> list[int]:
        return [int(path.read_text().split()[0]) for path in self.files if not path.suffix]

    def refuse(self, said: str) -> None:
        (self.kept / "refuses").write_text(said)


@pytest.fixture
def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    # A socket's path is short; pytest's own are not.
    kept = Path(tempfile.mkdtemp(prefix="d"))
    program = write(
        tmp_path / "ssh", f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("ssh_double.py")} "$@"'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SSH_DOUBLE", str(kept))
    monkeypatch.setenv("XDG_STATE_HOME", str(kept))
    desk = Desk(world, kept)
    monkeypatch.setattr(openssh, "connection_that_answers", lambda host, _sockets: host.connection)
    monkeypatch.setattr(openssh, "offer", lambda _host, _sockets: desk.offer)
    yield desk
    with tunnels.held() as held:
        held.stop(*held.living())
    shutil.rmtree(kept)


def test_a_service_has_one_tunnel_until_it_is_stopped(desk: Desk) -> None:
    port = desk.offer.services[0].port
    url = f"http://127.0.0.1:{port}/jupyter/ada/\n"
    leads = f"Port {port} of this machine leads to jupyter (ada) on alpha"
    ends = "the same command with --stop for --background ends it.\n"

    assert desk("jupyter", "--background") == (url, f"{leads}; {ends}")
    assert listens(port)
    assert desk("jupyter", "--background") == (url, f"{leads}, as before; {ends}")
    assert len(desk.masters()) == 1
    assert {path.stat().st_mode & 0o77 for path in desk.files[0].parents[:1]} == {0}

    assert desk("jupyter", "--stop") == ("Ended: jupyter (ada) on alpha.\n", "")
    assert desk.files == []
    assert desk("jupyter", "--stop") == ("", "No such tunnel is in the background.\n")


def test_it_goes_to_the_loopback_of_the_host_on_a_connection_of_its_own(desk: Desk, rig: Path) -> None:
    arguments = "-o ControlPersist=9 -o ControlMaster=yes"
    alpha = f"{{ansible_host: 192.0.2.1, ansible_become_password: not-for-argv, ansible_ssh_args: {arguments}}}"
    write(rig / "hosts.yml", f"all: {{hosts: {{alpha: {alpha}, beta: }}}}\n")
    port = desk.background("jupyter")

    (command,) = (line for line in desk.commands if " -f " in line)
    assert f"-L 127.0.0.1:{port}:127.0.0.1:{port} 192.0.2.1" in command
    # As ssh itself takes it: the one connection of its socket, which neither lasts for others nor asks before it ends.
    told = subprocess.run(
        ["/usr/bin/ssh", "-F", "none", "-G", *command.split()], capture_output=True, text=True, check=True
    )
    assert {"controlpersist no", "controlmaster true"} <= set(told.stdout.splitlines())
    assert "ExitOnForwardFailure=yes" in command
    assert not any("not-for-argv" in line for line in desk.commands)
    assert not any("not-for-argv" in path.read_text() for path in desk.files)


def test_inventories_hosts_and_users_are_told_apart(desk: Desk, rig: Path) -> None:
    shutil.copytree(rig, rig.with_name("lab"))
    desk.offer = Offer((ADA, GRACE))
    ports = {
        (user, where): desk.background("jupyter", "--user", user, where=where)
        for user in ("ada", "grace")
        for where in (("rig", "alpha"), ("rig", "beta"), ("lab", "alpha"))
    }
    assert len(set(ports.values())) == len(ports)

    assert desk("jupyter", "--user", "ada", "--stop", where=("rig", "beta"))[0] == "Ended: jupyter (ada) on beta.\n"
    assert not listens(ports["ada", ("rig", "beta")])
    assert len(desk("--stop", where=("rig", ""))[0].splitlines()) == 3
    assert {listens(ports[user, ("lab", "alpha")]) for user in ("ada", "grace")} == {True}


def test_a_dead_one_is_forgotten_and_made_anew(desk: Desk) -> None:
    port = desk.background("jupyter")
    (master,) = desk.masters()
    os.kill(master, signal.SIGKILL)
    while listens(port):
        time.sleep(0.01)
    (desk.files[0].parent / "0000.json").write_text("{")

    assert ", as before" not in desk("jupyter", "--background")[1]
    assert listens(port)
    assert desk.masters() != [master]
    assert len(desk.files) == 2


@pytest.mark.parametrize("trouble", ["asks", "stopped"])
def test_one_that_does_not_end_is_said_and_not_forgotten(
    desk: Desk, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssh, "MASTER_TIMEOUT_S", 0.5)
    port = desk.background("jupyter")
    (desk.kept / trouble).touch()

    socket_file = next(path for path in desk.files if not path.suffix)
    assert desk("--stop", code=1) == (
        "",
        f"The tunnel to jupyter (ada) on alpha does not end. End its ssh by hand: pkill -KILL -f {socket_file}\n",
    )
    assert listens(port)
    assert ", as before" in desk("jupyter", "--background")[1]
    (desk.kept / trouble).unlink()
    monkeypatch.setattr(openssh, "MASTER_TIMEOUT_S", 60)
    assert desk("--stop")[0] == "Ended: jupyter (ada) on alpha.\n"
    assert desk.files == []


def test_a_service_that_moved_is_followed_at_the_same_address(desk: Desk) -> None:
    port = desk.background("jupyter")
    desk.offer = Offer((replace(desk.offer.services[0], port=9999),))

    assert desk.background("jupyter") == port
    assert f"-L 127.0.0.1:{port}:127.0.0.1:9999" in desk.commands[-1]
    assert len(desk.masters()) == 1


def test_the_local_port_is_the_wanted_one_or_none(desk: Desk) -> None:
    wanted = network.free_port()
    assert desk.background("jupyter", "--local-port", str(wanted)) == wanted
    assert desk.background("jupyter", "--local-port", str(wanted)) == wanted
    other = str(network.free_port())
    assert (
        f"has its tunnel at port {wanted} already; end it first, with --stop."
        in desk("jupyter", "--background", "--local-port", other, code=2)[1]
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        desk("jupyter", "--stop")
        port = str(taken.getsockname()[1])
        assert (
            f"Port {port} of this machine is taken" in desk("jupyter", "--background", "--local-port", port, code=2)[1]
        )


def test_any_ports_go_to_the_background_too(desk: Desk) -> None:
    forwards = [f"127.0.0.1:{network.free_port()}:localhost:1", "127.0.0.1:2:localhost:2"]
    options = [word for forward in forwards for word in ("-L", forward)]
    backwards = [word for forward in reversed(forwards) for word in ("-L", forward)]
    several = "127.0.0.1:2:localhost:2"

    stdout, stderr = desk(*options, "--background")
    assert stdout == ""
    assert stderr.startswith("Forwarding 127.0.0.1:") and several in stderr
    assert ", as before" in desk(*backwards, "--background")[1]
    assert len(desk.masters()) == 1
    assert several in desk(*options, "--stop")[0]


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        (
            "bind [127.0.0.1]:8888: Address already in use\r\nCould not request local forwarding.\r\n",
            ExitCode.USAGE,
            "The tunnel cannot begin at [127.0.0.1]:8888 of this machine: Address already in use. Choose another port.",
        ),
        (
            "ssh: connect to host 192.0.2.1 port 22: Connection refused\r\n",
            ExitCode.UNREACHABLE,
            "alpha cannot be reached at 192.0.2.1 port 22: ssh: connect to host 192.0.2.1 port 22: Connection refused.",
        ),
        ("", ExitCode.UNREACHABLE, "alpha cannot be reached at 192.0.2.1 port 22: the connection was closed."),
    ],
)
def test_one_that_cannot_be_had_leaves_nothing(desk: Desk, said: str, code: ExitCode, sentence: str) -> None:
    desk.refuse(said)

    assert desk("jupyter", "--background", code=code) == ("", f"{sentence}\n")
    assert desk.files == []


def test_a_path_too_long_for_a_socket_is_said(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ("x" * 80)))

    assert "too long a path for a control socket. Set XDG_STATE_HOME" in desk("jupyter", "--background", code=5)[1]
    monkeypatch.setenv("XDG_STATE_HOME", str(desk.kept))


@pytest.mark.parametrize(
    "arguments",
    [("jupyter", "--background"), ("jupyter", "--local-port", "1"), ("--background",), ("-L", "1:h:1", "jupyter")],
)
def test_stop_only_stops(desk: Desk, arguments: tuple[str, ...]) -> None:
    stderr = desk(*arguments, "--stop", code=2)[1]

    assert "--stop ends a tunnel" in stderr or "Name a service" in stderr


def test_what_a_tunnel_leads_to_is_said() -> None:
    assert Tunnel("rig", "alpha", ("1:h:1", "2:h:2")).name == "1:h:1, 2:h:2 on alpha"


def test_the_command_that_shows_its_password_is_said(desk: Desk, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "portal_password: correct horse\n")
    desk.offer = Offer((Service("portal", "ada", network.free_port(), "/", "vnc"),))

    stdout, stderr = desk("portal", "--background")
    assert stdout.startswith("vnc://127.0.0.1:")
    assert stderr.startswith("`dlhost secrets show portal_password -i rig --host alpha` shows its password.\nPort ")
