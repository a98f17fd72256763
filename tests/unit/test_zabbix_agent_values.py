"""Values that role zabbix_agent refuses before any of them reaches a host: one run, each on a host of its own."""

from __future__ import annotations

import pytest

from tests.unit.plays import refusals

KEY = "0123456789abcdefABCDEF0123456789"
API = "https://zabbix.example.org/zabbix/"
VALUES: dict[str, tuple[dict[str, object], str]] = {
    "server-missing": ({"zabbix_agent_server": None}, "zabbix_agent_server is empty; it names a server"),
    "server-url": ({"zabbix_agent_server": API}, f"zabbix_agent_server is {API}; it names a server"),
    "server-several": ({"zabbix_agent_server": "a,b"}, "zabbix_agent_server is a,b; it names a server"),
    "server-line": ({"zabbix_agent_server": "a\nServer=0.0.0.0/0"}, "it names a server"),
    "hostname-slash": ({"zabbix_agent_hostname": "rig/1"}, "zabbix_agent_hostname is rig/1"),
    "hostname-long": ({"zabbix_agent_hostname": "r" * 129}, "Zabbix takes up to 128"),
    "secret-missing": ({"zabbix_agent_psk_secret": None}, "zabbix_agent_psk_secret is empty. Set it"),
    "secret-short": ({"zabbix_agent_psk_secret": "nineteen characters"}, "zabbix_agent_psk_secret has 19 characters"),
    "key-short": ({"zabbix_agent_psk": KEY[:30]}, "has 30 characters; a pre-shared key has 32 to 512"),
    "key-odd": ({"zabbix_agent_psk": KEY + "1"}, "has 33 characters; a pre-shared key has 32 to 512"),
    "key-long": ({"zabbix_agent_psk": KEY * 16 + "12"}, "has 514 characters; a pre-shared key has 32 to 512"),
    "key-words": ({"zabbix_agent_psk": KEY[:-1] + "g"}, "has 32 characters, and not all of them are hexadecimal"),
    "key-line": ({"zabbix_agent_psk": KEY + "\n"}, "has 33 characters, and not all of them are hexadecimal"),
    "identity-empty": ({"zabbix_agent_psk_identity": ""}, "zabbix_agent_psk_identity has 1 to 128"),
    "identity-line": ({"zabbix_agent_psk_identity": "rig\nAllowKey=system.run[*]"}, "zabbix_agent_psk_identity has"),
    "options-as-text": ({"zabbix_agent_options": "Timeout=3"}, "zabbix_agent_options is a mapping"),
    "commands": ({"zabbix_agent_options": {"AllowKey": "system.run[*]"}}, "takes no AllowKey"),
    "network": ({"zabbix_agent_options": {"ListenIP": "0.0.0.0"}}, "takes no ListenIP"),  # noqa: S104
    "clear": ({"zabbix_agent_options": {"tlsaccept": "unencrypted"}}, "takes no tlsaccept"),
    "option-name": ({"zabbix_agent_options": {"Timeout=3\nServer": "x"}}, "a name is one of zabbix_agent2.conf(5)"),
    "option-line": ({"zabbix_agent_options": {"HostMetadata": "x\nServer=y"}}, "a value is one line"),
    "option-lines": ({"zabbix_agent_options": {"Alias": ["a:b", "c:d\nServer=y"]}}, "a value is one line"),
    "mode": ({"zabbix_agent_gpu_mode": "both"}, "value of zabbix_agent_gpu_mode must be one of"),
    "release-old": ({"zabbix_agent_release": "7.0"}, "zabbix_agent_release is 7.0; it is a release of Zabbix from 7.2"),
    "release-patch": ({"zabbix_agent_release": "7.4.3"}, "zabbix_agent_release is 7.4.3"),
    "repository": ({"zabbix_agent_release": "7.4", "zabbix_agent_repo_url": "mirror"}, "an address such as https"),
    "repository-alone": ({"zabbix_agent_repo_url": API}, "zabbix_agent_release is empty, so"),
    "api-without-token": ({"zabbix_agent_api_url": API}, "zabbix_agent_api_token belong together"),
    "token-without-api": ({"zabbix_agent_api_token": "t" * 64}, "zabbix_agent_api_token belong together"),
    "api-name": (
        {"zabbix_agent_api_url": "zabbix.example.org", "zabbix_agent_api_token": "t" * 64},
        "zabbix_agent_api_url is zabbix.example.org; it begins with https://",
    ),
    "good": ({}, ""),
    "good-key": ({"zabbix_agent_psk": KEY, "zabbix_agent_psk_secret": None}, ""),
    "good-longest-key": ({"zabbix_agent_psk": KEY * 16}, ""),
    "good-port": ({"zabbix_agent_server": "192.0.2.1:10051"}, ""),
    "good-ipv6": ({"zabbix_agent_server": "[2001:db8::1]:10051"}, ""),
    "good-options": ({"zabbix_agent_options": {"Plugins.Log.Capacity": 2, "Alias": ["a:b", "c:d"], "Timeout": 3}}, ""),
    "good-api": ({"zabbix_agent_api_url": API, "zabbix_agent_api_token": "t" * 64}, ""),
    "good-release": ({"zabbix_agent_release": "7.4", "zabbix_agent_repo_url": "https://mirror.example.org/z"}, ""),
    "good-release-as-number": ({"zabbix_agent_release": 7.2}, ""),
    "good-absent": ({"zabbix_agent_state": "absent", "zabbix_agent_server": None, "zabbix_agent_psk_secret": None}, ""),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role said to each value; nothing to a good one."""
    common = {"zabbix_agent_server": "zabbix.example.org", "zabbix_agent_psk_secret": "correct horse battery"}
    hosts = {
        # None stands for a variable that is not there.
        name: {key: value for key, value in (common | variables).items() if value is not None}
        for name, (variables, _words) in VALUES.items()
    }
    return refusals(tmp_path_factory.mktemp("values"), "zabbix_agent", hosts)


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if words])
def test_a_bad_value_is_refused_in_one_sentence(said: dict[str, str], name: str) -> None:
    assert VALUES[name][1] in " ".join(said[name].split())
    # A key that is refused is not shown either.
    for secret in ("zabbix_agent_psk", "zabbix_agent_psk_secret"):
        value = VALUES[name][0].get(secret)
        assert not value or str(value) not in said[name]


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if not words])
def test_a_good_value_is_taken(said: dict[str, str], name: str) -> None:
    assert name not in said
