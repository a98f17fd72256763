"""What an agent is told of the server that its inventory has, from the variables of hosts that the run leaves out."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.tls_world import KEYS, certificate_pem, key_pem

sys.path.append(str(collections_path()))
module: Any = import_module("ansible_collections.dlhost.host.plugins.filter.zabbix_role_server")

HUB = {"ansible_host": "192.0.2.1", "zabbix_server_admin_password": "secret"}
KEY = key_pem(KEYS["p256"])
GIVEN = certificate_pem(KEYS["p256"], names=("*.example.org", "hub.example.org"))


@pytest.mark.parametrize(
    ("servers", "hub", "host", "address"),
    [
        ([], {}, "rig", ""),
        (["hub"], HUB, "rig", "192.0.2.1"),
        (["hub"], HUB, "hub", "127.0.0.1"),
        (["hub"], {"ansible_host": "2001:db8::1"}, "rig", "[2001:db8::1]"),
        (["hub"], {}, "rig", "hub"),
        (["hub"], {"zabbix_server_state": "absent"}, "rig", ""),
    ],
)
def test_the_server_is_where_ansible_reaches_it(
    servers: list[str], hub: dict[str, Any], host: str, address: str
) -> None:
    assert module.zabbix_role_server(servers, {"hub": hub, "rig": {}}, host) == address


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "localhost"),
        ({"tls_names": ["*.lab", "hub.lab", "192.0.2.1"]}, "hub.lab"),
        ({"tls_names": "2001:db8::1"}, "[2001:db8::1]"),
        ({"tls_mode": "provided", "tls_certificate": GIVEN, "tls_certificate_key": KEY}, "hub.example.org"),
        ({"tls_mode": "provided", "tls_certificate": "none"}, "localhost"),
    ],
)
def test_the_api_is_called_at_the_servers_own_front_by_a_name_of_it(settings: dict[str, Any], name: str) -> None:
    assert module.zabbix_role_api(["hub"], {"hub": {**HUB, **settings}, "rig": {}}, "rig") == {
        "delegate": "hub",
        "url": f"https://{name}/zabbix/",
        "address": "127.0.0.1",
        "user": "Admin",
        "password": "secret",
    }


@pytest.mark.parametrize("place", ["hub", "192.0.2.1:10051", "hub.lab:10051", "[2001:db8::1]:10051"])
def test_who_reaches_the_own_server_by_another_of_its_names_is_registered_with_it(place: str) -> None:
    hosts = {"hub": {**HUB, "tls_names": ["hub.lab", "2001:db8::1"]}, "rig": {"zabbix_agent_server": place}}

    assert module.zabbix_role_api(["hub"], hosts, "rig")["delegate"] == "hub"


def test_who_reports_to_another_server_is_not_registered_with_this_one() -> None:
    hosts = {"hub": HUB, "rig": {"zabbix_agent_server": "zabbix.example.org"}}

    assert module.zabbix_role_api(["hub"], hosts, "rig") == {}
    assert module.zabbix_role_api([], hosts, "rig") == {}
    told = {"zabbix_agent_server": "192.0.2.1", "zabbix_agent_api_url": "https://192.0.2.1/zabbix/"}
    assert module.zabbix_role_api(["hub"], {"hub": HUB, "rig": told}, "rig") == {}
