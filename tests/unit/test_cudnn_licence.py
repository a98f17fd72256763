"""NVIDIA's terms are said once, with the first cuDNN that comes to a host: the role's own task, in a dry run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cuda_world import ADA, facts
from tests.unit.plays import results, rules_of

HOSTS: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "new": (facts(ADA), {}, True),
    "there": (facts(ADA, held=True, libcudnn9_cuda_12="9.15.1.9-1"), {}, False),
    "other-version": (facts(ADA, held=True, libcudnn9_cuda_12="9.10.2.21-1"), {"cudnn_version": "9.15.*"}, False),
    "no-longer-held": (facts(ADA, libcudnn9_cuda_12="9.15.1.9-1"), {}, False),
    "off": (facts(ADA), {"cudnn_cuda_majors": []}, False),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Host to what was said of it."""
    main = yaml.safe_load((Path(__file__).parents[2] / "roles/cudnn/tasks/main.yml").read_text())
    (task,) = (task for task in main if "licence" in str(task.get("ansible.builtin.debug", "")))
    # For the role's variables.
    rules = rules_of("cudnn")
    hosts = {
        name: {
            "ansible_python_interpreter": sys.executable,
            "cudnn_cuda_majors": [12],
            "cudnn_toolkits": ["12.9"],
            "__cudnn_facts": {"nvidia": seen},
            "__cudnn_look": {"stdout": ""},
            **settings,
        }
        for name, (seen, settings, _said) in HOSTS.items()
    }
    found = results(tmp_path_factory.mktemp("licence"), hosts, [rules, task], "--check")
    return {host: result.get("msg", "") for name, host, result in found if name == task["name"]}


@pytest.mark.parametrize("name", HOSTS)
def test_the_licence_is_said_with_the_first_cudnn_alone(said: dict[str, str], name: str) -> None:
    assert ("https://docs.nvidia.com/deeplearning/cudnn/sla/" in said[name]) == HOSTS[name][2]
