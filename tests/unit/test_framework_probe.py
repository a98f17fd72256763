"""What is seen of torch, tensorflow and jax in an environment: that they compute, and every way in which they do not.

The interpreters are real; the frameworks are doubles (framework_double.py).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import pwd
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlhost.adapters.ansible_env import collections_path
from tests.unit.apt_host import PLUGINS
from tests.unit.framework_environments import VERSIONS, activation, furnish, new_environment
from tests.unit.nvidia_host import with_driver
from tests.unit.plays import results, rules_of

EACH = pytest.mark.parametrize("name", VERSIONS)

Environment = Callable[..., str]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(f"{PLUGINS}.modules.framework_probe")


@pytest.fixture(scope="module")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_environment(tmp_path_factory.mktemp("environment"))


@pytest.fixture
def environment(_environment: Path) -> Environment:
    return functools.partial(furnish, _environment)


def only(found: list[Any]) -> Any:
    (seen,) = found
    return seen


@EACH
def test_every_gpu_computes(probe: Any, environment: Environment, name: str) -> None:
    seen = only(probe.try_out(environment(name, off=[0, 1e-6]), 2))
    assert (seen.framework, seen.version, seen.outcome, seen.reason) == (name, VERSIONS[name], "computes", "")
    assert seen.cuda == ("12" if name == "jax" else "12.9")
    assert [device["name"] for device in seen.devices] == ["NVIDIA H200"] * 2
    assert [float(device["error"]) for device in seen.devices] == [0, 1e-6]


def test_all_that_is_there_is_tried(probe: Any, environment: Environment) -> None:
    found = probe.try_out(environment(*VERSIONS, off=[0]), 1)
    assert [(seen.framework, seen.outcome) for seen in found] == [(name, "computes") for name in VERSIONS]


def test_an_environment_of_condas_is_activated(probe: Any, tmp_path: Path) -> None:
    environment = new_environment(tmp_path)
    activation(environment, 'echo "$CONDA_PREFIX" >>"$CONDA_PREFIX/activated"')

    assert only(probe.try_out(furnish(environment, "torch", off=[0]), 1)).outcome == "computes"
    # Once to be asked what it has, and once to compute.
    assert (environment / "activated").read_text() == f"{environment}\n" * 2


@EACH
@pytest.mark.parametrize(
    ("off", "reason"),
    [
        (0.01, "wrong numbers, 1.0e-02 off where 1.2e-04 is allowed"),
        (2e-4, "wrong numbers, 2.0e-04 off where 1.2e-04 is allowed"),
        (float("nan"), "wrong numbers, nan off where 1.2e-04 is allowed"),
        (None, "CUDA error: out of memory"),
    ],
)
def test_one_gpu_of_two_does_not(
    probe: Any, environment: Environment, name: str, off: float | None, reason: str
) -> None:
    interpreter = environment(name, off=[0, off])
    seen = only(probe.try_out(interpreter, 2))
    assert seen.outcome == "fails"
    assert seen.reason == f"{interpreter}: {name} {VERSIONS[name]} GPU 1 NVIDIA H200: {reason}"
    assert seen.devices[0]["problem"] == ""


@EACH
def test_fewer_gpus_than_the_host_has(probe: Any, environment: Environment, name: str) -> None:
    seen = only(probe.try_out(environment(name, off=[0]), 2))
    assert seen.outcome == "fails"
    # With what the framework had to say last.
    assert "sees 1 of the 2 GPUs I0000 00:00:1.0 cuda_executor.cc:1228] could not open" in seen.reason


@EACH
def test_a_build_for_the_cpu_proves_nothing(probe: Any, environment: Environment, name: str) -> None:
    seen = only(probe.try_out(environment(name, cuda=""), 1))
    assert (seen.outcome, seen.cuda) == ("skip", "")
    assert seen.reason.endswith(f"{name} {VERSIONS[name]} is built for the CPU alone, without CUDA")


@EACH
def test_a_host_without_a_gpu_proves_nothing(probe: Any, environment: Environment, name: str) -> None:
    # It is not started either.
    seen = only(probe.try_out(environment(name, fate="crash"), 0))
    assert (seen.outcome, seen.version) == ("skip", VERSIONS[name])
    assert seen.reason.endswith("has no GPU to compute on, for none is on the host")


def test_an_environment_with_none_of_them(probe: Any, environment: Environment) -> None:
    seen = only(probe.try_out(environment(), 1))
    assert (seen.outcome, seen.framework) == ("skip", "")
    assert seen.reason.endswith(": none of torch, tensorflow, jax is installed")


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ("crash", "crashed (SIGSEGV)"),
        ("leave", "ended with status 3 I0000 00:00:1.0 cuda_executor.cc:1228] could not open file to read NUMA node"),
        ("say nothing", "gave no answer"),
        ("libcudart.so.12: no such file", "does not start (libcudart.so.12: no such file)"),
    ],
)
def test_a_framework_that_does_not_start(probe: Any, environment: Environment, fate: str, reason: str) -> None:
    interpreter = environment("torch", fate=fate)
    seen = only(probe.try_out(interpreter, 1))
    assert (seen.outcome, seen.reason) == ("fails", f"{interpreter}: torch 2.13.0 {reason}")


def test_one_that_never_ends_is_ended_with_what_it_has_started(
    probe: Any, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "COMPUTE_S", 2)
    begin = time.monotonic()
    seen = only(probe.try_out(environment("torch", fate="hang"), 1))
    assert (seen.outcome, seen.reason.split(": ")[1]) == ("fails", "torch 2.13.0 did not end within 2 s")
    # Less than the patience for one that cannot be ended.
    assert time.monotonic() - begin < 2 + probe.END_S


@pytest.mark.parametrize(
    ("interpreter", "reason"),
    [
        ("/nowhere/bin/python", "cannot be run (No such file or directory)"),
        ("/etc", "cannot be run (Permission denied)"),
        ("/bin/true", "gave no answer"),
    ],
)
def test_an_interpreter_that_is_none(probe: Any, interpreter: str, reason: str) -> None:
    seen = only(probe.try_out(interpreter, 1))
    assert (seen.outcome, seen.reason) == ("fails", f"{interpreter}: {reason}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_users_interpreter_does_not_run_as_root(probe: Any, tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    interpreter = tmp_path / "python"
    interpreter.symlink_to("/usr/bin/env")
    os.chown(interpreter, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    asked = probe.rights(str(interpreter), str(tmp_path))
    assert (asked["user"], asked["group"]) == (nobody.pw_uid, nobody.pw_gid)
    assert tmp_path.stat().st_uid == nobody.pw_uid
    assert probe.rights("/usr/bin/env", str(tmp_path)) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_whose_directory_leads_to_an_interpreter_has_a_say_in_what_it_does(probe: Any, tmp_path: Path) -> None:
    """A directory beside the link to the distribution's programs has the configuration and libraries that they read."""
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    home.mkdir()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "bin").symlink_to("/usr/bin")
    os.chown(theirs, nobody.pw_uid, nobody.pw_gid)
    ours = tmp_path / "environment"
    ours.symlink_to(theirs)

    for interpreter in (theirs / "bin" / "env", ours / "bin" / "env"):
        assert probe.rights(str(interpreter), str(home))["user"] == nobody.pw_uid
    theirs.chmod(0o777)
    seen = only(probe.try_out(str(ours / "bin" / "env"), 1))
    assert seen.outcome == "fails"
    assert "is not run, since everybody may change theirs" in seen.reason


def test_nothing_is_left(probe: Any, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.tempfile, "tempdir", str(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    interpreter = environment("torch", off=[0])
    packages = sorted(Path(interpreter).parents[1].rglob("*"))
    assert dataclasses.asdict(only(probe.try_out(interpreter, 1)))["outcome"] == "computes"
    assert sorted(tmp_path.rglob("*")) == before
    assert sorted(Path(interpreter).parents[1].rglob("*")) == packages


# What role nvidia_driver's check makes of it


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Case to the check `computes`. The module runs as Ansible runs it, with other interpreters than Ansible's."""
    directory = tmp_path_factory.mktemp("verdicts")
    kinds: dict[str, dict[str, Any]] = {
        "right": {"off": [0, 0]},
        "wrong": {"off": [0, 1]},
        "cpu": {"cuda": ""},
    }
    of = {}
    for kind, world in kinds.items():
        (directory / kind).mkdir()
        of[kind] = furnish(new_environment(directory / kind), "torch", **world)
    cases = {
        "all-right": ([of["right"]], 2),
        "one-wrong": ([of["right"], of["cpu"], of["wrong"]], 2),
        "one-for-the-cpu": ([of["right"], of["cpu"]], 2),
        "all-for-the-cpu": ([of["cpu"]], 2),
        "no-gpu": ([of["right"]], 0),
        "missing": (["/nowhere/python"], 2),
        "none-named": ([], 2),
    }
    of_roles = {"all-right": [of["right"]], "one-wrong": [of["wrong"]]}
    hosts = {
        name: {
            "ansible_python_interpreter": sys.executable,
            "nvidia_driver_computing_pythons": [python for python in pythons if python not in of_roles.get(name, ())],
            "nvidia_driver_role_pythons": of_roles.get(name, []),
            "nvidia_driver_source": "nvidia",
            "nvidia_driver_allow_no_gpu": True,
            "__nvidia_driver_look": {"nvidia": with_driver(*["T4"] * gpus)},
        }
        for name, (pythons, gpus) in cases.items()
    }
    role = Path(__file__).parents[2] / "roles" / "nvidia_driver"
    verify = yaml.safe_load((role / "tasks" / "verify.yml").read_text())
    (probing,) = (task for task in verify if "dlhost.host.framework_probe" in task)
    *_others, reporting = verify
    (check,) = (it for it in reporting["dlhost.host.report_checks"]["checks"] if it["id"] == "computes")
    tasks = [
        rules_of("nvidia_driver"),
        probing,
        {"dlhost.host.report_checks": {"role": "nvidia_driver", "checks": [check]}},
    ]
    return {
        host: result["dlhost_checks"][0]
        for _task, host, result in results(directory, hosts, tasks)
        if "dlhost_checks" in result
    }


@pytest.mark.parametrize(
    ("case", "result", "reason"),
    [
        ("all-right", "pass", ""),
        ("one-wrong", "fail", "wrong/it/bin/python: torch 2.13.0 GPU 1 NVIDIA H200: wrong numbers"),
        ("one-for-the-cpu", "skip", "cpu/it/bin/python: torch 2.13.0 is built for the CPU alone"),
        ("all-for-the-cpu", "skip", "cpu/it/bin/python: torch 2.13.0 is built for the CPU alone"),
        ("no-gpu", "skip", "no NVIDIA GPU is on the PCI bus"),
        ("missing", "fail", "/nowhere/python: cannot be run (No such file or directory)"),
        ("none-named", "skip", "nvidia_driver_computing_pythons is empty"),
    ],
)
def test_only_what_computed_everywhere_passes(
    verdicts: dict[str, dict[str, Any]], case: str, result: str, reason: str
) -> None:
    assert verdicts[case]["result"] == result
    assert reason in verdicts[case]["reason"]
