"""The compatibility table: its rows agree with each other and with lists of devices, and its answers with NVIDIA's."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.python_environments import plugin

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 21)
PCI_IDS = Path("/usr/share/misc/pci.ids")
FIRST_MAXWELL = "1340"
# Of pci.ids, version 2026.08.22: device id, the chip that it names, and the card; the compute capability is NVIDIA's.
DEVICES = """
102d GK210 3.7 Tesla K80
1024 GK110 3.5 Tesla K40c
1180 GK104 3.0 GeForce GTX 680
1287 GK208 3.5 GeForce GT 730
1380 GM107 5.0 GeForce GTX 750 Ti
13bd GM107 5.0 Tesla M10
174d GM108 5.0 GeForce MX130
13c2 GM204 5.2 GeForce GTX 970
1617 GM204 5.2 GeForce GTX 980M
1401 GM206 5.2 GeForce GTX 960
17c2 GM200 5.2 GeForce GTX TITAN X
15f8 GP100 6.0 Tesla P100 PCIe 16GB
1b00 GP102 6.1 TITAN X Pascal
1b80 GP104 6.1 GeForce GTX 1080
1b81 GP104 6.1 GeForce GTX 1070
1c03 GP106 6.1 GeForce GTX 1060 6GB
1c81 GP107 6.1 GeForce GTX 1050
1d01 GP108 6.1 GeForce GT 1030
1d81 GV100 7.0 TITAN V
1db6 GV100 7.0 Tesla V100 PCIe 32GB
1df6 GV100 7.0 Tesla V100S PCIe 32GB
1e04 TU102 7.5 GeForce RTX 2080 Ti
1eb8 TU104 7.5 Tesla T4
1f02 TU106 7.5 GeForce RTX 2070
2182 TU116 7.5 GeForce GTX 1660 Ti
1f82 TU117 7.5 GeForce GTX 1650
20b0 GA100 8.0 A100 SXM4 40GB
20b5 GA100 8.0 A100 PCIe 80GB
2204 GA102 8.6 GeForce RTX 3090
2236 GA102 8.6 A10
2414 GA103 8.6 GeForce RTX 3060 Ti
2484 GA104 8.6 GeForce RTX 3070
2503 GA106 8.6 GeForce RTX 3060
25b6 GA107 8.6 A2
2684 AD102 8.9 GeForce RTX 4090
26b9 AD102 8.9 L40S
2704 AD103 8.9 GeForce RTX 4080
27b8 AD104 8.9 L4
2803 AD106 8.9 GeForce RTX 4060 Ti
2882 AD107 8.9 GeForce RTX 4060
2331 GH100 9.0 H100 PCIe
2335 GH100 9.0 H200 SXM 141GB
2342 GH100 9.0 GH200 120GB
2901 GB100 10.0 B200
2941 GB100 10.0 HGX GB200
3182 GB110 10.3 B300 SXM6 AC
2b85 GB202 12.0 GeForce RTX 5090
2bb1 GB202 12.0 RTX PRO 6000 Blackwell Workstation Edition
2c02 GB203 12.0 GeForce RTX 5080
2f04 GB205 12.0 GeForce RTX 5070
2d04 GB206 12.0 GeForce RTX 5060 Ti
2d83 GB207 12.0 GeForce RTX 5050
2e12 GB20B 12.1 GB10
"""
NAMES = {line.split()[0]: line.split(maxsplit=3)[3] for line in DEVICES.split("\n") if line}
IDS = {
    "gtx-1070": "1b81",
    "v100": "1db6",
    "t4": "1eb8",
    "a100": "20b5",
    "rtx-4090": "2684",
    "h200": "2335",
    "gh200": "2342",
    "b200": "2901",
    "b300": "3182",
    "rtx-5090": "2b85",
    "k80": "102d",
    "rubin": "3021",
    "unknown": "3f00",
}
GTX_1070 = "GeForce GTX 1070's chip GP104 (Pascal)"
# What is no graphics card on one of NVIDIA's cards, though pci.ids names it by the card's chip.
NO_DISPLAY = re.compile(r"Audio|USB|UCSI|NVSwitch|PCI|Controller")


@pytest.fixture
def compatibility() -> Any:
    return plugin("plugin_utils.compatibility")


@pytest.fixture
def table(compatibility: Any) -> Any:
    return compatibility.load()


@pytest.fixture
def data() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "data" / "compatibility.yml").read_text(encoding="utf-8"))
    return loaded


def cards(table: Any, *named: str) -> list[Any]:
    return [table.card(IDS[name], NAMES.get(IDS[name], "")) for name in named]


def written(value: object) -> str:
    """A parameter within a test's name."""
    return "+".join(value) if isinstance(value, list) else str(value)


# The rows


def test_every_row_names_a_source_that_was_read(data: dict[str, Any]) -> None:
    assert data["schema_version"] == 1
    for source in data["sources"].values():
        assert source["url"].startswith(("https://", "http://deb.debian.org/"))
        assert date(2026, 1, 1) < source["read"] <= date.today()
    for name in ("architectures", "chips", "driver_branches", "cuda", "cudnn", "frameworks", "platforms"):
        for row in data[name]:
            assert {row["source"], *(build.get("source", row["source"]) for build in row.get("builds", ()))} <= set(
                data["sources"]
            ), row


def test_ranges_of_device_ids_stand_in_order_and_apart(table: Any) -> None:
    for row in table.chips:
        assert re.fullmatch("[0-9a-f]{4}", row["first"]), row
        assert re.fullmatch("[0-9a-f]{4}", row["last"]), row
        assert row["first"] <= row["last"]
    for lower, upper in pairwise(table.chips):
        assert lower["last"] < upper["first"], (lower, upper)


def test_tables_stand_oldest_first(compatibility: Any, table: Any) -> None:
    for versions in (
        [branch.name for branch in table.branches],
        [cuda.release for cuda in table.cudas],
        [build.release for build in table.builds if build.framework == "torch" and build.wheel == "cpu"],
    ):
        assert versions == sorted(set(versions), key=compatibility.numbers)


def test_rows_of_one_table_agree_with_those_of_the_others(compatibility: Any, table: Any) -> None:
    numbers = compatibility.numbers
    branches = {branch.name: branch for branch in table.branches}
    smallest = {cuda.major: cuda.smallest_driver for cuda in table.cudas}
    capabilities = {capability for cuda in table.cudas for capability in cuda.compute_capabilities}
    for row in table.chips:
        old = numbers(row["compute_capability"]) < numbers("3.5")
        assert old or row["compute_capability"] in capabilities, row
    for branch in table.branches:
        assert {compatibility.branch_of(branch.smallest), compatibility.branch_of(branch.newest)} == {branch.name}
        assert numbers(branch.smallest) <= numbers(branch.newest)
        assert branch.preferred_kernel_module in branch.kernel_modules
        assert branch.kind in compatibility.KINDS
        assert not (branch.end_of_life and branch.over_by)
        assert all(re.fullmatch(r"20\d\d-[01]\d", month) for month in (branch.end_of_life, branch.over_by) if month)
    for cuda in table.cudas:
        assert cuda.apt == cuda.release.replace(".", "-")
        own = branches.get(compatibility.branch_of(cuda.own_driver))
        assert own is None or own.cuda == cuda.release, cuda
    for row in table.cudnns:
        assert row.smallest_driver == smallest[row.cuda_major]
    for build in table.builds:
        assert bool(build.cuda) == bool(build.compute_capabilities) == bool(build.smallest_driver)
        assert not build.cuda or table.cuda(build.cuda), build
    for platform in table.platforms:
        assert set(platform.drivers) <= set(branches)
        assert set(platform.prebuilt) <= set(platform.drivers)


@pytest.mark.parametrize("line", [line for line in DEVICES.split("\n") if line], ids=lambda line: line[:4])
def test_a_device_has_the_chip_that_the_public_list_names(table: Any, line: str) -> None:
    device_id, chip, capability, name = line.split(maxsplit=3)
    found = table.card(device_id, name)
    assert (found.chip, found.compute_capability, found.known) == (chip, capability, True)
    assert found.warning == ""


def test_every_device_of_the_public_list_falls_into_the_row_of_its_chip(table: Any) -> None:
    if not PCI_IDS.exists():
        pytest.skip("no /usr/share/misc/pci.ids here (package pci.ids); the recorded devices were looked at")
    named = dict(displays(PCI_IDS.read_text(encoding="utf-8")))
    # A chip that is newer than the table is to be unknown to it, not taken for another.
    expected = {chip: chip for chip in {row["chip"] for row in table.chips}}
    found = {device_id: table.card(device_id).chip for device_id in named}
    assert len(named) > 400
    assert found == {device_id: expected.get(chip, "unknown") for device_id, chip in named.items()}


def displays(text: str) -> Iterator[tuple[str, str]]:
    """Device ids of NVIDIA's graphics cards since Maxwell, and the chip that each is named by."""
    for device_id, name in nvidia_devices(text):
        chip = re.match(r"(?:GM|GP|GV|TU|GA|GH|AD|GB|GR)\d\d[\dA-F]", name)
        if device_id >= FIRST_MAXWELL and chip and not NO_DISPLAY.search(name.partition("[")[0] + name[-9:]):
            # Samples of GM107 stand as GM204 there, with their own chip in brackets.
            yield device_id, "GM107" if "[GM107 " in name else chip[0]


def nvidia_devices(text: str) -> list[tuple[str, str]]:
    """The devices of vendor 10de: four hex digits and what stands beside them."""
    section = re.search(r"^10de  .*\n((?:[\t#].*\n|\n)*)", text, re.MULTILINE)
    assert section
    return re.findall(r"^\t([0-9a-f]{4})  (.*)$", section[1], re.MULTILINE)


# Cards


@pytest.mark.parametrize("written", ["1b81", "1B81", "0x1b81", "0X1B81"])
def test_a_device_id_is_four_hex_digits_however_written(table: Any, written: str) -> None:
    assert table.card(written).device_id == "1b81"


@pytest.mark.parametrize("written", ["", "1b8", "1b81f", "10de:1b81", "GTX 1070", "1b81\n"])
def test_anything_else_is_no_device_id(compatibility: Any, table: Any, written: str) -> None:
    with pytest.raises(compatibility.CompatibilityError, match="four hex digits"):
        table.card(written)


def test_an_unknown_card_is_taken_for_the_newest_with_a_warning(table: Any) -> None:
    (card,) = cards(table, "unknown")
    assert (card.known, card.architecture.name, card.kernel_modules) == (False, "blackwell", ("open",))
    assert card.warning == (
        "The card 10de:3f00 is not in dlhost's table of cards, so it is taken for one of the newest architecture "
        "that is sold as a card, Blackwell; a newer dlhost may know it."
    )


# Drivers


@pytest.mark.parametrize(
    ("named", "branch", "kernel_module"),
    [
        (["gtx-1070"], "580", "proprietary"),
        (["v100"], "580", "proprietary"),
        (["t4"], "580", "open"),
        (["a100"], "580", "open"),
        (["rtx-4090"], "580", "open"),
        (["h200"], "580", "open"),
        (["gh200"], "580", "open"),
        (["b200"], "580", "open"),
        (["rtx-5090"], "580", "open"),
        (["unknown"], "580", "open"),
        (["rubin"], "615", "open"),
        (["gtx-1070", "rtx-4090"], "580", "proprietary"),
        (["h200", "b200"], "580", "open"),
        ([], "580", "open"),
    ],
    ids=written,
)
def test_the_recommended_branch_and_module(table: Any, named: list[str], branch: str, kernel_module: str) -> None:
    found = table.driver_branch(cards(table, *named), TODAY)
    assert (found.name, table.kernel_module(cards(table, *named), found)) == (branch, kernel_module)
    assert table.driver_refusal(cards(table, *named), found.name, kernel_module, TODAY) == ""


@pytest.mark.parametrize(
    "named", [["k80"], ["k80", "rtx-4090"], ["gtx-1070", "b200"], ["gtx-1070", "rubin"]], ids=written
)
def test_no_branch_is_recommended_where_none_serves_all_cards(table: Any, named: list[str]) -> None:
    assert table.driver_branch(cards(table, *named), TODAY) is None


@pytest.mark.parametrize(
    ("branch", "last_day"),
    [("580", date(2028, 6, 30)), ("595", date(2027, 3, 31)), ("570", date(2026, 2, 28))],
)
def test_a_branch_is_maintained_to_the_end_of_its_last_month(table: Any, branch: str, last_day: date) -> None:
    assert table.branch(branch).is_maintained(last_day)
    assert not table.branch(branch).is_maintained(date.fromordinal(last_day.toordinal() + 1))


def test_after_the_end_of_the_long_term_branch_an_old_card_has_none(table: Any) -> None:
    late = date(2028, 7, 1)
    assert table.driver_branch(cards(table, "gtx-1070"), late) is None
    assert table.driver_refusal(cards(table, "gtx-1070"), "580", today=late) == (
        "Driver branch 580 is past its end of life of 2028-06, and no maintained branch supports it; set "
        "nvidia_driver_allow_end_of_life to true to do without fixes."
    )


def test_a_branch_that_never_had_a_date_and_is_over_is_not_maintained(table: Any) -> None:
    assert not table.branch("550").is_maintained(date(2020, 1, 1))


@pytest.mark.parametrize(
    ("named", "branch", "kernel_module", "sentence"),
    [
        (
            ["gtx-1070"],
            "590",
            "auto",
            f"The {GTX_1070} is supported up to branch 580, not by 590; set nvidia_driver_branch to 580.",
        ),
        (
            ["k80"],
            "580",
            "auto",
            "The Tesla K80's chip GK210 (Kepler) is supported up to branch 470, not by 580; "
            "no maintained branch supports it.",
        ),
        (
            ["k80", "rtx-4090"],
            "580",
            "auto",
            "The Tesla K80's chip GK210 (Kepler) is supported up to branch 470, not by 580; "
            "no maintained branch supports all cards of this host.",
        ),
        (
            ["b200"],
            "550",
            "auto",
            "The B200's chip GB100 (Blackwell) is supported from branch 570 on, not by 550; "
            "set nvidia_driver_branch to 580.",
        ),
        (
            ["b300"],
            "570",
            "auto",
            "The B300 SXM6 AC's chip GB110 (Blackwell) is supported from branch 580 on, not by 570; "
            "set nvidia_driver_branch to 580.",
        ),
        (
            ["rtx-4090"],
            "535",
            "auto",
            "Driver branch 535 is past its end of life of 2026-06; set nvidia_driver_branch to 580, or "
            "nvidia_driver_allow_end_of_life to true to do without fixes.",
        ),
        (
            ["rtx-4090"],
            "550.163.01",
            "auto",
            "Driver branch 550 is past its end of life; set nvidia_driver_branch to 580, or "
            "nvidia_driver_allow_end_of_life to true to do without fixes.",
        ),
        (
            ["rtx-4090"],
            "5800",
            "auto",
            "There is no driver branch 5800 in dlhost's table, perhaps 580 is meant; set nvidia_driver_branch to 580.",
        ),
        (
            ["rtx-4090"],
            "newest",
            "auto",
            "There is no driver branch newest in dlhost's table, which goes from 390 to 615; "
            "set nvidia_driver_branch to 580.",
        ),
        (
            ["gtx-1070"],
            "580",
            "open",
            f"The open kernel module does not drive the {GTX_1070}; "
            "set nvidia_driver_kernel_module to proprietary or auto.",
        ),
        (
            ["b200"],
            "580",
            "proprietary",
            "The proprietary kernel module does not drive the B200's chip GB100 (Blackwell); "
            "set nvidia_driver_kernel_module to open or auto.",
        ),
        (
            ["gh200"],
            "580",
            "proprietary",
            "The proprietary kernel module does not drive the GH200 120GB's chip GH100 (Hopper); "
            "set nvidia_driver_kernel_module to open or auto.",
        ),
        (
            ["t4"],
            "615",
            "proprietary",
            "Branch 615 has no proprietary kernel module; set nvidia_driver_kernel_module to auto.",
        ),
        (
            ["gtx-1070", "rtx-4090"],
            "580",
            "open",
            f"The open kernel module does not drive the {GTX_1070}; "
            "set nvidia_driver_kernel_module to proprietary or auto.",
        ),
        (
            ["gtx-1070", "b200"],
            "580",
            "auto",
            "The B200's chip GB100 (Blackwell) needs the open kernel module and the GeForce GTX 1070's chip GP104 "
            "(Pascal) the proprietary one, and a host runs one of them; take one of the two cards out of this host.",
        ),
        (["t4"], "580", "proprietary", ""),
        (["h200"], "580.95.05", "proprietary", ""),
        (["gtx-1070"], "580", "proprietary", ""),
        (["rtx-4090"], "595", "open", ""),
        ([], "580", "auto", ""),
    ],
)
def test_what_speaks_against_a_driver(
    table: Any, named: list[str], branch: str, kernel_module: str, sentence: str
) -> None:
    assert table.driver_refusal(cards(table, *named), branch, kernel_module, TODAY) == sentence


def test_a_newer_major_release_of_cuda_counts_more_than_a_longer_life(table: Any) -> None:
    without = dataclasses.replace(table, branches=tuple(branch for branch in table.branches if branch.name != "580"))
    assert without.driver_branch(cards(table, "t4"), date(2026, 3, 1)).name == "595"
    assert without.driver_branch(cards(table, "gtx-1070"), date(2026, 3, 1)).name == "535"


def test_an_old_branch_may_be_had_for_the_asking(table: Any) -> None:
    assert table.driver_refusal(cards(table, "k80"), "470", today=TODAY, allow_end_of_life=True) == ""
    assert table.driver_refusal(cards(table, "rtx-4090"), "535", "open", TODAY, allow_end_of_life=True) == ""


@pytest.mark.parametrize(("branch", "kernel_module"), [("535", "proprietary"), ("550", "proprietary"), ("560", "open")])
def test_the_open_module_is_the_automatic_choice_from_560_on(table: Any, branch: str, kernel_module: str) -> None:
    assert table.kernel_module(cards(table, "t4"), table.branch(branch)) == kernel_module


# CUDA


@pytest.mark.parametrize(
    ("named", "release", "driver", "sentence"),
    [
        (
            ["gtx-1070"],
            "13.0",
            "580",
            f"CUDA 13.0 has no code for the {GTX_1070}, for which CUDA 12.9 is the last one; take CUDA 12.9.",
        ),
        (
            ["b200"],
            "12.6",
            None,
            "CUDA 12.6 has no code for the B200's chip GB100 (Blackwell), for which CUDA 12.8 is the first one; "
            "take CUDA 13.4.",
        ),
        (
            ["rtx-4090"],
            "13.0",
            "550.163.01",
            "CUDA 13.0 needs driver 580.65.06 or newer, not 550.163.01; "
            "take CUDA 12.4 or set nvidia_driver_branch to 580.",
        ),
        (
            ["k80"],
            "12.0",
            None,
            "CUDA 12.0 has no code for the Tesla K80's chip GK210 (Kepler), for which CUDA 11.8 is the last one; "
            "take CUDA 11.8.",
        ),
        (
            ["gtx-1070", "rtx-5090"],
            "13.0",
            "580",
            f"CUDA 13.0 has no code for the {GTX_1070}, for which CUDA 12.9 is the last one; take CUDA 12.9.",
        ),
        (["rtx-4090"], "13.0", "580.65.06", ""),
        (["rtx-4090"], "13.4", "580", ""),
        (["rtx-4090"], "13.0.2", "580", ""),
        (["gtx-1070"], "12.9", None, ""),
        ([], "13.0", None, ""),
    ],
)
def test_what_speaks_against_a_release_of_cuda(
    table: Any, named: list[str], release: str, driver: str | None, sentence: str
) -> None:
    assert table.cuda_refusal(cards(table, *named), release, driver) == sentence


def test_a_driver_is_compared_as_a_number(table: Any) -> None:
    assert "580.65.06 or newer, not 580.9.99" in table.cuda_refusal([], "13.0", "580.9.99")
    assert table.cuda_refusal([], "13.0", "580.105.08") == ""


def test_a_release_of_cuda_that_never_was_gets_the_list(table: Any) -> None:
    assert table.cuda_refusal([], "12.7").startswith(
        "There is no CUDA release 12.7 in dlhost's table; take one of 11.8, "
    )


@pytest.mark.parametrize(
    ("named", "driver", "release"),
    [
        (["rtx-4090"], "580", "13.0"),
        (["rtx-4090"], "580.65.06", "13.0"),
        (["rtx-4090"], "595.45.04", "13.2"),
        (["rtx-4090"], "570.211.01", "12.8"),
        (["rtx-4090"], "550.163.01", "12.4"),
        (["rtx-4090"], "520.61.05", "11.8"),
        (["gtx-1070"], "580", "12.9"),
        (["b300"], "580", "13.0"),
        (["rubin"], "615", "13.4"),
        (["rubin"], "580", "13.5"),
        (["k80"], "470.256.02", "11.8"),
        (["rtx-4090"], None, "13.4"),
        (["rtx-4090"], "440.33", None),
        (["k80", "b200"], "580", None),
    ],
)
def test_the_newest_cuda_is_one_that_the_driver_has_in_full(
    table: Any, named: list[str], driver: str | None, release: str | None
) -> None:
    found = table.newest_cuda(cards(table, *named), driver)
    assert (found and found.release) == release


# cuDNN


@pytest.mark.parametrize(
    ("named", "cuda_major", "version", "sentence"),
    [
        (
            ["gtx-1070"],
            13,
            "",
            f"cuDNN for CUDA 13 has no code for the {GTX_1070}, as compute capability "
            "6.1 is below 7.5; take cuDNN 9.10.2 for CUDA 12.",
        ),
        (
            ["v100"],
            12,
            "9.*",
            "cuDNN 9.* for CUDA 12 has no code for the Tesla V100 PCIe 32GB's chip GV100 (Volta), as compute "
            "capability 7.0 is below 7.5; take cuDNN 9.10.2 for CUDA 12.",
        ),
        (
            ["k80"],
            12,
            "9.10.2",
            "cuDNN 9.10.2 for CUDA 12 has no code for the Tesla K80's chip GK210 (Kepler), as compute "
            "capability 3.7 is below 5.0; no cuDNN has.",
        ),
        (["rtx-4090"], 14, "", "There is no cuDNN for CUDA 14 in dlhost's table; take CUDA 11 or 12 or 13."),
        (
            ["rtx-4090"],
            13,
            "9.10.2",
            "There is no cuDNN 9.10.2 for CUDA 13 in dlhost's table; take one from 9.12.0 on, up to the newest.",
        ),
        (
            ["t4"],
            12,
            "8.9",
            "There is no cuDNN 8.9 for CUDA 12 in dlhost's table; take one from 9.0.0 on, up to the newest.",
        ),
        (
            ["t4"],
            11,
            "9.11",
            "There is no cuDNN 9.11 for CUDA 11 in dlhost's table; take one from 9.0.0 on, up to 9.10.2.",
        ),
        (["gtx-1070"], 12, "9.10.2.21", ""),
        (["gtx-1070"], 12, "9.9", ""),
        (["rtx-4090"], 13, "9.28.0.42", ""),
        (["rtx-4090"], 12, "9.*", ""),
        ([], 13, "", ""),
    ],
)
def test_what_speaks_against_cudnn(table: Any, named: list[str], cuda_major: int, version: str, sentence: str) -> None:
    assert table.cudnn_refusal(cards(table, *named), cuda_major, version) == sentence


@pytest.mark.parametrize(
    ("named", "cuda_major", "last"),
    [
        (["gtx-1070"], 12, "9.10.2"),
        (["t4"], 12, ""),
        (["gtx-1070", "rtx-4090"], 12, "9.10.2"),
        (["gtx-1070"], 13, None),
    ],
)
def test_the_newest_cudnn_has_code_for_all_cards(
    table: Any, named: list[str], cuda_major: int, last: str | None
) -> None:
    found = table.newest_cudnn(cards(table, *named), cuda_major)
    assert (found.last if found else None) == last


# Frameworks


@pytest.mark.parametrize(
    ("framework", "named", "driver", "release", "wheel"),
    [
        ("torch", ["gtx-1070"], "580", "2.14", "cu126"),
        ("torch", ["gtx-1070", "rtx-4090"], "580", "2.14", "cu126"),
        ("torch", ["v100"], "580", "2.14", "cu126"),
        ("torch", ["t4"], "580", "2.15", "cu132"),
        ("torch", ["t4"], "550.163.01", "2.14", "cu126"),
        ("torch", ["rtx-5090"], "580", "2.15", "cu132"),
        ("torch", ["rtx-5090"], "570.211.01", "2.11", "cu128"),
        ("torch", ["b300"], "580", "2.15", "cu132"),
        ("torch", ["unknown"], "580", "2.15", "cu132"),
        ("torch", ["gtx-1070", "rtx-5090"], "580", "2.15", "cpu"),
        ("torch", ["k80"], "470.256.02", "2.7", "cu118"),
        ("torch", ["rtx-4090"], None, "2.15", "cpu"),
        ("torch", [], "580", "2.15", "cpu"),
        ("tensorflow", ["t4"], "580", "2.21", "and-cuda"),
        ("tensorflow", ["rtx-5090"], "580", "2.21", "and-cuda"),
        ("tensorflow", ["k80"], "580", "2.21", "cpu"),
        ("jax", ["t4"], "580", "0.12", "cuda13"),
        ("jax", ["t4"], "550.163.01", "0.12", "cuda12"),
        ("jax", ["gtx-1070"], "580", "0.12", "cuda12"),
    ],
)
def test_the_best_build_is_the_newest_that_runs(
    table: Any, framework: str, named: list[str], driver: str | None, release: str, wheel: str
) -> None:
    best = table.framework_builds(framework, cards(table, *named), driver)[0]
    assert (best.release, best.wheel) == (release, wheel)
    assert table.framework_refusal(framework, wheel, cards(table, *named), driver, release) == ""


def test_builds_come_newest_first_and_cpu_last(table: Any) -> None:
    found = table.framework_builds("torch", cards(table, "t4"), "580")
    assert [(build.release, build.wheel) for build in found[:4]] == [
        ("2.15", "cu132"),
        ("2.14", "cu132"),
        ("2.14", "cu130"),
        ("2.14", "cu126"),
    ]
    assert [build.wheel for build in found].index("cpu") == sum(build.wheel != "cpu" for build in found)
    assert {build.release for build in table.framework_builds("torch", [], None, "2.9")} == {"2.9"}


def test_a_build_says_where_it_comes_from_and_what_it_asks_for(table: Any) -> None:
    (best,) = (b for b in table.framework_builds("torch", cards(table, "t4"), "580", "2.14") if b.wheel == "cu126")
    assert best.index == "https://download.pytorch.org/whl/cu126"
    assert (best.requirement, best.smallest_driver, best.cudnn) == ("torch", "525.60.13", "9.10.2.21")
    assert table.framework_builds("jax", cards(table, "t4"), "580")[0].requirement == "jax[cuda13]"


@pytest.mark.parametrize(
    ("framework", "wheel", "named", "driver", "release", "sentence"),
    [
        (
            "torch",
            "cu130",
            ["gtx-1070"],
            "580",
            "2.14",
            f"torch 2.14 built for CUDA 13.0 has no code for the {GTX_1070}; take torch 2.14 with cu126.",
        ),
        (
            "torch",
            "cu132",
            ["rtx-4090"],
            "550.163.01",
            "",
            "torch 2.15 built for CUDA 13.2 needs driver 580.65.06 or newer, and this host has 550.163.01; "
            "take torch 2.14 with cu126.",
        ),
        (
            "torch",
            "cu132",
            ["rtx-4090"],
            None,
            "",
            "torch 2.15 built for CUDA 13.2 needs a driver, and this host has none; take torch 2.15 with cpu.",
        ),
        (
            "torch",
            "cu132",
            [],
            None,
            "",
            "torch 2.15 built for CUDA 13.2 needs an NVIDIA card, and this host has none; take torch 2.15 with cpu.",
        ),
        (
            "torch",
            "cu121",
            ["t4"],
            "580",
            "2.14",
            "There is no build cu121 of torch 2.14, only cpu, cu126, cu130, cu132; take torch 2.15 with cu132.",
        ),
        ("mxnet", "cpu", [], None, "", "There is no mxnet in dlhost's table, which has jax, tensorflow, torch."),
        (
            "torch",
            "cpu",
            [],
            None,
            "1.13",
            "There is no torch 1.13 in dlhost's table, which has jax, tensorflow, torch.",
        ),
    ],
)
def test_what_speaks_against_a_build(
    table: Any, framework: str, wheel: str, named: list[str], driver: str | None, release: str, sentence: str
) -> None:
    assert table.framework_refusal(framework, wheel, cards(table, *named), driver, release) == sentence


def test_pip_is_kept_from_a_cudnn_that_has_no_code_for_the_card(table: Any) -> None:
    def constraints(framework: str, name: str) -> Any:
        return table.pip_constraints(
            table.framework_builds(framework, cards(table, name), "580")[0], cards(table, name)
        )

    assert constraints("tensorflow", "gtx-1070") == ("nvidia-cudnn-cu12<9.11.0",)
    assert constraints("jax", "gtx-1070") == ("nvidia-cudnn-cu12<9.11.0",)
    assert constraints("tensorflow", "t4") == ()
    assert constraints("torch", "gtx-1070") == ()


# Platforms and the whole


@pytest.mark.parametrize(
    ("name", "driver", "cuda", "repository"),
    [
        ("debian-12", "535", "11.8", "debian12"),
        ("debian-13", "550", "12.4", "debian13"),
        ("ubuntu-22.04", "615", "11.5", "ubuntu2204"),
        ("ubuntu-24.04", "615", "12.0", "ubuntu2404"),
        ("ubuntu-26.04", "615", "12.4", "ubuntu2604"),
    ],
)
def test_what_a_distribution_has(table: Any, name: str, driver: str, cuda: str, repository: str) -> None:
    found = table.platform(name)
    assert (found.drivers[-1], found.cuda, found.repository) == (driver, cuda, repository)
    assert ("580" in found.prebuilt) == name.startswith("ubuntu")


def test_another_distribution_is_refused(compatibility: Any, table: Any) -> None:
    with pytest.raises(
        compatibility.CompatibilityError, match=r"fedora-44; it knows debian-12, debian-13, ubuntu-22\.04"
    ):
        table.platform("fedora-44")


def test_the_verdict_keeps_a_driver_that_serves(table: Any) -> None:
    verdict = table.verdict(cards(table, "rtx-4090"), "595.58.03", today=TODAY)
    assert (verdict.problems, verdict.warnings) == ((), ())
    assert (verdict.branch.name, verdict.kernel_module, verdict.cuda.release) == ("595", "open", "13.2")
    assert (verdict.cudnn.cuda_major, verdict.builds["torch"].wheel) == (13, "cu132")


def test_the_verdict_names_the_nearest_combination_where_the_driver_does_not_serve(table: Any) -> None:
    verdict = table.verdict(cards(table, "gtx-1070"), "590.48.01", today=TODAY)
    assert verdict.problems == (table.driver_refusal(cards(table, "gtx-1070"), "590", today=TODAY),)
    assert (verdict.branch.name, verdict.kernel_module, verdict.cuda.release) == ("580", "proprietary", "12.9")
    assert (verdict.cudnn.cuda_major, verdict.cudnn.last) == (12, "9.10.2")
    assert {name: build.wheel for name, build in verdict.builds.items()} == {
        "torch": "cu126",
        "tensorflow": "and-cuda",
        "jax": "cuda12",
    }


@pytest.mark.parametrize("named", [["k80"], ["gtx-1070", "b200"]], ids=written)
def test_the_verdict_leaves_the_processor_where_nothing_serves_the_cards(table: Any, named: list[str]) -> None:
    verdict = table.verdict(cards(table, *named), "580.95.05", today=TODAY)
    assert len(verdict.problems) == 1
    assert (verdict.branch, verdict.kernel_module, verdict.cuda, verdict.cudnn) == (None, "", None, None)
    assert {build.wheel for build in verdict.builds.values()} == {"cpu"}


def test_the_verdict_without_a_card_or_a_driver(table: Any) -> None:
    bare = table.verdict([], None, today=TODAY)
    assert (bare.problems, bare.branch, bare.cuda) == ((), None, None)
    assert {build.wheel for build in bare.builds.values()} == {"cpu"}
    first = table.verdict(cards(table, "rtx-4090"), None, today=TODAY)
    assert (first.branch.name, first.cuda.release, first.builds["torch"].wheel) == ("580", "13.0", "cu132")


def test_a_driver_newer_than_the_table_is_no_problem_but_said(table: Any) -> None:
    verdict = table.verdict(cards(table, "rtx-4090"), "640.10", today=TODAY)
    assert verdict.problems == ()
    assert verdict.warnings == ("Driver 640.10 is newer than dlhost's table, which ends with branch 615.",)
    assert verdict.builds["torch"].wheel == "cu132"


def test_an_unknown_card_is_said_in_the_verdict(table: Any) -> None:
    assert table.verdict(cards(table, "unknown"), "580.95.05", today=TODAY).warnings == (
        cards(table, "unknown")[0].warning,
    )


def test_the_table_travels_with_the_collection_and_with_the_wheel() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert wheel["force-include"]["data"] == "dlhost/_collections/ansible_collections/dlhost/host/data"
    ignored = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
    assert "data" not in ignored
