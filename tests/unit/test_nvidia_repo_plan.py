"""Which sources a host gets, from recorded facts; and why it gets none."""

from __future__ import annotations

import datetime
import importlib
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.apt_host import DOUBLE, double_key

PLUGINS = "ansible_collections.dlhost.host.plugins.plugin_utils"
TODAY = datetime.date(2026, 11, 21)
NVIDIAS = "https://developer.download.nvidia.com/compute/cuda/repos"
SOURCE, COMPONENTS = "dlhost-nvidia.sources", "dlhost-components.sources"
GENERAL, NAMES = "00-dlhost-nvidia", "zz-dlhost-nvidia"


def source(uri: str, suite: str, components: str, file: str = "/etc/apt/sources.list", signed_by: str = "") -> Any:
    return {"file": file, "uri": uri, "suite": suite, "components": components.split(), "signed_by": signed_by}


DEBIAN = [
    source("http://deb.debian.org/debian", "bookworm", "main"),
    source("http://deb.debian.org/debian", "bookworm-updates", "main"),
    source("http://security.debian.org/debian-security", "bookworm-security", "main"),
]
UBUNTU = [source("http://archive.ubuntu.com/ubuntu", "noble", "main restricted universe multiverse")]
RIVAL = "/etc/apt/sources.list.d/cuda-debian12-x86_64.list"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(f"{PLUGINS}.nvidia_repo_plan")


@pytest.fixture
def plan(module: Any) -> Any:
    """What is to be done on a host of a platform, with settings that differ from the defaults."""
    table = importlib.import_module(f"{PLUGINS}.compatibility").load()

    def made(
        platform: str = "debian-12",
        sources: Any = None,
        machine: str = "x86_64",
        gpus: tuple[str, ...] = ("",),
        **changed: Any,
    ) -> Any:
        distribution = platform.partition("-")[0]
        settings = {"source": "auto", "url": "", "key": "", "key_fingerprint": "", "take_over": False} | changed
        settings.setdefault("without_gpu", False)
        facts = {
            "platform": platform,
            "distribution": distribution,
            "machine": machine,
            "gpus": [{"device_id": "2684", "bound_driver": bound} for bound in gpus],
            "sources": (DEBIAN if distribution == "debian" else UBUNTU) if sources is None else sources,
        }
        answer = module.plan(facts, module.Settings(**{"state": "present", **settings}), table, TODAY)
        answer["by_name"] = {Path(file["path"]).name: file["content"] for file in answer["files"]}
        return answer

    return made


@pytest.mark.parametrize(
    ("platform", "machine", "driver", "directory"),
    [
        ("debian-12", "x86_64", "nvidia", "debian12/x86_64"),
        ("ubuntu-24.04", "x86_64", "distro", ""),
    ],
)
def test_the_driver_comes_from_who_maintains_it(
    plan: Any, platform: str, machine: str, driver: str, directory: str
) -> None:
    answer = plan(platform, machine=machine)
    assert (answer["refusal"], answer["source"], answer["toolkit_source"]) == ("", driver, driver)
    assert (f"URIs: {NVIDIAS}/{directory}/\n" in answer["by_name"].get(SOURCE, "")) == bool(directory)


def test_a_server_of_another_architecture_has_its_own_directory(plan: Any) -> None:
    assert plan("ubuntu-24.04", source="nvidia", machine="aarch64")["url"] == f"{NVIDIAS}/ubuntu2404/sbsa/"
    assert plan(machine="riscv64")["refusal"] == "NVIDIA has no packages for riscv64; set nvidia_repo_source to distro."
    assert plan(machine="riscv64", url="https://mirror.example.org/cuda")["refusal"] == ""


def test_a_mirror_is_asked_for_the_key_too(plan: Any) -> None:
    answer = plan(url="https://mirror.example.org/cuda", key_fingerprint="ab" * 20)
    assert "URIs: https://mirror.example.org/cuda/\n" in answer["by_name"][SOURCE]
    assert answer["key"]["urls"][0] == "https://mirror.example.org/cuda/8793F200.pub"
    assert answer["key"]["fingerprints"] == ["AB" * 20]


def test_nvidias_own_keys_are_both_accepted_and_neither_is_the_retired_one(plan: Any) -> None:
    answer = plan()
    assert {fingerprint[-8:] for fingerprint in answer["key"]["fingerprints"]} == {"8793F200", "3BF863CC"}
    assert answer["retired"][0].endswith("7FA2AF80")


def test_only_the_names_of_nvidia_come_before_the_distributions(plan: Any) -> None:
    files = plan()["by_name"]
    assert "Package: *\nPin: release l=NVIDIA CUDA\nPin-Priority: 100\n" in files[GENERAL]
    record = files[NAMES]
    assert record.count("Pin-Priority") == 1
    assert "Pin-Priority: 600" in record
    # apt takes the first record of a package: NVIDIA's branch in nvidia-driver-pin, then ours.
    assert NAMES > "nvidia-driver-pin"
    assert GENERAL < "cuda-repository-pin-600"


def test_a_driver_of_the_distribution_shuts_out_nvidias(plan: Any) -> None:
    answer = plan("ubuntu-24.04", source="toolkits")
    assert (answer["source"], answer["toolkit_source"], answer["driver_priority"]) == ("distro", "nvidia", -1)
    others, driver, toolkits = answer["by_name"][NAMES].split("\n\n")
    assert "nvidia-container-*" in others
    assert "Pin-Priority: -1" in driver
    # In this order: it would be one of cuda-* otherwise.
    assert "cuda-drivers*" in driver
    assert "cuda-*" in toolkits


def test_the_distributions_components_come_from_where_the_host_gets_the_rest(plan: Any) -> None:
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    mirror = [source("http://mirror.example.org/debian", "bookworm", "main contrib", signed_by=keyring)]
    assert plan(source="distro", sources=mirror)["by_name"][COMPONENTS].splitlines()[1:] == [
        "Types: deb",
        "URIs: http://mirror.example.org/debian",
        "Suites: bookworm",
        "Components: non-free non-free-firmware",
        f"Signed-By: {keyring}",
    ]
    stanzas = plan(source="distro")["by_name"][COMPONENTS].split("\n\n")
    assert [stanza.splitlines()[-2:] for stanza in stanzas[1:]] == [
        ["Suites: bookworm-updates", "Components: contrib non-free non-free-firmware"],
        ["Suites: bookworm-security", "Components: contrib non-free non-free-firmware"],
    ]


def test_components_that_are_there_are_not_added(plan: Any) -> None:
    complete = [source("http://deb.debian.org/debian", "bookworm", "main contrib non-free non-free-firmware")]
    assert plan(source="distro", sources=complete)["files"] == []
    assert COMPONENTS not in plan(sources=complete)["by_name"]


def test_its_own_file_does_not_count_as_there(plan: Any) -> None:
    """Otherwise every second run would take it away."""
    own = f"/etc/apt/sources.list.d/{COMPONENTS}"
    mine = [*DEBIAN, source("http://deb.debian.org/debian", "bookworm", "contrib non-free non-free-firmware", own)]
    assert plan(source="distro", sources=mine)["files"] == plan(source="distro")["files"]


def test_backports_are_left_as_they_are(plan: Any) -> None:
    backports = source("http://deb.debian.org/debian", "bookworm-backports", "main")
    assert "backports" not in plan(source="distro", sources=[*DEBIAN, backports])["by_name"][COMPONENTS]


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "No package source of this host has bookworm itself; add one with the components main contrib"),
        (
            [
                source(
                    "http://x/debian", "bookworm", "main", "/etc/apt/x.sources", "-----BEGIN PGP PUBLIC KEY BLOCK----"
                )
            ],
            "/etc/apt/x.sources has its key in itself; add the components contrib",
        ),
    ],
)
def test_components_that_nobody_can_add_are_asked_for(plan: Any, sources: Any, words: str) -> None:
    assert plan(source="distro", sources=sources)["refusal"].startswith(words)


@pytest.mark.parametrize("chosen", ["nvidia", "distro", "toolkits"])
@pytest.mark.parametrize(
    "uri",
    [
        f"{NVIDIAS}/debian12/x86_64",
        f"{NVIDIAS}/debian11/x86_64".replace("https", "http"),
        "https://developer.download.nvidia.cn/compute/machine-learning/repos/ubuntu2004/x86_64",
        "file:/var/cuda-repo-debian12-12-9-local",
        "file:///var/nvidia-driver-local-repo-debian12-580.95.05",
    ],
)
def test_another_file_with_nvidias_packages_is_refused_or_taken_over(plan: Any, chosen: str, uri: str) -> None:
    sources = [*DEBIAN, source(uri, "/", "", RIVAL)]
    assert plan(source=chosen, sources=sources)["refusal"] == (
        f"{RIVAL} has NVIDIA's packages from {uri} as well, and two sources of a driver do not get on; "
        "set nvidia_repo_take_over to true to have that file removed, or do it yourself."
    )
    consented = plan(source=chosen, sources=sources, take_over=True)
    assert (consented["refusal"], consented["supersedes"]) == ("", [RIVAL])


def test_a_mirror_in_another_file_is_the_same_repository(plan: Any) -> None:
    sources = [*DEBIAN, source("http://mirror.example.org/cuda", "/", "", RIVAL)]
    assert RIVAL in plan(sources=sources, url="https://mirror.example.org/cuda/")["refusal"]
    assert plan(sources=sources)["refusal"] == ""


@pytest.mark.parametrize("file", ["/etc/apt/sources.list", RIVAL])
def test_a_file_with_more_in_it_is_never_removed(plan: Any, file: str) -> None:
    more = source("http://deb.debian.org/debian", "bookworm", "main", file)
    answer = plan(sources=[more, source(f"{NVIDIAS}/debian12/x86_64", "/", "", file)], take_over=True)
    assert answer["refusal"].endswith("; take its line out of that file.")


def test_sources_of_nvidias_without_drivers_are_nobodys_rivals(plan: Any) -> None:
    containers = source("https://nvidia.github.io/libnvidia-container/stable/deb/amd64", "/", "", RIVAL)
    own = source(f"{NVIDIAS}/debian12/x86_64", "/", "", f"/etc/apt/sources.list.d/{SOURCE}")
    assert plan(sources=[*DEBIAN, containers, own])["refusal"] == ""


def test_a_key_of_somebody_else_is_refused_before_the_host_is_touched(plan: Any) -> None:
    key = double_key()
    assert plan(key=key.public(), key_fingerprint=key.fingerprint.lower())["refusal"] == ""
    said = plan(key=key.public())["refusal"]
    assert said.startswith(f"nvidia_repo_key has the fingerprint {key.fingerprint} instead of 02182E60104FCDC26EAE")
    assert "is no armoured OpenPGP key" in plan(key="hello")["refusal"]
    both = key.public() + double_key("Somebody else").public()
    assert " and " in plan(key=both, key_fingerprint=key.fingerprint)["refusal"]


def test_a_platform_that_dlhost_lacks_is_named(plan: Any) -> None:
    assert plan("debian-11")["refusal"].startswith("dlhost does not know debian-11; it knows debian-12, ")


def test_nothing_is_left_of_a_role_that_is_absent(plan: Any) -> None:
    answer = plan("debian-11", state="absent")
    assert (answer["refusal"], answer["files"]) == ("", [])


def test_the_scenario_expects_the_fingerprint_of_the_double() -> None:
    scenario = DOUBLE.parents[1] / "nvidia_repo" / "vars" / "main.yml"
    assert f"nvidia_repo_key_fingerprint: {double_key().fingerprint}\n" in scenario.read_text()


def test_a_host_without_a_gpu_gets_no_source(plan: Any) -> None:
    answer = plan(gpus=())
    assert answer["skip"] == "no NVIDIA GPU is on the PCI bus"
    assert (answer["source"], answer["toolkit_source"], answer["files"]) == ("nvidia", "nvidia", [])
    assert plan(gpus=("vfio-pci",))["skip"].startswith("every NVIDIA GPU is passed through")
    assert plan(gpus=("vfio-pci", "nouveau"))["skip"] == ""
    wanted = plan(gpus=(), without_gpu=True)
    assert wanted["skip"] == ""
    assert wanted["by_name"] == plan()["by_name"]
