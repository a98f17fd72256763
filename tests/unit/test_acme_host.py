"""A host's certificate from an ACME directory: when it is asked for, what a failure means, and what is put in place."""

from __future__ import annotations

import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tls_world import KEYS, ME, MY_GROUP, certificate_pem, key_pem, plugin

NOW = 1_800_000_000.0
HOUR_S, DAY_S = 3600, 86400
ORDER: dict[str, Any] = {
    "directory": "https://acme.example/dir",
    "email": "ada@example.org",
    "names": ["rig.example.org", "www.example.org"],
    "key_type": "ecdsa_p256",
    "profile": "",
    "dns_hook": "",
    "certbot": "",
    "has_ca": False,
    "has_eab": False,
    "renew_days": 30,
    "consumers": [{"name": "front", "group": MY_GROUP}],
}
OLD, NEW = KEYS["other"], KEYS["p256"]
# As certbot 2.1 and 4.0 put it; details are Let's Encrypt's and pebble's.
FAILED = """Saving debug log to /var/lib/dlhost-tls/certbot/logs/letsencrypt.log
Requesting a certificate for rig.example.org

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: rig.example.org
  Type:   {}
  Detail: {}

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org.
"""
UNEXPECTED = (
    "An unexpected error occurred:\n{}\nAsk for help or search for solutions at https://community.letsencrypt.org."
)
LOG = "'type': 'urn:ietf:params:acme:error:{}'"
LINKS = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
    {"ifname": "eth0", "addr_info": [{"local": "192.168.1.20"}, {"local": "fe80::1"}]},
]


class World:
    """A host under a temporary directory; openssl is real, certbot, nginx and systemd are this test's."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.acme = plugin(monkeypatch, "module_utils.acme_host")
        self.module = plugin(monkeypatch, "modules.acme_certificate")
        self.commands: list[list[str]] = []
        self.said = self.log = ""  # What certbot fails with, and what it writes into its log.
        self.nginx = ""  # What nginx has against its configuration.
        self.days = 90.0
        self.links: list[Any] = LINKS
        self.tls, self.state = root / "tls", root / "state"
        for name, value in {
            "TLS": self.tls,
            "OWNER": ME,
            "GROUP": MY_GROUP,
            "STATE": self.state,
            "WEBROOT": self.state / "webroot",
            "OWN": self.state / "certbot",
            "RECORD": self.state / "tries.json",
            "RELOAD_DUE": self.state / "reload-due",
            "run": self._run,
            # What a host with a network has to be asked about; molecule does.
            "refuse_impossible": lambda _order: None,
        }.items():
            monkeypatch.setattr(self.acme, name, value)

    def order(self, **more: Any) -> Any:
        return self.acme.Order(**{**ORDER, **more})

    def attend(self, now: float, **more: Any) -> str:
        """What the user would be told; empty where all is well."""
        try:
            self.acme.attend(self.order(**more), now)
        except self.acme.AcmeError as error:
            return str(error)
        return ""

    def give(self, order: Any, key: Any) -> None:
        """Do as certbot does where the directory gives a certificate; beside a lineage that is none any more, too."""
        conf = self.state / "certbot" / "config" / "renewal" / f"{order.lineage}.conf"
        parts = {conf: "= ", order.live / "cert.pem": "-----", order.live / "chain.pem": "-----"}
        is_whole = all(path.exists() and mark in path.read_text() for path, mark in parts.items())
        if order.live.exists() and not is_whole:
            return
        order.live.mkdir(parents=True, exist_ok=True)
        conf.parent.mkdir(exist_ok=True)
        text, chain = certificate_pem(key, days=self.days), certificate_pem(OLD)
        files = {"privkey": key_pem(key), "cert": text, "chain": chain, "fullchain": text + chain}
        for name, content in files.items():
            (order.live / f"{name}.pem").write_text(content)
        conf.write_text("".join(f"{name} = {order.live / f'{name}.pem'}\n" for name in files))

    @property
    def asked(self) -> int:
        """How often the directory was asked."""
        return len([command for command in self.commands if command[1:2] == ["certonly"]])

    def _run(self, *command: str, **_more: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append([Path(command[0]).name, *command[1:]])
        answer = subprocess.CompletedProcess(command, 0, "", "")
        if command[0] == "openssl":
            return subprocess.run(command, capture_output=True, text=True, check=False)
        if command[0] == "ip":
            answer.stdout = json.dumps(self.links)
        elif self.said and "certonly" in command:
            answer.returncode, answer.stdout = 1, self.said
            (self.state / "certbot" / "logs" / "letsencrypt.log").write_text(self.log)
        elif "certonly" in command:
            names = [word.partition("=")[2] for word in command if word.startswith("--domain=")]
            self.give(self.order(names=names), NEW)
        elif "-t" in command and self.nginx:
            answer.returncode, answer.stderr = 1, self.nginx
        return answer


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_what_the_directory_gives_takes_its_place_and_stays_there(world: World) -> None:

    assert world.attend(time.time()) == ""
    first = world.commands
    world.commands = []
    assert world.attend(time.time()) == ""

    given = (world.order().live / "fullchain.pem").read_bytes()
    assert {
        path.relative_to(world.tls).as_posix(): path.read_bytes() == given for path in world.tls.rglob("cert.pem")
    } == {
        "cert.pem": True,
        "front/cert.pem": True,
    }
    assert {path.stat().st_mode & 0o777 for path in world.tls.rglob("key.pem")} == {0o600, 0o640}
    assert first[-2:] == [["nginx", "-t"], ["systemctl", "reload", "nginx.service"]]
    assert [command for command in world.commands if command[0] != "openssl"] == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["--webroot", "--key-type=ecdsa", "--elliptic-curve=secp256r1", "--domain=rig.example.org"]),
        ({"key_type": "rsa_3072"}, ["--key-type=rsa", "--rsa-key-size=3072"]),
        ({"profile": "shortlived"}, ["--required-profile=shortlived"]),
        ({"has_eab": True}, ["--config=/etc/dlhost/tls_acme_account.ini"]),
        ({"names": ["192.0.2.1"]}, ["/usr/bin/certbot", "--ip-address=192.0.2.1"]),
        ({"names": ["192.0.2.1"], "certbot": "/opt/bin/certbot"}, ["/opt/bin/certbot", "--ip-address=192.0.2.1"]),
        (
            {"dns_hook": "/opt/dns"},
            [
                "--manual",
                "--preferred-challenges=dns",
                "--manual-auth-hook=/opt/dns add",
                "--manual-cleanup-hook=/opt/dns remove",
            ],
        ),
    ],
)
def test_certbot_is_asked_for_it(world: World, settings: dict[str, Any], words: list[str]) -> None:
    command = world.acme.command(world.order(**settings), dry_run=False)

    assert [word for word in words if word not in command] == []
    assert {"--force-renewal", "--deploy-hook=/usr/lib/dlhost/tls-acme install"} <= set(command)
    trial = world.acme.command(world.order(**settings), dry_run=True)
    assert ("--dry-run" in trial, "--force-renewal" in trial) == (True, False)


@pytest.mark.parametrize(
    "change", [{"names": ["b.example"]}, {"directory": "https://b/x"}, {"key_type": "rsa_2048"}, {"profile": "classic"}]
)
def test_another_order_is_another_certificate(world: World, change: dict[str, Any]) -> None:
    assert world.order(**change).lineage != world.order().lineage
    assert world.order(email="b@example.org", renew_days=10).lineage == world.order().lineage


@pytest.mark.parametrize(
    ("life_days", "renew_days", "left_days"),
    [
        pytest.param(90, 30, 30, id="as the user says"),
        pytest.param(45, 30, 15, id="a third is left"),
        pytest.param(10, 30, 10 / 3, id="of ten days too"),
        pytest.param(6, 30, 3, id="a short-lived one"),
        pytest.param(90, 10, 10, id="later"),
    ],
)
def test_it_is_renewed_in_time(world: World, life_days: float, renew_days: int, left_days: float) -> None:
    life = world.acme.Life(0, life_days * DAY_S)

    assert life.renew_at(renew_days) == (life_days - left_days) * DAY_S


def test_what_is_due_is_asked_for_and_what_was_for_others_goes(world: World) -> None:

    world.attend(time.time(), names=["old.example.org"])
    world.days = 200  # certificate_pem begins 200 days before its end
    assert world.attend(time.time()) == ""
    before = world.asked
    assert world.attend(time.time() + 100 * DAY_S) == ""
    assert world.asked == before
    assert world.attend(time.time() + 171 * DAY_S) == ""
    assert world.asked == before + 1
    assert [path.name for path in world.order().live.parent.iterdir()] == [world.order().lineage]


def test_a_directory_that_gives_none_is_asked_three_times_an_hour(world: World) -> None:
    world.said = FAILED.format("connection", "192.0.2.7: Fetching http://rig.example.org/: Timeout during connect")
    times = [NOW, NOW + 60, NOW + 120, NOW + 180, NOW + HOUR_S - 1, NOW + HOUR_S + 1, NOW + HOUR_S + 2]

    said = [world.attend(now) for now in times]

    assert world.asked == 4
    assert len(set(said)) == 1
    assert "port 80 of rig.example.org is closed" in said[0]
    # Another order, such as one that was mended in the inventory, is asked for at once.
    assert world.attend(times[-1], names=["www.example.org"]) != ""
    assert world.asked == 5


def test_a_directory_that_says_when_is_not_asked_before(world: World) -> None:
    said = "too many certificates already issued: retry after 2027-02-01 00:00:00 UTC"
    world.said = UNEXPECTED.format(f"Error creating new order :: {said}")
    world.log = LOG.format("rateLimited")
    until = 1801440000.0  # 2027-02-01
    answers = [world.attend(now) for now in (NOW, NOW + DAY_S, until - 1, until)]

    assert world.asked == 2
    assert {answer.partition(" (")[0] for answer in answers} == {"acme.example has been asked too often"}


def test_after_it_was_given_nothing_is_remembered(world: World) -> None:

    world.said = FAILED.format("connection", "refused")
    assert world.attend(time.time()) != ""
    world.said = ""
    assert world.attend(time.time()) == ""

    assert not world.acme.RECORD.exists()
    assert world.module.judge(world.acme.standing(world.order(), time.time()))["reason"] == ""


def test_a_damaged_memory_is_none(world: World) -> None:
    world.state.mkdir()
    for text in ("", "[]", '{"times": 1}', '{"lineage": "x"}'):
        world.acme.RECORD.write_text(text)
        assert world.acme.read_tries(world.order()).next(NOW) == 0


def test_an_nginx_that_takes_no_configuration_keeps_the_old_certificate(world: World) -> None:

    order = world.order()
    world.give(order, OLD)
    world.acme.install(order)
    before = {path: path.read_bytes() for path in world.tls.rglob("*.pem")}
    world.give(order, NEW)
    world.nginx = "[emerg] unknown directive"

    said = world.attend(time.time())

    assert "nginx -t fails, so the new certificate is not taken up: [emerg] unknown directive" in said
    assert {path: path.read_bytes() for path in world.tls.rglob("*.pem")} == before
    assert not world.acme.standing(order, NOW).installed
    world.nginx = ""
    assert (world.attend(time.time()), world.acme.standing(order, NOW).installed, world.asked) == ("", True, 0)


DAMAGES: list[Any] = [
    pytest.param(lambda _live, conf: conf.write_text(""), id="the disk was full"),
    pytest.param(lambda _live, conf: conf.unlink(), id="its settings are gone"),
    pytest.param(lambda live, _conf: (live / "cert.pem").write_text("x"), id="no certificate"),
    pytest.param(lambda live, _conf: (live / "chain.pem").unlink(), id="no chain"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_certbot_left_in_pieces_is_asked_for_anew(world: World, damage: Any) -> None:
    assert world.attend(time.time()) == ""
    order = world.order()
    before = (order.live / "fullchain.pem").read_bytes()
    damage(order.live, world.state / "certbot" / "config" / "renewal" / f"{order.lineage}.conf")

    assert world.attend(time.time() + 80 * DAY_S) == ""
    assert world.asked == 2
    assert (world.tls / "cert.pem").read_bytes() == (order.live / "fullchain.pem").read_bytes() != before
    assert world.acme.standing(order, time.time()).installed
    assert not world.acme.RECORD.exists()


def test_a_certificate_that_certbot_puts_elsewhere_counts_as_a_try(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(world, "give", lambda _order, _key: None)

    said = {world.attend(time.time()) for _ in range(6)}

    assert said == {f"certbot ended well and left none in {world.order().live}"}
    assert world.asked == 3


@pytest.mark.parametrize("damage", [lambda key: key.unlink(), lambda key: key.write_text(key_pem(OLD))])
def test_a_certificate_without_its_key_is_asked_for_anew(world: World, damage: Any) -> None:
    assert world.attend(time.time()) == ""
    damage(world.order().live / "privkey.pem")

    foreseen = world.module.converge(world.order(), check=True)
    assert (foreseen["changed"], world.asked) == (True, 1)
    assert world.attend(time.time()) == ""
    assert (world.asked, world.acme.standing(world.order(), time.time()).installed) == (2, True)


def test_where_nginx_takes_none_nothing_new_is_left(world: World) -> None:
    world.tls.mkdir()
    (world.tls / "key.pem").write_text(key_pem(OLD))
    world.nginx = "[emerg] unknown directive"

    assert "nginx -t fails" in world.attend(time.time())
    files = [path for path in world.tls.rglob("*") if path.is_file()]
    assert {path.name: path.read_text() for path in files} == {"key.pem": key_pem(OLD)}


def test_a_reload_that_was_cut_is_made_up_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cutting, pytest.raises(KeyboardInterrupt):
        cutting.setattr(world.acme, "reload_nginx", cut)
        world.attend(time.time())
    assert not world.acme.standing(world.order(), time.time()).installed
    world.commands = []

    assert world.attend(time.time()) == ""
    assert world.commands[-1] == ["systemctl", "reload", "nginx.service"]
    assert world.acme.standing(world.order(), time.time()).installed


def test_everybody_may_read_the_answer_to_a_challenge(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def answer(_name: str, path: str) -> str:
        file = world.acme.WEBROOT / path.lstrip("/")
        modes.extend(oct(part.stat().st_mode & 0o777) for part in (file, *list(file.parents)[:3]))
        return str(file.read_text())

    monkeypatch.setattr(world.acme, "answer_here", answer)
    before = os.umask(0o077)
    try:
        world.acme.refuse_unserved(world.order(names=["rig.example.org"]))
    finally:
        os.umask(before)

    assert modes == ["0o644", "0o755", "0o755", "0o755"]


ELSEWHERE = "rig.example.org leads to 203.0.113.9, and this host has 192.168.1.20"
PRIVATE = ", which the internet does not reach: port 80 of the router has to be passed on to it"
CAUSES: list[Any] = [
    pytest.param(
        "connection",
        "203.0.113.9: Fetching http://rig.example.org/.well-known/acme-challenge/x: Timeout during connect",
        f"port 80 of rig.example.org is closed to acme.example: {ELSEWHERE}{PRIVATE}",
        id="closed",
    ),
    pytest.param(
        "unauthorized",
        "203.0.113.9: Invalid response from http://rig.example.org/.well-known/acme-challenge/x: 404",
        f"something else answers on port 80 of rig.example.org: {ELSEWHERE}{PRIVATE}",
        id="elsewhere",
    ),
    pytest.param(
        "unauthorized",
        "[2001:db8::9]: Invalid response from http://rig.example.org/.well-known/acme-challenge/x: 404",
        "rig.example.org leads to 2001:db8::9, and this host has 192.168.1.20",
        id="elsewhere by IPv6",
    ),
    pytest.param(
        "connection",
        "192.168.1.20: Connection refused",
        "rig.example.org leads to 192.168.1.20, and this host has 192.168.1.20; acme.example says: 192.168.1.20: ",
        id="here",
    ),
    pytest.param(
        "dns",
        "DNS problem: NXDOMAIN looking up A for rig.example.org - check that a DNS record exists for this domain",
        "rig.example.org has no address in the DNS that acme.example asks",
        id="no name",
    ),
    pytest.param(
        "caa",
        "CAA record for rig.example.org prevents issuance",
        "the CAA record of rig.example.org in the DNS forbids acme.example to certify it",
        id="caa",
    ),
]


@pytest.mark.parametrize(("kind", "detail", "cause"), CAUSES)
def test_a_challenge_that_fails_has_a_cause(world: World, kind: str, detail: str, cause: str) -> None:
    error = world.acme.refusal(world.order(), FAILED.format(kind, detail), "")

    assert cause in str(error)
    assert str(error).endswith(f"acme.example says: {detail}")
    assert error.not_before == 0


def test_who_has_a_public_address_is_told_to_name_it(world: World) -> None:
    world.links = [{"addr_info": [{"local": "8.8.8.8"}]}]
    error = world.acme.refusal(world.order(), FAILED.format("unauthorized", "203.0.113.9: Invalid response"), "")

    assert "leads to 203.0.113.9, and this host has 8.8.8.8: let the DNS say so; " in str(error)


def test_a_proof_in_the_dns_that_fails_is_the_hooks(world: World) -> None:
    order = world.order(dns_hook="/opt/dns")
    error = world.acme.refusal(order, FAILED.format("dns", "NXDOMAIN looking up TXT for _acme-challenge"), "")

    assert str(error).startswith(
        "/opt/dns did not have the DNS prove that rig.example.org is this host's; acme.example"
    )


@pytest.mark.parametrize(
    ("line", "log", "cause"),
    [
        ("too many currently pending authorizations", "rateLimited", "acme.example has been asked too often (too many"),
        (
            "Cannot issue for rig",
            "rejectedIdentifier",
            "acme.example certifies no such name as one of rig.example.org,",
        ),
        ("Error finalizing order :: x", "serverInternal", "acme.example gave none (Error finalizing order :: x)"),
        ("", "", "acme.example gave none (certbot says nothing)"),
    ],
)
def test_what_else_certbot_says_is_told(world: World, line: str, log: str, cause: str) -> None:
    error = world.acme.refusal(world.order(), UNEXPECTED.format(line), LOG.format(log))

    assert str(error).startswith(cause)
    assert (error.not_before > 0) == (log == "rateLimited")


# As certbot 4.0 puts what pebble says.
NO_ACCOUNT = """Unable to register an account with ACME server. Error returned by the ACME server: a wrong kid
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile /var/log/x or re-run Certbot.
"""


@pytest.mark.parametrize(
    ("has_eab", "cause"),
    [
        (True, "makes no account with tls_acme_eab_kid and tls_acme_eab_hmac_key as they are (a wrong kid)"),
        (
            False,
            "gave none (Unable to register an account with ACME server. Error returned by the ACME server: a wrong ",
        ),
    ],
)
def test_an_account_that_is_refused_is_told(world: World, has_eab: bool, cause: str) -> None:
    error = world.acme.refusal(world.order(has_eab=has_eab), NO_ACCOUNT, "")

    assert str(error).startswith(f"acme.example {cause}")


@pytest.mark.parametrize("names", [["rig.example.org", "203.0.113.7"], ["rig.example.org"]])
@pytest.mark.parametrize("profile", ["", "shortlived"])
def test_a_certbot_that_is_too_old_is_named(world: World, names: list[str], profile: str) -> None:
    def old(*command: str, **_more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, "certbot 2.1.0" if "--version" in command else "--webroot", "")

    world.acme.run = old
    said = ""
    try:
        world.acme.refuse_certbot(world.order(names=names, profile=profile))
    except world.acme.AcmeError as error:
        said = str(error)

    assert ("certbot 2.1.0 of this host has no" in said) == bool(profile or len(names) > 1)


def test_the_users_own_certbot_is_the_one_that_is_looked_at(world: World) -> None:
    world.acme.run = lambda *command, **_: subprocess.CompletedProcess(
        command, 0, "--ip-address" if command[0] == "/opt/bin/certbot" else "--webroot", ""
    )

    world.acme.refuse_certbot(world.order(names=["203.0.113.7"], certbot="/opt/bin/certbot"))
    with pytest.raises(world.acme.AcmeError, match="tls_acme_certbot is the path of a newer one"):
        world.acme.refuse_certbot(world.order(names=["203.0.113.7"]))


@pytest.mark.parametrize("names", [["rig.example.org"], ["203.0.113.7"]])
def test_a_certbot_that_does_not_run_is_not_called_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    acme = plugin(monkeypatch, "module_utils.acme_host")
    # As pip has written it for a Python that a newer distribution is without.
    (tmp_path / "certbot").write_text(f"#!{tmp_path}/python3\n")
    (tmp_path / "certbot").chmod(0o755)

    with pytest.raises(acme.AcmeError, match=r"/certbot --help all failed: .*No such file or directory$"):
        acme.refuse_certbot(acme.Order(**{**ORDER, "names": names, "certbot": str(tmp_path / "certbot")}))


def test_the_distributions_certbot_is_not_judged_as_one_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = plugin(monkeypatch, "module_utils.acme_host")
    monkeypatch.setattr(acme, "CERTBOT", f"{tmp_path}/certbot")

    with pytest.raises(acme.AcmeError, match=rf"^{tmp_path}/certbot --help all failed: "):
        acme.refuse_impossible(acme.Order(**ORDER))


def test_a_certbot_of_anybodys_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = plugin(monkeypatch, "module_utils.acme_host")
    (tmp_path / "certbot").write_text("#!/bin/sh\n")
    (tmp_path / "certbot").chmod(0o777)

    with pytest.raises(acme.AcmeError, match=r"tls_acme_certbot is .*, which runs as root, and others may write"):
        acme.refuse_impossible(acme.Order(**{**ORDER, "certbot": str(tmp_path / "certbot")}))


def test_a_dry_run_asks_nobody(world: World) -> None:
    foreseen = world.module.converge(world.order(), check=True)

    assert (foreseen["changed"], world.asked, world.state.exists()) == (True, 0, False)
    assert foreseen["dlhost_undetermined"] == (
        "whether acme.example gives a certificate for rig.example.org, www.example.org"
    )


def test_the_user_reads_what_is_wrong_and_when_it_is_tried_again(world: World) -> None:
    world.said = FAILED.format("dns", "no such host")
    results = [world.module.converge(world.order(), check=False) for _ in range(4)]

    assert [result["changed"] for result in results] == [False] * 4
    says = [result["dlhost_action_needed"] for result in results]
    assert says[0].startswith("No certificate from acme.example: rig.example.org has no address in the DNS")
    meanwhile = "The host has one of the inventory's own authority meanwhile;"
    assert says[0].endswith(f"{meanwhile} the next run tries again.")
    assert f"{meanwhile} it is tried again after " in says[3]
    assert world.asked == 3
    assert results[3]["reason"] in says[3]


def test_a_run_says_whether_it_changed_something(world: World) -> None:
    changed = [world.module.converge(world.order(), check=False)["changed"] for _ in range(2)]
    (world.tls / "front" / "key.pem").unlink()
    changed.append(world.module.converge(world.order(), check=False)["changed"])

    assert changed == [True, False, True]


def test_a_trial_is_made_three_times_an_hour_at_most(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.module, "PROOF", tmp_path / "proof.json")
    monkeypatch.setattr(
        world.module.owned_files, "OwnedFile", partial(world.module.owned_files.OwnedFile, owner=ME, group=MY_GROUP)
    )
    world.attend(time.time())
    world.said = FAILED.format("dns", "no such host")
    said = [world.module.renewal(world.order()) for _ in range(5)]
    assert world.asked == 1 + 3
    assert len(set(said)) == 1
    assert "has no address in the DNS" in said[0]

    world.said = ""
    later = time.time() + HOUR_S + 1
    monkeypatch.setattr(world.module.time, "time", lambda: later)
    assert [world.module.renewal(world.order()) for _ in range(2)] == ["", ""]
    assert world.asked == 1 + 3 + 1


@pytest.mark.parametrize(("hook", "seconds"), [("", 300), ("/opt/dns", 600)])
def test_a_proof_in_the_dns_has_time_for_each_name(world: World, hook: str, seconds: int) -> None:
    given = []
    real = world.acme.run

    def timed(*command: str, **more: Any) -> Any:
        given.append(more.get("timeout_s"))
        return real(*command, **more)

    world.acme.run = timed
    world.acme.ask(world.order(dns_hook=hook), dry_run=True)

    assert given == [seconds]


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("/usr/bin/env", ""),
        ("/usr/bin", "there is no such program on the host"),
        ("/usr/bin/no-such-program", "there is no such program on the host"),
        ("{tmp}/hook", "which runs as root, and others may write {tmp}/hook"),
        ("{tmp}/link", "which runs as root, and others may write {tmp}/hook"),
    ],
)
@pytest.mark.parametrize("variable", ["tls_acme_dns_hook", "tls_acme_certbot"])
def test_what_runs_as_root_is_roots_alone(world: World, tmp_path: Path, variable: str, hook: str, said: str) -> None:
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    (tmp_path / "hook").chmod(0o777)
    (tmp_path / "link").symlink_to("hook")
    why = ""
    try:
        world.acme.refuse_program(variable, hook.format(tmp=tmp_path))
    except world.acme.AcmeError as error:
        why = str(error)

    assert said.format(tmp=tmp_path) in why
    assert why.startswith(variable) or not why
    assert bool(why) == bool(said)


@pytest.mark.parametrize("url", ["https://127.0.0.1:port/dir", "https://127.0.0.1:99999/dir"])
def test_a_directory_with_a_port_that_is_none_is_none(world: World, url: str) -> None:
    with pytest.raises(world.acme.AcmeError, match=r"is no ACME directory|cannot be reached"):
        world.acme.refuse_directory(world.order(directory=url))


ROUTER = "which the internet does not reach: port 80 of the router"


@pytest.mark.parametrize(
    ("addresses", "cause"),
    [
        (["192.168.1.20", "2a02:8070::5"], f"has 192.168.1.20, 2a02:8070::5, {ROUTER}"),
        (["2a02:8070::5"], "has 2a02:8070::5: let the DNS say so"),
        ([], "this host has no address; "),
    ],
)
def test_an_address_of_the_other_kind_hides_no_router(world: World, addresses: list[str], cause: str) -> None:
    world.links = [{"addr_info": [{"local": address} for address in addresses]}]
    error = world.acme.refusal(world.order(), FAILED.format("connection", "203.0.113.9: Timeout during connect"), "")

    assert cause in str(error)
