"""NVIDIA's real kernel module, built by DKMS for Debian's kernel through role nvidia_driver."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Host
from tests.slow.driver import BRANCHES, SYSFS, Driver, checks, install

pytestmark = pytest.mark.slow


@pytest.fixture(params=BRANCHES)
def driver(request: pytest.FixtureRequest, drivers: Callable[[str], Driver]) -> Driver:
    return drivers(request.param)


def look(host: Host) -> dict[str, Any]:
    play = host.play([{"dlhost.host.nvidia_facts": {"sysfs": SYSFS}}])
    assert not play.failed, play.output
    found: dict[str, Any] = play.results()[-1]["nvidia"]
    return found


def test_a_host_without_a_kernel_gets_the_driver_and_no_module(driver: Driver) -> None:
    assert not driver.without_kernel.failed, driver.without_kernel.output
    assert driver.without_kernel.changed


def test_dkms_builds_it_for_the_kernel_that_came_later(driver: Driver) -> None:
    assert not driver.with_kernel.failed, driver.with_kernel.output
    found = look(driver.host)
    newest = found["kernel"]["newest"]
    assert newest in found["kernel"]["headers"]
    assert found["kernel"]["running"] not in found["kernel"]["installed"]

    module = found["module"]["installed"][newest]
    assert re.fullmatch(rf"{BRANCHES[driver.release]}(\.\d+)+", module["version"])
    assert module["flavour"] == "proprietary"
    line = f"nvidia-current/{module['version']}, {newest}, x86_64: installed"
    assert driver.host.execute("dkms status").strip() == line
    (built,) = found["dkms"]
    assert built == {"module": "nvidia-current", "version": module["version"], "kernel": newest, "state": "installed"}


def test_it_stays_as_it_is_and_proves_what_a_container_can_prove(driver: Driver) -> None:
    again = install(driver.host, driver.release)
    assert not again.failed, again.output
    assert again.changed == 0
    results = checks(driver.host, driver.release)
    assert not [name for name, result in results.items() if result == "fail"], results
    assert {results[name] for name in ("files", "packages", "held")} == {"pass"}
    assert {results[name] for name in ("module_there", "module_runs")} == {"skip"}
