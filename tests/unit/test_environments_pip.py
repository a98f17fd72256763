"""The real uv against small wheels on disk: what it is asked for, what conda brings already, and its refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.pip_resolver import Question, distributions, resolve
from dlhost.errors import DlhostError, RefusedError
from dlhost.values.environments import target
from tests.unit.conda_world import look
from tests.unit.python_environments import NO_INDEX, Wheel, plugin, serve
from tests.unit.test_conda_lock import package

WHEELS = (
    Wheel("alpha", "1.0", ("beta>=1",)),
    Wheel("alpha", "2.0", ("beta>=1", "gamma")),
    Wheel("beta", "1.0"),
    Wheel("beta", "2.0"),
    Wheel("gamma", "1.0", ("beta<2",)),
)


@pytest.fixture
def wheels(tmp_path: Path) -> dict[str, Any]:
    """Options of pip by which nothing but the wheels is found."""
    (tmp_path / "wheels").mkdir()
    for wheel in WHEELS:
        (tmp_path / "wheels" / wheel.file).write_bytes(wheel.content)
    return {"no_index": True, "find_links": [str(tmp_path / "wheels")]}


def question(*requirements: str, **more: Any) -> Question:
    fields = {"python": "3.12", "platform": "x86_64-manylinux_2_36", "provided": {}}
    return Question("lab", requirements, **{**fields, **more})


def pins(text: str) -> dict[str, str]:
    return {pin.name: pin.version for pin in plugin("module_utils.python_lock").parse(text)}


def test_everything_that_is_needed_is_pinned_with_its_hash(wheels: dict[str, Any]) -> None:
    text = resolve(question("alpha", options=wheels))
    assert pins(text) == {"alpha": "2.0", "beta": "1.0", "gamma": "1.0"}
    assert hashlib.sha256(WHEELS[2].content).hexdigest() in text


def test_nothing_is_asked_for_nothing() -> None:
    assert resolve(question()) == ""


def test_what_pips_own_file_says_counts_here_as_on_a_host(
    wheels: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(f"[global]\nno-index = true\nfind-links = {wheels['find_links'][0]}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    # Which would have the last word.
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    # Were PyPI asked too, its own beta would be newer.
    assert pins(resolve(question("beta"))) == {"beta": "2.0"}

    file.write_text("[global]\nno-index = true\nno-index = false\n")
    with pytest.raises(RefusedError, match=r"pip\.conf cannot be read"):
        resolve(question("beta"))


def test_what_conda_brings_is_neither_brought_again_nor_replaced(wheels: dict[str, Any]) -> None:
    assert pins(resolve(question("alpha", options=wheels, provided={"beta": "1.5"}))) == {
        "alpha": "2.0",
        "gamma": "1.0",
    }
    assert pins(resolve(question("alpha", options=wheels, provided={"beta": "3.0"}))) == {"alpha": "1.0"}


def test_what_conda_brings_and_does_not_fit_is_refused(wheels: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"beta>=2.* Change its pip requirements\.$"):
        resolve(question("beta>=2", options=wheels, provided={"beta": "1.5"}))


def test_what_was_locked_stays_unless_it_has_to_go(wheels: dict[str, Any]) -> None:
    before = resolve(question("alpha==1.0", "beta==1.0", options=wheels))
    assert pins(resolve(question("alpha", options=wheels, preferred=before))) == {"alpha": "1.0", "beta": "1.0"}
    assert pins(resolve(question("alpha>=2", options=wheels, preferred=before)))["alpha"] == "2.0"


class OldPythonWheel(Wheel):
    """A wheel for a Python that no host has any more."""

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}-cp36-cp36m-manylinux_2_17_x86_64.whl"


def test_what_was_locked_stays_though_another_index_has_it_for_other_pythons_only() -> None:
    locked = Wheel("beta", "1.5")
    with serve(locked, Wheel("beta", "1.0")) as common, serve(OldPythonWheel("beta", "1.5")) as own:
        more = {"options": {"index_url": common.url}, "index": own.url, "preferred": locked.pin()}
        assert pins(resolve(question("beta", **more))) == {"beta": "1.5"}


def test_constraints_hold_for_what_others_ask_for(wheels: dict[str, Any]) -> None:
    assert pins(resolve(question("alpha", options=wheels, constraints=("gamma<1",)))) == {"alpha": "1.0", "beta": "2.0"}


def test_wheels_of_a_family_are_taken_from_its_index_and_the_rest_from_the_usual_one() -> None:
    usual, family = Wheel("frame", "2.1", ("other",)), Wheel("frame", "2.1+cu126", ("other",))
    with serve(usual, Wheel("other", "3.0")) as common, serve(family, Wheel("other", "1.0")) as own:
        found = resolve(question("frame==2.1.*", options={"index_url": common.url}, index=own.url))
    assert pins(found) == {"frame": "2.1+cu126", "other": "3.0"}


def test_a_wheel_for_another_glibc_is_not_taken(wheels: dict[str, Any], tmp_path: Path) -> None:
    old = tmp_path / "wheels" / WHEELS[3].file
    old.rename(old.with_name("beta-2.0-cp312-cp312-manylinux_2_39_x86_64.whl"))
    assert pins(resolve(question("beta", options=wheels))) == {"beta": "1.0"}
    assert pins(resolve(question("beta", options=wheels, platform="x86_64-manylinux_2_40"))) == {"beta": "2.0"}


@pytest.mark.parametrize("glibc", ["2.17", "2.27", "2.28", "2.29", "2.30", "2.31", "2.36", "2.41", "2.50"])
def test_every_glibc_comes_to_a_platform_that_uv_knows(wheels: dict[str, Any], glibc: str) -> None:
    platform = target("lab", [look(glibc=glibc)], "").python_platform
    assert pins(resolve(question("beta", options=wheels, platform=platform))) == {"beta": "2.0"}


@pytest.mark.parametrize("place", ["config/uv/uv.toml", "uv.toml", "named.toml"])
def test_uv_s_own_settings_have_no_say(
    wheels: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    # A user's, one that anybody may have left beside where the question is written, and one that a variable names.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if place == "named.toml":
        monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / place))
    (tmp_path / "config" / "uv").mkdir(parents=True)
    (tmp_path / place).write_text('[pip]\nresolution = "lowest"\n')
    assert pins(resolve(question("alpha", options=wheels)))["alpha"] == "2.0"


@pytest.mark.parametrize(
    "told", [("UV_RESOLUTION", "lowest"), ("UV_NO_INDEX", "1"), ("UV_EXCLUDE_NEWER", "2020-01-01")]
)
def test_what_uv_s_variables_say_has_no_say(
    wheels: dict[str, Any], monkeypatch: pytest.MonkeyPatch, told: tuple[str, str]
) -> None:
    monkeypatch.setenv(*told)
    assert pins(resolve(question("alpha", options=wheels)))["alpha"] == "2.0"


def test_an_index_that_does_not_answer_is_no_fault_of_the_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(DlhostError, match="the package index cannot be read") as error:
        resolve(question("alpha", options={"index_url": NO_INDEX}))
    assert not isinstance(error.value, RefusedError)
    assert f"{NO_INDEX}/alpha/" in str(error.value) and "\n" not in str(error.value)


def test_a_password_in_an_address_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(DlhostError, match="cannot be read") as error:
        resolve(question("alpha", options={"index_url": "http://me:correct-horse@127.0.0.1:9/simple"}))
    assert "correct-horse" not in str(error.value)


@pytest.mark.parametrize("wrong", ["??", "nowhere", "-r more.txt", "alpha @ https://192.0.2.1/alpha.whl"])
def test_a_requirement_that_cannot_be_met_is_refused_in_one_line(wheels: dict[str, Any], wrong: str) -> None:
    with pytest.raises(RefusedError, match=r"^Environment lab") as error:
        resolve(question(wrong, options=wheels))
    assert wrong in str(error.value) and "\n" not in str(error.value)


def test_the_distributions_among_conda_packages_are_known_by_their_names_on_pypi() -> None:
    packages = [
        package("git"),
        package("numpy", "2.4.1", depends=("python >=3.12,<3.13.0a0", "python_abi 3.12.*")),
        package("pytorch", "2.9.0", depends=("python", "libtorch")),
        package("Typing_Extensions", "4.0", noarch="python"),
        package("odd", "2024a_1.x", noarch="python"),
        package("fonts", noarch="generic"),
    ]
    found = distributions(packages, {"pytorch": "torch"})
    assert found == {"numpy": "2.4.1", "torch": "2.9.0", "typing-extensions": "4.0"}
