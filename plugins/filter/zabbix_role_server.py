# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters: what role zabbix_agent is told of the Zabbix server that the inventory itself has."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: zabbix_role_server
short_description: Where the inventory's own Zabbix server is for an agent
description:
  - The address by which Ansible reaches the first of the hosts, and the loopback address for that host itself. Empty
    where the inventory has no server.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The hosts of group C(monitoring_server).
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts; no host needs to be a part of the run.
    type: dict
    required: true
  host:
    description: The host with the agent.
    type: str
    required: true
"""

EXAMPLES = r"""
server: "{{ groups['monitoring_server'] | default([]) | dlhost.host.zabbix_role_server(hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: An address or a name.
  type: str
"""

# In a certificate whose names nobody chose, role tls has it.
UNCHOSEN = "localhost"


def zabbix_role_server(servers: Sequence[str], hostvars: Mapping[str, Any], host: str) -> str:
    server = _present(servers, hostvars)
    if not server:
        return ""
    if server == host:
        return "127.0.0.1"
    address = str(hostvars[server].get("ansible_host") or server)
    return f"[{address}]" if ":" in address else address


def zabbix_role_api(servers: Sequence[str], hostvars: Mapping[str, Any], host: str) -> dict[str, str]:
    """Who calls the API, where and as whom; empty where the inventory has no server, or the host reports to another."""
    server = _present(servers, hostvars)
    if not server:
        return {}
    chosen = str(hostvars[host].get("zabbix_agent_server") or "")
    other = hostvars[host].get("zabbix_agent_api_url") or _name(chosen) not in _names(server, hostvars[server])
    if chosen and other:
        return {}
    name = _front(hostvars[server])
    return {
        "delegate": server,
        "url": f"https://[{name}]/zabbix/" if ":" in name else f"https://{name}/zabbix/",
        "address": "127.0.0.1",
        "user": "Admin",
        "password": str(hostvars[server].get("zabbix_server_admin_password") or ""),
    }


def _present(servers: Sequence[str], hostvars: Mapping[str, Any]) -> str:
    present = (name for name in servers if hostvars[name].get("zabbix_server_state") != "absent")
    return next(present, "")


def _name(place: str) -> str:
    """HOST of HOST:PORT, without the brackets of an address of IPv6."""
    return place[1:].partition("]")[0] if place.startswith("[") else place.partition(":")[0]


def _names(server: str, values: Mapping[str, Any]) -> set[str]:
    """What the inventory calls the server by."""
    return {server, str(values.get("ansible_host") or server), *_tls_names(values)}


def _tls_names(values: Mapping[str, Any]) -> list[str]:
    chosen = values.get("tls_names")
    return [] if not chosen else [chosen] if isinstance(chosen, str) else [str(name) for name in chosen]


def _front(values: Mapping[str, Any]) -> str:
    """A name by which the server's own front is called."""
    names = _tls_names(values)
    if values.get("tls_mode") == "provided":
        # Whoever uses one filter of the collection loads all of them.
        from ansible_collections.dlhost.host.plugins.plugin_utils.tls_issuers import Settings, issuer
        from ansible_collections.dlhost.host.plugins.plugin_utils.tls_x509 import TlsError

        given = (str(values.get(name) or "") for name in ("tls_certificate", "tls_certificate_key"))
        with contextlib.suppress(TlsError, KeyError, TypeError):  # Role tls says what is wrong with it.
            names = issuer(Settings("provided", names, "", 0, 0, (), "", "", *given)).hostnames()
    return next((name for name in names if "*" not in name), UNCHOSEN)


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"zabbix_role_server": zabbix_role_server, "zabbix_role_api": zabbix_role_api}
