"""What graders say is read from recordings of their own output, and held against what docs/security.md promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.audit import graders
from tools.audit.__main__ import SETTINGS
from tools.audit.graders import Grades
from tools.audit.table import BEGIN, DOCUMENT, END, short_of, table, written

RECORDED = Path(__file__).with_name("recorded") / "audit"
EXPOSURES = {
    "dlhost-jupyter@rig.service": 3.4,
    "dlhost-tensorboard@rig.service": 1.5,
    "dlhost-vnc@rig.service": 9.2,
    "dlhost-vnc-web.service": 1.2,
    "dlhost-zabbix-frontend.service": 2,
}
GOOD = Grades((), (), "A", (), 64, EXPOSURES, (22, 80, 443))


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def test_ssh_audit_fails_and_warns() -> None:
    failures, warnings = graders.ssh_audit(recorded("ssh-audit.json"))
    assert "hmac-sha1: using broken SHA-1 hash algorithm" in failures
    assert "curve25519-sha256: does not provide protection against post-quantum attacks" in warnings
    assert not [finding for finding in (*failures, *warnings) if finding.startswith(("ssh-ed25519", "sntrup"))]


def test_testssl_grades_and_finds() -> None:
    grade, findings = graders.testssl(recorded("testssl.json"))
    assert grade == "T"
    assert [finding.partition(":")[0] for finding in findings] == ["cert_chain_of_trust", "cert_revocation", "BREACH"]


def test_a_host_that_serves_nothing_has_no_grade() -> None:
    assert graders.testssl("[]") == (graders.NOTHING_SERVED, ())


def test_lynis_has_an_index() -> None:
    assert graders.lynis(recorded("lynis-report.dat")) == 64


def test_an_audit_that_was_cut_is_no_grade() -> None:
    with pytest.raises(ValueError, match="no hardening index"):
        graders.lynis("suggestion[]=LYNIS|This release is more than 4 months old.|-|-|\n")


def test_systemd_rates_what_runs() -> None:
    running = "nginx.service loaded active running A high performance web server and a reverse proxy server\n"
    assert graders.systemd(recorded("systemd-analyze.json"), running) == {"nginx.service": 9.6}
    assert graders.systemd(recorded("systemd-analyze.json"), "") == {}


def test_nmap_finds_open_ports_alone() -> None:
    assert graders.nmap(recorded("nmap.txt")) == (22, 80, 443)


def test_what_is_promised_falls_short_of_nothing() -> None:
    assert list(short_of(GOOD)) == []


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        (replace(GOOD, ssh_warnings=("hmac-sha1: broken",)), "ssh-audit finds fault with hmac-sha1: broken."),
        (replace(GOOD, tls="B"), "testssl.sh gives B; A or A+ is promised."),
        (replace(GOOD, tls_findings=("LUCKY13: vulnerable",)), "testssl.sh finds LUCKY13: vulnerable."),
        (replace(GOOD, hardening_index=50), "lynis gives 50; "),
        (replace(GOOD, exposures={**EXPOSURES, "dlhost-x.service": 9.6}), "systemd gives dlhost-x.service 9.6; "),
        (replace(GOOD, ports=(22, 443, 8888)), "Port 8888 is open to other hosts."),
    ],
)
def test_a_worse_grade_is_named(worse: Grades, said: str) -> None:
    assert [line.startswith(said) for line in short_of(worse)] == [True]


def test_an_authority_of_ones_own_lists_no_revocations() -> None:
    argued = replace(GOOD, tls_findings=("cert_revocation: Neither CRL nor OCSP URI provided",))
    assert list(short_of(argued)) == []


def test_a_desktop_is_a_login_and_what_leads_to_it_is_not() -> None:
    said = list(short_of(replace(GOOD, exposures={**EXPOSURES, "dlhost-vnc-web.service": 9.2})))
    assert said == ["systemd gives dlhost-vnc-web.service 9.2; at most 4.0 is promised."]


def test_what_does_not_run_is_not_well_graded() -> None:
    running = {unit: exposure for unit, exposure in EXPOSURES.items() if unit != "dlhost-tensorboard@rig.service"}
    said = list(short_of(replace(GOOD, exposures=running)))
    assert said == ["dlhost-tensorboard@ does not run, so nothing graded it."]


def test_the_scan_sees_what_is_open_without_a_firewall() -> None:
    assert not [name for name in SETTINGS if name.startswith("firewall_")]


def test_the_table_has_a_column_for_each_host_and_takes_its_place_in_the_document() -> None:
    text = table({"untouched": replace(GOOD, ports=(22,), exposures={}), "dlhost": GOOD}, "13")
    assert "| TCP ports open to another host | 22 | 22, 80, 443 |" in text
    assert "| systemd: exposure of `dlhost-jupyter@rig.service`, of 10 | - | 3.4 |" in text
    document = written(f"before\n{BEGIN}\nold\n{END}\nafter\n", text)
    assert document == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"
    assert written(document, text) == document


def test_the_document_has_a_place_for_the_table() -> None:
    assert DOCUMENT.read_text().index(BEGIN) < DOCUMENT.read_text().index(END)
