"""A host's certificate through its life: made, kept, renewed, damaged, repaired, taken away."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tls_world import CA, KEYS, MY_GROUP, OTHER_CA, Host, certificate_pem, key_pem, plugin

PROVIDED = {
    "mode": "provided",
    "certificate": certificate_pem(KEYS["p256"]),
    "certificate_key": key_pem(KEYS["p256"]),
}
MODES: list[dict[str, Any]] = [{"mode": "local_ca"}, {"mode": "self_signed"}, PROVIDED]
EVERY_MODE = pytest.mark.parametrize("mode", MODES, ids=[mode["mode"] for mode in MODES])
FILES = ["cert.pem", "front/cert.pem", "front/key.pem", "key.pem"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def let_time_pass(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Let the controller's clock be ahead."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(plugin(monkeypatch, "plugin_utils.tls_issuers"), "datetime", Later)


def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)


@EVERY_MODE
def test_the_first_run_brings_everything_and_the_second_is_one_look(host: Host, mode: dict[str, Any]) -> None:
    first = host.run(**mode)
    before = host.files()
    second = host.run(**mode)

    assert first["changed"], first
    assert sorted(before) == FILES
    assert before["key.pem"] == before["front/key.pem"]
    assert before["cert.pem"] == before["front/cert.pem"]
    modes = {name: (host.directory / name).stat().st_mode & 0o7777 for name in FILES}
    assert modes == {"cert.pem": 0o644, "front/cert.pem": 0o644, "front/key.pem": 0o640, "key.pem": 0o600}
    assert (second["changed"], second["reasons"], second["diff"], host.phases) == (False, [], [], ["plan"])
    assert host.files() == before
    assert not host.staging.exists()


@EVERY_MODE
def test_a_dry_run_tells_what_comes_and_writes_nothing(host: Host, mode: dict[str, Any]) -> None:
    foreseen = host.run(check=True, **mode)
    assert (host.phases, host.files(), host.staging.exists()) == (["plan"], {}, False)
    done = host.run(**mode)

    assert foreseen["changed"]
    assert sorted(foreseen["changed_paths"]) == sorted(done["changed_paths"])
    said = json.dumps(foreseen["diff"])
    assert "there is no certificate" in said
    assert "PRIVATE" not in json.dumps(foreseen) + json.dumps(done)


@EVERY_MODE
def test_clients_of_every_kind_accept_it(host: Host, mode: dict[str, Any]) -> None:
    host.run(**mode)

    proof = host.run(check=True, prove=True, **mode)

    assert (proof["refusals"], proof["reasons"], proof["changed"]) == ([], [], False)
    assert proof["certificate"]["days_left"] > 30


@pytest.mark.parametrize("key_type", ["ecdsa_p256", "ecdsa_p384", "rsa_2048", "rsa_3072"])
@pytest.mark.parametrize("mode", ["local_ca", "self_signed"])
def test_openssl_accepts_it_for_a_server_of_these_names(host: Host, tmp_path: Path, mode: str, key_type: str) -> None:
    settings = {
        "mode": mode,
        "key_type": key_type,
        "names": ["RIG.example.org", "*.rig.lan", "192.0.2.20", "2001:DB8::1"],
    }
    host.run(**settings)
    certificate = str(host.directory / "cert.pem")
    trusted = tmp_path / "trusted.crt"
    trusted.write_text(CA.certificate if mode == "local_ca" else (host.directory / "cert.pem").read_text())
    ask = ["verify", "-x509_strict", "-purpose", "sslserver", "-no-CApath", "-no-CAstore", "-CAfile", str(trusted)]

    for name in (
        ["-verify_hostname", "rig.example.org"],
        ["-verify_hostname", "a.rig.lan"],
        ["-verify_ip", "2001:db8::1"],
    ):
        assert openssl(*ask, *name, certificate).returncode == 0
    assert openssl(*ask, "-verify_hostname", "other", certificate).returncode != 0
    text = openssl("x509", "-noout", "-text", "-in", certificate).stdout
    assert "CA:FALSE" in text
    assert "TLS Web Server Authentication" in text
    assert "Subject: CN = rig.example.org" in text
    assert "X509v3 Subject Key Identifier" in text
    assert ("Key Encipherment" in text) is key_type.startswith("rsa")
    assert host.run(**settings)["changed"] is False


@pytest.mark.parametrize("mode", ["local_ca", "self_signed"])
def test_it_is_valid_for_as_long_as_asked_and_no_longer(host: Host, mode: str) -> None:
    host.run(mode=mode)

    certificate = host.certificate()
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life == timedelta(days=397)
    assert certificate.not_valid_before_utc <= datetime.now(UTC)


def test_it_is_not_valid_for_longer_than_the_authority(host: Host) -> None:
    short = certificate_pem(KEYS["p256"], days=50, names=(), ca=True)
    authority = {"ca_certificate": short, "ca_key": key_pem(KEYS["p256"])}

    host.run(**authority)

    assert host.run(**authority)["certificate"]["days_left"] in {49, 50}


CHANGES: list[Any] = [
    pytest.param({"names": ["rig", "other"]}, "its names are rig, 192.0.2.20 instead of rig, other", True, id="names"),
    pytest.param({"names": ["192.0.2.20", "rig"]}, "it is for CN=rig instead of CN=192.0.2.20", True, id="first name"),
    pytest.param({"valid_days": 90}, "it is valid for 397 days instead of 90", True, id="days"),
    pytest.param({"key_type": "ecdsa_p384"}, "its key is ecdsa_p256 instead of ecdsa_p384", False, id="key type"),
    pytest.param({"key_type": "rsa_2048"}, "its key is ecdsa_p256 instead of rsa_2048", False, id="rsa"),
    pytest.param(
        {"ca_certificate": OTHER_CA.certificate, "ca_key": OTHER_CA.key},
        "it was not signed by tls_ca_certificate",
        False,
        id="authority of the same name",
    ),
    pytest.param({"mode": "self_signed"}, "it did not sign itself", False, id="mode"),
    pytest.param(PROVIDED, "it is not tls_certificate", False, id="provided"),
]


@pytest.mark.parametrize(("change", "reason", "keeps_key"), CHANGES)
def test_other_settings_make_another_certificate(
    host: Host, change: dict[str, Any], reason: str, keeps_key: bool
) -> None:
    host.run()
    before = host.files()

    foreseen = host.run(check=True, **change)
    assert host.files() == before
    done = host.run(**change)

    after = host.files()
    assert reason in foreseen["reasons"]
    assert reason in json.dumps(foreseen["diff"])
    shown = [diff["before_header"] for diff in foreseen["diff"] if "before_header" in diff]
    assert shown == [str(host.directory / "cert.pem")]
    assert sorted(foreseen["changed_paths"]) == sorted(done["changed_paths"])
    assert (before["key.pem"] == after["key.pem"]) is keeps_key
    assert before["cert.pem"] != after["cert.pem"]
    assert host.run(**change)["changed"] is False
    # And back again, though a certificate may be valid for fewer days than are allowed.
    assert host.run()["changed"] is ("valid_days" not in change)
    assert host.run()["changed"] is False


@pytest.mark.parametrize("mode", ["local_ca", "self_signed"])
@pytest.mark.parametrize(("days", "renewed"), [(0, False), (366, False), (367.5, True), (500, True)])
def test_it_is_renewed_in_time_for_the_same_key(
    host: Host, monkeypatch: pytest.MonkeyPatch, mode: str, days: float, renewed: bool
) -> None:
    host.run(mode=mode)
    before = host.files()
    let_time_pass(monkeypatch, days)

    result = host.run(mode=mode, check=True)

    assert result["changed"] is renewed
    assert any("expire" in reason for reason in result["reasons"]) is renewed
    if renewed and mode == "local_ca":  # openssl signs with the real clock.
        assert host.run()["certificate"]["days_left"] == 396
        assert host.files()["key.pem"] == before["key.pem"]
        assert host.run()["changed"] is False


def test_one_that_a_wrong_clock_has_dated_ahead_is_made_anew(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    let_time_pass(monkeypatch, -1)

    (reason,) = host.run(check=True)["reasons"]

    assert reason.startswith("it is valid from ")


def test_a_name_that_is_given_twice_is_in_it_once(host: Host) -> None:
    assert host.run(names=["rig", "RIG", "192.0.2.20", "rig"])["certificate"]["names"] == ["rig", "192.0.2.20"]


def test_a_provided_certificate_is_renewed_for_the_same_key(host: Host) -> None:
    host.run(**PROVIDED)
    renewed = {**PROVIDED, "certificate": certificate_pem(KEYS["p256"], days=150)}

    foreseen = host.run(check=True, **renewed)
    done = host.run(**renewed)

    assert sorted(foreseen["changed_paths"]) == sorted(done["changed_paths"])
    assert [Path(path).name for path in done["changed_paths"]] == ["cert.pem", "cert.pem"]
    assert host.run(**renewed)["changed"] is False


def test_what_only_the_user_can_renew_is_announced(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "dlhost_action_needed" not in host.run(**PROVIDED)
    let_time_pass(monkeypatch, 80)

    result = host.run(**PROVIDED)

    assert result["changed"] is False
    assert result["dlhost_action_needed"].startswith("tls_certificate expires on ")
    assert result["dlhost_action_needed"].endswith(", in 19 days. Give a new one.")


def test_an_authority_near_its_end_is_announced_and_renews_nothing_over_and_over(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run()
    let_time_pass(monkeypatch, 3640)
    host.run()

    result = host.run()

    assert result["changed"] is False
    assert result["dlhost_action_needed"].startswith("tls_ca_certificate expires on ")


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(text)


def append(name: str, text: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text((path / name).read_text() + text)


def replace_pair(path: Path) -> None:
    """Somebody's own, for the right names."""
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=rig"]
    words += ["-addext", "subjectAltName=DNS:rig,IP:192.0.2.20"]
    assert openssl(*words, "-keyout", str(path / "key.pem"), "-out", str(path / "cert.pem")).returncode == 0


NO_KEY, OTHER_KEY = "there is no key", "the key is not the certificate's"
NONE, UNREADABLE = "there is no certificate", "the certificate cannot be read"
GIVEN, EXTENSIONS = "it is not tls_certificate", "its extensions are not those of this role"
SIGNER, LONG = "it was not signed by tls_ca_certificate", "its file holds more than one certificate"

# A damage, and the reason that is given for it in the order of MODES.
DAMAGES: list[Any] = [
    pytest.param(lambda path: (path / "cert.pem").unlink(), [NONE] * 3, id="deleted certificate"),
    pytest.param(lambda path: (path / "key.pem").unlink(), [NO_KEY] * 3, id="deleted key"),
    pytest.param(write("cert.pem", "x"), [UNREADABLE] * 3, id="no certificate"),
    pytest.param(write("key.pem", "x"), [OTHER_KEY] * 3, id="no key"),
    pytest.param(write("key.pem", key_pem(KEYS["other"])), [OTHER_KEY] * 3, id="other key"),
    pytest.param(append("key.pem", "x\n"), [OTHER_KEY] * 3, id="edited key"),
    pytest.param(append("cert.pem", CA.certificate), [LONG, LONG, GIVEN], id="longer chain"),
    pytest.param(replace_pair, [SIGNER, EXTENSIONS, GIVEN], id="replaced pair"),
]


@EVERY_MODE
@pytest.mark.parametrize(("damage", "reasons"), DAMAGES)
def test_damage_is_seen_and_repaired(
    host: Host, mode: dict[str, Any], damage: Callable[[Path], object], reasons: list[str]
) -> None:
    host.run(**mode)
    damage(host.directory)
    damaged = host.files()

    foreseen = host.run(check=True, **mode)
    assert host.files() == damaged
    done = host.run(**mode)

    assert reasons[MODES.index(mode)] in foreseen["reasons"]
    # What the certificates say is shown once, their texts are not.
    assert "BEGIN" not in json.dumps(foreseen["diff"])
    assert done["changed"]
    proof = host.run(check=True, prove=True, **mode)
    assert (proof["changed"], proof["refusals"], proof["is_pair"]) == (False, [], True)


def test_a_strangers_pair_is_replaced_with_its_key(host: Host) -> None:
    host.run()
    replace_pair(host.directory)
    strange = host.files()["key.pem"]

    host.run()

    assert host.files()["key.pem"] != strange


MISPLACED: list[Any] = [
    pytest.param(lambda path: (path / "key.pem").chmod(0o644), "key.pem", id="readable key"),
    pytest.param(lambda path: (path / "cert.pem").chmod(0o600), "cert.pem", id="hidden certificate"),
    pytest.param(lambda path: (path / "front/key.pem").unlink(), "front/key.pem", id="deleted copy"),
    pytest.param(lambda path: (path / "front/key.pem").write_text("x"), "front/key.pem", id="edited copy"),
    pytest.param(lambda path: (path / "front/cert.pem").chmod(0o666), "front/cert.pem", id="writable copy"),
    pytest.param(lambda path: path.chmod(0o777), "", id="directory for everybody"),
    pytest.param(lambda path: (path / "front").chmod(0o700), "front", id="directory for root alone"),
    pytest.param(lambda path: (path.parent / "managed.json").unlink(), "../managed.json", id="forgotten ownership"),
]


@pytest.mark.parametrize(("damage", "path"), MISPLACED)
def test_a_copy_or_mode_is_repaired_and_the_certificate_stays(
    host: Host, damage: Callable[[Path], object], path: str
) -> None:
    host.run()
    certificate = host.certificate()
    damage(host.directory)

    foreseen = host.run(check=True)
    done = host.run()

    place = os.path.normpath(host.directory / path)
    assert (foreseen["changed_paths"], foreseen["misplaced_paths"], foreseen["reasons"]) == ([place], [place], [])
    assert len(foreseen["diff"]) == 1
    assert (done["changed"], done["changed_paths"]) == (True, [place])
    assert host.certificate() == certificate
    assert host.run()["changed"] is False
    assert "PRIVATE" not in json.dumps(foreseen) + json.dumps(done)


def test_a_link_to_the_key_is_replaced_by_the_key(host: Host, tmp_path: Path) -> None:
    host.run()
    key = host.directory / "key.pem"
    text = key.read_bytes()
    key.rename(tmp_path / "elsewhere")
    key.symlink_to(tmp_path / "elsewhere")

    host.run()

    assert not key.is_symlink()
    assert key.read_bytes() == text


def test_something_else_in_place_of_a_directory_is_refused_in_one_sentence(host: Host, tmp_path: Path) -> None:
    host.directory.mkdir(parents=True)
    (host.directory / "front").symlink_to(tmp_path)

    for result in (host.run(check=True), host.run()):
        assert (result["failed"], result["msg"]) == (
            True,
            f"{host.directory}/front is no directory; dlhost needs one there. Move it away and run again.",
        )
    assert not (tmp_path / "key.pem").exists()


def test_a_consumer_that_is_no_longer_one_loses_its_copy(host: Host) -> None:
    host.run(consumers=[{"name": "front", "group": MY_GROUP}, {"name": "old", "group": MY_GROUP}])
    certificate = host.certificate()
    assert (host.directory / "old" / "key.pem").exists()

    host.run()

    assert not (host.directory / "old").exists()
    assert sorted(host.files()) == FILES
    assert host.certificate() == certificate


def test_a_group_that_is_not_there_is_named_before_anything_is_changed(host: Host) -> None:
    consumers = [{"name": "monitor", "group": "nobody-has-this"}]

    foreseen = host.run(check=True, consumers=consumers)
    done = host.run(consumers=consumers)

    assert foreseen["changed"]
    assert "group nobody-has-this of tls_consumers" in foreseen["dlhost_undetermined"]
    assert (done["failed"], done["changed"]) == (True, False)
    assert "group nobody-has-this, which this host does not have" in done["msg"]
    assert host.files() == {}
    assert not host.staging.exists()


@EVERY_MODE
@pytest.mark.parametrize("readable", [False, True])
def test_absent_takes_everything_away_and_shows_no_key(host: Host, mode: dict[str, Any], readable: bool) -> None:
    host.run(**mode)
    if readable:
        (host.directory / "key.pem").chmod(0o644)

    foreseen = host.run(check=True, state="absent", **mode)
    assert sorted(host.files()) == FILES
    done = host.run(state="absent", **mode)

    assert foreseen["changed"]
    assert done["changed"]
    assert "PRIVATE" not in json.dumps(foreseen) + json.dumps(done)
    assert not host.directory.parent.exists()
    assert host.run(state="absent", **mode)["changed"] is False


def test_what_is_private_stays_where_it_is(host: Host) -> None:
    results = [host.run(), host.run(key_type="rsa_2048"), host.run(state="absent")]
    key_lines = [line for line in CA.key.splitlines() if "-----" not in line]

    host.run()
    travelled = json.dumps(host.calls)
    assert not [line for line in key_lines if line in travelled]
    assert "PRIVATE" not in travelled
    assert "PRIVATE" not in json.dumps(results)


def test_only_a_provided_key_travels_and_only_when_it_is_needed(host: Host) -> None:
    host.run(**PROVIDED)
    assert [call["phase"] for call in host.calls if "PRIVATE KEY" in json.dumps(call)] == ["install"]
    assert host.module.ARGUMENTS["key"] == {"type": "str", "no_log": True}

    host.run(**PROVIDED)
    assert "PRIVATE KEY" not in json.dumps(host.calls)


def test_no_process_has_a_key_in_its_arguments(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    run = subprocess.run

    def note(command: list[str], **more: Any) -> Any:
        seen.append(repr(command))
        return run(command, **more)

    monkeypatch.setattr(host.module.tls_host.subprocess, "run", note)

    for mode in MODES:
        host.run(**mode)

    assert seen
    assert "PRIVATE" not in "".join(seen)


@pytest.mark.parametrize(
    ("mode", "phase"), [(mode, "install") for mode in MODES] + [(mode, "key") for mode in MODES[:2]]
)
def test_a_run_that_is_cut_between_two_calls_is_finished_by_the_next(
    host: Host, mode: dict[str, Any], phase: str
) -> None:
    host.cut_before = phase
    with pytest.raises(KeyboardInterrupt):
        host.run(**mode)
    assert host.files() == {}
    host.cut_before = ""

    assert host.run(**mode)["changed"]
    assert host.run(**mode)["changed"] is False
    assert not host.staging.exists()


@EVERY_MODE
def test_what_a_killed_run_left_in_memory_is_in_nobodys_way(host: Host, mode: dict[str, Any]) -> None:
    host.staging.mkdir()
    (host.staging / "key.pem").write_text(key_pem(KEYS["other"]))

    assert host.run(**mode)["changed"]
    assert not host.staging.exists()
    assert host.files()["key.pem"].decode() != key_pem(KEYS["other"])


@pytest.mark.parametrize("renames", range(6))
@pytest.mark.parametrize("change", [{}, {"key_type": "ecdsa_p384"}], ids=["first run", "another key"])
def test_a_run_that_is_cut_between_two_files_is_finished_by_the_next(
    host: Host, monkeypatch: pytest.MonkeyPatch, renames: int, change: dict[str, Any]
) -> None:
    if change:
        host.run()
    replace = Path.replace
    done: list[Path] = []

    def cut(source: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with contextlib.suppress(KeyboardInterrupt):
            host.run(**change)

    host.run(**change)
    proof = host.run(check=True, prove=True, **change)

    assert (proof["changed"], proof["refusals"], proof["is_pair"]) == (False, [], True)
    host.run(state="absent")
    assert not host.directory.parent.exists()


def test_a_certificate_that_is_not_the_keys_is_not_installed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    before = host.files()
    monkeypatch.setattr(host.module.tls_host, "new_key", lambda _kind: key_pem(KEYS["p256"]).encode())
    public = public_half(KEYS["rsa_2048"])
    monkeypatch.setattr(host.module.tls_host, "public_half", lambda _key: public)

    result = host.run(key_type="rsa_2048")

    assert result["failed"]
    assert result["msg"] == "The new certificate is not that of the key. Nothing was changed; run again."
    assert host.files() == before
    assert not host.staging.exists()


def public_half(key: Any) -> str:
    words = ["openssl", "pkey", "-pubout"]
    return subprocess.run(words, input=key_pem(key), capture_output=True, text=True, check=True).stdout


def test_what_openssl_says_is_passed_on(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(host.module.tls_host.KEY_TYPES, "ecdsa_p256", ["-algorithm", "none"])

    result = host.run()

    assert result["failed"]
    assert result["msg"].startswith("openssl genpkey failed: ")
    assert host.files() == {}


def test_verify_sees_what_a_client_would(host: Host) -> None:
    host.run()

    def refusals(**settings: Any) -> Any:
        return host.run(check=True, prove=True, **settings)["refusals"]

    assert refusals() == []
    (unnamed,) = refusals(names=["rig", "192.0.2.20", "other"])
    assert unnamed.startswith("other: Hostname mismatch")
    stranger = refusals(ca_certificate=OTHER_CA.certificate, ca_key=OTHER_CA.key)
    assert [name.partition(":")[0] for name in stranger] == ["rig", "192.0.2.20"]


def test_verify_reports_an_expired_certificate_with_its_date(host: Host) -> None:
    expired = {
        "mode": "provided",
        "certificate": certificate_pem(KEYS["p256"], days=-1.5),
        "certificate_key": key_pem(KEYS["p256"]),
    }
    host.run(**PROVIDED)
    for name in ("cert.pem", "front/cert.pem"):
        (host.directory / name).write_text(str(expired["certificate"]))

    refused = host.run(**expired)
    proof = host.run(check=True, prove=True, **expired)

    day = datetime.now(UTC) - timedelta(days=1.5)
    assert refused["msg"] == f"tls_certificate expired on {day:%Y-%m-%d}. Give a new one."
    assert (proof["certificate"]["days_left"], proof["certificate"]["valid_until"]) == (-2, f"{day:%Y-%m-%d}")
    assert proof["refusals"] == ["rig: certificate has expired"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_verify_reads_as_each_consumer_would(host: Host, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o755)
    host.run()

    def shut_out(group: str = "nogroup") -> Any:
        return host.run(check=True, prove=True, consumers=[{"name": "front", "group": group}])["shut_out"]

    host.run(consumers=[{"name": "front", "group": "nogroup"}])
    assert shut_out() == []
    host.directory.chmod(0o700)
    assert shut_out() == ["front"]
    host.directory.chmod(0o755)
    assert shut_out("games") == ["front"]
    assert shut_out("nobody-has-this") == ["front"]
