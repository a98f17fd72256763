"""The real solver against a real channel on disk: versions, virtual packages, preferences, and sentences for people."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import rattler

from dlhost.adapters.conda_solver import solve
from dlhost.errors import DlhostError, RefusedError
from tests.unit.conda_world import add, channel, debian
from tests.unit.python_environments import plugin


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel's directory."""
    directory = tmp_path_factory.mktemp("channel")
    channel(directory, "3.11.2", "3.12.4")
    return directory


def solved(place: Path, *specs: str, cuda: str = "", preferred: Any = ()) -> dict[str, str]:
    packages = solve("lab", specs, [place.as_uri()], debian(cuda), preferred)
    return {package.name: f"{package.version} {package.build}" for package in packages}


def test_the_newest_that_fit_together_are_taken_with_what_they_need(place: Path) -> None:
    found = solve("lab", ["answer", "python 3.11.*"], [place.as_uri()], debian())
    assert [(package.name, package.version) for package in found] == [
        ("answer", "2.0"),
        ("libanswer", "2.0"),
        ("python", "3.11.2"),
    ]


def test_a_package_is_told_with_all_that_its_channel_says_about_it(place: Path) -> None:
    [answer, _, python] = solve("lab", ["answer"], [place.as_uri()], debian())
    index = json.loads((place / "noarch" / "repodata.json").read_text())["packages.conda"]
    said = index[answer.url.rpartition("/")[2]]
    assert answer.url == f"{place.as_uri()}/noarch/{answer.name}-2.0-{answer.build}.conda"
    assert (answer.sha256, answer.md5, answer.size) == (said["sha256"], said["md5"], said["size"])
    assert (answer.noarch, answer.subdir, list(answer.depends)) == ("python", "noarch", said["depends"])
    assert python.python_site_packages_path == "lib/python3.12/site-packages"


def test_what_the_hosts_have_decides_between_builds(place: Path) -> None:
    assert solved(place, "accel", cuda="12.8") == {"accel": "1.0 cuda_0"}
    assert solved(place, "accel", cuda="11.8") == solved(place, "accel") == {"accel": "1.0 cpu_0"}


def test_what_was_locked_stays_unless_it_has_to_go(place: Path) -> None:
    preferred = solve("lab", ["libanswer 1.0"], [place.as_uri()], debian())
    assert solved(place, "libanswer", preferred=preferred)["libanswer"].startswith("1.0 ")
    assert solved(place, "libanswer")["libanswer"].startswith("2.0 ")
    assert solved(place, "answer 2.0", preferred=preferred)["libanswer"].startswith("2.0 ")


def test_what_was_locked_from_another_channel_or_for_other_hosts_has_no_say(place: Path) -> None:
    [locked] = solve("lab", ["libanswer 1.0"], [place.as_uri()], debian())
    elsewhere = dataclasses.replace(locked, url=locked.url.replace(place.as_uri(), "https://conda.example/forge"))
    other = dataclasses.replace(locked, subdir="linux-aarch64")
    for preferred in ([elsewhere], [other]):
        assert solved(place, "libanswer", preferred=preferred)["libanswer"].startswith("2.0 ")


def test_no_specs_are_no_packages(place: Path) -> None:
    assert solve("lab", [], [place.as_uri()], debian()) == []


REFUSED: list[Any] = [
    pytest.param(["question", "libanswer 2.*"], "libanswer <2, which conflicts", id="conflict"),
    pytest.param(["nowhere"], "No candidates were found for nowhere", id="no such package"),
    pytest.param(["python 3.99.*"], "No candidates were found for python 3.99", id="no such version"),
    pytest.param(["accel * cuda*"], "__cuda >=12", id="the hosts have no GPU"),
    pytest.param(["a[b"], "among a[b is none", id="no spec"),
]


@pytest.mark.parametrize(("specs", "sentence"), REFUSED)
def test_what_has_no_solution_is_refused_in_one_line(place: Path, specs: list[str], sentence: str) -> None:
    with pytest.raises(RefusedError) as error:
        solve("lab", specs, [place.as_uri()], debian())
    assert sentence in str(error.value)
    assert str(error.value).startswith("Environment lab") and "\n" not in str(error.value)


def test_a_refusal_names_what_was_solved_for(place: Path) -> None:
    with pytest.raises(RefusedError, match=r"linux-64 with __glibc=2\.36 __linux=6\.1:"):
        solve("lab", ["nowhere"], [place.as_uri()], debian())


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/channel", "file:///nowhere/channel"])
def test_a_channel_that_does_not_answer_is_no_fault_of_the_inventory(address: str) -> None:
    with pytest.raises(DlhostError, match="the channel cannot be read") as error:
        solve("lab", ["numpy"], [address], debian())
    assert not isinstance(error.value, RefusedError)
    assert "\n" not in str(error.value) and address.partition("://")[2] in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "defaults",
        "main",
        "pkgs/r",
        "https://repo.anaconda.com/pkgs/main",
        "https://conda.anaconda.org/anaconda",
        "https://Repo.Anaconda.com:443/pkgs/main",
    ],
)
def test_channels_of_anaconda_are_refused(name: str) -> None:
    with pytest.raises(RefusedError, match="take conda-forge"):
        solve("lab", ["numpy"], [name], debian())


@pytest.mark.parametrize(
    "address", ["https://me:correct-horse@conda.example/forge", "https://c.example/t/correct-horse/c"]
)
def test_a_password_comes_into_no_lock(address: str) -> None:
    with pytest.raises(RefusedError, match="holds a password or a token") as error:
        solve("lab", ["numpy"], [address], debian())
    assert "correct-horse" not in str(error.value)


def test_a_package_without_a_checksum_is_refused(tmp_path: Path) -> None:
    channel(tmp_path)
    add(tmp_path, "bare", "1.0")
    for index in tmp_path.glob("*/repodata.json"):
        said = json.loads(index.read_text())
        for record in said["packages.conda"].values():
            record.pop("sha256")
        index.write_text(json.dumps(said))
    with pytest.raises(RefusedError, match=r"has no sha256 for bare-1\.0"):
        solve("lab", ["bare"], [tmp_path.as_uri()], debian())


@pytest.mark.parametrize(
    "channel",
    [
        "conda-forge",
        "conda-forge/label/dev",
        "https://c.example/forge",
        "http://127.0.0.1:8581/",
        "/srv/c",
        # Written otherwise than the solver has them.
        "HTTPS://C.Example:443/Forge",
        "http://[::1]:80",
        "file://localhost/srv/C",
    ],
)
def test_a_channel_has_the_address_in_a_lock_that_the_solver_asks(channel: str) -> None:
    assert plugin("plugin_utils.conda_lock").channel_addresses([channel]) == (rattler.Channel(channel).base_url,)
