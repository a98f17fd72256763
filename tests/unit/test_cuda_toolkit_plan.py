"""What role cuda_toolkit does on a host, and what it refuses, from recorded looks; no host is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cuda_world import ADA, BLACKWELL, PASCAL, UNKNOWN, alternatives, facts, manifest, plugin

SETTINGS: dict[str, Any] = {
    "state": "present",
    "versions": ["12.9"],
    "default": "",
    "packages": "toolkit",
    "paths": True,
    "source": "nvidia",
    "driver": "",
}
LINKED = [("link", "/etc/alternatives/cuda"), ("host_compiler", "installed")]
HOME = "/usr/local/cuda-{}"
ON_129 = [*LINKED, *alternatives(HOME.format("12.9"), HOME.format("12.9"))]
BOTH = [HOME.format("12.9"), HOME.format("13.0")]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = plugin(monkeypatch, "filter.cuda_toolkit_plan").cuda_toolkit_plan

    def plan(seen: Any, pairs: Any = (), **settings: Any) -> dict[str, Any]:
        answer: dict[str, Any] = made([list(pair) for pair in pairs], seen, {**SETTINGS, **settings})
        return answer

    return plan


REFUSED: list[Any] = [
    pytest.param(
        facts(PASCAL, driver="580.95.05"), {"versions": ["13.0"]}, [], "take CUDA 12.9", id="CUDA 13 on Pascal"
    ),
    pytest.param(facts(BLACKWELL, driver="580.95.05"), {"versions": ["12.6"]}, [], "CUDA 12.8 is the first", id="B200"),
    pytest.param(
        facts(PASCAL, ADA, driver="580.95.05"), {"versions": ["12.9", "13.0"]}, [], "no code for the", id="one of two"
    ),
    pytest.param(
        facts(ADA, driver="550.163.01"),
        {"versions": ["13.0"]},
        [],
        "CUDA 13.0 needs driver 580.65.06 or newer, not 550.163.01; take CUDA 12.",
        id="driver too old",
    ),
    pytest.param(
        facts(ADA, driver="550.163.01"),
        {"versions": ["13.0"], "driver": "535"},
        [],
        "or newer, not 535; ",
        id="driver that comes is too old",
    ),
    pytest.param(facts(ADA), {"versions": ["99.9"]}, [], "There is no CUDA release 99.9", id="no such release"),
    pytest.param(
        facts(ADA),
        {"source": "distro"},
        [],
        "Debian 12 itself has CUDA 11.8 and not 12.9; set cuda_toolkit_versions to ['11.8'], or nvidia_repo_source",
        id="not the distribution's",
    ),
    pytest.param(
        facts(ADA),
        {"source": "distro", "versions": ["11.8", "12.9"]},
        [],
        "CUDA 11.8 and not 12.9",
        id="two of the distribution's one",
    ),
    pytest.param(
        facts(ADA),
        {"source": "distro", "versions": ["11.8"], "packages": "runtime"},
        [],
        "no package with CUDA's libraries alone",
        id="libraries of the distribution",
    ),
    pytest.param(
        facts(),
        {},
        [("foreign_home", "/usr/local/cuda-12.9")],
        "run /usr/local/cuda-12.9/bin/cuda-uninstaller or remove the directory",
        id=".run toolkit",
    ),
    pytest.param(facts(), {}, [("link", "directory")], "/usr/local/cuda is a directory", id="directory"),
    pytest.param(
        facts(), {}, [("link", "/opt/cuda")], "/usr/local/cuda is somebody's own link to /opt/cuda", id="own link"
    ),
    pytest.param(
        facts(),
        {},
        [("link", "/usr/local/cuda-12.8"), ("foreign_home", "/usr/local/cuda-12.8")],
        "somebody's own link to /usr/local/cuda-12.8",
        id="link of a .run toolkit",
    ),
]


@pytest.mark.parametrize(("seen", "settings", "pairs", "said"), REFUSED)
def test_it_is_refused_in_one_sentence(planned: Any, seen: Any, settings: Any, pairs: Any, said: str) -> None:
    refusal = planned(seen, pairs, **settings)["refusal"]
    assert said in refusal
    assert "\n" not in refusal
    assert refusal.endswith(".")


ACCEPTED: list[Any] = [
    pytest.param(facts(PASCAL, driver="580.95.05"), {}, [], id="the last release for Pascal"),
    pytest.param(facts(BLACKWELL, driver="580.95.05"), {"versions": ["13.0", "12.9"]}, [], id="B200"),
    pytest.param(facts(ADA, driver="550.163.01"), {}, [], id="by minor-version compatibility"),
    pytest.param(facts(ADA, driver="535.1"), {"versions": ["13.0"], "driver": "580"}, [], id="driver that comes"),
    pytest.param(facts(UNKNOWN, driver="580.95.05"), {"versions": ["13.0"]}, [], id="unknown card"),
    pytest.param(facts(), {"versions": ["13.0"]}, [], id="a machine that only builds"),
    pytest.param(facts(ADA), {"source": "distro", "versions": ["11.8"]}, [("link", "/opt/cuda")], id="distribution"),
    pytest.param(facts(), {}, [("foreign_home", "/usr/local/cuda-12.8")], id="another .run toolkit beside it"),
    pytest.param(facts(), {}, [("link", "/usr/local/cuda-13.0")], id="link that was set by hand"),
]


@pytest.mark.parametrize(("seen", "settings", "pairs"), ACCEPTED)
def test_it_is_accepted(planned: Any, seen: Any, settings: Any, pairs: Any) -> None:
    assert planned(seen, pairs, **settings)["refusal"] == ""


@pytest.mark.parametrize(
    ("settings", "packages"),
    [
        ({}, ["cuda-toolkit-12-9", "g++"]),
        ({"versions": ["12.9", "13.0"]}, ["cuda-toolkit-12-9", "cuda-toolkit-13-0", "g++"]),
        ({"packages": "compiler"}, ["cuda-minimal-build-12-9", "g++"]),
        ({"packages": "runtime"}, ["cuda-libraries-12-9"]),
        ({"source": "distro", "versions": ["11.8"]}, ["nvidia-cuda-toolkit", "g++"]),
        ({"source": "distro", "versions": ["11.8"], "packages": "compiler"}, ["nvidia-cuda-toolkit", "g++"]),
    ],
)
def test_no_package_brings_a_driver(planned: Any, settings: Any, packages: list[str]) -> None:
    due = planned(facts(), **settings)
    assert (due["packages"], due["missing"], due["install_due"]) == (packages, packages, True)


def test_nothing_is_due_where_all_is_there(planned: Any) -> None:
    due = planned(facts(cuda_toolkit_12_9="12.9.1-1"), [*ON_129, manifest("cuda_toolkit", "cuda-toolkit-12-9")])
    assert (due["install_due"], due["default_due"], due["dropped"]) == (False, False, [])
    assert (due["home"], due["paths"]) == ("/usr/local/cuda-12.9", True)


def test_a_cut_installation_is_finished(planned: Any) -> None:
    due = planned(facts(cuda_toolkit_12_9="12.9.1-1") | {"dpkg_was_cut": True}, ON_129)
    assert (due["install_due"], due["missing"]) == (True, [])


@pytest.mark.parametrize(
    ("default", "pairs", "due"),
    [
        ("", [*LINKED, *alternatives(BOTH[1], *BOTH)], False),
        ("12.9", [*LINKED, *alternatives(BOTH[1], *BOTH)], True),
        ("12.9", [*LINKED, *alternatives(BOTH[0], *BOTH)], False),
        # The next release that somebody installs would become the default.
        ("", [*LINKED, *alternatives(BOTH[1], *BOTH, status="auto")], True),
        ("", [("link", BOTH[0]), *alternatives(BOTH[1], *BOTH)], True),
        ("", alternatives(BOTH[1], *BOTH), True),
        ("", LINKED, True),
    ],
)
def test_the_default_is_set_once_and_kept(planned: Any, default: str, pairs: Any, due: bool) -> None:
    seen = facts(cuda_toolkit_12_9="12.9.1-1", cuda_toolkit_13_0="13.0.2-1")
    plan = planned(seen, pairs, versions=["13.0", "12.9"], default=default)
    assert (plan["default"], plan["default_due"]) == (default or "13.0", due)


def test_releases_are_compared_as_numbers(planned: Any) -> None:
    assert planned(facts(), versions=["12.9", "12.10"])["default"] == "12.10"


def test_only_what_the_role_brought_goes(planned: Any) -> None:
    seen = facts(cuda_toolkit_12_6="12.6.3-1", cuda_toolkit_12_9="12.9.1-1", cuda_toolkit_13_0="13.0.2-1")
    brought = manifest("cuda_toolkit", "cuda-toolkit-12-9", "cuda-toolkit-13-0")
    plan = planned(seen, [brought], versions=["13.0"])
    assert plan["dropped"][:2] == ["cuda-*-12-9", "cuda-toolkit-12-9-config-common"]
    assert not [glob for glob in plan["dropped"] if "12-9" not in glob]


@pytest.mark.parametrize("settings", [{"versions": []}, {"state": "absent"}])
def test_a_role_that_is_off_takes_all_that_it_brought_away(planned: Any, settings: Any) -> None:
    brought = manifest("cuda_toolkit", "cuda-toolkit-12-9", "g++")
    plan = planned({}, [brought, ("installed", "cuda-toolkit-12-9")], **settings)
    assert (plan["refusal"], plan["install_due"], plan["default_due"], plan["paths"]) == ("", False, False, False)
    assert plan["dropped"][0] == "cuda-*-12-9"
    assert (plan["owns"], plan["left"]) == (True, ["cuda-toolkit-12-9"])
    assert planned({}, **settings)["owns"] is False


def test_another_source_and_fewer_packages_take_the_others_away(planned: Any) -> None:
    brought = manifest("cuda_toolkit", "nvidia-cuda-toolkit")
    assert planned(facts(), [brought])["dropped"] == ["nvidia-cuda-toolkit"]
    brought = manifest("cuda_toolkit", "cuda-toolkit-12-9")
    assert planned(facts(), [brought], packages="compiler")["dropped"] == ["cuda-toolkit-12-9"]


def test_no_transaction_touches_a_driver(planned: Any) -> None:
    seen = facts(libcuda1="550-1", nvidia_smi="550-1", cuda_toolkit_12_9="12.9.1-1")
    assert "cuda-drivers*" in planned(seen)["protects"]
    # The distribution's toolkit needs the libraries of its driver, and would be refused with all of them protected.
    plan = planned(seen, source="distro", versions=["11.8"])
    assert plan["protects"] == ["libcuda1", "nvidia-smi"]


@pytest.mark.parametrize(
    ("seen", "architectures", "gpus", "skip"),
    [
        (facts(), ["sm_75"], 0, "the host has no NVIDIA GPU"),
        (facts(PASCAL), ["sm_61"], 0, "no NVIDIA driver runs on the host, so no GPU can compute"),
        (facts(ADA, ADA, PASCAL, driver="580.95.05"), ["sm_89", "sm_61"], 3, ""),
    ],
)
def test_what_verify_computes(planned: Any, seen: Any, architectures: list[str], gpus: int, skip: str) -> None:
    plan = planned(seen)
    assert (plan["architectures"], plan["computing_gpus"], plan["cannot_compute"]) == (architectures, gpus, skip)
    assert plan["compilers"] == {"12.9": "/usr/local/cuda-12.9/bin/nvcc"}
    assert planned(seen, packages="runtime")["compilers"] == {}
    assert planned(seen, source="distro", versions=["11.8"])["compilers"] == {"11.8": "/usr/bin/nvcc"}


def test_a_gpu_of_a_virtual_machine_computes_nothing_here(planned: Any) -> None:
    seen = facts(PASCAL, PASCAL, driver="580.95.05")
    seen["gpus"][0]["bound_driver"] = "vfio-pci"

    assert planned(seen)["computing_gpus"] == 1


@pytest.mark.parametrize(
    ("platform", "settings", "warned"),
    [
        (
            "debian-13",
            {"versions": ["12.6", "13.0"]},
            "nvcc of CUDA 12.6 takes GCC up to 13, and this host's own is 14",
        ),
        ("debian-13", {"versions": ["12.9"]}, ""),
        ("debian-12", {"versions": ["12.6"]}, ""),
        ("debian-13", {"versions": ["12.6"], "packages": "runtime"}, ""),
        # What is not known is not warned of.
        ("ubuntu-26.04", {"versions": ["12.6"]}, ""),
    ],
)
def test_a_compiler_that_nvcc_does_not_take_is_told(
    planned: Any, platform: str, settings: dict[str, Any], warned: str
) -> None:
    found = planned({**facts(ADA), "platform": platform}, LINKED, **settings)

    assert found["refusal"] == ""
    assert [warning.startswith(warned) for warning in found["warnings"]] == ([True] if warned else [])
