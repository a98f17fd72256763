"""What role conda is told to keep: the locks beside the inventory, held against what is declared."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.plays import results
from tests.unit.python_environments import ALPHA, plugin

ROLE = collections_path() / "ansible_collections/dlhost/host/roles/conda"
FILES = ROLE / "templates" / "files.yml.j2"

CHANNEL = "https://conda.example.org/forge"
WORK = {"name": "work", "python": "3.12", "conda": ["numpy"]}


def package(name: str, version: str, **more: Any) -> Any:
    url = f"{CHANNEL}/linux-64/{name}-{version}-0.conda"
    lock = plugin("plugin_utils.conda_lock")
    return lock.Package(name, version, "0", 0, "linux-64", url, "0" * 64, **more)


def write(locks: Path, declaration: dict[str, Any], *packages: Any, pip: str = "", wheels: str = "") -> None:
    lock = plugin("plugin_utils.conda_lock")
    said = lock.Lock(
        environment=declaration["name"],
        platform="linux-64",
        virtual_packages={"__glibc": "2.36"},
        channels=(CHANNEL,),
        declared=lock.declared(declaration),
        wheels=wheels,
        conda=packages or (package("numpy", "2.4.0"), package("python", "3.12.9")),
        pip=pip,
    )
    (locks / lock.file_name(declaration["name"])).write_text(lock.write(said))


def plan(locks: Path, *declarations: dict[str, Any], prove: bool = False, **more: Any) -> dict[str, Any]:
    settings = {
        "environments": [*declarations],
        "base": False,
        "kernel_pip": [],
        "channels": [CHANNEL],
        "locks": str(locks),
        "state": "present",
        **more,
    }
    return dict(plugin("filter.conda_plan").conda_plan(settings, "rig", build=True, prove=prove))


def test_an_environment_is_what_its_lock_says(tmp_path: Path) -> None:
    write(tmp_path, WORK, pip=ALPHA.pin(), wheels="cu126")
    said = plan(tmp_path, WORK)

    assert said["refusal"] == ""
    [built, base], [looked, _base] = said["build"], said["look"]
    assert base == {"name": "base", "optional": False, "state": "absent"}
    assert built["holds"] == {"numpy": "2.4.0=0", "python": "3.12.9=0", "alpha (pip)": "1.0"}
    assert built["python"] == "lib/python3.12/site-packages"
    assert built["index"] == "https://download.pytorch.org/whl/cu126"
    assert {name for name in built if name not in looked} == {"conda", "pip", "holds"}
    assert said["kernels"] == [{"name": "work", "display_name": "work", "sees_gpus": True}]


def test_a_python_knows_best_where_its_distributions_are(tmp_path: Path) -> None:
    place = "lib/python3.14t/site-packages"
    write(tmp_path, WORK, package("python", "3.14.1", python_site_packages_path=place))
    assert plan(tmp_path, WORK)["build"][0]["python"] == place
    write(tmp_path, WORK, package("numpy", "2.4.0"))
    assert plan(tmp_path, WORK)["build"][0]["python"] == ""


def test_what_is_to_go_needs_no_lock(tmp_path: Path) -> None:
    said = plan(tmp_path, {**WORK, "state": "absent"})
    absent = [{"name": name, "optional": False, "state": "absent"} for name in ("work", "base")]
    assert said["look"] == said["build"] == absent
    assert said["kernels"] == []
    assert plan(tmp_path, WORK, state="absent", base=True)["look"] == []


def test_an_environment_with_cuda_of_either_index_is_for_a_gpu(tmp_path: Path) -> None:
    with_wheels, from_forge, without = ({**WORK, "name": name} for name in ("wheels", "forge", "without"))
    write(tmp_path, with_wheels, pip=f"nvidia-cublas-cu12==12.6 --hash=sha256:{'0' * 64}\n", wheels="cu126")
    write(tmp_path, from_forge, package("cuda-cudart", "12.9"), package("python", "3.12.9"))
    write(tmp_path, without, pip=ALPHA.pin(), wheels="cpu")

    gone = {"name": "gone", "state": "absent"}
    assert plan(tmp_path, with_wheels, from_forge, without, gone)["computing"] == ["wheels", "forge"]


def test_a_kernel_has_the_name_that_it_is_given_and_conda_itself_is_none(tmp_path: Path) -> None:
    named, plain = {**WORK, "display_name": "Work 3.12"}, {"name": "plain", "kernel": False}
    base = {"name": "base", "kind": "base", "kernel": False}
    lock = plugin("plugin_utils.conda_lock")
    for declaration in (named, plain):
        write(tmp_path, declaration)
    write(tmp_path, {**plain, "name": "other"})
    text = (tmp_path / lock.file_name("other")).read_text()
    declared = lock.Environment(**base).declared
    (tmp_path / lock.file_name("base")).write_text(
        lock.write(dataclasses.replace(lock.parse(text, "it"), environment="base", declared=declared))
    )

    said = plan(tmp_path, named, plain, base=True)
    assert said["refusal"] == ""
    assert [environment["name"] for environment in said["build"]] == ["base", "work", "plain"]
    assert said["kernels"] == [{"name": "work", "display_name": "Work 3.12", "sees_gpus": True}]


def test_what_is_for_the_processor_alone_is_a_kernel_that_sees_no_gpu(tmp_path: Path) -> None:
    kinds = plugin("plugin_utils.environment_kinds").load().kinds
    alone = [{"name": kind.name, "kind": kind.name} for kind in kinds if kind.device == "cpu"]
    assert sorted(plugin("plugin_utils.conda_plan").CPU_KINDS) == sorted(kind["name"] for kind in alone)
    for declaration in alone:
        write(tmp_path, declaration)
    assert [kernel["sees_gpus"] for kernel in plan(tmp_path, *alone)["kernels"]] == [False] * len(alone)


def test_a_kernel_is_told_whether_it_sees_gpus(tmp_path: Path) -> None:
    kernels = [{"name": name, "display_name": name, "sees_gpus": name == "gpu"} for name in ("gpu", "cpu")]
    variables = {
        "role_path": str(ROLE),
        "__conda_kernels": kernels,
        "__conda_directories": {"gpu": "/opt/gpu", "cpu": "/opt/cpu"},
        "__conda_activation": "/usr/lib/activation",
        "__conda_kernels_directory": "/kernels",
    }
    task = {"ansible.builtin.debug": {"msg": f"{{{{ lookup('ansible.builtin.template', '{FILES}') | from_yaml }}}}"}}
    [(_task, _host, result)] = results(tmp_path, {"rig": variables}, [{"name": "Render", **task}])

    files = {Path(file["path"]).parent.name: file["content"] for file in result["msg"]}
    seen = {name: json.loads(files[f"dlhost-{name}"])["env"].get("CUDA_VISIBLE_DEVICES") for name in ("gpu", "cpu")}
    assert seen == {"gpu": None, "cpu": "-1"}


def test_what_is_imported_is_said_to_who_proves_it_alone(tmp_path: Path) -> None:
    write(tmp_path, WORK)
    assert plan(tmp_path, WORK)["imports"] == {}
    gone = {"name": "gone", "conda": ["scipy"], "state": "absent"}
    assert plan(tmp_path, WORK, gone, prove=True)["imports"] == {"work": {"numpy": ""}}


@pytest.mark.parametrize(
    ("declared", "pip", "said"),
    [
        pytest.param(
            {**WORK, "conda": ["numpy", "scipy"]},
            "",
            "Environment work is declared otherwise than it was when locked; "
            "lock it with `dlhost env lock -i rig work`.",
            id="declared otherwise",
        ),
        pytest.param(
            {"name": "none"},
            "",
            "Environment none has no lock yet; make it with `dlhost env lock -i rig none`.",
            id="no lock",
        ),
        pytest.param(
            WORK,
            f"nvidia-cublas-cu12==1.0 --hash=sha256:{'0' * 64}\nnvidia-cublas==13.0 --hash=sha256:{'0' * 64}\n",
            "Environment work would have the libraries of CUDA 12 (nvidia-cublas-cu12) and CUDA 13 (nvidia-cublas), "
            "which overwrite each other; give each framework an environment of its own.",
            id="two releases of CUDA",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(
    tmp_path: Path, declared: dict[str, Any], pip: str, said: str
) -> None:
    write(tmp_path, WORK, pip=pip)
    found = plan(tmp_path, declared)
    assert found["refusal"] == said
    assert found["build"] == []


def test_a_lock_of_other_channels_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, WORK)
    refusal = (
        "Environment work was locked from other channels than conda_channels has; "
        "lock it with `dlhost env lock -i rig work`."
    )
    assert plan(tmp_path, WORK, channels=["conda-forge"])["refusal"] == refusal
    assert plan(tmp_path, WORK, channels=[CHANNEL, "conda-forge"])["refusal"] == refusal
    assert plan(tmp_path, WORK, channels=[CHANNEL.replace("forge", "Forge")])["refusal"] == refusal
    for same in (f"{CHANNEL}/", "HTTPS://Conda.Example.ORG:443/forge"):
        assert plan(tmp_path, WORK, channels=[same])["refusal"] == ""


def test_all_that_were_never_locked_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, WORK)
    found = plan(tmp_path, WORK, {"name": "one"}, {"name": "two"}, base=True)
    assert re.match(
        r"Environments [a-z, ]*one, two[a-z, ]* have no lock yet; make it with `dlhost env lock -i rig`\.$",
        found["refusal"],
    )
    assert "base" in found["refusal"]
    assert "work" not in found["refusal"]


def test_a_lock_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / plugin("plugin_utils.conda_lock").file_name("work")
    path.write_bytes(b"\xc4\xff")
    assert plan(tmp_path, WORK)["refusal"] == f"{path} is no text; make it anew with `dlhost env lock -i rig work`."


def test_the_lock_of_another_environment_is_refused(tmp_path: Path) -> None:
    write(tmp_path, WORK)
    lock = plugin("plugin_utils.conda_lock")
    (tmp_path / lock.file_name("work")).rename(tmp_path / lock.file_name("other"))
    assert plan(tmp_path, {**WORK, "name": "other"})["refusal"] == (
        f"{tmp_path / lock.file_name('other')} is the lock of environment work; make the right one with "
        "`dlhost env lock -i rig other`."
    )
