"""How modules that are given passwords reach a host: in no file, and without a word to its journal."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

NAME = "ansible_collections.dlhost.host.plugins.plugin_utils.piped_modules"


class Action:
    """What an action plugin has of a task and its connection; `called` is how the module was."""

    def __init__(self, *, become_pipelines: bool = True, pipelines: bool = True) -> None:
        become = SimpleNamespace(pipelining=become_pipelines)
        self._connection = SimpleNamespace(become=become, always_pipeline_modules=False)
        self._task = SimpleNamespace(args={"password": "correct horse"})
        self._pipelines = pipelines
        self.called: dict[str, Any] = {}

    def _is_pipelining_enabled(self, _style: str) -> bool:
        return self._pipelines and self._connection.always_pipeline_modules

    def _execute_module(self, name: str, arguments: dict[str, str], task_vars: dict[str, Any]) -> dict[str, bool]:
        self.called = {"name": name, "arguments": arguments, "variables": task_vars}
        return {"changed": True}


@pytest.fixture
def run_piped(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(NAME).run_piped


def test_the_journal_is_told_nothing_whatever_the_configuration_says(run_piped: Any) -> None:
    action, variables = Action(), {"ansible_no_target_syslog": False, "other": 1}

    assert run_piped(action, "dlhost.host.module", variables) == {"changed": True}
    assert action.called["variables"] == {"ansible_no_target_syslog": True, "other": 1}
    # It is the task's own variable, which other tasks go on with.
    assert variables["ansible_no_target_syslog"] is False


@pytest.mark.parametrize("lacks", ["become_pipelines", "pipelines"])
def test_a_way_with_a_file_is_refused(run_piped: Any, lacks: str) -> None:
    action = Action(**{lacks: False})

    said = run_piped(action, "dlhost.host.module", {})
    assert (said["failed"], action.called) == (True, {})
    assert "write it to a file there. Use sudo for become" in said["msg"]
