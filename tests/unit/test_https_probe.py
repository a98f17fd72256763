"""Where the controller looks at a front, and where it has the host look at itself."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

SITE = {"name": "", "path": "/a/", "user": "", "password": ""}
ARGUMENTS = {"names": ["rig.example.org"], "sites": [SITE]}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The action, which says where it was looked from: the address, or the host itself."""
    monkeypatch.syspath_prepend(str(collections_path()))
    module = importlib.import_module("ansible_collections.dlhost.host.plugins.action.https_probe")
    fresh_ssh = importlib.import_module("ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh")
    action = module.ActionModule.__new__(module.ActionModule)
    action._task = SimpleNamespace(args=ARGUMENTS, async_val=0, check_mode=False)
    action._connection = SimpleNamespace(transport="ssh")
    monkeypatch.setattr(module.ActionBase, "run", lambda *_arguments: {})
    host_result: dict[str, Any] = {"problems": {}, "unasked": {}}
    monkeypatch.setattr(module.ActionModule, "_execute_module", lambda *_a, **_k: {"looked": "itself", **host_result})

    def run(transport: str = "ssh", problems: Any = None, **settings: str) -> Any:
        action._connection.transport = transport
        host_result.update(problems=problems or {}, unasked={})
        monkeypatch.setattr(fresh_ssh, "fresh_connection", lambda _action: None)
        monkeypatch.setattr(fresh_ssh, "ssh_settings", lambda _connection: {"hostname": "192.0.2.1", **settings})
        return action.run(task_vars={})

    def look(address: str, **arguments: Any) -> Any:
        assert arguments == {**ARGUMENTS, "authority": "", "redirects": True}
        return module.nginx_front.Seen(problems={"looked at": address})

    monkeypatch.setattr(module.nginx_front, "look", look)
    return run


def test_the_controller_looks_at_the_address_that_it_reaches_by_ssh(probe: Any) -> None:
    assert probe() == {"changed": False, "problems": {"looked at": "192.0.2.1"}, "unasked": {}}
    assert probe(proxyjump="none", hostname="rig")["problems"] == {"looked at": "rig"}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"transport": "docker"}, "the connection is docker"),
        ({"proxyjump": "bastion"}, "through another one"),
        ({"proxycommand": "relay %h"}, "through another one"),
        ({"hostname": "127.0.0.1"}, "through a port of this machine"),
        ({"hostname": "localhost"}, "through a port of this machine"),
    ],
)
def test_without_a_way_there_the_host_looks_and_that_is_said(probe: Any, how: dict[str, str], why: str) -> None:
    result = probe(**how)

    assert result["looked"] == "itself"
    assert why in result["unasked"]["reachable"]
    # What it cannot reach itself is no matter of the way.
    broken = probe(**how, problems={"reachable": "refused"})
    assert broken["unasked"] == {} and broken["problems"] == {"reachable": "refused"}


def test_where_the_host_looks_it_gets_passwords_on_standard_input_alone(
    probe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = importlib.import_module("ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules")
    answer = {"looked": "piped", "problems": {}, "unasked": {}}
    monkeypatch.setattr(piped, "run_piped", lambda *_arguments: answer)

    assert probe(transport="docker")["looked"] == "itself"
    monkeypatch.setitem(SITE, "password", "of the tests")
    assert probe(transport="docker")["looked"] == "piped"
