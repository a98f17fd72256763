"""What packages may do to one another, with real apt and dpkg on a host below a temporary directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.apt_host import NEEDS_APT, AptHost, double
from tests.unit.python_environments import plugin

pytestmark = NEEDS_APT

PIN = "etc/apt/preferences.d/nvidia-driver-pin"
DRIVER = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms")
OLD_DRIVER = ("nvidia-*", "libnvidia-*", "libcuda*", "cuda-drivers*", "firmware-nvidia-*")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptHost:
    made = AptHost(tmp_path / "host", monkeypatch)
    made.add_source("nvidia", list(double().every()))
    return made


@pytest.fixture
def rig(host: AptHost) -> AptHost:
    """A host with the driver of branch 580."""
    host.install("nvidia-driver-pinning-580")
    host.install(*DRIVER)
    return host


def package(name: str, version: str = "1", **fields: Any) -> Any:
    return double().Package(name, version, **fields)


def test_what_is_brought_is_remembered_and_the_second_run_changes_nothing(host: AptHost) -> None:
    first = host.install("nvidia-settings", "nvidia-xconfig")
    assert first["changed"]
    assert first["changed_packages"] == ["nvidia-settings", "nvidia-xconfig"]
    assert host.packages() == {"nvidia-settings": "install 610.43.02-1", "nvidia-xconfig": "install 610.43.02-1"}
    manifest = json.loads((host.root / "etc/dlhost/managed.json").read_text())
    assert manifest["roles"]["test"]["installed"] == ["nvidia-settings", "nvidia-xconfig"]
    assert not host.install("nvidia-settings", "nvidia-xconfig")["changed"]


@pytest.mark.parametrize("check", [False, True])
def test_nothing_is_removed_that_nobody_named(rig: AptHost, check: bool) -> None:
    manifest = (rig.root / "etc/dlhost/managed.json").read_text()
    said = rig.refusal("cuda-12-9", check=check)
    assert said == (
        "To install cuda-12-9, apt would remove nvidia-kernel-open-dkms, so nothing was changed; "
        "remove it yourself if this host can do without it, and run again."
    )
    assert (rig.root / "etc/dlhost/managed.json").read_text() == manifest


def test_another_flavour_replaces_the_one_before_and_what_only_that_needed(rig: AptHost) -> None:
    rig.install("nvidia-settings")
    answer = rig.install("nvidia-kernel-dkms", replaces=["nvidia-*"])
    assert answer["removed_packages"] == [
        "nvidia-driver-cuda",
        "nvidia-driver-pinning-580",
        "nvidia-kernel-open-dkms",
        "nvidia-opencl-icd",
        "nvidia-persistenced",
        "nvidia-settings",
        "nvidia-smi",
    ]
    left = rig.packages()
    assert "nvidia-kernel-open-dkms" not in left
    assert not (rig.root / PIN).exists()
    # What the new one needs has stayed, in its version, and what no pattern names too.
    assert left["nvidia-modprobe"] == "install 580.126.20-1"
    assert left["libcuda1"] == "install 580.126.20-1"


def test_a_branch_is_changed_in_one_transaction_after_its_pin(rig: AptHost) -> None:
    rig.install("nvidia-driver-pinning-590", replaces=["nvidia-driver-pinning-*"])
    assert "version 590*" in (rig.root / PIN).read_text()
    wanted = ["nvidia-driver-pinning-590", *(f"{name}=590.*" for name in DRIVER)]
    foreseen = rig.install(*wanted, check=True, replaces=OLD_DRIVER)
    diff = "".join(line["prepared"] for line in foreseen["diff"])
    assert "package nvidia-smi: 580.126.20-1, would be 590.48.01-1\n" in diff
    transactions = (rig.root / "dpkg.log").read_text().count("startup archives unpack")
    rig.install(*wanted, replaces=OLD_DRIVER)
    assert (rig.root / "dpkg.log").read_text().count("startup archives unpack") == transactions + 1
    versions = {name: wish for name, wish in rig.packages().items() if "pinning" not in name}
    assert set(versions.values()) == {"install 590.48.01-1"}
    assert not rig.install(*wanted, replaces=OLD_DRIVER)["changed"]


@pytest.mark.parametrize("release", ["12.9", "13.0"])
def test_a_release_goes_and_the_other_stays(host: AptHost, release: str) -> None:
    host.install("cuda-toolkit-12-9", "cuda-toolkit-13-0")
    dashed = release.replace(".", "-")
    foreseen = host.install(check=True, replaces=[f"cuda-*-{dashed}"])
    assert foreseen["changed"]
    answer = host.install(replaces=[f"cuda-*-{dashed}"])
    assert answer["removed_packages"] == foreseen["removed_packages"]
    assert f"cuda-nvcc-{dashed}" in answer["removed_packages"]
    left = host.packages()
    assert [name for name in left if name.endswith(dashed)] == []
    assert {"cuda-toolkit-12-9", "cuda-toolkit-13-0"} & left.keys()
    for check in (True, False):
        assert not host.install(check=check, replaces=[f"cuda-*-{dashed}"])["changed"]


def test_what_goes_takes_nothing_along(host: AptHost) -> None:
    host.install("cuda-toolkit-12-9")
    said = host.refusal(replaces=["cuda-nvcc-*"])
    assert said.startswith("To remove cuda-nvcc-*, apt would remove cuda-")


def test_the_way_back_to_an_older_branch_has_to_be_asked_for(rig: AptHost) -> None:
    rig.install("nvidia-driver-pinning-570", replaces=["nvidia-driver-pinning-*"])
    said = rig.refusal("nvidia-driver")
    assert said.startswith("To install nvidia-driver, apt would bring back an older firmware-nvidia-gsp, libcuda1, ")
    wanted = ["nvidia-driver-pinning-570", "nvidia-driver", *(f"{name}=570.*" for name in DRIVER)]
    rig.install(*wanted, replaces=OLD_DRIVER)
    assert rig.packages()["nvidia-smi"] == "install 570.211.01-1"


def test_a_release_is_kept_by_its_pin_and_goes_back_where_that_is_meant(rig: AptHost) -> None:
    rig.install("nvidia-settings", *DRIVER, hold=True)
    rig.install("nvidia-driver-pinning-580.95.05", replaces=["nvidia-driver-pinning-*"])
    wanted = [f"{name}=580.95.05-*" for name in DRIVER]
    assert "apt would bring back an older firmware-nvidia-gsp, libcuda1, " in rig.refusal(*wanted, hold=True)

    versions = {name: wish.split()[1] for name, wish in rig.packages().items()}
    meant = {"downgrades": plugin("plugin_utils.nvidia_driver_packages").ahead(versions, "580.95.05")}
    assert not rig.install(*wanted, check=True, hold=True, **meant)["removed_packages"]
    rig.install(*wanted, hold=True, **meant)
    assert rig.packages()["nvidia-driver-cuda"] == "hold 580.95.05-1"
    assert rig.packages()["libcuda1"] == "install 580.95.05-1"
    # The driver does without it, and somebody holds it.
    assert rig.packages()["nvidia-settings"] == "hold 580.126.20-1"
    assert not rig.install(*wanted, hold=True, **meant)["changed"]


def test_a_release_that_is_not_there_is_answered_with_those_that_are(rig: AptHost) -> None:
    said = rig.refusal("nvidia-driver-pinning-580.99.01", replaces=["nvidia-driver-pinning-*"])
    assert said.startswith("apt knows no package called nvidia-driver-pinning-580.99.01. It knows ")
    assert "nvidia-driver-pinning-580.95.05" in said
    said = rig.refusal("nvidia-driver-cuda=580.99.01-*")
    assert said.startswith("apt has no version 580.99.01-* of nvidia-driver-cuda; it has ")
    assert "580.126.20-1, 580.95.05-1" in said


@pytest.mark.parametrize("check", [False, True])
def test_a_driver_that_comes_along_with_cuda_is_refused(host: AptHost, check: bool) -> None:
    host.install("nvidia-settings")
    protects = ["nvidia-driver*", "cuda-drivers*", "nvidia-kernel-*"]
    said = host.refusal("cuda-12-9", protects=protects, check=check)
    assert said.startswith("To install cuda-12-9, apt would install ")
    assert "install cuda-drivers 610.43.02-1" in said
    assert said.endswith(", which is to stay as it is; nothing was changed.")
    host.install("cuda-toolkit-12-9", protects=protects)


def test_a_driver_that_would_change_is_refused(rig: AptHost) -> None:
    (rig.root / PIN).unlink()
    said = rig.refusal("nvidia-driver", protects=["nvidia-smi", "nvidia-kernel-*"])
    assert "change nvidia-kernel-support (580.126.20-1 to 610.43.02-1)" in said
    # Whoever asks for a package by its name may change it.
    rig.install("nvidia-settings=580.95.*", protects=["nvidia-settings"])


def test_a_hold_lasts_and_gives_way_to_its_owner_alone(rig: AptHost) -> None:
    assert rig.install(*DRIVER, hold=True)["changed_packages"] == sorted(DRIVER)
    assert rig.packages()["nvidia-driver-cuda"] == "hold 580.126.20-1"
    assert not rig.install(*DRIVER, hold=True)["changed"]
    assert rig.install(*DRIVER, hold=False, check=True)["diff"][0]["prepared"] == "package nvidia-driver-cuda: held\n"

    (rig.root / PIN).unlink()
    said = rig.refusal("nvidia-opencl-icd=590.*")
    assert said.startswith("apt failed: ") or "held" in said
    rig.install(*(f"{name}=610.*" for name in DRIVER), replaces=OLD_DRIVER, hold=True)
    assert rig.packages()["nvidia-driver-cuda"] == "hold 610.43.02-1"
    rig.install(*DRIVER, hold=False)
    assert rig.packages()["nvidia-driver-cuda"] == "install 610.43.02-1"


def test_somebody_elses_hold_is_named(rig: AptHost) -> None:
    rig.run("apt-mark", "hold", "nvidia-modprobe")
    (rig.root / PIN).unlink()
    said = rig.refusal("nvidia-driver-cuda=610.*")
    assert said == (
        "To install nvidia-driver-cuda, apt would change nvidia-modprobe, held on this host; "
        "allow it with apt-mark unhold nvidia-modprobe, and run again."
    )


def test_a_transaction_that_fails_leaves_the_hold_in_place(rig: AptHost) -> None:
    rig.install(*DRIVER, hold=True)
    broken = package("nvidia-driver-cuda", "999-1", postinst="echo no such card >&2; exit 1")
    rig.add_source("broken", [broken])
    (rig.root / PIN).unlink()
    with pytest.raises(rig.module.debian_packages.PackagesError, match=r"apt failed: .*error code"):
        rig.install("nvidia-driver-cuda", "nvidia-driver-cuda=999-1", hold=True)
    assert rig.packages()["nvidia-driver-cuda"].startswith("hold ")


def test_lists_older_than_the_sources_are_refreshed(host: AptHost) -> None:
    host.install("nvidia-settings")
    host.add_source("more", [package("nvidia-settings", "999-1"), package("another")])
    foreseen = host.install("nvidia-xconfig", check=True)
    assert foreseen["dlhost_undetermined"].startswith("how apt installs nvidia-xconfig, ")
    # A name that the present lists know already; only the new ones have this version.
    host.install("nvidia-xconfig", "nvidia-settings=999-1")
    assert host.packages()["nvidia-settings"] == "install 999-1"


@pytest.mark.parametrize("check", [False, True])
def test_a_disk_without_room_is_refused(host: AptHost, check: bool) -> None:
    host.install("nvidia-settings")
    said = host.refusal("cuda-toolkit-12-6", check=check)
    assert said.startswith("The packages need 97")
    assert f"MiB on the disk of {host.root}/usr, which has " in said


@pytest.mark.parametrize("check", [False, True])
def test_a_branch_that_is_not_there_is_answered_with_those_that_are(host: AptHost, check: bool) -> None:
    host.install("nvidia-settings")
    assert host.refusal("nvidia-driver-cuda=595.*", check=check) == (
        "apt has no version 595.* of nvidia-driver-cuda; "
        "it has 610.43.02-1, 590.48.01-1, 580.126.20-1, 580.95.05-1 and 570.211.01-1."
    )


def test_a_name_that_is_not_there_is_answered_with_similar_ones(host: AptHost) -> None:
    said = host.refusal("nvidia-driver-pinning-595")
    assert said.startswith("apt knows no package called nvidia-driver-pinning-595. It knows nvidia-driver-pinning-5")


def test_dependencies_that_cannot_be_met_are_said_in_apts_words(host: AptHost) -> None:
    host.add_source("broken", [package("lonely", depends="nobody")])
    assert host.refusal("lonely").startswith("apt failed: Unable to correct problems")


def test_an_installation_that_was_cut_is_finished_first(rig: AptHost) -> None:
    status = rig.root / "var/lib/dpkg/status"
    text = status.read_text()
    whole = "Package: nvidia-smi\nStatus: install ok installed\n"
    assert whole in text
    status.write_text(text.replace(whole, whole.replace("ok installed", "ok unpacked")))
    (rig.root / "var/lib/dpkg/updates/0000").touch()
    foreseen = rig.install("nvidia-settings", check=True)
    assert foreseen["diff"][0]["prepared"] == "an installation that was cut is finished\n"
    rig.install("nvidia-settings")
    assert "ok unpacked" not in status.read_text()
    assert not rig.install("nvidia-settings", "nvidia-smi")["changed"]


def test_looking_leaves_no_trace(rig: AptHost) -> None:
    def inodes() -> dict[str, int]:
        return {str(path): os.lstat(path).st_ctime_ns for path in rig.root.rglob("*")}

    before = inodes()
    answer = rig.install("nvidia-kernel-dkms", replaces=["nvidia-kernel-*"], hold=True, check=True)
    assert answer["removed_packages"] == ["nvidia-kernel-open-dkms"]
    assert inodes() == before


def test_what_is_handed_back_is_held_no_more(rig: AptHost) -> None:
    rig.install(*DRIVER, hold=True)
    request = {"role": "test"}
    assert rig.module.hand_back(request, True)["changed"]
    rig.module.hand_back(request, False)
    assert rig.packages()["nvidia-driver-cuda"] == "install 580.126.20-1"
    assert rig.run("apt-mark", "showmanual") == ""
    assert not rig.module.hand_back(request, False)["changed"]
