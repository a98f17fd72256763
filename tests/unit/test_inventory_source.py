"""Inventories on disk: which one a name means, and what Ansible and we read in it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from dlhost.adapters import content, inventory_source, vault
from dlhost.cli import options
from dlhost.errors import ExitCode, InventoryError, UsageError
from dlhost.values.inventory import Connection, Host, Inventory, Location
from dlhost.values.schema import missing, problems, without_effect
from tests.unit.world import World, write

PASSWORD = vault.VaultPassword("correct horse")


def load(path: Path, password: vault.VaultPassword | None = None, *limit: str) -> Inventory:
    return inventory_source.load(inventory_source.find(str(path)), password, limit)


def connection(tmp_path: Path, text: str) -> Connection:
    (host,) = load(
        write(tmp_path / "one" / "hosts.yml", f"all:\n  hosts:\n    one:\n{textwrap.indent(text, '      ')}")
    ).hosts
    return host.connection


def groups(hosts: tuple[Host, ...]) -> dict[str, set[str]]:
    return {host.name: set(host.groups) - {"all"} for host in hosts}


def test_an_inventory_here_hides_its_namesake_in_the_configuration(tmp_path: Path, rig: Path) -> None:
    own = tmp_path / "config" / "dlhost" / "inventories"
    for name in ("rig", "cloud", ".hidden"):
        write(own / name / "hosts.yml", "all:\n")
    write(own / "README", "not one\n")

    assert [location.name for location in inventory_source.locations()] == ["rig", "cloud"]
    assert inventory_source.find("rig").path == rig
    assert inventory_source.find("cloud").path == own / "cloud"
    assert options.complete_inventory("c") == ["cloud"]
    assert options.complete_inventory("") == ["rig", "cloud"]


def test_an_inventory_may_be_a_path(tmp_path: Path, rig: Path) -> None:
    single = write(tmp_path / "elsewhere" / "lab.yml", "all: {hosts: {a: }}\n")

    assert inventory_source.find(str(single)).name == "lab"
    assert inventory_source.find(str(rig)).name == "rig"
    assert inventory_source.find("./inventories/rig").path == rig
    assert inventory_source.find(str(single)).directory == single.parent


def test_where_there_is_none_the_way_to_one_is_named() -> None:
    with pytest.raises(UsageError, match=r"no inventory x\. You have none yet; `dlhost init` makes one\."):
        inventory_source.find("x")


def test_a_new_inventory_goes_here_only_where_there_are_some_already(tmp_path: Path) -> None:
    assert inventory_source.new_location("x").path == tmp_path / "config" / "dlhost" / "inventories" / "x"
    (tmp_path / "work" / "inventories").mkdir()
    assert inventory_source.new_location("x").path == tmp_path / "work" / "inventories" / "x"


def test_ranges_children_and_variables_of_groups_are_read(tmp_path: Path) -> None:
    root = write(
        tmp_path / "lab" / "hosts.yml",
        """
        all:
          children:
            racks:
              children:
                gpu:
                  hosts:
                    "node[01:03].lab": {system_swap_mib: 1}
                  vars: {system_time_service: chrony}
        """,
    ).parent
    write(root / "group_vars" / "gpu" / "packages.yml", "system_packages:\n- vim\n")
    write(root / "host_vars" / "node02.lab.yml", "ansible_port: 2222\n")
    write(root / "group_vars" / ".hidden.yml", "system_nonsense: 1\n")

    inventory = load(root)

    assert groups(inventory.hosts) == {f"node0{number}.lab": {"racks", "gpu"} for number in (1, 2, 3)}
    assert [host.connection.port for host in inventory.hosts] == [None, 2222, None]
    found = {(setting.name, setting.file.name, setting.line()) for setting in inventory.settings}
    assert found == {
        ("system_swap_mib", "hosts.yml", 7),
        ("system_time_service", "hosts.yml", 8),
        ("system_packages", "packages.yml", 1),
        ("ansible_port", "node02.lab.yml", 1),
    }
    assert [host.name for host in load(root, None, "gpu", "!node02.lab").hosts] == ["node01.lab", "node03.lab"]


def test_a_single_file_has_the_variables_beside_it(tmp_path: Path) -> None:
    single = write(tmp_path / "elsewhere" / "lab.yml", "all: {hosts: {a: }}\n")
    write(single.parent / "host_vars" / "a.yml", "ansible_user: ada\n")
    write(single.parent / "unrelated.yml", "- [not, an, inventory]\n")

    inventory = load(single)

    assert inventory.hosts[0].connection.user == "ada"
    assert [setting.name for setting in inventory.settings] == ["ansible_user"]


def test_a_connection_is_as_ansible_would_make_it(tmp_path: Path) -> None:
    found = connection(
        tmp_path,
        """\
        ansible_host: "{{ prefix }}.lab"
        prefix: gpu7
        ansible_port: "{{ 2200 + 22 }}"
        ansible_user: ada
        ansible_ssh_private_key_file: ~/keys/id
        ansible_ssh_common_args: >-
          -o UserKnownHostsFile="{{ inventory_dir }}/.ssh/known hosts" -o HostKeyAlias={{ inventory_hostname }}
        ansible_ssh_extra_args: -4
        ansible_ssh_args: -J bastion.lab
        ansible_become_pass: "{{ word }} horse"
        word: correct
        """,
    )

    assert found == Connection(
        transport="ssh",
        address="gpu7.lab",
        port=2222,
        user="ada",
        key_file=f"{tmp_path}/home/keys/id",
        early_ssh_args=("-J", "bastion.lab"),
        ssh_args=("-o", f"UserKnownHostsFile={tmp_path}/one/.ssh/known hosts", "-o", "HostKeyAlias=one", "-4"),
        scp_args=("-o", f"UserKnownHostsFile={tmp_path}/one/.ssh/known hosts", "-o", "HostKeyAlias=one"),
        become_password="correct horse",  # noqa: S106  not a real one
    )
    assert "correct horse" not in repr(found)


def test_a_connection_has_ansibles_defaults(tmp_path: Path) -> None:
    assert connection(tmp_path, "x: 1\n") == Connection(address="one")


@pytest.mark.parametrize("name", ["local", "ansible.builtin.local"])
def test_other_connections_are_named_without_their_collection(tmp_path: Path, name: str) -> None:
    assert connection(tmp_path, f"ansible_connection: {name}\n").transport == "local"


def test_vaults_are_opened_whole_and_in_place(rig: Path) -> None:
    assert not inventory_source.needs_vault_password(inventory_source.find("rig"))
    write(rig / "group_vars" / "all" / "vault.yml", vault.encrypt("---\na: one\nb: {c: [two, 12345]}\n", PASSWORD))
    inline = vault.encrypt("three\nfour", PASSWORD)
    write(rig / "host_vars" / "alpha.yml", "ansible_user: !vault |\n" + textwrap.indent(inline, "  "))

    assert inventory_source.needs_vault_password(inventory_source.find("rig"))
    inventory = load(rig, PASSWORD)

    settings = {setting.name: (setting.value, setting.line()) for setting in inventory.settings}
    assert settings["a"] == ("one", 2)
    assert settings["ansible_user"] == ("three\nfour", 1)
    assert inventory.secrets == {"one", "two", "12345", "three\nfour"}
    assert "three\nfour" in {str(host.connection.user) for host in inventory.hosts}


@pytest.mark.parametrize("inline", [False, True])
def test_a_wrong_vault_password_is_code_two_and_names_the_place(
    world: World, rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: bool
) -> None:
    source = write(tmp_path / "pw", "wrong\n")
    source.chmod(0o600)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(source))
    encrypted = vault.encrypt("a: 1", PASSWORD)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(source))
    text = "x: 1\ny: !vault |\n" + textwrap.indent(encrypted, "  ") if inline else encrypted
    path = write(rig / "group_vars" / "all.yml", text)

    result = world("provision", "-i", "rig")

    where = f"{path}:2" if inline else f"{path}"
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr == f"{where} cannot be decrypted: the vault password in {source} is not the one it needs.\n"


def test_a_vault_without_its_password_says_where_to_put_it(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", vault.encrypt("a: 1", PASSWORD))

    result = world("provision", "-i", "rig")

    assert result.exit_code == ExitCode.USAGE
    assert f"Put it into {vault.password_file(inventory_source.find('rig'))} (mode 0600)" in result.stderr
    assert "DLHOST_VAULT_PASSWORD_FILE" in result.stderr


def test_a_vault_password_may_be_typed(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", vault.encrypt("a: 1", PASSWORD))
    world.answers = [PASSWORD.text]

    assert world("provision", "-i", "rig").exit_code == ExitCode.DONE
    assert world.questions == ["Vault password of inventory rig"]
    assert (world.runs[0].vault_password, world.runs[0].vault_password_file) == (PASSWORD.text, None)


@pytest.mark.parametrize(
    ("mode", "text", "message"),
    [
        (0o644, "pw", "Others can read the vault password in {path}. Run: chmod 600 {path}"),
        (0o640, "pw", "Others can read the vault password in {path}. Run: chmod 600 {path}"),
        (0o700, "#!/bin/sh\nexit 3\n", "The vault password script {path} failed with exit code 3."),
        (0o700, "#!/nowhere\n", "The vault password file {path} cannot be read: No such file or directory."),
    ],
)
def test_a_vault_password_file_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, text: str, message: str
) -> None:
    path = write(tmp_path / "pw", text)
    path.chmod(mode)
    monkeypatch.setenv("DLHOST_VAULT_PASSWORD_FILE", str(path))

    with pytest.raises(InventoryError) as caught:
        vault.find_password(Location("rig", Path("/x")), None)
    assert str(caught.value) == message.format(path=path)


def test_a_vault_password_may_come_from_a_script_and_ours_comes_before_ansibles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = write(tmp_path / "pw", "#!/bin/sh\necho from script\n")
    script.chmod(0o700)
    monkeypatch.setenv("DLHOST_VAULT_PASSWORD_FILE", str(script))
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "/nowhere")

    assert vault.find_password(Location("rig", Path("/x")), None) == vault.VaultPassword("from script", script)
    monkeypatch.delenv("DLHOST_VAULT_PASSWORD_FILE")
    with pytest.raises(InventoryError, match="/nowhere cannot be read: No such file"):
        vault.find_password(Location("rig", Path("/x")), None)


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("group_vars/all.yml", "system_hostname: {{ x }}\n", r"all\.yml:1: .*quote the \{\{ \}\}"),
        ("group_vars/all.yml", "a:\n- {{ x }}: 1\n", r"all\.yml:2: .*quote the \{\{ \}\}"),
        ("group_vars/all.yml", "a: 1\nbirthday: 2026-02-30\n", r"all\.yml:2: 2026-02-30 cannot be read: .*quote it"),
        ("group_vars/all.yml", "a:\n  2026-02-30: 1\n", r"all\.yml:2: 2026-02-30 cannot be read"),
        ("hosts.yml", "[gpu]\nalpha ansible_host=h\n", r"hosts\.yml is an INI inventory; .*YAML inventories only"),
        ("hosts", "# Ours\nalpha ansible_host=h\n", r"hosts is an INI inventory; dlhost reads YAML"),
        ("hosts.ini", "alpha\n[gpu]\nalpha\n", r"hosts\.ini is an INI inventory; dlhost reads YAML"),
    ],
)
def test_what_is_no_value_or_no_yaml_is_named_with_the_fix(
    world: World, rig: Path, path: str, text: str, said: str
) -> None:
    write(rig / path, text)

    result = world("provision", "-i", "rig")

    assert result.exit_code == ExitCode.USAGE, result.output
    assert re.search(said, result.stderr), result.stderr
    assert world.runs == []


def test_a_connection_that_stands_on_nothing_is_named(world: World, rig: Path) -> None:
    write(rig / "host_vars" / "alpha.yml", "ansible_host: '{{ nope }}'\n")

    result = world("provision", "-i", "rig")

    assert result.exit_code == ExitCode.USAGE
    assert re.search(r"Host alpha: a variable of its connection cannot be read: .*nope", result.stderr)


def test_a_file_that_is_not_there_is_named(world: World, rig: Path) -> None:
    variables = rig / "group_vars" / "all" / "conda.yml"
    variables.parent.mkdir(parents=True, exist_ok=True)
    variables.symlink_to("elsewhere.yml")
    assert "conda.yml is a link to elsewhere.yml, which is not there" in world("provision", "-i", "rig").stderr

    variables.unlink()
    (rig / "hosts.yml").unlink()
    result = world("provision", "-i", "rig")
    assert result.exit_code == ExitCode.USAGE
    assert re.search(r"Inventory rig in \S+ has no hosts\.yml.* under all\.hosts, or .* `dlhost init`", result.stderr)


def test_a_file_for_a_misspelt_group_is_named(world: World, rig: Path) -> None:
    hosts = "all: {hosts: {a: {ansible_host: 192.0.2.1}}, children: {workspace: {hosts: {a: }}}}\n"
    write(rig / "hosts.yml", hosts)
    misspelt = write(rig / "group_vars" / "workspaces" / "main.yml", "x: 1\n")

    result = world("provision", "-i", "rig")

    assert result.exit_code == ExitCode.USAGE
    assert result.stderr == f"{misspelt} is of no group, and nobody reads it; did you mean workspace?\n"
    # What is like no group may wait for one.
    misspelt.unlink()
    write(rig / "group_vars" / "attic.yml", "x: 1\n")
    load(rig)


def test_a_date_that_is_none_is_named_on_the_command_line_too(world: World) -> None:
    result = world("provision", "-i", "rig", "-e", "birthday=2026-02-30")

    assert result.exit_code == ExitCode.USAGE
    assert "-e birthday: the value is not valid YAML" in result.stderr


def test_an_inventory_is_one_however_it_is_named(rig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = rig / "hosts.yml"
    spellings = ("rig", "./inventories/rig", "inventories/rig/hosts.yml", str(hosts), f"{rig}/../rig")
    found = [inventory_source.find(spelling) for spelling in spellings]
    monkeypatch.chdir(rig)
    found.append(inventory_source.find("hosts.yml"))

    assert {location.name for location in found} == {"rig"}
    assert len({location.key for location in found}) == 1
    assert found[2].path == hosts


def test_namesakes_are_kept_apart_and_the_users_own_has_the_plain_name(tmp_path: Path, rig: Path) -> None:
    own = write(tmp_path / "config" / "dlhost" / "inventories" / "rig" / "hosts.yml", "all: {hosts: {a: }}\n")
    other = write(tmp_path / "project" / "inventories" / "rig" / "hosts.yml", "all: {hosts: {a: }}\n")
    keys = [inventory_source.find(str(path)).key for path in (own, own.parent, rig, other, other.parent)]

    assert keys[:2] == ["rig", "rig"]
    assert keys[3] == keys[4]
    assert len(set(keys)) == 3
    assert all(re.fullmatch(r"rig-[0-9a-f]{8}", key) for key in keys[2:])


def test_the_example_lacks_nothing_but_its_secrets() -> None:
    example = load(Path(__file__).parents[2] / "inventories" / "example")
    schemas = content.role_schemas()

    assert problems(example, schemas) + without_effect(example, schemas) == []
    lacking = {
        re.sub(r"rig lacks (\w+),.*", r"\1", sentence) for sentence in missing(example.hosts, schemas, "example")
    }
    assert lacking == {"jupyter_password", "tls_ca_key"}
