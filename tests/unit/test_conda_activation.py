"""What a program finds that is started from a conda environment without a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.python_environments import plugin

SHOW = "import json, os, sys; assert input() == 'question'; print(json.dumps([dict(os.environ), sys.argv[1:]]))"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "lab"], check=True)
    (tmp_path / "lab" / "conda-meta").mkdir()
    return tmp_path / "lab"


def script(environment: Path, name: str, content: str) -> None:
    path = environment / "etc" / "conda" / "activate.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def start(environment: Path, *arguments: str, **variables: str) -> tuple[dict[str, str], list[str]]:
    """The variables and arguments that a program sees."""
    python = str(environment / "bin" / "python")
    activation = plugin("module_utils.conda_activation").__file__
    done = subprocess.run(
        [python, "-I", activation, python, "-c", SHOW, *arguments],
        env={"PATH": os.defpath, **variables},
        input="question\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seen, given = json.loads(done.stdout)
    return seen, given


def test_scripts_of_packages_hold_in_the_order_of_their_names(environment: Path) -> None:
    script(environment, "gdal.sh", 'export GDAL_DATA="$CONDA_PREFIX/share/gdal" ORDER="${ORDER-}g"')
    # It is to be the last, as the compilers' are: a locale would have it first.
    script(environment, "~nvcc.sh", 'function flags { export ORDER="${ORDER-}~"; }; flags')
    script(environment, "other.fish", "export ORDER=fish")

    seen, _given = start(environment, LC_ALL="C.UTF-8")

    assert (seen["GDAL_DATA"], seen["ORDER"]) == (f"{environment}/share/gdal", "g~")


def test_what_a_script_says_reads_or_does_to_its_arguments_is_not_the_programs(environment: Path) -> None:
    script(environment, "loud.sh", "echo hear me; read -r answer; set -- other words")

    assert start(environment, "it's", "$HOME", "")[1] == ["it's", "$HOME", ""]


def test_variables_of_packages_and_of_the_user_hold(environment: Path) -> None:
    declared = environment / "etc" / "conda" / "env_vars.d"
    declared.mkdir(parents=True)
    (declared / "proj.json").write_text('{"PROJ_DATA": "/data", "PROJ_NETWORK": "ON"}')
    state = {"version": 1, "env_vars": {"PROJ_NETWORK": "OFF", "SECOND": "***unset***"}}
    (environment / "conda-meta" / "state").write_text(json.dumps(state))
    script(environment, "last.sh", 'export SEEN="$PROJ_NETWORK"')

    seen, _given = start(environment, SECOND="2")

    assert (seen["PROJ_DATA"], seen["PROJ_NETWORK"], seen["SEEN"]) == ("/data", "OFF", "OFF")
    assert "SECOND" not in seen


@pytest.mark.parametrize("name", ["", "lab"])
def test_conda_is_told_where_it_is(environment: Path, name: str) -> None:
    seen, _given = start(environment, **({"CONDA_DEFAULT_ENV": name} if name else {}), CONDA_PREFIX="/elsewhere")

    assert seen["CONDA_PREFIX"] == str(environment)
    assert seen["CONDA_DEFAULT_ENV"] == (name or str(environment))
    assert seen["PATH"] == f"{environment}/bin:{os.defpath}"


def test_a_state_without_variables_is_none(environment: Path) -> None:
    (environment / "conda-meta" / "state").write_text('{"version": 1}')

    assert start(environment)[0]["CONDA_PREFIX"] == str(environment)


def test_an_environment_of_another_kind_is_left_as_it_is(environment: Path) -> None:
    (environment / "conda-meta").rmdir()
    script(environment, "any.sh", "export CONDA_PREFIX=here")

    seen, _given = start(environment)

    assert seen["PATH"] == os.defpath
    assert "CONDA_PREFIX" not in seen
