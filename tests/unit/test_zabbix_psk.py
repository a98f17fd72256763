"""Each host's own key, from one secret."""

from __future__ import annotations

import subprocess

from plugins.filter.zabbix_psk import zabbix_psk


def test_a_key_is_what_another_implementation_computes() -> None:
    said = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", "correct horse"],
        input="dlhost zabbix psk rig",
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert zabbix_psk("correct horse", "rig") == said.split()[-1]


def test_no_two_hosts_and_no_two_secrets_have_one_key() -> None:
    keys = {zabbix_psk(secret, host) for secret in ("one", "two") for host in ("rig", "rig2", "Rig")}

    assert len(keys) == 6
    assert {len(key) for key in keys} == {64}


def test_without_a_secret_there_is_no_key() -> None:
    assert zabbix_psk("", "rig") == ""
