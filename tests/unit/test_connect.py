"""What editors are told of a host: the block that makes it known by name, and who may change the user's files."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from dlhost.adapters import openssh, tunnels
from dlhost.adapters.inventory_source import find
from dlhost.errors import ExitCode
from dlhost.values import services
from dlhost.values.inventory import Connection
from dlhost.values.services import Offer, Service
from dlhost.values.ssh_config import block, effective_from, with_block
from dlhost.values.tunnels import Tunnel
from tests.unit.world import World, write

OFFER = Offer((Service("jupyter", "ada", 8888, "/jupyter/ada/"), Service("tensorboard", "ada", 6006, "/t/")))


@pytest.fixture
def home(world: World, rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with no configuration of ssh; the inventory has one host behind another, which offers Jupyter."""
    assert world
    variables = (
        "{ansible_host: 192.0.2.1, ansible_port: 2222, ansible_user: ada, ansible_private_key_file: '/k/my key',"
        " ansible_ssh_args: '-o ControlMaster=auto -o ControlPath=/x -A',"
        " ansible_ssh_common_args: '-o ''UserKnownHostsFile=\"/k/all known\" /k/more''"
        " -o HostKeyAlias=alpha -J bastion'}"
    )
    write(rig / "hosts.yml", f"all: {{hosts: {{alpha: {variables}}}}}\n")
    monkeypatch.setattr(openssh, "connection_that_answers", lambda host, _sockets: host.connection)
    monkeypatch.setattr(openssh, "offer", lambda _host, _sockets: OFFER)
    # OpenSSH asks the user database for a home, not the environment.
    real = openssh.ssh_command
    config = tmp_path / "home" / ".ssh" / "config"
    write(config, "")

    def ours(connection: Connection, options: list[str], *more: list[str]) -> list[str]:
        return [*real(connection, ["-F", str(config), *options], *more)]

    monkeypatch.setattr(openssh, "ssh_command", ours)
    return tmp_path / "home"


BLOCK = """\
Host dlhost-rig-alpha
  HostName 192.0.2.1
  Port 2222
  User ada
  IdentityFile "/k/my key"
  UserKnownHostsFile "/k/all known" /k/more
  HostKeyAlias alpha
  ProxyJump bastion
  forwardagent yes
"""


def by_name(*configuration: Path) -> dict[str, list[str]]:
    """What ssh does for the name alone, by these files."""
    words = [word for path in configuration for word in ("-F", str(path))]
    told = subprocess.run(["ssh", *words, "-G", "dlhost-rig-alpha"], capture_output=True, text=True, check=True)
    return effective_from(told.stdout)


def test_the_block_is_the_inventorys_connection(world: World, home: Path) -> None:
    result = world("connect", "vscode", "-i", "rig")

    assert result.exit_code == ExitCode.DONE
    assert BLOCK in result.stdout
    assert not (home.parent / "config" / "dlhost" / "ssh_config").exists()
    # All of it is a configuration, by which ssh does for the name what it does for the inventory.
    path = write(home / "all", result.stdout)
    told = by_name(path)
    assert {key: told[key] for key in ("hostname", "port", "user", "identityfile", "proxyjump", "hostkeyalias")} == {
        "hostname": ["192.0.2.1"],
        "port": ["2222"],
        "user": ["ada"],
        "identityfile": ["/k/my key"],
        "proxyjump": ["bastion"],
        "hostkeyalias": ["alpha"],
    }


def test_what_holds_for_every_host_of_the_user_is_not_said_again(world: World, home: Path) -> None:
    write(home / ".ssh" / "config", "Compression yes\nHost 192.0.2.1\n  ConnectTimeout 7\n")

    stdout = world("connect", "vscode", "-i", "rig").stdout
    assert "compression" not in stdout
    # What holds for its address would be lost with the name.
    assert "  connecttimeout 7\n" in stdout


def test_jupyter_is_at_the_tunnel_and_its_password_where_it_is_shown(
    world: World, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home
    monkeypatch.setattr(services, "_password", lambda *_: "jupyter_password")
    monkeypatch.setattr(openssh, "is_master", lambda _socket: True)
    monkeypatch.setattr(openssh, "end_master", lambda _socket: True)
    told = world("connect", "vscode", "-i", "rig").stdout
    assert "#   address   what `dlhost tunnel jupyter -i rig --background` prints\n" in told
    assert "#   password  dlhost secrets show jupyter_password -i rig\n" in told
    assert "tensorboard" not in told

    monkeypatch.setattr(openssh, "forward_in_background", lambda *_: None)
    monkeypatch.setattr(tunnels, "LONGEST_SOCKET", 200)
    url = "http://127.0.0.1:8889/jupyter/ada/"
    with tunnels.held() as held:
        held.start(Tunnel(find("rig").key, "alpha", ("x",), "jupyter", "ada", url, 8889), Connection())
    assert f"#   address   {url}\n" in world("connect", "vscode", "-i", "rig").stdout


def test_a_host_that_does_not_answer_has_its_block(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home
    monkeypatch.setattr(openssh, "offers", lambda _hosts, _sockets: {"alpha": Offer(error="alpha is off.")})

    result = world("connect", "vscode", "-i", "rig")
    assert (result.exit_code, BLOCK in result.stdout) == (ExitCode.DONE, True)
    assert result.stderr == "Its Jupyter servers are not known: alpha is off.\n"


def test_options_that_ssh_does_not_know_are_said(world: World, home: Path, rig: Path) -> None:
    assert home
    write(rig / "hosts.yml", "all: {hosts: {alpha: {ansible_ssh_common_args: -o Nonsense=1}}}\n")

    result = world("connect", "vscode", "-i", "rig")
    assert result.exit_code == ExitCode.REFUSED
    assert result.stderr.startswith(
        "ssh does not take the inventory's options: command-line: line 0: Bad configuration"
    )


# Files --------------------------------------------------------------------------------------------------------------


def test_only_a_file_of_our_own_is_written_without_consent(world: World, home: Path) -> None:
    users, ours = home / ".ssh" / "config", home.parent / "config" / "dlhost" / "ssh_config"
    write(users, "Host mine\n  User me\n")

    result = world("connect", "vscode", "-i", "rig", "--write")
    assert result.exit_code == ExitCode.USER_MUST_ACT
    assert result.stderr == f"ssh does not read it yet. Put this line at the top of {users}:\nInclude {ours}\n"
    assert users.read_text() == "Host mine\n  User me\n"
    assert by_name(ours)["port"] == ["2222"]
    assert stat.S_IMODE(ours.stat().st_mode) == 0o600


def test_with_consent_ssh_reads_it_once(world: World, home: Path) -> None:
    users, ours = home / "dotfiles" / "ssh", home.parent / "config" / "dlhost" / "ssh_config"
    write(users, "Host mine\n  User me\n").chmod(0o640)
    (home / ".ssh" / "config").unlink()
    (home / ".ssh" / "config").symlink_to(users)

    for _ in range(2):
        assert world("connect", "vscode", "-i", "rig", "--write", "--yes").exit_code == ExitCode.DONE
    assert users.read_text() == f"Include {ours}\n\nHost mine\n  User me\n"
    assert (home / ".ssh" / "config").is_symlink()
    assert stat.S_IMODE(users.stat().st_mode) == 0o640
    assert by_name(home / ".ssh" / "config")["port"] == ["2222"]
    assert [path.name for path in users.parent.iterdir()] == ["ssh"]


@pytest.mark.parametrize("before", ["Host other\n  Include {ours}\n", "Host dlhost-*\n  HostName h\nInclude {ours}\n"])
def test_a_file_that_is_included_and_not_gone_by_is_not_enough(world: World, home: Path, before: str) -> None:
    users, ours = home / ".ssh" / "config", home.parent / "config" / "dlhost" / "ssh_config"
    text = before.format(ours=ours)
    write(users, text)

    result = world("connect", "vscode", "-i", "rig", "--write")
    assert (result.exit_code, users.read_text()) == (ExitCode.USER_MUST_ACT, text)
    assert "ssh does not read it yet." in result.stderr
    assert world("connect", "vscode", "-i", "rig", "--write", "--yes").exit_code == ExitCode.DONE
    assert by_name(users)["hostname"] == ["192.0.2.1"]


def test_ssh_may_read_another_file_than_ours(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where HOME is not the home that the user database names."""
    users = write(home / "elsewhere" / ".ssh" / "config", "")
    monkeypatch.setattr(Path, "home", lambda: users.parent.parent)

    for _ in range(2):
        result = world("connect", "vscode", "-i", "rig", "--write", "--yes")
        assert result.exit_code == ExitCode.USER_MUST_ACT
        assert result.stderr == f"{users} includes it, and ssh does not go by it; see ssh -G dlhost-rig-alpha.\n"
    assert users.read_text().count("Include") == 1


@pytest.mark.parametrize(("answer", "code"), [("y\n", ExitCode.DONE), ("n\n", ExitCode.USER_MUST_ACT)])
def test_a_person_is_asked(world: World, home: Path, answer: str, code: ExitCode) -> None:
    world.at_terminal = True
    world.answers = []

    result = world("connect", "vscode", "-i", "rig", "--write", stdin=answer)
    assert result.exit_code == code
    assert "Let ssh read it, by `Include " in result.stderr
    assert ("Include" in (home / ".ssh" / "config").read_text()) is (code == ExitCode.DONE)


def test_a_host_that_changed_has_its_block_replaced_and_others_stay() -> None:
    both = with_block(with_block("# head\n", "dlhost-a", "Host dlhost-a\n"), "dlhost-b", "Host dlhost-b\n")

    changed = with_block(both, "dlhost-a", "Host dlhost-a\n  Port \\1\n")
    assert changed == (
        "# head\n\n# dlhost-a: begin\nHost dlhost-a\n  Port \\1\n# dlhost-a: end\n"
        "\n# dlhost-b: begin\nHost dlhost-b\n# dlhost-b: end\n"
    )
    assert with_block(changed, "dlhost-a", "Host dlhost-a\n") == both


def test_lists_are_said_by_what_they_have_more() -> None:
    host = {"hostname": ["h"], "port": ["22"], "user": ["me"], "identityfile": ["/a", "~/.ssh/id"]}

    told = block("x", host, {"hostname": ["y"], "port": ["22"], "user": ["me"], "identityfile": ["~/.ssh/id"]})
    assert told == "Host x\n  HostName h\n  Port 22\n  User me\n  IdentityFile /a\n"
