"""Roles whose changes stay only after a new login, as tests apply them to a host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.e2e.conftest import Host, Play


@dataclass(frozen=True)
class GuardedRole:
    """A role, with the name that its way back has among the units, and the values that it always gets."""

    name: str
    unit: str
    values: dict[str, object] = field(default_factory=dict)

    def task(self, entry: str = "main", **variables: Any) -> dict[str, object]:
        return {
            "ansible.builtin.include_role": {"name": f"dlhost.host.{self.name}", "tasks_from": entry},
            "vars": {f"{self.name}_{name}": value for name, value in {**self.values, **variables}.items()},
        }

    def apply(self, host: Host, *arguments: str, **variables: Any) -> Play:
        return host.play([self.task(**variables)], *arguments)

    def checks(self, host: Host, **variables: Any) -> dict[str, str]:
        """The role's own verify: check to result."""
        play = host.play([self.task("verify", **variables)])
        assert not play.failed, play.output
        found = next(result["dlhost_checks"] for result in play.results() if "dlhost_checks" in result)
        return {check["id"].removeprefix(f"{self.name}."): check["result"] for check in found}

    def cut_off(self, host: Host, **variables: Any) -> None:
        """Kill a run with -9 as soon as its change is armed on the host."""
        host.cut_off([self.task(**variables)], f"-d /var/lib/dlhost/{self.name}/pending")

    def is_settled(self, host: Host) -> bool:
        """Whether nothing of the way back is left: neither kept files, nor a unit, nor a timer."""
        left = f"/var/lib/dlhost/{self.name} /etc/systemd/system/dlhost-{self.unit}-revert-at-boot.service"
        timers = "systemctl list-timers --all --no-legend 'dlhost-*'"
        return host.execute(f"ls -d {left} 2>/dev/null || true; {timers}") == ""

    def wait_for_the_host(self, host: Host) -> None:
        """Until the host has taken a change back by itself, whose time ends within this one."""
        at_work = f"[ -e /var/lib/dlhost/{self.name} ] || systemctl is-active --quiet dlhost-{self.unit}-revert.service"
        host.execute(f"timeout 90 sh -c 'while {at_work}; do sleep 0.1; done'")
