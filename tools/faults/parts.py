"""What a host can be for when it is hit: groups of an inventory, what they are set to, and the units that run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from benchmarks.end_state import USER


@dataclass(frozen=True, slots=True)
class Part:
    """One word of --groups: a group of the inventory, or a role of one that does nothing by its defaults."""

    groups: Sequence[str]
    units: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


# One unit more in what is there already would have the rounds of docs/security.md deal other damages.
PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "web": Part(("web",), ("nginx.service",)),
        "workspace": Part(("workspace",), (f"dlhost-jupyter@{USER}.service",)),
        "desktop": Part(("desktop",), (f"dlhost-vnc@{USER}.service", "dlhost-vnc-web.service"), {"vnc_web": True}),
        # It cannot do without a server to report to.
        "monitored": Part(("web", "monitoring_server", "monitored"), ("zabbix-agent2.service",)),
        "monitoring_server": Part(
            ("web", "monitoring_server"),
            (
                "postgresql.service",
                "zabbix-server.service",
                "dlhost-zabbix-frontend.service",
                "dlhost-zabbix-backup.timer",
            ),
        ),
        # It looks, and stops nothing.
        "idle_stop": Part(
            ("workspace",),
            ("dlhost-idle-stop.timer",),
            {"idle_stop_after_minutes": 60, "idle_stop_dry_run": True},
        ),
        "tensorboard": Part(("workspace",), (f"dlhost-tensorboard@{USER}.service",), {"jupyter_tensorboard": True}),
        # Behind it is what redirects to it: verify wants an answer, and no other part is sure to be there.
        "basic_auth": Part(
            ("web",),
            (),
            {
                "nginx_proxy_sites": [
                    {
                        "path": "/own/",
                        "upstream": "http://127.0.0.1:80",
                        "basic_auth": [{"name": USER, "password": "{{ jupyter_password }}"}],
                    }
                ]
            },
        ),
    }
)


def groups_of(names: Iterable[str]) -> list[str]:
    """The groups that the inventory puts the host in."""
    return list(dict.fromkeys(group for name in names for group in PARTS[name].groups))


def units_of(names: Iterable[str]) -> list[str]:
    """The services and timers that can be damaged."""
    return list(dict.fromkeys(unit for name in names for unit in PARTS[name].units))


def settings_of(names: Iterable[str]) -> dict[str, Any]:
    """What the inventory sets for them."""
    return {variable: value for name in names for variable, value in PARTS[name].settings.items()}
