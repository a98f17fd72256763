"""Whether role firewall's verify finds what is left of a firewall that should be gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plays import results

ROLE = Path(__file__).parents[2] / "roles" / "firewall"
NOTHING: dict[str, Any] = {
    "failed": False,
    "changed_paths": [],
    "rules_differ": False,
    "unit_problems": [],
    "unfinished": False,
}
# Case to what the module has seen, and the reason.
SEEN: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": (NOTHING, ""),
    "refused": ({"failed": True, "msg": "Only root can change this."}, "Only root can change this."),
    "file": ({**NOTHING, "changed_paths": ["/etc/dlhost/firewall.nft"]}, "/etc/dlhost/firewall.nft"),
    "table": ({**NOTHING, "rules_differ": True}, "the table inet dlhost"),
    "unit": ({**NOTHING, "unit_problems": ["is still there"]}, "dlhost-firewall.service"),
    "unfinished": ({**NOTHING, "unfinished": True}, "a change that no login has proved"),
}


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The check of each case."""
    (report,) = (
        task["dlhost.host.report_checks"]
        for task in yaml.safe_load((ROLE / "tasks" / "verify.yml").read_text())
        if task.get("when") == "firewall_state == 'absent'"
    )
    tasks = [
        {"ansible.builtin.include_vars": {"file": str(ROLE / "vars" / "main.yml")}},
        {"dlhost.host.report_checks": report},
    ]
    hosts = {name: {"__firewall_seen": seen} for name, (seen, _reason) in SEEN.items()}
    return {
        host: result["dlhost_checks"][0]
        for _task, host, result in results(tmp_path_factory.mktemp("verify"), hosts, tasks)
        if "dlhost_checks" in result
    }


@pytest.mark.parametrize("name", SEEN)
def test_absent_means_that_a_run_would_change_nothing(absent: dict[str, dict[str, Any]], name: str) -> None:
    reason = SEEN[name][1]
    assert absent[name]["result"] == ("fail" if reason else "pass")
    assert absent[name]["reason"].startswith(reason)
