"""An inventory's certificate authority: what programs accept of it, where its key lies, who is made to trust it."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from dlhost.adapters import authority, content, inventory_source, openssh, trust, vault
from dlhost.errors import ExitCode
from dlhost.operations.init import CA, CA_VALUE, CA_VARIABLE, VAULT
from tests.unit.world import World, write, write_content

RIG = ("-i", "rig")
TLS = """
    argument_specs:
      main:
        short_description: Role tls
        options:
          tls_ca_certificate: {type: str, description: Certificate.}
          tls_ca_key: {type: str, no_log: true, description: Key.}
          tls_mode: {type: str, description: Whose.}
    """


@pytest.fixture
def tls(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The small world, with the role that takes the authority."""
    root = write_content(tmp_path / "content")
    write(root / "roles/tls/meta/argument_specs.yml", TLS)
    write(root / "roles/tls/defaults/main.yml", '---\n# PEM.\ntls_ca_certificate: ""\n')
    play = "- name: Web\n  hosts: all\n  roles:\n    - role: dlhost.host.tls\n"
    write(root / "playbooks/site.yml", (root / "playbooks/access.yml").read_text() + play)
    monkeypatch.setattr(content, "content_root", lambda: root)
    return world


def openssl(*arguments: str, text: str = "") -> str:
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, text=True, check=True)
    return done.stdout


def in_vault(name: str, variable: str) -> str:
    location = inventory_source.find(name)
    text = (location.path / VAULT).read_text()
    return str(yaml.safe_load(vault.decrypt(text, vault.find_password(location, None), "it"))[variable])


def belongs_together(certificate: Path, key: str) -> bool:
    return openssl("x509", "-noout", "-pubkey", "-in", str(certificate)) == openssl("pkey", "-pubout", text=key)


def test_openssl_sees_an_authority_that_signs_servers_only(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_text(authority.new_authority("dlhost CA of rig").certificate)

    text = openssl("x509", "-noout", "-text", "-in", str(path))

    assert openssl("verify", "-x509_strict", "-check_ss_sig", "-CAfile", str(path), str(path)) == f"{path}: OK\n"
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0" in text
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign" in text
    assert "X509v3 Subject Key Identifier" in text
    assert "ASN1 OID: prime256v1" in text


@pytest.mark.parametrize("name", ["rig", "x" * 200])
def test_python_takes_it_for_an_authority(name: str) -> None:
    context = ssl.create_default_context(cadata=authority.new_authority(name).certificate)

    assert context.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}


def test_no_two_are_alike_and_none_shows_its_key() -> None:
    first, second = authority.new_authority("a"), authority.new_authority("a")

    assert first.key != second.key
    assert authority.facts(first.certificate) != authority.facts(second.certificate)
    assert "PRIVATE" not in repr(first)


def test_a_new_inventory_has_one_with_its_key_in_the_vault(tls: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        openssh, "scan_host_keys", lambda _address, _port, _known: [openssh.HostKey("ssh-x A", "SHA256:known")]
    )
    monkeypatch.setattr(openssh, "can_log_in", lambda _connection: "")

    result = tls("init", "lab", "--host", "192.0.2.7", "--user", "ada", "--fingerprint", "SHA256:known")

    assert result.exit_code == ExitCode.DONE, result.output
    location = inventory_source.find("lab")
    key = in_vault("lab", "tls_ca_key")
    assert belongs_together(location.path / CA, key)
    assert (location.path / CA).stat().st_mode & 0o777 == 0o644
    assert yaml.safe_load((location.path / "group_vars/all/tls.yml").read_text()) == {CA_VARIABLE: CA_VALUE}
    # Nothing but the vault has the key, which the vault encrypts.
    readable = [path for path in location.path.rglob("*") if path.is_file() and "PRIVATE KEY" in path.read_text()]
    assert readable == []
    inventory = inventory_source.load(location, vault.find_password(location, None))
    assert key in inventory.secrets
    assert tls("secrets", "check", "-i", "lab").exit_code == ExitCode.DONE


def test_ansible_finds_the_certificate_wherever_it_is_started(tls: World, rig: Path) -> None:
    tls("ca", "create", *RIG)
    password = vault.password_file(inventory_source.find("rig"))
    arguments = ["-i", str(rig), "-m", "ansible.builtin.debug", "-a", f"var={CA_VARIABLE}"]

    said = subprocess.run(
        [Path(sys.executable).with_name("ansible"), "alpha", *arguments, "--vault-password-file", str(password)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert json.loads(said.partition("=>")[2])[CA_VARIABLE] == (rig / CA).read_text().strip()


BEFORE = [
    pytest.param(None, id="no settings yet"),
    pytest.param("", id="empty"),
    pytest.param("---\n# tls_mode: local_ca\n", id="comments"),
    pytest.param("---\ntls_mode: local_ca  # mine\n", id="settings"),
    pytest.param(f"{CA_VARIABLE}: '{CA_VALUE}'\n", id="there already"),
]


@pytest.mark.parametrize("before", BEFORE)
def test_an_inventory_from_before_gets_one(tls: World, rig: Path, before: str | None) -> None:
    settings = rig / "group_vars/all/tls.yml"
    if before is not None:
        write(settings, before)

    result = tls("ca", "create", *RIG)

    assert result.exit_code == ExitCode.DONE, result.output
    assert belongs_together(rig / CA, in_vault("rig", "tls_ca_key"))
    assert yaml.safe_load(settings.read_text())[CA_VARIABLE] == CA_VALUE
    assert settings.read_text().startswith((before or "").rstrip())
    facts = authority.facts((rig / CA).read_text())
    assert facts is not None
    assert facts.fingerprint in result.stdout
    assert "PRIVATE" not in result.output


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (f"{CA_VARIABLE}: mine\n", "says itself what tls_ca_certificate is"),
        ("- a\n", "is not a mapping"),
        ("{a: 1}\n", "is not a mapping"),
        ("a: [\n", "is not a mapping"),
    ],
)
def test_settings_that_it_does_not_fit_into_change_nothing(tls: World, rig: Path, before: str, said: str) -> None:
    settings = write(rig / "group_vars/all/tls.yml", before)

    result = tls("ca", "create", *RIG)

    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr
    assert settings.read_text() == before
    assert not (rig / CA).exists()
    assert not (rig / VAULT).exists()


def test_variables_that_ansible_would_no_longer_read_change_nothing(tls: World, rig: Path) -> None:
    write(rig / "group_vars/all.yml", "system_swap_mib: 512\n")
    before = sorted(rig.rglob("*"))

    result = tls("ca", "create", *RIG)

    assert result.exit_code == ExitCode.USAGE
    assert "group_vars/all.yml would no longer be read" in result.stderr
    assert sorted(rig.rglob("*")) == before


def test_a_second_one_is_refused(tls: World, rig: Path) -> None:
    tls("ca", "create", *RIG)
    before = {path: path.read_bytes() for path in rig.rglob("*") if path.is_file()}

    result = tls("ca", "create", *RIG)

    assert result.exit_code == ExitCode.USAGE
    assert "has a certificate authority" in result.stderr
    assert {path: path.read_bytes() for path in rig.rglob("*") if path.is_file()} == before


def test_one_that_was_cut_half_way_is_finished(tls: World, rig: Path) -> None:
    tls("ca", "create", *RIG)
    (rig / CA).unlink()

    assert tls("ca", "create", *RIG).exit_code == ExitCode.DONE
    assert belongs_together(rig / CA, in_vault("rig", "tls_ca_key"))


def test_it_is_shown_as_openssl_shows_it(tls: World, rig: Path) -> None:
    tls("ca", "create", *RIG)
    fingerprint = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", str(rig / CA)).strip().partition("=")[2]

    shown = tls("ca", "show", *RIG).stdout
    document = json.loads(tls("ca", "show", *RIG, "--json").stdout)

    assert fingerprint in shown
    assert document["sha256"] == fingerprint
    assert (document["subject"], document["path"]) == ("dlhost CA of rig", str(rig / CA))
    for place in ("Debian, Ubuntu", "Chromium", "Firefox", "macOS", "Windows"):
        assert place in shown


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        (None, ExitCode.USAGE, "Make one: dlhost ca create -i rig"),
        ("no certificate\n", ExitCode.USAGE, "is not a certificate that can be read"),
        ("\xff\n", ExitCode.USAGE, "is not a certificate that can be read"),
    ],
)
@pytest.mark.parametrize("command", [("show",), ("export", "x"), ("trust",)])
def test_without_a_certificate_one_sentence_says_so(
    tls: World, rig: Path, command: tuple[str, ...], damage: str | None, code: ExitCode, said: str
) -> None:
    if damage:
        write(rig / CA, damage)

    result = tls("ca", *command, *RIG)

    assert result.exit_code == code
    assert said in result.stderr


def test_it_is_exported_to_a_file_or_a_directory_and_over_nothing_else(tls: World, rig: Path, tmp_path: Path) -> None:
    tls("ca", "create", *RIG)
    mine = write(tmp_path / "mine.crt", "mine\n")

    assert tls("ca", "export", *RIG, str(tmp_path)).stdout == f"{tmp_path}/ca.crt\n"
    assert tls("ca", "export", *RIG, str(tmp_path)).exit_code == ExitCode.DONE
    assert (tmp_path / "ca.crt").read_bytes() == (rig / CA).read_bytes()
    assert tls("ca", "export", *RIG, str(mine)).exit_code == ExitCode.USAGE
    assert mine.read_text() == "mine\n"
    assert tls("ca", "export", *RIG, str(tmp_path / "none" / "x")).exit_code == ExitCode.USAGE


RECORDER = '#!/bin/sh\necho "${0##*/} $*" >>"$CALLS"\nfor word; do [ "$word" != -D ] || exit 255; done\n'


@pytest.fixture
def machine(tls: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian whose commands are written down in the file returned, and not carried out; certutil is not installed."""
    tls("ca", "create", *RIG)
    (tmp_path / "store").mkdir()
    (tmp_path / "home").mkdir()
    for name in ("update-ca-certificates", "security"):
        path = write(tmp_path / "bin" / name, RECORDER)
        path.chmod(0o755)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(trust, "DEBIAN_STORE", tmp_path / "store")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("shutil.which", partial(shutil.which, path=str(tmp_path / "bin")))
    return tmp_path / "calls"


def certutil(machine: Path) -> None:
    (machine.parent / "bin" / "certutil").write_text(RECORDER)
    (machine.parent / "bin" / "certutil").chmod(0o755)


def test_root_puts_it_into_the_systems_store_and_takes_it_out(
    tls: World, rig: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certutil(machine)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place = machine.parent / "store" / "local-dlhost-CA-of-rig.crt"

    assert tls("ca", "trust", *RIG).exit_code == ExitCode.DONE
    assert place.read_bytes() == (rig / CA).read_bytes()
    assert place.stat().st_mode & 0o777 == 0o644
    assert tls("ca", "trust", *RIG, "--remove").exit_code == ExitCode.DONE
    assert not place.exists()
    calls = [line for line in machine.read_text().splitlines() if line.startswith("update")]
    assert calls == ["update-ca-certificates ", "update-ca-certificates --fresh"]


def test_what_only_root_may_do_is_left_with_its_command(
    tls: World, rig: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    result = tls("ca", "trust", *RIG)

    store = machine.parent / "store"
    assert result.exit_code == ExitCode.USER_MUST_ACT
    assert result.stdout.splitlines() == [
        f"left  the system's store: sudo install -m 0644 {rig / CA} {store}/local-dlhost-CA-of-rig.crt"
        " && sudo update-ca-certificates",
        "left  Chromium's and Chrome's store: sudo apt-get install libnss3-tools, and then this command again",
    ]
    assert not machine.exists()
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_browsers_get_it_where_they_read_it(tls: World, rig: Path, machine: Path, old: bool, new: bool) -> None:
    certutil(machine)
    home = machine.parent / "home"
    for there, path in ((old, ".pki/nssdb"), (new, ".local/share/pki/nssdb")):
        if there:
            write(home / path / "cert9.db", "")
    profile = write(home / ".mozilla/firefox/abc.default/cert9.db", "").parent

    tls("ca", "trust", *RIG)

    database = home / (".local/share/pki/nssdb" if new and not old else ".pki/nssdb")
    made = [] if old or new else [f"certutil -d sql:{database} -N --empty-password"]
    assert [line for line in machine.read_text().splitlines() if line.startswith("certutil")] == made + [
        call
        for store in (database, profile)
        for call in (
            f"certutil -d sql:{store} -D -n dlhost CA of rig",
            f"certutil -d sql:{store} -A -t C,, -n dlhost CA of rig -i {rig / CA}",
        )
    ]


def test_a_mac_has_one_store_for_all(tls: World, rig: Path, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert tls("ca", "trust", *RIG).exit_code == ExitCode.DONE
    assert tls("ca", "trust", *RIG, "--remove").exit_code == ExitCode.DONE
    assert machine.read_text().splitlines() == [
        f"security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {rig / CA}",
        f"security remove-trusted-cert -d {rig / CA}",
    ]


def test_a_command_that_fails_is_quoted(tls: World, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(machine.parent / "bin" / "update-ca-certificates", "#!/bin/sh\necho disk full >&2; exit 1\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    result = tls("ca", "trust", *RIG)

    assert result.exit_code == ExitCode.TASK_FAILED
    assert "`update-ca-certificates` failed: disk full" in result.stderr


def test_a_run_without_the_authoritys_certificate_is_refused_with_the_way_back(tls: World, rig: Path) -> None:
    assert tls("ca", "create", *RIG).exit_code == ExitCode.DONE
    (rig / CA).unlink()

    refused = tls("provision", *RIG)

    assert refused.exit_code == ExitCode.USAGE
    assert re.search(
        r"tls\.yml:\d+: \S+/\.tls/ca\.crt is not there\..* dlhost ca create -i rig$", refused.stderr.strip()
    )
    assert tls.runs == []
    write(rig / "group_vars" / "all" / "mode.yml", "tls_mode: provided\n")
    assert "is not there" not in tls("provision", *RIG).stderr
