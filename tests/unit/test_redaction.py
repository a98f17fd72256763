"""Secrets: found wherever an inventory holds them, and in nothing that is shown or kept."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import inventory_source, runner, state, vault
from dlhost.errors import ExitCode
from dlhost.values.redaction import HIDDEN, redaction, texts_in
from dlhost.values.run import Listener, PlaybookRun
from tests.unit.world import World, write

PEM = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nq83vEjRWeJCrze8S\n-----END KEY-----\n"
SECRETS = {
    "in a vaulted file": "file-secret-1",
    "a number in a vaulted file": "20269876",
    "in a list in a vaulted file": "listed-secret-2",
    "vaulted in place": "MIIEpAIBAAKCAQEA",
    "with quotes": 'quoted"and\\slashed',
    "with umlauts": "Schlüsselwörter",
    "of a role in plain text": "plain-secret-3",
    "a sudo password in plain text": "sudo-secret-4",
    "of a role with -e": "extra-secret-5",
    "a list of secrets of -e": "token-secret-6",
    "a sudo password of -e": "extra-sudo-7",
    "of an account in plain text": "account-secret-a",
    "of an account with -e": "account-secret-b",
    "a sudo password that was typed": "typed-secret-8",
    "the vault's own password": "vault-password-9",
}


@pytest.fixture
def secretive(world: World, rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world with every kind of secret, and a run that blurts them all out."""
    source = write(tmp_path / "vault-password", SECRETS["the vault's own password"])
    source.chmod(0o600)
    monkeypatch.setenv("DLHOST_VAULT_PASSWORD_FILE", str(source))
    password = vault.VaultPassword(SECRETS["the vault's own password"])
    whole = {
        "one": SECRETS["in a vaulted file"],
        "two": int(SECRETS["a number in a vaulted file"]),
        "three": [{"deep": SECRETS["in a list in a vaulted file"]}],
        "four": SECRETS["with quotes"],
        "five": SECRETS["with umlauts"],
    }
    write(rig / "group_vars" / "all" / "vault.yml", vault.encrypt(json.dumps(whole), password))
    inline = "key: !vault |\n" + textwrap.indent(vault.encrypt(PEM, password), "  ")
    write(rig / "host_vars" / "alpha.yml", inline)
    write(
        rig / "group_vars" / "all" / "plain.yml",
        f"portal_password: {SECRETS['of a role in plain text']}\n"
        f"ansible_become_password: {SECRETS['a sudo password in plain text']}\n"
        f"portal_users: [{{name: ada, password: {SECRETS['of an account in plain text']}}}]\n",
    )
    world.facts["alpha"] = {"sudo": "password"}
    world.sudo_password = SECRETS["a sudo password in plain text"]
    monkeypatch.setattr(world, "run", blurt)
    return world


def blurt(run: PlaybookRun, listen: Listener) -> bool:
    """A run whose every event is full of secrets, as runner would convert it."""
    convert = runner.Conversion(run.redaction)
    everything = [*SECRETS.values(), PEM]
    quoted = json.dumps(everything), json.dumps(everything, ensure_ascii=False)
    checks = [
        {"role": "system", "id": "system.x", "promise": f"{secret} is kept", "result": "fail", "reason": secret}
        for secret in everything
    ]
    result: dict[str, Any] = {
        "changed": True,
        "msg": " ".join(everything),
        "stderr": " ".join(quoted),
        "diff": [{"before": "", "after": secret, "before_header": secret} for secret in everything],
        "dlhost_undetermined": " ".join(everything),
        "dlhost_action_needed": " ".join(everything),
        "dlhost_checks": checks,
    }
    data = {"host": "alpha", "role": "system", "task": f"Set {everything}", "task_uuid": "1", "res": result}
    for kind in ("runner_on_start", "runner_on_ok", "runner_on_failed", "verbose", "playbook_on_stats"):
        more = {"failures": {"alpha": 1}, "dark": {}}
        document = {"event": kind, "stdout": "\r\n".join((*everything, *quoted)), "event_data": data | more}
        event = convert(document)
        if event is not None:
            listen(event)
    return False


EXTRA = (
    "-e",
    f"portal_password={SECRETS['of a role with -e']}",
    "-e",
    f"portal_tokens=[{SECRETS['a list of secrets of -e']}]",
    "-e",
    f"portal_users=[{{name: ada, password: {SECRETS['of an account with -e']}}}]",
    "-e",
    f"ansible_become_password={SECRETS['a sudo password of -e']}",
)


def written(tmp_path: Path) -> str:
    files = [path for name in ("state", "cache", "runtime") for path in (tmp_path / name).rglob("*") if path.is_file()]
    return "\n".join(path.read_text(errors="replace") for path in files)


@pytest.mark.parametrize(
    "arguments",
    [
        ("provision", "-i", "rig", *EXTRA),
        ("provision", "-i", "rig", "--diff", "-vvv", *EXTRA),
        ("provision", "-i", "rig", "--json", *EXTRA),
        ("drift", "-i", "rig"),
        ("drift", "-i", "rig", "--json"),
        ("verify", "-i", "rig"),
        ("verify", "-i", "rig", "--json"),
        ("inventory", "show", "rig"),
        ("inventory", "show", "rig", "--json"),
    ],
)
def test_no_secret_is_shown_or_kept(secretive: World, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    if "-e" in arguments:
        secretive.sudo_password = SECRETS["a sudo password of -e"]
    result = secretive(*arguments)
    records = state.records(inventory_source.find("rig"))
    kept = "\n".join(map(str, records))
    logs = "".join(secretive("history", "show", record.id, "-i", "rig").output for record in records)

    everything = "\n".join((result.stdout, result.stderr, written(tmp_path), kept, logs))
    given = [
        secret for kind, secret in SECRETS.items() if "typed" not in kind and ("-e" not in kind or "-e" in arguments)
    ]
    flat = "".join(everything.split()).replace("␛", "")
    assert {secret for secret in given if secret in everything or secret in flat} == set()
    assert HIDDEN in everything
    assert not [line for line in PEM.splitlines() if line in everything]


def test_a_typed_sudo_password_is_hidden_too(secretive: World, rig: Path, tmp_path: Path) -> None:
    write(rig / "group_vars" / "all" / "plain.yml", "x: 1\n")
    typed = SECRETS["a sudo password that was typed"]
    secretive.sudo_password, secretive.answers = typed, [typed]

    result = secretive("provision", "-i", "rig", "--diff")

    assert secretive.questions == ["sudo password on alpha"]
    assert typed not in result.output + written(tmp_path)


def test_a_message_about_a_misfit_does_not_show_the_secret(world: World, rig: Path, tmp_path: Path) -> None:
    write(rig / "group_vars" / "all.yml", "portal_tokens: hunter2hunter2\nportal_password: [hunter3hunter3]\n")

    result = world("provision", "-i", "rig", "-e", "portal_tokens=hunter4hunter4")

    assert result.exit_code == ExitCode.USAGE
    assert "portal_tokens should be a list" in result.stderr
    assert "hunter" not in result.output + written(tmp_path)


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ("hunter2hunter2", "portal_users should be a list, not a text"),
        ("[hunter2hunter2]", r"portal_users[0] should be a mapping, not a text"),
        ("[{name: ada, pasword: hunter2hunter2}]", "portal_users[0] has no key pasword; did you mean password?"),
        ("[{name: ada, password: [hunter2hunter2]}]", "portal_users[0].password should be a text, not a list"),
        ("[{name: ada, shell: fish, password: pw7}]", "portal_users[0].shell is 'fish'"),
    ],
)
def test_a_misfit_beside_a_secret_does_not_show_it(world: World, rig: Path, users: str, said: str) -> None:
    write(rig / "group_vars" / "all.yml", f"portal_users: {users}\n")

    refused, shown = world("provision", "-i", "rig"), world("inventory", "show", "rig")

    assert refused.exit_code == ExitCode.USAGE
    assert said in refused.stderr
    for word in ("hunter2", "pw7"):
        assert word not in refused.output + shown.output


def test_a_secret_of_an_account_is_hidden_where_it_is_set_and_the_rest_shown(world: World, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "portal_users: [{name: ada, shell: bash, password: pw7}]\n")

    settings = json.loads(world("inventory", "show", "rig", "--json").stdout)["settings"]
    value = next(setting["value"] for setting in settings if setting["name"] == "portal_users")

    assert value == [{"name": "ada", "shell": "bash", "password": HIDDEN}]


def test_a_vaulted_value_of_a_wrong_type_is_not_shown(secretive: World, rig: Path) -> None:
    password = vault.VaultPassword(SECRETS["the vault's own password"])
    text = "system_swap_mib: !vault |\n" + textwrap.indent(vault.encrypt("vaulted-misfit", password), "  ")
    write(rig / "host_vars" / "beta.yml", text)

    result = secretive("drift", "-i", "rig")

    assert result.exit_code == ExitCode.USAGE
    assert "beta.yml:1: system_swap_mib should be a whole number" in result.stderr
    assert "vaulted-misfit" not in result.output


def test_a_secret_of_several_lines_is_hidden_line_by_line() -> None:
    hide = redaction([PEM])

    assert hide(f"a\n{PEM}b") == f"a\n{HIDDEN}\nb"
    assert hide("  MIIEpAIBAAKCAQEA  ") == f"  {HIDDEN}  "
    assert hide(json.dumps(PEM)) == f'"{HIDDEN}\\n"'


def test_the_longest_secret_is_hidden_first() -> None:
    assert redaction(["abcd", "abcdefgh"])("abcdefgh abcd") == f"{HIDDEN} {HIDDEN}"


@pytest.mark.parametrize("short", ["", "a", "yes", " no \n"])
def test_a_short_text_is_left_alone(short: str) -> None:
    assert redaction([short])("yes, a no") == "yes, a no"


def test_structures_are_searched_and_other_values_kept() -> None:
    value = {"secret1": ["secret1", ("x", "secret1")], "n": 1, "none": None, "flag": True}

    assert redaction(["secret1"])(value) == {HIDDEN: [HIDDEN, ["x", HIDDEN]], "n": 1, "none": None, "flag": True}
    assert redaction([])(value) is value


def test_a_number_is_hidden_where_it_is_the_secret() -> None:
    assert redaction(["123456"])({"pin": 123456, "port": 1234567}) == {"pin": HIDDEN, "port": 1234567}


def test_texts_and_numbers_give_a_value_away() -> None:
    assert list(texts_in({"a": ["x", 12345, 1.5, True, None], "b": "y"})) == ["x", "12345", "1.5", "y"]


def test_a_short_secret_is_hidden_where_it_is_set(world: World, rig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(rig.parent / "password", "the vault's")
    source.chmod(0o600)
    monkeypatch.setenv("DLHOST_VAULT_PASSWORD_FILE", str(source))
    encrypted = vault.encrypt("portal_pin: pw\n", vault.VaultPassword("the vault's"))
    write(rig / "group_vars" / "all" / "vault.yml", encrypted)

    shown = world("inventory", "show", "rig").stdout
    assert f"portal_pin = {HIDDEN}" in shown
