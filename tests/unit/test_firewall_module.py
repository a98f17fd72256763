"""What role firewall's module finds and refuses before it changes anything."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.python_environments import plugin
from tests.unit.systemd_double import own_files

REQUEST: dict[str, Any] = {
    "role": "firewall",
    "state": "present",
    "packages": [],
    "files": [],
    "ports": [],
    "ssh_cidrs": [],
    "trusted_interfaces": [],
    "guard_timeout_s": 120,
    "login_port": 0,
}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module on a host that has neither nft nor sshd, reached on port 2222."""
    module: ModuleType = plugin("modules.firewall")
    sshd = plugin("module_utils.sshd_host")
    own_files(monkeypatch, tmp_path)
    monkeypatch.setattr(plugin("module_utils.firewall_host"), "NFT", "/nowhere/nft")
    monkeypatch.setattr(plugin("module_utils.way_back"), "STATE", tmp_path)
    monkeypatch.setattr(sshd, "SSHD", "/nowhere/sshd")
    unit = plugin("module_utils.service_host").Unit(module.UNIT, "", False, False, False, False, 0, 0)
    monkeypatch.setattr(module, "find_units", lambda _names: {module.UNIT: unit})
    monkeypatch.setattr(module, "find_connection", lambda: sshd.Connection("192.0.2.9", "192.0.2.1", 2222))
    monkeypatch.setattr(module, "refuse_other_firewalls", lambda: None)
    monkeypatch.setattr(module, "RULES", tmp_path / "firewall.nft")
    return module


def test_a_dry_run_foresees_a_firewall_before_sshd_is_there(bare: ModuleType) -> None:
    seen = bare.foresee(REQUEST)
    assert seen["changed"]
    assert seen["open_ports"] == [22, 2222]
    assert "openssh-server is not installed yet" in seen["dlhost_undetermined"]


def test_a_host_without_sshd_that_is_as_it_should_be_is_known(
    bare: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bare.Plan, "due", False)
    assert "dlhost_undetermined" not in bare.foresee(REQUEST)


@pytest.mark.parametrize(("seconds", "refused"), [(59, True), (60, False)])
def test_the_host_waits_for_three_logins_that_say_nothing(bare: ModuleType, seconds: int, refused: bool) -> None:
    request = {**REQUEST, "guard_timeout_s": seconds}
    if refused:
        with pytest.raises(bare.RefusedError, match=f"firewall_guard_timeout_s is {seconds}, and .* at least 60 sec"):
            bare.foresee(request)
    else:
        bare.foresee(request)
