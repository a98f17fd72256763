"""What role cudnn does on a host, and what it refuses, from recorded looks; no host is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cuda_world import ADA, PASCAL, facts, manifest, plugin

SETTINGS: dict[str, Any] = {
    "state": "present",
    "cuda_majors": [12],
    "default": 0,
    "version": "9.*",
    "dev": False,
    "hold": True,
    "source": "nvidia",
    "toolkits": ["12.9", "13.0"],
}
LIBRARY = "/usr/lib/x86_64-linux-gnu/libcudnn/{}/libcudnn.so.9"


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = plugin(monkeypatch, "filter.cudnn_plan").cudnn_plan

    def plan(seen: Any, pairs: Any = (), **settings: Any) -> dict[str, Any]:
        answer: dict[str, Any] = made([list(pair) for pair in pairs], seen, {**SETTINGS, **settings})
        return answer

    return plan


REFUSED: list[Any] = [
    pytest.param(facts(), {"source": "distro"}, [], "Debian 12 itself has no cuDNN to install", id="distribution"),
    pytest.param(facts(PASCAL), {"cuda_majors": [13]}, [], "no code for the", id="cuDNN for CUDA 13 on Pascal"),
    pytest.param(facts(ADA), {"version": "9.0.*", "cuda_majors": [13]}, [], "There is no cuDNN", id="before CUDA 13"),
    pytest.param(
        facts(ADA),
        {"cuda_majors": [12, 13], "toolkits": ["12.9"]},
        [],
        "cuDNN for CUDA 13 is of no use without CUDA 13 itself; add a release of it to cuda_toolkit_versions",
        id="no toolkit",
    ),
    pytest.param(
        facts(ADA, libcudnn8="8.9.7.29-1+cuda12.2", libcudnn8_dev="8.9.7.29-1+cuda12.2"),
        {},
        [],
        "remove libcudnn8, libcudnn8-dev and run again.",
        id="cuDNN 8",
    ),
    pytest.param(facts(ADA, nvidia_cudnn="8.9.2.26"), {}, [], "remove nvidia-cudnn and", id="fetched copy"),
    pytest.param(
        facts(ADA),
        {},
        [("copy", "/usr/local/cuda-12.9/include/cudnn.h"), ("copy", "/usr/local/lib/libcudnn.so.9.1.0")],
        "remove /usr/local/cuda-12.9/include/cudnn.h, /usr/local/lib/libcudnn.so.9.1.0 and run again.",
        id="copies",
    ),
]


@pytest.mark.parametrize(("seen", "settings", "pairs", "said"), REFUSED)
def test_it_is_refused_in_one_sentence(planned: Any, seen: Any, settings: Any, pairs: Any, said: str) -> None:
    plan = planned(seen, pairs, **settings)
    assert said in plan["refusal"]
    assert "\n" not in plan["refusal"]
    assert (plan["install_due"], plan["dropped"]) == (False, [])


@pytest.mark.parametrize(
    ("settings", "wishes"),
    [
        ({}, ["libcudnn9-cuda-12=9.*"]),
        (
            {"dev": True, "version": "9.15.*"},
            ["libcudnn9-cuda-12=9.15.*", "libcudnn9-dev-cuda-12=9.15.*", "libcudnn9-headers-cuda-12=9.15.*"],
        ),
        ({"cuda_majors": [13, 12]}, ["libcudnn9-cuda-12=9.*", "libcudnn9-cuda-13=9.*"]),
    ],
)
def test_what_is_installed(planned: Any, settings: Any, wishes: list[str]) -> None:
    plan = planned(facts(ADA), **settings)
    assert (plan["refusal"], plan["wishes"], plan["install_due"]) == ("", wishes, True)


def test_a_toolkit_that_is_there_is_enough(planned: Any) -> None:
    assert planned(facts(ADA, cuda_toolkit_12_6="12.6.3-1"), toolkits=[])["refusal"] == ""
    assert planned(facts(ADA, cuda_cudart_12_6="12.6.3-1"), toolkits=[])["refusal"] == ""


@pytest.mark.parametrize(
    ("there", "version", "held", "hold", "due"),
    [
        ("9.15.1.9-1", "9.*", True, True, False),
        # A newer one in the repository is no reason to change anything.
        ("9.10.2.21-1", "9.*", True, True, False),
        ("9.10.2.21-1", "9.1.*", True, True, True),
        ("9.10.2.21-1", "9.15.*", True, True, True),
        ("9.15.1.9-1", "9.15.1.9-1", True, True, False),
        ("9.15.1.9-1", "9.*", False, True, True),
        ("9.15.1.9-1", "9.*", True, False, True),
    ],
)
def test_a_version_that_matches_stays(
    planned: Any, there: str, version: str, held: bool, hold: bool, due: bool
) -> None:
    plan = planned(facts(ADA, held=held, libcudnn9_cuda_12=there), version=version, hold=hold)
    assert plan["install_due"] is due
    assert plan["versions"] == {"12": ".".join(there.split(".")[:3])}


GROUP = "group", f"libcudnn|auto|{LIBRARY.format(13)}"
OWN = [("choice", f"libcudnn|{LIBRARY.format(major)}|libcudnn9-cuda-{major}") for major in (12, 13)]


@pytest.mark.parametrize(
    ("pairs", "settings", "due"),
    [
        ([GROUP, *OWN], {"default": 12}, LIBRARY.format(12)),
        ([GROUP, *OWN], {}, LIBRARY.format(13)),
        ([("group", f"libcudnn|manual|{LIBRARY.format(13)}"), *OWN], {}, ""),
        # With one choice there is nothing to choose.
        ([GROUP, OWN[1]], {}, ""),
        ([("group", "libcudnn|auto|none"), OWN[1]], {}, LIBRARY.format(13)),
        # And what another package offers is not the role's.
        ([GROUP, ("choice", "libcudnn|/opt/libcudnn.so.9|")], {}, ""),
        ([], {}, ""),
    ],
)
def test_the_alternatives_lead_to_the_default(planned: Any, pairs: Any, settings: Any, due: str) -> None:
    plan = planned(facts(ADA), pairs, cuda_majors=[12, 13], **settings)
    assert plan["alternatives"] == ([{"group": "libcudnn", "path": due}] if due else [])


def test_what_is_no_longer_asked_for_goes(planned: Any) -> None:
    names = ["libcudnn9-cuda-12", "libcudnn9-cuda-13", "libcudnn9-dev-cuda-13"]
    look = [manifest("cudnn", *names), *(("installed", name) for name in names)]
    assert planned(facts(ADA), look)["dropped"] == names[1:]
    assert planned(facts(ADA), look, cuda_majors=[12, 13])["dropped"] == names[2:]
    off = planned({}, look, state="absent")
    assert (off["dropped"], off["owns"], off["record_due"], off["install_due"]) == (names, True, True, False)
    # What somebody else installed, or removed, is not the role's.
    assert planned({}, look[1:], state="absent")["dropped"] == []
    assert planned({}, look[:1], state="absent")["dropped"] == []
