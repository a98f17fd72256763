"""Values that role vnc refuses before any of them reaches a host: one run, in which each has a host of its own."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest
import yaml

from dlhost.adapters.ansible_env import collections_path
from tests.unit.plays import refusals, results, rules_of

ROLE = collections_path() / "ansible_collections/dlhost/host/roles/vnc"
PASSWORD = "horse/battery"  # noqa: S105
ADA = {"name": "ada"}
# As it is, and as text from an extra variable or another template.
OPTIONS = {"AcceptCutText": "True", "AlwaysShared": True, "CompareFB": "false"}
OPTIONS |= {"FrameRate": "30", "SendCutText": False, "ZlibLevel": 9}
VALUES: dict[str, tuple[dict[str, object], str]] = {
    "options-as-text": ({"vnc_options": "FrameRate=30"}, "vnc_options is a mapping"),
    "nobody": ({"vnc_users": []}, "names nobody"),
    "root": ({"vnc_users": [{"name": "root"}]}, "without root's rights"),
    "name-path": ({"vnc_users": [{"name": "../ada"}]}, "not ../ada"),
    "name-line": ({"vnc_users": [{"name": "ada\n"}]}, "names of accounts"),
    "name-twice": ({"vnc_users": [ADA, ADA]}, "an account twice"),
    "display-twice": (
        {"vnc_users": [ADA, {"name": "grace", "display": 1}]},
        "Two desktops would have one display: 1, 1",
    ),
    "display-zero": ({"vnc_users": [{"name": "ada", "display": 0}]}, "between 1 and 99; these would be 0"),
    "display-high": ({"vnc_display": 100}, "between 1 and 99; these would be 100"),
    "geometry": ({"vnc_geometry": "large"}, "such as 1920x1080; these would be large"),
    "geometry-cut": ({"vnc_users": [{"name": "ada", "geometry": "1920"}]}, "these would be 1920"),
    "geometry-depth": ({"vnc_geometry": "1920x1080x24"}, "these would be 1920x1080x24"),
    "geometry-line": ({"vnc_geometry": "1920x1080\nX=1"}, "these would be 1920x1080"),
    "password-missing": ({"vnc_password": None}, "vnc_password, or a user's own password, is empty"),
    "password-empty": ({"vnc_users": [{"name": "ada", "password": ""}]}, "a user's own password, is empty"),
    "password-short": ({"vnc_password": "seven77"}, "less than 8 characters"),
    "password-of-user": ({"vnc_users": [{"name": "ada", "password": "short"}]}, "less than 8 characters"),
    "password-lines": ({"vnc_password": "one line\nand another"}, "several lines"),
    "password-accents": ({"vnc_password": "pässwörter"}, "viewers do not agree upon"),
    "network": ({"vnc_options": {"localhost": False}}, "not localhost: a desktop listens on loopback alone"),
    "network-address": ({"vnc_options": {"interface": "192.0.2.7"}}, "not interface: a desktop listens on loopback"),
    "without-password": ({"vnc_options": {"SecurityTypes": "None"}}, "not SecurityTypes"),
    "other-password": ({"vnc_options": {"rfbauth": "/srv/password"}}, "not rfbauth"),
    "viewers-sent-away": ({"vnc_options": {"NeverShared": True}}, "not NeverShared"),
    "ended-by-the-clock": ({"vnc_options": {"MaxIdleTime": 3600}}, "not MaxIdleTime"),
    "option-value": ({"vnc_options": {"FrameRate": "30 -localhost=0"}}, "true, false or a whole number"),
    "web-text": ({"vnc_web_allow_cidrs": "192.0.2.0/24"}, "vnc_web_allow_cidrs is a list"),
    "web-network": (
        {"vnc_web_allow_cidrs": ["192.0.2.0/24", "10.0.0.0/33"]},
        "vnc_web_allow_cidrs takes addresses and networks such as 192.0.2.0/24, not 10.0.0.0/33.",
    ),
    "good": ({}, ""),
    "good-texts": ({"vnc_display": "9"}, ""),
    "good-own-password": ({"vnc_password": None, "vnc_users": [{"name": "ada", "password": 'x "y" z/'}]}, ""),
    "good-absent": ({"vnc_state": "absent", "vnc_password": None, "vnc_users": []}, ""),
    "good-everything": (
        {
            "vnc_users": [{"name": "ada.l-1", "display": 99, "geometry": "7680x4320"}, {"name": "_g"}],
            "vnc_options": OPTIONS,
            "vnc_web_allow_cidrs": ["192.0.2.7", "2001:db8::/32"],
        },
        "",
    ),
}
RULES = rules_of("vnc")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role said to each value; nothing to a good one."""
    common = {"vnc_users": [ADA], "vnc_password": PASSWORD}
    hosts = {
        # None stands for a variable that is not there.
        name: {key: value for key, value in (common | variables).items() if value is not None}
        for name, (variables, _words) in VALUES.items()
    }
    return refusals(tmp_path_factory.mktemp("values"), "vnc", hosts)


@pytest.mark.parametrize("name", [name for name, (_variables, words) in VALUES.items() if words])
def test_a_bad_value_is_refused_in_one_sentence(said: dict[str, str], name: str) -> None:
    assert VALUES[name][1] in said[name]
    # A password that is refused is not shown either.
    password = VALUES[name][0].get("vnc_password")
    assert not password or str(password) not in said[name]


def test_a_good_value_passes(said: dict[str, str]) -> None:
    assert said.keys() == {name for name, (_variables, words) in VALUES.items() if words}


def test_a_session_finds_first_that_no_screen_saver_begins_with_it(tmp_path: Path) -> None:
    for part in ("files", "templates"):
        (tmp_path / part).symlink_to(ROLE / part)
    rendered = {"ansible.builtin.debug": {"msg": "{{ lookup('ansible.builtin.template', 'files.yml.j2') }}"}}
    hosts = {"rig": {"vnc_users": [ADA], "vnc_password": PASSWORD}}
    *_rules, (_task, _host, result) = results(tmp_path, hosts, [RULES, rendered])
    hidden = {}
    for file in yaml.safe_load(result["msg"]):
        if file["path"].endswith(".desktop"):
            said = configparser.ConfigParser()
            said.read_string(file["content"])
            hidden[Path(file["path"])] = said["Desktop Entry"]["Hidden"]
    assert {"light-locker", "xfce4-power-manager", "xfce4-screensaver"} < {path.stem for path in hidden}
    assert set(hidden.values()) == {"true"}

    script = (
        (ROLE / "files" / "session" / "xfce4-session").read_text().replace("/usr/bin/xfce4-session", "/usr/bin/env")
    )
    for before, last in ({}, "/etc/xdg"), ({"XDG_CONFIG_DIRS": "/etc/xdg/mine:/etc/xdg"}, "/etc/xdg/mine:/etc/xdg"):
        run = subprocess.run(["/bin/sh", "-c", script], env=before, capture_output=True, text=True, check=True)
        said_dirs = dict(line.split("=", 1) for line in run.stdout.splitlines())["XDG_CONFIG_DIRS"]
        first, _, rest = said_dirs.partition(":")
        assert rest == last
        assert {path.parent for path in hidden} == {Path(first) / "autostart"}


def test_options_reach_the_server_as_numbers(tmp_path: Path) -> None:
    template = ROLE / "templates" / "desktops.yml.j2"
    rendered = {"ansible.builtin.debug": {"msg": f"{{{{ lookup('ansible.builtin.template', '{template}') }}}}"}}
    hosts = {"options": {"vnc_users": [ADA], "vnc_password": PASSWORD, "vnc_options": OPTIONS}}
    *_rules, (_task, _host, result) = results(tmp_path, hosts, [RULES, rendered])
    options = "-AcceptCutText=1 -AlwaysShared=1 -CompareFB=0 -FrameRate=30 -SendCutText=0 -ZlibLevel=9 "
    assert f'OPTIONS="{options}"' in str(result["msg"])
