"""The program as a whole: its own content, its own bugs, and readers that go away."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dlhost import __version__
from dlhost.adapters import ansible_env, content
from dlhost.cli import app as program
from dlhost.cli.app import app
from tests.unit.world import World, write, write_content

MAIN = [sys.executable, "-c", "from dlhost.cli.app import main; main()"]


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"dlhost {__version__}\n"


@pytest.mark.parametrize("command", [name for info in app.registered_commands if (name := info.name)])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "-h"])

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: ")


def test_the_collection_is_found_from_a_checkout_and_its_roles_can_be_read() -> None:
    root = ansible_env.content_root()

    assert (root / "galaxy.yml").is_file()
    assert root.parts[-3:] == ("ansible_collections", "dlhost", "host")
    names = [schema.role for schema in content.role_schemas()]
    assert names[:2] == ["system", "ssh_hardening"]
    for schema in content.role_schemas():
        assert set(content.default_values(schema.role)) <= set(schema.options)
        assert all(option.description for option in schema.options.values())
        # The wrapper knows a play's hosts as groups one of which is enough; it reads no other pattern.
        assert schema.groups
        assert all(re.fullmatch(r"[a-z]\w*", group) for group in schema.groups)


def test_what_the_playbooks_say_of_a_role_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_content(tmp_path / "content")
    write(root / "playbooks" / "portal.yml", PLAYS)
    write(root / "playbooks" / "vars" / "given.yml", "portal_names: []")
    monkeypatch.setattr(content, "content_root", lambda: root)

    schema = content.role_schemas()[-1]

    assert schema.role == "portal"
    assert schema.groups == {"portals", "workspace", "web"}
    assert schema.given == {"portal_users", "portal_tokens", "portal_state", "portal_url", "portal_names"}


PLAYS = """
    - name: First
      hosts: portals:workspace
      vars: {portal_users: []}
      roles:
        - role: dlhost.host.portal
          vars: {portal_tokens: []}
    - name: Second
      hosts: web
      vars_files: [vars/given.yml]
      vars: {portal_state: present}
      roles:
        - role: dlhost.host.portal
    - name: Third
      hosts: gpu
      tasks: []
    """


def test_an_error_that_nobody_foresaw_is_one_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(program, "app", broken)

    with pytest.raises(SystemExit) as ended:
        program.main()

    bug = tmp_path / "state" / "dlhost" / "bug.txt"
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"dlhost met a bug of its own: ZeroDivisionError. Please report it with {bug}.\n"
    assert "ZeroDivisionError" in bug.read_text()
    assert bug.stat().st_mode & 0o777 == 0o600


def test_a_bug_is_told_without_the_words_of_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ValueError("hunter2 is no number")

    monkeypatch.setattr(program, "app", broken)
    with pytest.raises(SystemExit):
        program.main()
    assert "hunter2 is no number" not in capsys.readouterr().err
    text = (tmp_path / "state" / "dlhost" / "bug.txt").read_text()
    assert "ValueError" in text
    assert "hunter2 is no number\n" not in text

    # The place for the file may be what fails.
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("dlhost met a bug of its own: ValueError. Please report it with this:\n")
    assert "in broken" in said


@pytest.mark.parametrize("command", [("history", "list", "-i", "rig"), ("provision", "-i", "rig")])
def test_a_place_that_cannot_be_written_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")

    result = world(*command)

    assert (result.exit_code, world.runs) == (1, [])
    assert result.stderr == (
        "/proc/nowhere cannot be written: No such file or directory. "
        "Free some space, or set XDG_STATE_HOME to a directory that you can write to.\n"
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [*MAIN, "roles", "system"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, "")


def test_ansible_is_kept_to_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_FORKS", "1")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "/x")

    environment = ansible_env.isolated_environment(tmp_path)

    assert sorted(name for name in environment if name.startswith("ANSIBLE_")) == [
        "ANSIBLE_COLLECTIONS_PATH",
        "ANSIBLE_CONFIG",
        "ANSIBLE_SSH_CONTROL_PATH_DIR",
    ]
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
