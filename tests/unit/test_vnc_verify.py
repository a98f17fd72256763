"""What role vnc's verify makes of desktops: its own report task runs, on looks made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plays import results, rules_of

ROLE = Path(__file__).parents[2] / "roles" / "vnc"
SESSION = ["Xtigervnc", "xfce4-session", "xfwm4"]
WELL: dict[str, Any] = {"guarded": True, "shows": True, "error": "", "web": "", "programs": SESSION}
GONE: dict[str, Any] = {"guarded": False, "shows": False, "error": "it does not answer", "web": "", "programs": []}
# Case to the desktops of ada and grace, the result, and the reason.
DESKTOPS: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "undisturbed": ([WELL, WELL], "pass", ""),
    "locker": ([WELL, {**WELL, "programs": ["light-locker", *SESSION]}], "fail", "light-locker; the next session is"),
    "several": (
        [{**WELL, "programs": [*SESSION, "xscreensaver"]}, {**WELL, "programs": [*SESSION, "xfce-polkit"]}],
        "fail",
        "xfce-polkit, xscreensaver; ",
    ),
    # As PAM has begun it.
    "keyring": ([{**WELL, "programs": [*SESSION, "gnome-keyring-daemon"]}, WELL], "pass", ""),
    "none": ([GONE, GONE], "skip", "no desktop is there yet"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The check of each case."""
    report = yaml.safe_load((ROLE / "tasks" / "verify.yml").read_text())[-1]
    tasks = [rules_of("vnc"), report]
    common = {
        "vnc_users": [{"name": "ada"}, {"name": "grace"}],
        "vnc_password": "horse/battery",
        "__vnc_seen": {"failed": False},
    }
    hosts = {
        name: {**common, "__vnc_probe": {"desktops": dict(zip(("ada", "grace"), desktops, strict=True))}}
        for name, (desktops, *_said) in DESKTOPS.items()
    }
    return {
        host: next(check for check in result["dlhost_checks"] if check["id"] == "vnc.undisturbed")
        for _task, host, result in results(tmp_path_factory.mktemp("verify"), hosts, tasks)
        if "dlhost_checks" in result
    }


@pytest.mark.parametrize("name", DESKTOPS)
def test_what_would_lock_a_desktop_is_found_in_it(undisturbed: dict[str, dict[str, Any]], name: str) -> None:
    _desktops, verdict, reason = DESKTOPS[name]
    assert undisturbed[name]["result"] == verdict
    assert undisturbed[name]["reason"].startswith(reason)
