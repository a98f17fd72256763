"""Values that role system refuses before any of them reaches a host: one run, in which each has a host of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plays import results

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
VALUES: dict[str, tuple[dict[str, object], str]] = {
    "certificate-command": (
        {"system_ca_certificates": [{"name": "x$(touch injected)", "pem": PEM}]},
        "x$(touch injected) is not like that",
    ),
    "certificate-line": ({"system_ca_certificates": [{"name": "x\n", "pem": PEM}]}, "lower-case name"),
    "certificate-none": ({"system_ca_certificates": [{"name": "x", "pem": "y"}]}, "PEM form"),
    "package-command": ({"system_packages": ["curl;touch injected"]}, "plain Debian package names"),
    "package-line": ({"system_extra_packages": ["curl\n"]}, "plain Debian package names"),
    "server-line": ({"system_ntp_servers": ["a\nb"]}, "host names and addresses"),
    "hostname-line": ({"system_hostname": "rig\n"}, "is no host name"),
    "option-quote": ({"system_apt_options": {"A::B": 'x" y'}}, "A::B is not like that"),
    "option-line": ({"system_apt_options": {"A::B": "x\ny"}}, "A::B is not like that"),
    "option-list-line": ({"system_apt_options": {"A::B": ["x\ny"]}}, "A::B is not like that"),
    "option-list": ({"system_apt_options": {"A::B": ["x", 'y"']}}, "A::B is not like that"),
    "option-mapping": ({"system_apt_options": {"A::B": {"C": "x"}}}, "A::B is not like that"),
    "option-nothing": ({"system_apt_options": {"A::B": None}}, "A::B is not like that"),
    "option-name": ({"system_apt_options": {"A;B": "x"}}, "A;B is not like that"),
    "good": (
        {
            "system_ca_certificates": [{"name": "corporate.ca-1", "pem": PEM}],
            "system_extra_packages": ["g++", "libstdc++6", "python3.11"],
            "system_ntp_servers": ["ntp.example.org", "2001:db8::1"],
            "system_apt_options": {
                "Acquire::http::Proxy::deb.example-1.org": "http://me:p'w$@proxy:3128/",
                "APT::Keep": True,
                "APT::Count": 3,
                "APT::List": ["a b", r"it's\.new", "libstdc\\+\\+6$"],
                "APT::Empty": "",
            },
            "system_hostname": "rig-1.example.org",
        },
        "",
    ),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Where it ran, and what the role said to each value; the role only looks, and at this machine."""
    directory = tmp_path_factory.mktemp("values")
    hosts = {name: variables for name, (variables, _words) in VALUES.items()}
    look = {"ansible.builtin.include_role": {"name": "dlhost.host.system", "tasks_from": "look"}}
    said = dict.fromkeys(VALUES, "")
    for task, host, result in results(directory, hosts, [look]):
        if "Refuse values" in task and result.get("failed"):
            said[host] = result["msg"]
    return directory, said


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_no_host_can_have_is_refused_before_the_look(run: tuple[Path, dict[str, str]], name: str) -> None:
    directory, said = run
    words = VALUES[name][1]
    assert words in said[name]
    assert bool(words) == bool(said[name])
    assert not (directory / "injected").exists()
