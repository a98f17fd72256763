"""A host in mode acme, as role tls keeps it: with what its directory gave, and with its own authority's until then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.systemd_double import SystemdDouble
from tests.unit.tls_world import CA, KEYS, ME, MY_GROUP, SETTINGS, Host, certificate_pem, key_pem, plugin

ACME = {"mode": "acme", "names": ["rig", "localhost"]}
TIMER = "dlhost-tls-renew.timer"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def order(monkeypatch: pytest.MonkeyPatch, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = plugin(monkeypatch, "filter.tls_acme_order").tls_acme_order({**SETTINGS, **ACME, **more})
    return found


def give(host: Host, asked: dict[str, Any], days: float = 60, key: Any = KEYS["p256"]) -> str:
    """Do as certbot does where the directory gives a certificate; returns its text."""
    live = host.acme.Order(**asked).live
    live.mkdir(parents=True, exist_ok=True)
    text = certificate_pem(key, days=days) + CA.certificate
    (live / "fullchain.pem").write_text(text)
    (live / "privkey.pem").write_text(key_pem(key))
    return text


def test_until_a_directory_gives_one_it_is_the_inventorys_own(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = host.run(**ACME), host.run(**ACME)
    proof = host.run(check=True, prove=True, **ACME)

    assert (first["changed"], second["changed"], proof["reasons"], proof["refusals"]) == (True, False, [], [])
    own = host.files()["cert.pem"].decode()
    anchors = plugin(monkeypatch, "filter.tls_anchors").tls_anchors
    assert anchors({**SETTINGS, **ACME, "acme_ca": "x"}, own) == CA.certificate
    assert proof["certificate"]["names"] == ["rig"]


def test_what_was_given_is_taken_and_stays(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run(**ACME)
    text = give(host, order(monkeypatch))

    foreseen = host.run(check=True, **ACME)
    done = host.run(**ACME)
    files = host.files()

    assert foreseen["reasons"] == done["reasons"] == ["it is not the one that https://acme.example/dir gave"]
    assert "key: ecdsa_p256, a new one" in str(foreseen["diff"])
    assert files["cert.pem"].decode() == files["front/cert.pem"].decode() == text
    assert files["key.pem"].decode() == files["front/key.pem"].decode() == key_pem(KEYS["p256"])
    assert host.phases == ["plan", "install"]
    assert not host.run(**ACME)["changed"]
    anchors = plugin(monkeypatch, "filter.tls_anchors").tls_anchors
    assert anchors({**SETTINGS, **ACME, "acme_ca": "x"}, text) == "x"


@pytest.mark.parametrize("name", ["key.pem", "cert.pem", "front/key.pem"])
def test_what_is_damaged_comes_from_what_was_given(host: Host, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    give(host, order(monkeypatch))
    host.run(**ACME)
    before = host.files()
    (host.directory / name).write_text("damaged")

    assert host.run(**ACME)["changed"]
    assert host.files() == before


def test_one_that_was_given_for_other_names_stays_until_there_is_a_better_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = give(host, order(monkeypatch))
    host.run(**ACME)

    more = {**ACME, "names": ["rig", "www"]}
    assert not host.run(**more)["changed"]
    # verify, however, says that a client of the new name is refused.
    assert host.run(check=True, prove=True, **more)["refusals"][0].startswith("www: ")
    newer = give(host, order(monkeypatch, **more), key=KEYS["other"])
    assert host.run(**more)["changed"]
    assert host.files()["cert.pem"].decode() == newer != text


def test_one_that_has_expired_makes_room_for_the_inventorys_own(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    give(host, order(monkeypatch))
    host.run(**ACME)
    text = give(host, order(monkeypatch), days=-1)
    for name in ("cert.pem", "front/cert.pem"):
        (host.directory / name).write_text(text)

    done = host.run(**ACME)

    assert "it was not signed by tls_ca_certificate" in done["reasons"]
    assert (host.phases, done["certificate"]["days_left"] > 300) == (["plan", "key", "install"], True)


def test_one_that_has_lost_its_key_is_not_taken(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = order(monkeypatch)
    text = give(host, asked)
    (host.acme.Order(**asked).live / "privkey.pem").unlink()

    assert "failed" not in host.run(**ACME)
    assert host.files()["cert.pem"].decode() != text
    # In its place it is whole, and better than another.
    (host.directory / "key.pem").write_text(key_pem(KEYS["p256"]))
    (host.directory / "cert.pem").write_text(text)
    host.run(**ACME)
    assert host.files()["cert.pem"].decode() == text


def test_damaged_leftovers_do_not_hide_what_was_given(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = order(monkeypatch)
    text = give(host, asked)
    left = host.acme.Order(**asked).live.parent / "dlhost-left"
    left.mkdir()
    # Older Pythons do not list a link that leads nowhere.
    (left / "fullchain.pem").mkdir()

    assert host.acme.all_issued(host.acme.Order(**asked))[0] == text


def test_another_mode_takes_no_key_over(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    give(host, order(monkeypatch))
    host.run(**ACME)

    assert host.run(mode="local_ca")["changed"]
    assert host.files()["key.pem"].decode() != key_pem(KEYS["p256"])
    assert host.run(**ACME)["changed"]
    assert host.files()["key.pem"].decode() == key_pem(KEYS["p256"])


def test_another_mode_hands_the_client_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[list[str]] = []
    owned, debian = host.module.owned_files, host.module.debian_packages
    monkeypatch.setattr(debian, "hand_back", lambda names, **_more: handed.append(names))
    monkeypatch.setattr(debian, "install", lambda _names: None)
    monkeypatch.setattr(owned, "missing_packages", lambda names: [name for name in names if name == "certbot"])
    host.run(packages=["openssl", "certbot"], **ACME)
    monkeypatch.setattr(owned, "missing_packages", lambda _names: [])

    foreseen = host.run(check=True)
    host.run()
    host.run()

    assert {"prepared": "package certbot: kept at nobody's wish\n"} in foreseen["diff"]
    assert [names for names in handed if names] == [["certbot"]]


def test_whom_clients_trust_with_a_private_directory(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    text = give(host, order(monkeypatch))
    host.run(**ACME)

    assert host.run(check=True, prove=True, acme_ca=text, **ACME)["refusals"] == []
    assert host.run(check=True, prove=True, acme_ca=CA.certificate, **ACME)["refusals"] != []


def test_the_timer_comes_and_goes_with_the_mode(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = SystemdDouble()
    for name in ("must", "find_units"):
        monkeypatch.setattr(host.module.service_host, name, getattr(systemd, name))
    monkeypatch.setattr(host.module, "UNIT_DIRECTORY", tmp_path / "units")
    file = {"path": str(tmp_path / "units" / TIMER), "content": "x", "owner": ME, "group": MY_GROUP}

    foreseen = host.run(check=True, files=[file], **ACME)
    host.run(files=[file], **ACME)
    came = systemd.commands
    systemd.change(TIMER, active=True)
    quiet = host.run(files=[file], **ACME)
    systemd.commands = []
    gone = host.run(mode="local_ca")

    assert f"{TIMER} is not enabled\n" in [diff.get("prepared") for diff in foreseen["diff"]]
    assert came == ["daemon-reload", f"enable --quiet {TIMER}", f"restart {TIMER}"]
    assert (quiet["changed"], quiet["timer_problems"]) == (False, [])
    assert systemd.commands == [f"disable --quiet --now {TIMER}", "daemon-reload"]
    assert file["path"] in gone["changed_paths"]
    assert not Path(file["path"]).exists()


def test_the_accounts_key_is_in_one_file_and_on_its_way_in_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    path, text = host.directory.parent / "account.ini", "eab-hmac-key = pOlm_-Q"
    file = {"path": str(path), "content": text, "mode": "0600", "owner": ME, "group": MY_GROUP, "sensitive": True}
    piped = plugin(monkeypatch, "plugin_utils.piped_modules")
    ways: list[str] = []

    def run_piped(_action: Any, name: str, variables: Any, arguments: dict[str, Any]) -> Any:
        ways.append(arguments["phase"])
        return host._execute(name, arguments, variables)

    monkeypatch.setattr(piped, "run_piped", run_piped)
    foreseen = host.run(check=True, files=[file], **ACME)
    host.run(files=[file], **ACME)

    assert text not in str(foreseen) and str(path) in foreseen["changed_paths"]
    assert (path.read_text(), path.stat().st_mode & 0o777) == (text, 0o600)
    assert ways == ["plan", "plan", "key", "install"]
    host.run(**ACME)
    assert not path.exists()
    assert len(ways) == 4, "nothing is secret then"


@pytest.mark.parametrize(("hook", "minutes"), [("", 15), ("/opt/dns", 20)])
def test_a_hook_runs_at_renewal_as_it_does_in_a_run(hook: str, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = collections_path() / "ansible_collections/dlhost/host/roles/tls/templates/dlhost-tls-renew.service.j2"
    template = jinja2.Template(unit.read_text(), trim_blocks=True, autoescape=False)
    asked = order(monkeypatch, names=["a.example", "b.example"])
    lines = template.render(__tls_acme_order=asked, tls_acme_dns_hook=hook, __tls_program="/p").splitlines()

    assert f"TimeoutStartSec={minutes}min" in lines
    assert any(line.startswith(("Protect", "Private", "ReadWrite")) for line in lines) == (not hook)


@pytest.mark.parametrize(
    ("more", "directory", "certbot"),
    [
        ({"acme_directory": LETS_ENCRYPT}, LETS_ENCRYPT, ""),
        (
            {"acme_directory": LETS_ENCRYPT, "acme_staging": True},
            "https://acme-staging-v02.api.letsencrypt.org/directory",
            "",
        ),
        ({"acme_certbot": "/opt/certbot"}, "https://acme.example/dir", "/opt/certbot"),
    ],
)
def test_who_is_asked_and_by_what(
    more: dict[str, Any], directory: str, certbot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = order(monkeypatch, names=["rig.example.org"], **more)

    assert (asked["directory"], asked["certbot"]) == (directory, certbot)


def test_absent_leaves_nothing_that_was_given(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    give(host, order(monkeypatch))
    host.run(**ACME)

    assert str(host.acme.STATE) in host.run(check=True, state="absent")["changed_paths"]
    assert host.acme.STATE.exists()
    host.run(state="absent")
    assert not host.acme.STATE.exists()
    assert not host.run(state="absent")["changed"]
