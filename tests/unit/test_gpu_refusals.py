"""What a GPU role would refuse is told before any role has changed anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlhost.adapters import content, gpu_stack
from dlhost.errors import ExitCode
from dlhost.values.inventory import Connection, Host
from tests.unit.world import World, with_gpu_roles, write

RIG = ("-i", "rig")


@pytest.fixture
def gpus(world: World, rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The small world with the real GPU roles; alpha is in group gpu."""
    with_gpu_roles(tmp_path / "content", monkeypatch)
    write(rig / "hosts.yml", "all: {hosts: {beta: }, children: {gpu: {hosts: {alpha: }}}}\n")
    return world


def test_what_a_gpu_role_refuses_is_refused_before_the_run(gpus: World) -> None:
    gpus.gpus["alpha"] = ("There is no such branch.", "Nor such a CUDA.")

    result = gpus("provision", *RIG)

    assert result.exit_code == ExitCode.REFUSED
    assert result.stderr.endswith("alpha: There is no such branch.\nalpha: Nor such a CUDA.\n")
    assert gpus.runs == []


def test_only_hosts_and_roles_that_are_meant_are_judged(gpus: World, rig: Path) -> None:
    write(rig / "group_vars" / "gpu.yml", "cudnn_state: absent\n")

    gpus("provision", *RIG, "-e", "nvidia_driver_branch=595")

    assert list(gpus.gpu_settings) == ["alpha"]
    assert list(gpus.gpu_settings["alpha"]) == ["nvidia_repo", "nvidia_driver", "cuda_toolkit"]
    assert gpus.gpu_settings["alpha"]["nvidia_driver"]["nvidia_driver_branch"] == "595"
    assert len(gpus.runs) == 1


def test_a_role_that_runs_alone_is_judged_alone_by_what_the_others_tell_it(gpus: World) -> None:
    gpus("provision", *RIG, "--roles", "cudnn")

    assert gpus.gpus_judged["alpha"] == {"cudnn"}
    assert "cuda_toolkit" in gpus.gpu_settings["alpha"]


def test_every_reboot_can_be_left_to_the_user(gpus: World) -> None:
    gpus("provision", *RIG, "--no-reboot", "-e", "nvidia_driver_branch=595")

    assert gpus.runs[0].extra_vars == {"nvidia_driver_branch": 595, "nvidia_driver_reboot": "never"}


@pytest.mark.parametrize("command", [("provision", "--roles", "system"), ("drift",), ("verify",)], ids="_".join)
def test_who_changes_no_driver_is_not_asked_for_one(gpus: World, command: tuple[str, ...]) -> None:
    gpus.gpus["alpha"] = ("No.",)

    assert gpus(*command, *RIG).exit_code != ExitCode.REFUSED
    assert gpus.gpu_settings == {}


def test_the_words_are_the_roles_own(tmp_path: Path) -> None:
    here = Host("alpha", (), Connection(transport="local"))
    schemas = [schema for schema in content.role_schemas() if schema.role in gpu_stack.ROLES]
    roles = {schema.role: content.settings(schema, here) for schema in schemas}
    assert gpu_stack.refusals(here, roles, gpu_stack.ROLES, tmp_path) == ()

    roles["nvidia_driver"]["nvidia_driver_branch"] = "999"
    (refusal,) = gpu_stack.refusals(here, roles, gpu_stack.ROLES, tmp_path)
    assert refusal.startswith("There is no driver branch 999 in dlhost's table")
