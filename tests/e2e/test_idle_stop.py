"""A host that stops when it is idle, and the word from afar that keeps it up; molecule proves the stop itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import USER, Host, Installed

pytestmark = pytest.mark.e2e

HOUR_S = 3600


def test_a_word_from_afar_keeps_an_idle_host_up(
    dlhost: Installed, module_host: Callable[..., Host], provisioned_image: str
) -> None:
    inventory = dlhost.begin("rig", module_host(image=provisioned_image), workspace=True)
    # Nothing but a hand could start a container again, as far as the role knows.
    values = "idle_stop_after_minutes: 60\nidle_stop_accept_no_way_back: true\n"
    (inventory / "group_vars" / "all" / "idle_stop.yml").write_text(values)
    provisioned = dlhost.run("provision", "-i", "rig", "--roles", "idle_stop")
    assert provisioned.returncode == 0, provisioned.stderr

    before = int(time.time())
    kept = dlhost.run("keepalive", "4h", "-i", "rig")
    after = int(time.time())
    assert kept.returncode == 0, kept.stderr
    assert kept.stdout.startswith("rig: ")
    assert f"kept up by {USER} until " in kept.stdout

    (shown,) = dlhost.document("keepalive", "--show", "-i", "rig")["hosts"]
    (wish,) = shown["wishes"]
    assert wish["user"] == USER
    assert before <= wish["until"] - 4 * HOUR_S <= after + 1

    assert "; nobody keeps it up" in dlhost.run("keepalive", "--end", "-i", "rig").stdout
