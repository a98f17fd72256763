"""Settings of role tls that no host can have: each is refused in one sentence, before a host is asked for anything."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.unit.plays import ansible_playbook, results, rules_of
from tests.unit.tls_world import CA, KEYS, OTHER_CA, SETTINGS, Host, certificate_pem, key_pem, plugin

PROVIDED = {"mode": "provided", "certificate": certificate_pem(KEYS["p256"]), "certificate_key": key_pem(KEYS["p256"])}
MINE = {"ca_certificate": certificate_pem(KEYS["p256"], ca=True), "ca_key": key_pem(KEYS["p256"])}

ACME = {"mode": "acme", "names": ["rig.example.org", "localhost", "127.0.0.1"]}
EAB = {**ACME, "acme_eab_kid": "b3c0/ada", "acme_eab_hmac_key": "pOlm_-Q="}
LETS_ENCRYPT = {**ACME, "acme_directory": "https://acme-v02.api.letsencrypt.org/directory"}

NOT_A_NAME = "is neither a host name (letters, digits, hyphens, dots) nor an IP address."
NAMES = [
    *(
        "",
        "a b",
        "-a",
        "a-",
        "a..b",
        "a.",
        ".a",
        "a_b",
        "bücher.example",
        "*",
        "*.org",
        "a.*.org",
        "rig\n",
        "rig,DNS:x",
    ),
    *("192.0.2.300", "192.0.2", "1.2.3.4.5", "192.0.2.0/24", "[::1]", "fe80::1%eth0", "::g", "https://rig", "rig:8888"),
    *("x" * 64, ".".join(["x" * 63] * 4 + ["xx"])),
]
GOOD_NAMES = ["rig", "RIG.local", "x" * 63, "3com.example", "*.rig.lan", "xn--bcher-kva.example", "::1", "192.0.2.1"]
NO_AUTHORITY = "tls_ca_certificate is not the certificate of an authority (CA:TRUE, keyCertSign)."

REFUSED: list[Any] = [
    *(pytest.param({"names": ["rig", name]}, NOT_A_NAME, id=f"name {name[:20]!r}") for name in NAMES),
    pytest.param({"names": []}, "tls_names is empty", id="no name"),
    pytest.param({"valid_days": 398}, "allowed are 1 to 397", id="too many days"),
    pytest.param({"valid_days": 0}, "allowed are 1 to 397", id="no day"),
    pytest.param({"renew_days": 397}, "tls_renew_days is 397; it has to be between 0 and tls_valid_days", id="renewal"),
    pytest.param({"renew_days": -1}, "tls_renew_days is -1", id="negative renewal"),
    pytest.param({"mode": "self_signed", "names": ["a b"]}, NOT_A_NAME, id="self-signed name"),
    pytest.param({"consumers": [{"name": "../x", "group": "root"}]}, "cannot name a directory", id="consumer path"),
    pytest.param({"consumers": [{"name": "key.pem", "group": "root"}]}, "cannot name a directory", id="consumer file"),
    pytest.param({"consumers": [{"name": "a", "group": "b"}] * 2}, "has a name twice (a, a)", id="consumer twice"),
    pytest.param({"ca_certificate": ""}, "tls_ca_certificate is empty: `dlhost ca create`", id="no authority"),
    pytest.param({"ca_key": " \n"}, "tls_ca_key is empty: `dlhost ca create`", id="no authority's key"),
    pytest.param({"ca_certificate": "x"}, "tls_ca_certificate is not a certificate in PEM form", id="authority"),
    pytest.param({"ca_certificate": CA.certificate * 2}, "holds 2 certificates", id="two authorities"),
    pytest.param({"ca_key": "x"}, "tls_ca_key is not a private key in PEM form", id="authority's key"),
    pytest.param({"ca_key": OTHER_CA.key}, "tls_ca_key is not the key of tls_ca_certificate", id="other authority"),
    pytest.param({"ca_key": key_pem(KEYS["p256"], b"secret")}, "tls_ca_key is encrypted", id="encrypted key"),
    pytest.param(
        {"ca_certificate": certificate_pem(KEYS["ed25519"], ca=True), "ca_key": key_pem(KEYS["ed25519"])},
        "tls_ca_key is Ed25519; browsers take",
        id="key of another kind",
    ),
    pytest.param(
        {**MINE, "ca_certificate": PROVIDED["certificate"]}, "is not the certificate of an authority", id="CA:FALSE"
    ),
    pytest.param(
        {**MINE, "ca_certificate": certificate_pem(KEYS["p256"], ca=True, usage=False)},
        NO_AUTHORITY,
        id="no keyCertSign",
    ),
    pytest.param(
        {**MINE, "ca_certificate": certificate_pem(KEYS["p256"], days=-1, ca=True)},
        "Make a new authority: move .tls/ca.crt",
        id="expired authority",
    ),
    pytest.param({"mode": "provided"}, "tls_certificate is empty; give it in PEM form", id="no certificate"),
    pytest.param({**PROVIDED, "certificate_key": ""}, "tls_certificate_key is empty", id="no key"),
    pytest.param({**PROVIDED, "certificate": "x"}, "tls_certificate is not a certificate", id="unreadable"),
    pytest.param(
        {**PROVIDED, "certificate": PROVIDED["certificate"].replace("M", "-")},
        "tls_certificate is not a certificate",
        id="damaged",
    ),
    pytest.param({**PROVIDED, "certificate_key": "x"}, "tls_certificate_key is not a private", id="damaged key"),
    pytest.param(
        {**PROVIDED, "certificate_key": key_pem(KEYS["other"])},
        "tls_certificate_key is not the key of the first certificate in tls_certificate.",
        id="other key",
    ),
    pytest.param(
        {**PROVIDED, "certificate": CA.certificate + PROVIDED["certificate"]},
        "tls_certificate_key is not the key of the first certificate",
        id="chain first",
    ),
    pytest.param(
        {**PROVIDED, "certificate": certificate_pem(KEYS["p256"], days=-1)},
        "tls_certificate expired on ",
        id="expired",
    ),
    pytest.param(
        {**PROVIDED, "certificate": certificate_pem(KEYS["p256"], names=())},
        "names no host in its subjectAltName",
        id="nameless",
    ),
    *(
        pytest.param(
            {"mode": "provided", "certificate": certificate_pem(KEYS[kind]), "certificate_key": key_pem(KEYS[kind])},
            "browsers take ECDSA on P-256 and P-384, and RSA from 2048 bits on.",
            id=f"provided {kind}",
        )
        for kind in ("rsa_1024", "p521", "ed25519")
    ),
    pytest.param(
        {**ACME, "acme_email": ""}, "takes an e-mail address for the account, and tls_acme_email", id="no e-mail"
    ),
    pytest.param({**ACME, "acme_email": "ada"}, "for the account, and 'ada' is none.", id="no e-mail address"),
    pytest.param({**ACME, "ca_key": ""}, "tls_mode is acme and tls_ca_key is empty", id="acme without an authority"),
    pytest.param({**ACME, "names": ["LOCALHOST", "::1"]}, "names nothing but the host itself", id="nobody's name"),
    pytest.param({**ACME, "names": ["a b"]}, NOT_A_NAME, id="acme name"),
    pytest.param({**ACME, "acme_directory": "http://acme/dir"}, "it is the https:// URL of a directory", id="plain"),
    pytest.param({**ACME, "acme_staging": True}, "tls_acme_staging is Let's Encrypt's", id="staging of another"),
    pytest.param({**ACME, "acme_ca": "x"}, "tls_acme_ca is not a certificate in PEM form", id="directory's authority"),
    pytest.param({**ACME, "acme_profile": "a b"}, "such names are of letters", id="profile"),
    pytest.param({**ACME, "acme_eab_kid": "ada"}, "tls_acme_eab_hmac_key is empty; a directory", id="account's key"),
    pytest.param({**ACME, "acme_eab_hmac_key": "YQ"}, "tls_acme_eab_kid is empty; a directory", id="account's name"),
    pytest.param({**EAB, "acme_eab_kid": "a\nb"}, "directories give a word there", id="account's name of two lines"),
    pytest.param({**EAB, "acme_eab_hmac_key": "a b"}, "tls_acme_eab_hmac_key is no key; ", id="account's key of two"),
    pytest.param({**ACME, "acme_dns_hook": "hook --add"}, "the absolute path of a program", id="hook"),
    pytest.param(
        {**ACME, "acme_certbot": "certbot"}, "tls_acme_certbot is 'certbot'; it is the absolute", id="certbot"
    ),
    pytest.param({**ACME, "names": ["*.example.org"]}, "tls_acme_dns_hook does that", id="wildcard"),
    pytest.param(
        {**ACME, "names": ["8.8.8.8"], "acme_dns_hook": "/h"}, "proves names, not addresses", id="address in the DNS"
    ),
    *(
        pytest.param(
            {**LETS_ENCRYPT, "names": [name]}, f"tls_names has {name}, which Let's Encrypt", id=f"private {name}"
        )
        for name in ("192.168.1.20", "100.64.0.7", "rig")
    ),
]

ACCEPTED: list[Any] = [
    *(pytest.param({"names": [name]}, id=f"name {name[:20]!r}") for name in GOOD_NAMES),
    pytest.param(MINE, id="my own authority"),
    pytest.param(PROVIDED, id="provided"),
    pytest.param({**PROVIDED, "certificate": PROVIDED["certificate"] + CA.certificate}, id="provided chain"),
    pytest.param(
        {
            "mode": "provided",
            "certificate": certificate_pem(KEYS["rsa_2048"]),
            "certificate_key": key_pem(KEYS["rsa_2048"]),
        },
        id="provided rsa_2048",
    ),
    pytest.param(ACME, id="acme"),
    pytest.param(EAB, id="acme for customers"),
    pytest.param({**ACME, "names": ["*.example.org"], "acme_dns_hook": "/opt/dns-hook"}, id="acme wildcard"),
    pytest.param({**ACME, "names": ["8.8.8.8"], "acme_certbot": "/opt/certbot/bin/certbot"}, id="acme address"),
    pytest.param({**ACME, "names": ["rig", "192.168.1.20"]}, id="private directory"),
    pytest.param({**LETS_ENCRYPT, "acme_staging": True, "names": ["rig.example.org", "8.8.8.8"]}, id="staging"),
    # What another mode would need is nobody's business.
    pytest.param({"mode": "self_signed", "ca_certificate": "x", "ca_key": "x"}, id="self-signed"),
]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_it_is_refused_before_the_host_is_asked(
    host: Host, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], said: str
) -> None:
    sentence = plugin(monkeypatch, "filter.tls_refusal").tls_refusal({**SETTINGS, **settings})
    result = host.run(**settings)

    assert said in sentence
    assert "\n" not in sentence
    assert (result["failed"], result["changed"], result["msg"], host.calls) == (True, False, sentence, [])


@pytest.mark.parametrize("settings", ACCEPTED)
def test_it_is_accepted(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    assert plugin(monkeypatch, "filter.tls_refusal").tls_refusal({**SETTINGS, **settings}) == ""


def provided(*names: str) -> dict[str, Any]:
    return {**PROVIDED, "certificate": certificate_pem(KEYS["p256"], names=names)}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        pytest.param({"names": ["Rig", "*.rig.lan", "::1", "rig"]}, ["rig", "::1"], id="our own"),
        pytest.param({"mode": "self_signed", "names": ["*.rig.lan"]}, [], id="wildcards only"),
        pytest.param(ACME, ["rig.example.org"], id="what a directory can see"),
        # What does not cover the default names does not serve under them.
        pytest.param(provided("a.org", "b.org"), ["a.org", "b.org"], id="the certificate's"),
        pytest.param(
            {**provided("*.Lan", "Rig.org"), "names": ["X.lan", "a.b.lan", "lan", "*.lan", "192.0.2.1", "rig.org"]},
            ["x.lan", "rig.org"],
            id="under a wildcard",
        ),
        pytest.param({**provided("a.org"), "names": ["-", "a.org"]}, ["a.org"], id="no name"),
        pytest.param({"ca_key": "", "names": ["*.x", "RIG"]}, ["*.x", "RIG"], id="what cannot be"),
    ],
)
def test_a_browser_may_call_the_host_what_the_certificate_does(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], names: list[str]
) -> None:
    assert plugin(monkeypatch, "filter.tls_hostnames").tls_hostnames({**SETTINGS, **settings}) == names


def given_by(organization: str, days: int = 90) -> dict[str, Any]:
    """A host in mode acme, as tasks_from: anchors finds it, with a certificate of somebody's."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization)])
    until = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder(name, name, KEYS["p256"].public_key(), 1, until - timedelta(days=90), until)
    text = builder.sign(KEYS["p256"], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {"tls_mode": "acme", "__tls_own": {"content": b64encode(text).decode()}}


def test_playbooks_know_whether_every_browser_trusts_the_certificate(tmp_path: Path) -> None:
    cases: dict[str, tuple[dict[str, Any], bool]] = {
        "default": ({}, False),
        "itself": ({"tls_mode": "self_signed"}, False),
        "bought": ({"tls_mode": "provided"}, True),
        "company": ({"tls_mode": "provided", "tls_anchors": CA.certificate}, False),
        "public": (given_by("Let's Encrypt"), True),
        "expired": (given_by("Let's Encrypt", days=-1), False),
        "not yet": ({"tls_mode": "acme"}, False),
        "meanwhile": (given_by("dlhost"), False),
        "staging": (given_by("(STAGING) Let's Encrypt"), False),
        "switched": ({**given_by("Let's Encrypt"), "tls_mode": "local_ca"}, False),
        "gone": ({**given_by("Let's Encrypt"), "tls_state": "absent"}, False),
    }
    shown = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ tls_is_trusted }}"}}
    role = rules_of("tls")
    hosts = {name: variables for name, (variables, _expected) in cases.items()}
    seen = results(tmp_path, hosts, [shown, role])
    assert {host: result["msg"] for task, host, result in seen if task == "Show"} == {
        name: expected for name, (_variables, expected) in cases.items()
    }


def test_a_blank_authority_of_the_directory_is_none(tmp_path: Path) -> None:
    shown = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ [tls_anchors, __tls_acme_order.has_ca] | to_json }}"}}
    role = rules_of("tls")
    needed = {"tls_names": ["rig"], "tls_ca_certificate": CA.certificate, "tls_ca_key": CA.key}
    acme = {"tls_mode": "acme", "tls_acme_email": "a@example.org", "tls_acme_directory": "https://acme.example/dir"}
    seen = results(tmp_path, {"rig": {**needed, **acme, "tls_acme_ca": " \n"}}, [shown, role])

    assert [json.loads(result["msg"]) for task, _host, result in seen if task == "Show"] == [["", False]]


def play(directory: Path, *arguments: str, **variables: Any) -> str:
    """Everything that Ansible says when the role is applied to this machine in a dry run."""
    task = {"ansible.builtin.include_role": {"name": "dlhost.host.tls"}}
    hosts = {"rig": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}}
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (directory / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    done = ansible_playbook(directory, "play.json", "--check", *arguments, ANSIBLE_DISPLAY_ARGS_TO_STDOUT="true")
    return done.stdout + done.stderr


def test_the_role_itself_refuses(tmp_path: Path) -> None:
    said = play(tmp_path, tls_ca_certificate=CA.certificate)

    assert "tls_mode is local_ca and tls_ca_key is empty" in said
    assert "failed=1" in said


@pytest.mark.parametrize(
    ("needed_by", "said"), [(["nginx_proxy"], "and nginx_proxy serves with its certificate."), ([], "")]
)
def test_it_does_not_go_while_something_serves_with_it(tmp_path: Path, needed_by: list[str], said: str) -> None:
    answer = play(tmp_path, tls_state="absent", tls_needed_by=needed_by)

    assert said in answer
    assert f"failed={int(bool(said))}" in answer


def test_what_a_command_line_can_say_is_understood(tmp_path: Path) -> None:
    texts = ("-e", "tls_valid_days=90", "-e", "tls_renew_days=30", "-e", "tls_names=rig.example.org")

    said = play(tmp_path, "--diff", *texts, tls_ca_certificate=CA.certificate, tls_ca_key=CA.key)

    assert "failed=0" in said, said
    assert "+names: rig.example.org\n" in said


def test_what_ansible_itself_refuses_it_says_itself(tmp_path: Path) -> None:
    said = play(tmp_path, tls_ca_certificate=CA.certificate, tls_ca_key=CA.key, tls_consumers=[{"group": "games"}])

    assert "missing required arguments: name found in tls_consumers" in said


def test_ansible_tells_no_key_however_much_it_is_asked_to_tell(tmp_path: Path) -> None:
    secrets = {"tls_ca_key": CA.key, "tls_certificate_key": key_pem(KEYS["p256"])}

    said = play(tmp_path, "-vvvv", "--diff", tls_ca_certificate=CA.certificate, **secrets)

    assert "Keep the certificate valid" in said
    assert "failed=0" in said
    lines = [line for text in secrets.values() for line in text.splitlines() if "-----" not in line]
    assert [line for line in lines if line in said] == []
