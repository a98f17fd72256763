"""New inventories and their vaults: valid, private where they must be, whole or not there at all."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from ansible.template import is_trusted_as_template

from dlhost.adapters import inventory_source, inventory_writer, openssh, vault
from dlhost.errors import ExitCode, UsageError
from dlhost.operations.secrets import _with_secret
from dlhost.values.inventory import Location
from dlhost.values.new_inventory import NewInventory, Profile, hosts_file, variables_file, vault_text
from tests.unit.world import World, write

KEY = openssh.HostKey("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKnown", "SHA256:known")
INIT = ("init", "lab", "--host", "192.0.2.7", "--user", "ada")


@pytest.fixture
def scanned(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A host that answers with one key and lets the user log in."""
    monkeypatch.setattr(openssh, "scan_host_keys", lambda _address, _port, _known: [KEY])
    monkeypatch.setattr(openssh, "can_log_in", lambda _connection: "")
    return world


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_inventory_is_one_that_ansible_and_we_can_read(scanned: World) -> None:
    result = scanned(*INIT, "--fingerprint", KEY.fingerprint)

    assert result.exit_code == ExitCode.DONE, result.output
    location = inventory_source.find("lab")
    password = vault.find_password(inventory_source.find("lab"), None)
    inventory = inventory_source.load(location, password)
    (host,) = inventory.hosts
    assert set(host.groups) == {"all", "gpu", "workspace", "web"}
    assert (host.connection.address, host.connection.user, host.connection.port) == ("192.0.2.7", "ada", None)
    assert f'UserKnownHostsFile="{location.path}/.ssh/known_hosts"' in host.connection.ssh_args
    assert [setting.name for setting in inventory.settings if setting.name == "portal_password"]
    (secret,) = inventory.secrets
    assert re.fullmatch(r"(?:[0-9a-hjkmnp-tv-z]{5}-){3}[0-9a-hjkmnp-tv-z]{5}", secret)
    assert secret not in result.output
    assert "dlhost provision -i lab" in result.stdout
    assert scanned("provision", "-i", "lab").exit_code in {ExitCode.DONE, ExitCode.TASK_FAILED}
    assert scanned("secrets", "check", "-i", "lab").exit_code == ExitCode.DONE


def test_groups_to_choose_from_are_a_few_signs_away(scanned: World) -> None:
    scanned(*INIT, "--fingerprint", KEY.fingerprint)

    location = inventory_source.find("lab")
    hosts = location.path / "hosts.yml"
    head, more = hosts.read_text().split("    # More of them")
    hosts.write_text(head + re.sub(r"(?m)^    # ", "    ", more.partition("\n")[2]))

    (host,) = inventory_source.load(location, vault.find_password(location, None)).hosts
    assert set(host.groups) == {"all", "gpu", "workspace", "web", "desktop", "monitored", "monitoring_server"}


def test_what_is_private_is_private(scanned: World) -> None:
    old = os.umask(0)
    try:
        scanned(*INIT, "--fingerprint", KEY.fingerprint)
    finally:
        os.umask(old)

    path = inventory_source.find("lab").path
    assert mode(path / ".ssh") == 0o700
    assert mode(path / ".ssh" / "known_hosts") == 0o600
    assert mode(vault.password_file(inventory_source.find("lab"))) == 0o600
    assert mode(vault.password_file(inventory_source.find("lab")).parent) == 0o700
    assert (path / "group_vars" / "all" / "vault.yml").read_text().startswith("$ANSIBLE_VAULT;")
    assert (path / ".ssh" / "known_hosts").read_text() == f"lab {KEY.key}\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--fingerprint", "SHA256:other"), "has no host key with fingerprint SHA256:other"),
        ((), "give the one you know with --fingerprint"),
    ],
)
def test_a_host_key_that_nobody_trusts_writes_nothing(scanned: World, more: tuple[str, ...], said: str) -> None:
    result = scanned(*INIT, *more)

    assert result.exit_code == ExitCode.REFUSED
    assert said in result.stderr
    assert "SHA256:known" in result.stderr
    assert [location.name for location in inventory_source.locations()] == ["rig"]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 5), ("", 130)])
def test_a_host_key_is_asked_about_at_a_terminal(scanned: World, answer: str, code: int) -> None:
    scanned.at_terminal = True

    assert scanned(*INIT, stdin=answer).exit_code == code


RSA = openssh.HostKey("ssh-rsa AAAAB3NzaC1yc2EOfAnother", "SHA256:another")
ECDSA = openssh.HostKey("ecdsa-sha2-nistp256 AAAAE2VjZHNhMine", "SHA256:third")


@pytest.mark.parametrize(
    ("given", "trusted"),
    [((KEY,), [KEY]), ((RSA,), [RSA]), ((RSA, KEY), [KEY, RSA]), ((), [KEY])],
)
def test_only_keys_that_were_proved_are_trusted(
    scanned: World,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[openssh.HostKey, ...],
    trusted: list[openssh.HostKey],
) -> None:
    monkeypatch.setattr(openssh, "scan_host_keys", lambda _address, _port, _known: [ECDSA, KEY, RSA])
    scanned.at_terminal = True

    result = scanned(*INIT, *(f"--fingerprint={key.fingerprint}" for key in given), stdin="y\n")

    assert result.exit_code == ExitCode.DONE, result.output
    known = inventory_source.find("lab").path / ".ssh" / "known_hosts"
    assert known.read_text() == "".join(f"lab {key.key}\n" for key in trusted)
    shown = [key for key in (ECDSA, KEY, RSA) if key.fingerprint in result.stderr]
    assert shown == ([] if given else [KEY])


def test_every_fingerprint_given_must_be_the_hosts(scanned: World) -> None:
    result = scanned(*INIT, "--fingerprint", KEY.fingerprint, "--fingerprint", "SHA256:other")

    assert result.exit_code == ExitCode.REFUSED
    assert "has no host key with fingerprint SHA256:other" in result.stderr


def test_a_login_that_does_not_work_yet_is_the_first_next_step(scanned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh, "can_log_in", lambda _connection: "Permission denied (publickey)")

    result = scanned(*INIT, "--port", "2222", "--fingerprint", KEY.fingerprint)

    assert "ssh-copy-id -p 2222 ada@192.0.2.7   authorises your key; now: Permission denied" in result.stdout


@pytest.mark.parametrize(
    "name", ["rig", "a b", "../x", ".x", "", "ä", "all", "ungrouped", "localhost", "gpu", "web", "-x"]
)
def test_a_name_that_cannot_be_used_is_code_two(scanned: World, name: str) -> None:
    result = scanned("init", "--host", "h", "--user", "u", "--fingerprint", KEY.fingerprint, "--", name)

    assert result.exit_code == ExitCode.USAGE, result.output
    assert name in result.stderr


def test_a_profile_that_is_none_is_told_in_plain_words(world: World) -> None:
    result = world(*INIT, "--profile", "cpu-onyl")

    assert result.exit_code == ExitCode.USAGE
    assert "for '--profile': 'cpu-onyl' is not one of 'home-rig', 'cloud-vm', 'cpu-only'" in result.stderr


@pytest.mark.parametrize("name", ["on", "no", "7", "1e3", "0x1f", "null", "Yes", "1_000"])
@pytest.mark.parametrize("user", ["no", "1000", "a:b", "ada # x", "{{ x }}"])
def test_every_name_and_user_survives_yaml(name: str, user: str) -> None:
    document = yaml.safe_load(hosts_file(NewInventory(name, "fe80::1", user, 2222, Profile.CPU_ONLY, "/a key")))

    host = document["all"]["hosts"][name]
    assert (host["ansible_host"], host["ansible_user"], host["ansible_port"]) == ("fe80::1", user, 2222)
    assert host["ansible_ssh_private_key_file"] == "/a key"
    assert list(document["all"]["children"]["workspace"]["hosts"]) == [name]


def test_a_variables_file_sets_what_was_chosen_and_explains_the_rest() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"
    text = variables_file("web", "---\n# Port.\nweb_port: 80\n", {"web_x": [{"pem": pem}], "other_x": 1})

    assert yaml.safe_load(text) == {"web_x": [{"pem": pem}]}
    assert "# web_port: 80\n" in text
    assert "# # Port.\n" in text


def test_nothing_is_overwritten_and_nothing_half_written_is_seen(tmp_path: Path) -> None:
    location = Location("lab", tmp_path / "work" / "inventories" / "lab")
    seen = []

    class Files(dict[str, str]):
        def items(self):  # type: ignore[no-untyped-def]
            for pair in super().items():
                seen.append([found.name for found in inventory_source.locations()])
                yield pair

    inventory_writer.write(location, Files({"hosts.yml": "all:\n", "group_vars/all/a.yml": "x: 1\n"}))
    assert seen == [[], []]
    with pytest.raises(UsageError, match="Inventory lab is already there"):
        inventory_writer.write(location, {"hosts.yml": "changed"})
    assert (location.path / "hosts.yml").read_text() == "all:\n"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    location = Location("lab", tmp_path / "work" / "inventories" / "lab")

    with pytest.raises(UsageError, match=r"lab cannot be written: "):
        inventory_writer.write(location, {"a": "file", "a/b": "below a file"})
    assert list(location.path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["all", "all.yml", "all.yaml", "all.json"])
def test_a_vault_hides_no_variables(world: World, rig: Path, name: str) -> None:
    file = write(rig / "group_vars" / name, "system_swap_mib: 512\n")
    before = sorted(rig.rglob("*"))

    result = world("secrets", "set", "a_password", "-i", "rig", stdin="hunter2hunter2\n")

    assert result.exit_code == ExitCode.USAGE
    assert f"{file} would no longer be read beside the vault. Make it {rig}/group_vars/all/main.yml" in result.stderr
    assert sorted(rig.rglob("*")) == before


def test_secrets_are_set_edited_and_counted(scanned: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned(*INIT, "--fingerprint", KEY.fingerprint)
    editor = write(tmp_path / "editor", '#!/bin/sh\nstat -c %a "$1" >&2\necho "added: 2026-01-01" >> "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)

    assert scanned("secrets", "edit", "-i", "lab").stdout == "Saved.\n"
    result = scanned("secrets", "set", "ansible_become_password", "-i", "lab", stdin="hunter2hunter2\n")
    assert result.exit_code == ExitCode.DONE, result.output
    assert "hunter2" not in result.output
    assert "holds 3 secrets" in scanned("secrets", "check", "-i", "lab").stdout
    assert (
        "hunter2hunter2"
        in inventory_source.load(
            inventory_source.find("lab"), vault.find_password(inventory_source.find("lab"), None)
        ).secrets
    )
    text = _opened()
    assert "added: 2026-01-01\n" in text
    assert "# Secrets of this inventory" in text
    assert scanned("secrets", "set", "portal_password", "-i", "lab", stdin="another\nline").exit_code == 0
    after = _opened()
    assert yaml.safe_load(after) == yaml.safe_load(text) | {"portal_password": "another\nline"}
    assert after.splitlines()[:2] == text.splitlines()[:2]
    monkeypatch.setenv("EDITOR", "true")
    assert scanned("secrets", "edit", "-i", "lab").stdout == "Nothing changed.\n"


def test_a_secret_is_generated_and_shown_to_who_asks(scanned: World, tmp_path: Path) -> None:
    scanned(*INIT, "--fingerprint", KEY.fingerprint)
    before = scanned("secrets", "show", "portal_password", "-i", "lab").stdout

    generated = scanned("secrets", "set", "--generate", "portal_password", "-i", "lab")
    after = scanned("secrets", "show", "portal_password", "-i", "lab").stdout

    assert generated.exit_code == ExitCode.DONE
    assert "dlhost secrets show -i lab portal_password" in generated.stdout
    assert len(before) == len(after) == len("aaaaa-aaaaa-aaaaa-aaaaa\n")
    assert before != after
    assert after.strip() not in generated.output
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if after.strip() in path.read_text(errors="replace")] == []
    assert scanned("secrets", "show", "portal_pasword", "-i", "lab").stderr == (
        "Inventory lab sets no portal_pasword; did you mean portal_password?\n"
    )


@pytest.mark.parametrize("more", [("--user", "-oProxyCommand=x"), ("--host", "-J"), ("--user", "ada b")])
def test_no_word_of_the_user_becomes_an_option_of_ssh(scanned: World, more: tuple[str, str]) -> None:
    result = scanned(*INIT, "--fingerprint", KEY.fingerprint, *more)

    assert result.exit_code == ExitCode.USAGE
    assert "has blanks, or begins with a hyphen" in result.stderr


def test_what_the_playbooks_set_is_not_offered() -> None:
    defaults = (
        "---\n# One.\nweb_a: 1\n\n# Ours.\n# In two lines.\nweb_given:\n  - x\n\n# Two.\nweb_b: 2\nweb_also: [1]\n"
    )

    text = variables_file("web", defaults, {}, {"web_given", "web_also"})

    assert text.partition("\n\n")[2] == "# # One.\n# web_a: 1\n#\n# # Two.\n# web_b: 2\n"


def test_a_secret_that_differs_between_hosts_is_shown_for_one(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "portal_password: everywhere\nportal_users: [{name: ada, password: own}]\n")
    write(rig / "host_vars" / "beta.yml", 'portal_password: "on\\nbeta\\n"\n')

    several = world("secrets", "show", "portal_password", "-i", "rig")
    assert (several.exit_code, several.stdout) == (ExitCode.USAGE, "")
    assert "is not the same for alpha, beta; choose with --host" in several.stderr
    assert world("secrets", "show", "portal_password", "-i", "rig", "--host", "beta").stdout == "on\nbeta\n"
    users = world("secrets", "show", "portal_users", "-i", "rig").stdout
    assert json.loads(users) == [{"name": "ada", "password": "own"}]


def _opened() -> str:
    path = inventory_source.find("lab").path / "group_vars" / "all" / "vault.yml"
    return vault.decrypt(path.read_text(), vault.find_password(inventory_source.find("lab"), None), "vault")


@pytest.mark.parametrize(
    "old", ["b: 1", "b: |\n  one\n  two", "b:\n- 1\n- 2", "b: {x: [1,\n  2]}", 'b: "x\n\n  y"', "b:"]
)
def test_a_secret_is_replaced_in_its_place(old: str) -> None:
    text = f"---\n# One.\na: 1\n{old}\n# Three.\nc: 2026-01-01  # kept\n"

    assert _with_secret(text, "b", "new") == '---\n# One.\na: 1\nb: "new"\n# Three.\nc: 2026-01-01  # kept\n'
    assert _with_secret("---\n# None yet.\n", "b", "new") == '---\n# None yet.\nb: "new"\n'


@pytest.mark.parametrize("secret", ["🔑 key", "ä\u2028b\x85c", 'a "b" \\ c\td\n e', "x " * 200, "\x7f\ufeff"])
def test_a_secret_comes_back_as_it_was_given(secret: str) -> None:
    assert yaml.safe_load(_with_secret("a: 1\n", "b", secret)) == {"a": 1, "b": secret}
    assert yaml.safe_load(vault_text({"b": secret})) == {"b": secret}


@pytest.mark.parametrize("secret", ["abc{{1}}def", "Top{%Secretword9", "{# none", " '{{ x }}' "])
def test_a_secret_with_braces_is_no_template(scanned: World, secret: str) -> None:
    """For Ansible it would be another password, or an error that shows a part of it."""
    scanned(*INIT, "--fingerprint", KEY.fingerprint)
    for name in ("portal_password", "ansible_become_password"):
        assert scanned("secrets", "set", name, "-i", "lab", stdin=secret + "\n").exit_code == ExitCode.DONE
    # What was set can be set anew, by hand as well.
    assert scanned("secrets", "set", "portal_password", "-i", "lab", stdin=secret + "\n").exit_code == ExitCode.DONE
    assert "holds 2 secrets" in scanned("secrets", "check", "-i", "lab").stdout
    assert scanned("secrets", "show", "portal_password", "-i", "lab").stdout == secret + "\n"

    location = inventory_source.find("lab")
    (host,) = inventory_source.load(location, vault.find_password(location, None)).hosts
    assert host.connection.become_password == secret
    assert is_trusted_as_template(host.variables["portal_password"]) is False


@pytest.mark.parametrize(
    ("editor", "said"),
    [
        ("false", "The editor false failed; nothing was changed."),
        ("/nowhere/vi -x", "The editor /nowhere/vi failed"),
        ("echo 'a: [' | tee", "not valid YAML"),
        ("echo 'a: 2026-02-30' | tee", "not valid YAML"),
        ("echo 'a: {{ x }}' | tee", "not valid YAML"),
        ("echo '- a' | tee", "should be a mapping"),
    ],
)
def test_an_edit_that_fails_leaves_the_vault_as_it_was(
    scanned: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, editor: str, said: str
) -> None:
    scanned(*INIT, "--fingerprint", KEY.fingerprint)
    path = inventory_source.find("lab").path / "group_vars" / "all" / "vault.yml"
    before = path.read_text()
    if "tee" in editor:
        script = write(tmp_path / "editor", f'#!/bin/sh\n{editor} "$1" >/dev/null\n')
        script.chmod(0o755)
        editor = str(script)
    monkeypatch.setenv("VISUAL", editor)

    result = scanned("secrets", "edit", "-i", "lab")

    assert result.exit_code == ExitCode.USAGE, result.output
    assert re.search(said, result.stderr)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("no-name", "x\n", "no-name is no name for a variable"),
        ("portal_password", "\n", "portal_password would be empty"),
        ("portal_pasword", "x\n", "role portal has no variable portal_pasword; did you mean portal_password?"),
        ("sistem_packages", "x\n", "no role has a variable sistem_packages; did you mean system_packages?"),
    ],
)
def test_a_secret_without_name_or_value_is_code_two(world: World, rig: Path, name: str, value: str, said: str) -> None:
    result = world("secrets", "set", name, "-i", "rig", stdin=value)

    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr
    assert not (rig / "group_vars" / "all" / "vault.yml").exists()


def test_without_a_terminal_no_editor_is_started_that_nobody_chose(
    scanned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned(*INIT, "--fingerprint", KEY.fingerprint)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)

    result = scanned("secrets", "edit", "-i", "lab")

    assert result.exit_code == ExitCode.USAGE
    assert "There is no terminal for an editor" in result.stderr


def test_a_check_of_secrets_writes_nothing_and_finds_what_is_wrong(world: World, rig: Path) -> None:
    write(rig / "hosts.yml", "all: {vars: {x: 1, y: 2, elsewhere: 3}, children: {portals: {hosts: {alpha: }}}}\n")
    missing = world("secrets", "check", "-i", "rig")
    assert missing.exit_code == ExitCode.USAGE
    assert "dlhost secrets set -i rig portal_password" in missing.stderr
    assert not vault.password_file(inventory_source.find("rig")).exists()

    write(rig / "group_vars" / "all.yml", "---\nportal_password: hunter2hunter2\nansible_sudo_pass: 12345678\n")
    plain = world("secrets", "check", "-i", "rig")
    assert plain.exit_code == ExitCode.USAGE
    assert "all.yml:2: portal_password is readable here; move it" in plain.stderr
    assert "all.yml:3: ansible_sudo_pass is readable here; move it" in plain.stderr
    assert "hunter2" not in plain.output

    write(
        rig / "group_vars" / "all.yml", "portal_password: '{{ x }}'\nportal_users: [{name: ada, password: hunter3}]\n"
    )
    part = world("secrets", "check", "-i", "rig")
    assert part.exit_code == ExitCode.USAGE
    assert 'all.yml:2: a secret in portal_users is readable here; write "{{ NAME }}", and dlhost secrets' in part.stderr

    accounts = "portal_users: [{name: ada, password: '{{ y }}'}]\n"
    write(rig / "group_vars" / "all.yml", f"portal_password: '{{{{ elsewhere }}}}'\n{accounts}")
    fine = world("secrets", "check", "-i", "rig")
    assert fine.exit_code == ExitCode.DONE
    assert "There is no" in fine.stdout


@pytest.mark.parametrize("variable", ["DLHOST_VAULT_PASSWORD_FILE", "ANSIBLE_VAULT_PASSWORD_FILE"])
def test_a_vault_has_one_password_whichever_command_asks(
    scanned: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    named = write(tmp_path / "named", "the user's own\n")
    named.chmod(0o600)
    monkeypatch.setenv(variable, str(named))

    result = scanned(*INIT, "--fingerprint", KEY.fingerprint)

    location = inventory_source.find("lab")
    assert f"Vault password: {named} " in result.stdout
    assert not vault.password_file(location).exists()
    assert vault.find_password(location, None) == vault.VaultPassword("the user's own", named)
    assert scanned("secrets", "check", "-i", "lab").exit_code == ExitCode.DONE


def test_inventories_of_one_name_have_passwords_of_their_own(
    scanned: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = set()
    for project in ("one", "two"):
        (tmp_path / project / "inventories").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / project)
        scanned(*INIT, "--fingerprint", KEY.fingerprint)
        passwords.add(vault.find_password(inventory_source.find("lab"), None))
    assert len(passwords) == 2
