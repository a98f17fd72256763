"""Copies: which side is the host's, what scp is given, and what is refused before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dlhost.adapters import inventory_source, openssh
from dlhost.errors import ExitCode
from dlhost.values.inventory import Connection
from tests.unit.world import World, write


@pytest.fixture
def sent(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The command lines of scp; a directory `data` and files lie in the working directory."""
    assert world
    commands: list[list[str]] = []

    def run(command: list[str]) -> int:
        commands.append(command)
        return int((tmp_path / "code").read_text()) if (tmp_path / "code").exists() else 0

    monkeypatch.setattr(openssh, "connection_that_answers", lambda host, _sockets: host.connection)
    monkeypatch.setattr(openssh, "run_interactively", run)
    for name in ("a.txt", "-b", "c:d", "data/x"):
        write(tmp_path / "work" / name, "text\n")
    return commands


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (("a.txt", "alpha:"), ("./a.txt", "192.0.2.1:")),
        (("a.txt", "./c:d", "alpha:work/"), ("./a.txt", "././c:d", "192.0.2.1:work/")),
        (("/etc/hostname", "beta:/tmp/x y"), ("/etc/hostname", "192.0.2.2:/tmp/x y")),
        (("alpha:one", "alpha:two:three", "."), ("192.0.2.1:one", "192.0.2.1:two:three", "./.")),
        (("alpha:one", "data/new"), ("192.0.2.1:one", "./data/new")),
        (("-r", "data", "alpha:~/data"), ("./data", "192.0.2.1:~/data")),
        (("alpha:one", ":two", "data"), ("192.0.2.1:one", "192.0.2.1:two", "./data")),
        (("alpha:", "--", "-b"), ("192.0.2.1:", "./-b")),
    ],
)
def test_one_side_is_here_and_one_on_a_host(
    world: World, sent: list[list[str]], arguments: tuple[str, ...], paths: tuple[str, ...]
) -> None:
    assert world("cp", "-i", "rig", *arguments).exit_code == ExitCode.DONE

    (command,) = sent
    assert command == ["scp", *(["-r"] if "-r" in arguments else []), "--", *paths]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a.txt",), "Name what to copy, and then where to"),
        (("a.txt", "data"), "None of these is on a host. Write the host's side as HOST:PATH"),
        (("alpha:x", "alpha:y"), "A copy goes from here to a host or from a host to here"),
        (("a.txt", "alpha:x", "data"), "A copy goes from here to a host or from a host to here"),
        (("a.txt", "alpha:x", "alpha:y"), "A copy goes from here to a host or from a host to here"),
        (("alpha:x", "beta:y", "."), "A copy is with one host, not with alpha and beta."),
        (("missing", "alpha:"), "There is no missing here."),
        (("data", "alpha:"), "data is a directory; -r copies it, with all that is in it."),
        (("alpha:x", "nowhere/y"), "There is no directory nowhere here to copy into."),
        (("alpha:x", "alpha:y", "a.txt"), "There is no directory a.txt here to copy into."),
        (("alpha:x", "new/"), "There is no directory new here to copy into."),
        (("a.txt", ":x"), "Which host? The inventory has alpha, beta."),
        (("a.txt", "alpa:x"), "There is no host or group alpa; did you mean alpha?"),
    ],
)
def test_what_cannot_be_copied_is_one_sentence(
    world: World, sent: list[list[str]], arguments: tuple[str, ...], sentence: str
) -> None:
    result = world("cp", *arguments, "-i", "rig")

    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (ExitCode.USAGE, "", 1)
    assert sentence in result.stderr
    assert sent == []


@pytest.mark.parametrize(("code", "ours"), [(0, 0), (1, ExitCode.TASK_FAILED), (255, ExitCode.UNREACHABLE)])
def test_a_lost_host_is_told_from_a_file_that_could_not_be_copied(
    world: World, sent: list[list[str]], tmp_path: Path, code: int, ours: int
) -> None:
    (tmp_path / "code").write_text(str(code))

    assert world("cp", "alpha:x", ".", "-i", "rig").exit_code == ours
    assert len(sent) == 1


def test_scp_is_given_the_options_that_ansible_gives_it(rig: Path) -> None:
    variables = (
        "{ansible_host: '2001:db8::1', ansible_port: 2222, ansible_ssh_args: -C, ansible_ssh_common_args: -J bastion,"
        " ansible_ssh_extra_args: -tt, ansible_scp_extra_args: -O, ansible_ssh_private_key_file: /k}"
    )
    write(rig / "hosts.yml", f"all: {{hosts: {{alpha: {variables}}}}}\n")
    (alpha,) = inventory_source.load(inventory_source.find("rig"), None).hosts

    paths = [openssh.scp_path(alpha.connection, "x")]
    command = openssh.scp_command(replace(alpha.connection, user="ada"), paths, recursive=False)
    assert " ".join(command) == 'scp -C -o Port=2222 -o IdentityFile="/k" -o User=ada -J bastion -O -- [2001:db8::1]:x'
    assert openssh.scp_path(Connection(address="h"), "") == "h:"
