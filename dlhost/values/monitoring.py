"""What the Zabbix server of a monitored host is told of a run: one value for the host, as the templates read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from dlhost.values.checks import CheckResult
from dlhost.values.inventory import Host
from dlhost.values.run import HostReport, HostStatus, RoleStatus

SCHEMA_VERSION = 1
GROUP = "monitored"
SERVER_GROUP = "monitoring_server"
FRONT_GROUP = "web"
# What the wrapper reads of a host's settings, in which a variable may stand for the text.
SETTINGS = ("zabbix_agent_hostname", "zabbix_agent_psk", "zabbix_agent_psk_identity", "zabbix_agent_psk_secret")
# The items that take it, by the operation that it is the result of.
ITEMS: Mapping[str, str] = MappingProxyType({"drift": "dlhost.drift", "verify": "dlhost.verify"})
# Of a host that was lost there is nothing to tell, and no way to tell it.
TELLING = {HostStatus.OK, HostStatus.FAILED}


def is_monitored(host: Host) -> bool:
    """Whether the host has an agent that knows its server."""
    return GROUP in host.groups and host.variables.get("zabbix_agent_state") != "absent"


def without_front(hosts: Iterable[Host]) -> Iterator[str]:
    """Every server whose pages nobody would serve, as a sentence with the fix."""
    for host in hosts:
        wanted = SERVER_GROUP in host.groups and host.variables.get("zabbix_server_state") != "absent"
        if wanted and FRONT_GROUP not in host.groups:
            yield (
                f"{host.name} is in group {SERVER_GROUP} and not in {FRONT_GROUP}, whose front serves Zabbix' pages. "
                "Put it into both."
            )


def value(operation: str, report: HostReport, now: datetime) -> str:
    """The item's value."""
    result, count = _drift(report) if operation == "drift" else _verify(report)
    return json.dumps(
        {"schema_version": SCHEMA_VERSION, "time": int(now.timestamp()), "result": result, "count": count}
    )


def name_of(host: Host) -> str:
    """What the host is called in Zabbix."""
    return _text(host, "zabbix_agent_hostname", host.name)


def psk_identity_of(host: Host) -> str:
    """What its pre-shared key is called there."""
    return _text(host, "zabbix_agent_psk_identity", f"dlhost {host.name}")


def _text(host: Host, variable: str, default: str) -> str:
    value: Any = host.variables.get(variable)
    return default if value is None else str(value)


def _drift(report: HostReport) -> tuple[str, int]:
    """How many tasks would change something, or else how many roles could not be judged."""
    unknown = sum(role.status is RoleStatus.UNDETERMINED for role in report.roles)
    if report.status is HostStatus.FAILED:
        return "failed", report.changed
    if report.changed:
        return "drift", report.changed
    return ("undetermined", unknown) if unknown else ("in_sync", 0)


def _verify(report: HostReport) -> tuple[str, int]:
    failed = sum(check.result is CheckResult.FAIL for check in report.checks)
    return "fail" if failed or report.status is HostStatus.FAILED else "pass", failed
