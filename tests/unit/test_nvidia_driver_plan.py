"""What role nvidia_driver is to do: every kind of host and of trouble, as what is due or as one sentence."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.unit.nvidia_host import CARDS, META, NEWEST, RUNNING, host, limited, module, package, with_driver
from tests.unit.python_environments import plugin

TODAY = date(2026, 11, 21)
SETTINGS: dict[str, Any] = {
    "state": "present",
    "branch": "580",
    "version": "",
    "source": "nvidia",
    "kernel_module": "auto",
    "profile": "headless",
    "hold": True,
    "persistence": True,
    "power_limit_watts": 0,
    "reboot": "auto",
    "newest": False,
    "allow_branch_switch": False,
    "allow_end_of_life": False,
    "allow_no_gpu": False,
}
TWO_KERNELS = {"installed": [RUNNING, NEWEST], "newest": NEWEST}
OLD = {"flavour": "proprietary", "version": "570.211.01"}
FOREIGN_KERNEL = {"running": "6.18.2", "newest": "6.18.2"}
NOBLE, HWE = "6.8.0-85-generic", "6.14.0-33-generic"
BOTH_KERNELS = {"linux-image-generic": "6.8.0-85.85", "linux-image-generic-hwe-24.04": "6.14.0-33.33"}
UBUNTU: dict[str, Any] = {
    "platform": "ubuntu-24.04",
    "distribution": "ubuntu",
    "version": "24.04",
    "kernel": {
        "running": NOBLE,
        "installed": [NOBLE],
        "newest": NOBLE,
        "packages": {"linux-image-generic": package("6.8.0-85.85"), "linux-headers-generic": package("6.8.0-85.85")},
    },
}
PREBUILT = {
    "nvidia-headless-no-dkms-580-server-open": package("580.95.05-0ubuntu0.24.04.1", held=True),
    "nvidia-utils-580-server": package("580.95.05-0ubuntu0.24.04.1", held=True),
    "nvidia-compute-utils-580-server": package("580.95.05-0ubuntu0.24.04.1", held=True),
    "linux-modules-nvidia-580-server-open-generic": package("6.8.0-85.85+1", held=True),
    f"linux-modules-nvidia-580-server-open-{NOBLE}": package("6.8.0-85.85+1"),
}
JOB = {"pid": 4242, "command": "python3", "user": "ada"}


def plan(facts: dict[str, Any], **settings: Any) -> dict[str, Any]:
    planner = plugin("plugin_utils.nvidia_driver_plan")
    table = plugin("plugin_utils.compatibility").load()
    found: dict[str, Any] = planner.plan(facts, planner.Settings(**SETTINGS | settings), table, TODAY)
    return found


# Which driver


@pytest.mark.parametrize(
    ("cards", "kernel_module"),
    [
        (["GTX 1070"], "proprietary"),
        (["V100"], "proprietary"),
        (["T4"], "open"),
        (["A100"] * 8, "open"),
        (["RTX 4090", "RTX 4090"], "open"),
        (["B200"], "open"),
        # The proprietary one is all that drives both.
        (["GTX 1070", "RTX 4090"], "proprietary"),
        (["unknown"], "open"),
    ],
    ids=str,
)
def test_the_kernel_module_is_chosen_by_the_cards(cards: list[str], kernel_module: str) -> None:
    found = plan(host(*cards))

    assert (found["refusal"], found["kernel_module"]) == ("", kernel_module)
    assert bool(found["warnings"]) == ("unknown" in cards)


def test_a_module_that_drives_the_cards_already_stays() -> None:
    assert plan(with_driver("RTX 4090", flavour="proprietary"))["kernel_module"] == "proprietary"
    # Unless another is asked for by name: then it is one transaction.
    asked = plan(with_driver("RTX 4090", flavour="proprietary"), kernel_module="open")
    assert asked["replaces"] == ["nvidia-kernel-dkms"]
    assert asked["packages_due"]


def test_a_module_that_drives_no_card_does_not_stay() -> None:
    found = plan(with_driver("B200", flavour="proprietary"))

    assert (found["kernel_module"], found["replaces"]) == ("open", ["nvidia-kernel-dkms"])


@pytest.mark.parametrize(
    ("facts", "settings", "packages"),
    [
        (
            host("RTX 4090"),
            {},
            "nvidia-driver-pinning-580 linux-headers-amd64 nvidia-driver-cuda nvidia-kernel-open-dkms",
        ),
        (host("GTX 1070"), {}, "nvidia-driver-pinning-580 linux-headers-amd64 nvidia-driver-cuda nvidia-kernel-dkms"),
        (
            host("RTX 4090"),
            {"profile": "desktop"},
            "nvidia-driver-pinning-580 linux-headers-amd64 nvidia-driver-cuda nvidia-driver nvidia-kernel-open-dkms",
        ),
        (
            host("RTX 4090"),
            {"source": "distro", "branch": "535", "allow_end_of_life": True},
            "linux-headers-amd64 libcuda1 nvidia-smi nvidia-persistenced nvidia-kernel-dkms",
        ),
        (
            host("RTX 4090", container=True, kernel={"running": "6.18", "installed": [], "newest": ""}),
            {},
            "nvidia-driver-pinning-580 nvidia-driver-cuda nvidia-kernel-open-dkms",
        ),
        (
            host("T4", kernel={"running": "6.1.0-49-cloud-amd64", "installed": ["6.1.0-49-cloud-amd64"]}),
            {},
            "nvidia-driver-pinning-580 linux-headers-cloud-amd64 nvidia-driver-cuda nvidia-kernel-open-dkms",
        ),
        (
            host("T4", **UBUNTU),
            {"source": "auto"},
            "nvidia-headless-no-dkms-580-server-open nvidia-utils-580-server nvidia-compute-utils-580-server "
            "linux-modules-nvidia-580-server-open-generic linux-image-generic linux-headers-generic",
        ),
        (
            host("V100", **UBUNTU),
            {"source": "distro", "profile": "desktop"},
            "nvidia-driver-580-server linux-modules-nvidia-580-server-generic linux-image-generic "
            "linux-headers-generic",
        ),
        (
            host("T4", **UBUNTU),
            {"source": "nvidia"},
            "nvidia-driver-pinning-580 linux-headers-generic libnvidia-compute-580 nvidia-utils-580 "
            "nvidia-compute-utils-580 nvidia-dkms-580-open",
        ),
        (
            host("T4", **UBUNTU),
            {"source": "nvidia", "branch": "595"},
            "nvidia-driver-pinning-595 linux-headers-generic libnvidia-compute nvidia-utils nvidia-compute-utils "
            "nvidia-dkms-open",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:60],
)
def test_the_packages_of_every_source(facts: dict[str, Any], settings: dict[str, Any], packages: str) -> None:
    found = plan(facts, **settings)

    assert found["refusal"] == ""
    assert found["packages"] == packages.split()
    # The branch is known to apt, and DKMS has its headers, before the driver comes.
    assert found["packages"][: len(found["first"])] == found["first"]


def test_a_branch_is_asked_for_where_the_name_has_none() -> None:
    assert plan(host("T4"))["driver"] == ["nvidia-driver-cuda=580.*", "nvidia-kernel-open-dkms=580.*"]


@pytest.mark.parametrize(
    ("kernel", "packages", "flavour"),
    [
        ("6.1.0-49-amd64", {}, "amd64"),
        ("6.12.41+deb13-amd64", {"linux-image-amd64": "6.12.41-1"}, "amd64"),
        ("6.1.0-49-cloud-amd64", {"linux-image-amd64": "6.1.170-1"}, "cloud-amd64"),
        ("6.1.0-49-rt-amd64", {}, "rt-amd64"),
        (NOBLE, {"linux-image-generic": "6.8.0-85.85"}, "generic"),
        (HWE, BOTH_KERNELS, "generic-hwe-24.04"),
        (NOBLE, BOTH_KERNELS, "generic"),
        ("6.8.0-1015-aws", {"linux-image-aws": "6.8.0-1015.16", f"linux-image-{NOBLE}": "6.8.0-85.85"}, "aws"),
        ("5.15.0-157-generic", {"linux-image-generic": "5.15.0.157.152"}, "generic"),
        ("6.18.2", {}, ""),
    ],
)  # fmt: skip
def test_the_package_that_follows_the_running_kernel(kernel: str, packages: dict[str, str], flavour: str) -> None:
    names = plugin("plugin_utils.nvidia_driver_packages")

    assert names.flavour(kernel, {name: package(version) for name, version in packages.items()}) == flavour


def test_ubuntus_own_module_is_taken_where_apt_has_it_for_the_newest_kernel() -> None:
    asked = plan(host("T4", **UBUNTU), source="distro")["to_ask_apt"]
    assert asked == ["linux-headers-generic", f"linux-headers-{NOBLE}", f"linux-modules-nvidia-580-server-open-{NOBLE}"]
    # What runs may have been replaced on the disk for long.
    behind = host("V100", **UBUNTU | {"kernel": UBUNTU["kernel"] | {"installed": [NOBLE, HWE], "newest": HWE}})
    assert f"linux-modules-nvidia-580-server-{HWE}" in plan(behind, source="distro")["to_ask_apt"]

    there = {f"linux-modules-nvidia-580-server-open-{NOBLE}": "6.8.0-85.85+1", "linux-headers-generic": "6.8.0-85.85"}
    assert plan(host("T4", **UBUNTU, candidates=there), source="distro")["prebuilt"]

    missing = plan(host("T4", **UBUNTU, candidates={"linux-headers-generic": "6.8.0-85.85"}), source="distro")
    assert not missing["prebuilt"]
    assert missing["driver"][-1] == "nvidia-dkms-580-server-open=580.*"
    assert "DKMS builds it" in missing["warnings"][0]


def test_ubuntus_kernel_is_held_with_the_module_that_is_made_for_it() -> None:
    found = plan(host("T4", **UBUNTU, packages=PREBUILT), source="distro")

    assert found["loose"] == ["linux-image-generic", "linux-headers-generic"]
    assert "linux-image-" in found["blacklist"]
    assert "linux-image-" not in plan(host("T4"))["blacklist"]

    # Ubuntu's images for virtual machines follow the generic kernel by a name of their own.
    virtual = {**UBUNTU["kernel"], "packages": {"linux-image-virtual": package("6.8.0-85.85")}}
    found = plan(host("T4", **{**UBUNTU, "kernel": virtual}, packages=PREBUILT), source="distro")
    assert found["loose"] == ["linux-image-virtual"]


def test_what_nvswitch_needs_is_held_with_the_driver() -> None:
    found = plan(with_driver("H100", packages={"nvidia-fabricmanager-580": package("580.95.05-1")}))

    assert found["loose"] == ["nvidia-fabricmanager-580"]
    assert found["refusal"] == ""


# What is due


def test_nothing_is_due_where_the_driver_runs() -> None:
    found = plan(with_driver("RTX 4090", "RTX 4090"))

    assert (found["refusal"], found["packages_due"], found["work_due"], found["load"]) == ("", False, False, "")
    assert set(found["versions"].values()) == {"580.95.05"}
    assert (found["to_ask_apt"], found["warnings"], found["failure"]) == ([], [], "")


@pytest.mark.parametrize("cards", [0, 1, 2, 8])
def test_so_many_gpus_are_waited_for_and_none_is_no_work(cards: int) -> None:
    found = plan(host(*["A100"] * cards))

    assert found["skip"] == ("" if cards else "no NVIDIA GPU is on the PCI bus")
    assert found["work_due"] == bool(cards)
    assert found.get("gpus", 0) == cards


def test_cards_of_virtual_machines_are_left_to_them() -> None:
    facts = host("A100", "T4")
    facts["gpus"][0]["bound_driver"] = "vfio-pci"
    assert plan(facts)["gpus"] == 1

    facts["gpus"][1]["bound_driver"] = "vfio-pci"
    assert "passed through" in plan(facts)["skip"]


def test_an_image_gets_the_driver_without_a_card_and_nothing_is_loaded() -> None:
    found = plan(host(), allow_no_gpu=True)
    assert (found["skip"], found["kernel_module"], found["load"]) == ("", "open", "")
    assert found["packages_due"]

    built = with_driver(
        module={"loaded": "", "loaded_flavour": ""}, units={"nvidia-persistenced.service": {"active": ""}}
    )
    assert not plan(built, allow_no_gpu=True)["work_due"]


@pytest.mark.parametrize(
    ("differs", "due"),
    [
        ({"packages": {"nvidia-driver-cuda": package("580.95.05-1")}}, "loose"),
        ({"packages": {"nvidia-driver-pinning-580": package("580-1", status="config-files")}}, "first_due"),
        ({"packages": {"nvidia-kernel-open-dkms": package("580.95.05-1", status="config-files")}}, "missing"),
        ({"packages": {"nvidia-driver-cuda": package("590.48.01-1", held=True)}}, "outdated"),
        ({"packages": {"nvidia-driver-pinning-590": package("590-1")}}, "first_due"),
        ({"dpkg_was_cut": True}, "packages_due"),
    ],
)
def test_packages_that_are_not_as_they_should_be(differs: dict[str, Any], due: str) -> None:
    found = plan(with_driver("RTX 4090", **differs))

    assert found[due]
    assert found["packages_due"]


def test_what_is_no_longer_to_be_held_is_released() -> None:
    assert plan(with_driver("T4"), hold=False)["loose"] == ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"]
    assert plan(with_driver("T4"), hold=False)["blacklist"] == []


def test_another_branch_goes_in_one_transaction_and_the_toolkit_stays() -> None:
    found = plan(
        with_driver(
            "GTX 1070",
            flavour="proprietary",
            version="570.211.01",
            packages={
                "cuda-drivers-570": package("570.211.01-1"),
                "nvidia-settings": package("570.211.01-1"),
                "nvidia-container-toolkit": package("1.17.8-1"),
                "cuda-toolkit-12-9": package("12.9.1-1"),
                "nvidia-cuda-toolkit": package("11.8.89~11.8.0-5"),
                "libcudnn9-cuda-12": package("9.15.1.9-1"),
            },
        ),
        allow_branch_switch=True,
    )

    assert found["refusal"] == ""
    assert set(found["replaces"]) == {"cuda-drivers-570", "nvidia-settings", "libcuda1"}
    assert found["outdated"] == ["nvidia-driver-cuda", "nvidia-kernel-dkms"]


def test_libraries_of_another_branch_go_back_with_the_driver() -> None:
    newer = {name: package("590.48.01-1") for name in ("nvidia-driver-cuda", "libcuda1", "nvidia-smi")}

    assert plan(with_driver("T4", packages=newer))["replaces"] == ["libcuda1", "nvidia-smi"]
    # Debian counts some of its tools by themselves.
    assert plan(with_driver("T4", packages={"nvidia-modprobe": package("570.133.07-1")}))["replaces"] == []


def test_apt_is_told_the_branch_first() -> None:
    found = plan(with_driver("T4", version="570.211.01"), allow_branch_switch=True)
    assert (found["pin_due"], found["pinned"]) == (True, ["nvidia-driver-pinning-570"])
    assert not plan(with_driver("T4"))["pin_due"]


DESKTOPS = {
    "nvidia-driver-580-open": package("580.95.05-0ubuntu0.24.04.1"),
    "nvidia-utils-580": package("580.95.05-0ubuntu0.24.04.1"),
    "linux-modules-nvidia-580-open-generic": package("6.8.0-85.85+1"),
    f"linux-modules-nvidia-580-open-{NOBLE}": package("6.8.0-85.85+1"),
}
OTHERS = {
    "nvidia-container-toolkit": package("1.17.8-1"),
    "nvidia-cuda-toolkit": package("12.0.140~12.0.1-4build4"),
}


def test_ubuntus_driver_for_desktops_stays() -> None:
    found = plan(host("T4", **UBUNTU, packages=DESKTOPS | OTHERS), source="distro")

    assert (found["refusal"], found["missing"], found["replaces"], found["prebuilt"]) == ("", [], [], True)
    assert (found["driver_changes"], found["installs"]) == (False, False)
    # It is held from then on, with the kernel that it is of one piece with.
    assert found["loose"] == [
        "nvidia-driver-580-open",
        "linux-modules-nvidia-580-open-generic",
        "linux-image-generic",
        "linux-headers-generic",
    ]
    newer = {"installed": [NOBLE, HWE], "newest": HWE}
    behind = plan(host("T4", **UBUNTU | {"kernel": UBUNTU["kernel"] | newer}, packages=DESKTOPS), source="distro")
    assert f"linux-modules-nvidia-580-open-{HWE}" in behind["kernel_packages"]


def test_ubuntus_driver_for_desktops_built_by_dkms_stays_too() -> None:
    built = {
        "nvidia-driver-580": package("580.95.05-0ubuntu0.24.04.1"),
        "nvidia-utils-580": package("580.95.05-0ubuntu0.24.04.1"),
        "nvidia-dkms-580": package("580.95.05-0ubuntu0.24.04.1"),
        "linux-headers-generic": package("6.8.0-85.85"),
    }
    found = plan(host("GTX 1070", **UBUNTU, packages=built), source="distro")

    assert (found["refusal"], found["replaces"], found["prebuilt"]) == ("", [], False)
    assert found["driver"] == ["nvidia-driver-580=580.*", "nvidia-dkms-580=580.*"]


def test_nvidias_own_packages_are_no_driver_of_ubuntus() -> None:
    nvidias = {name: package("580.95.05-0ubuntu1") for name in ("nvidia-utils-580", "nvidia-dkms-580-open")}

    refusal = plan(host("T4", **UBUNTU, packages=nvidias), source="distro")["refusal"]

    assert "driver of another source (nvidia-dkms-580-open)" in refusal


def test_ubuntus_driver_for_desktops_goes_where_the_user_agrees_before_the_one_for_servers_comes() -> None:
    found = plan(host("T4", **UBUNTU, packages=DESKTOPS | OTHERS), source="distro", allow_branch_switch=True)

    assert set(found["replaces"]) == set(DESKTOPS)
    assert found["main"] == "nvidia-headless-no-dkms-580-server-open"


NEWER = {"nvidia-driver-cuda": "580.126.20-1", "nvidia-kernel-open-dkms": "580.126.20-1"}


def test_the_newest_release_of_the_branch_comes_where_it_is_asked_for() -> None:
    assert plan(with_driver("T4"), newest=True)["to_ask_apt"] == ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"]
    assert plan(with_driver("T4"))["to_ask_apt"] == []

    newer = with_driver("T4", candidates=NEWER)
    found = plan(newer, newest=True)
    assert found["driver"] == ["nvidia-driver-cuda=580.126.20-1", "nvidia-kernel-open-dkms=580.126.20-1"]
    assert found["behind"] == sorted(NEWER)
    assert (found["packages_due"], found["driver_changes"], found["to_ask_apt"]) == (True, True, [])
    assert (plan(newer)["packages_due"], plan(newer)["behind"]) == (False, [])


@pytest.mark.parametrize("version", ["580.95.05-1", "580.82.09-1", "590.48.01-1", ""])
def test_what_is_no_newer_release_of_the_branch_is_left(version: str) -> None:
    found = plan(with_driver("T4", candidates=dict.fromkeys(NEWER, version)), newest=True)

    assert (found["packages_due"], found["behind"], found["driver_changes"]) == (False, [], False)


def test_no_newer_release_comes_under_a_running_job() -> None:
    facts = with_driver("T4", candidates=NEWER, users=[JOB])

    assert "python3 (ada, process 4242) uses the GPU" in plan(facts, newest=True)["refusal"]
    assert plan(facts)["refusal"] == ""


EXACT = {"version": "580.126.20"}


@pytest.mark.parametrize(
    ("facts", "settings", "packages"),
    [
        (
            host("T4"),
            EXACT,
            "nvidia-driver-pinning-580.126.20 linux-headers-amd64 nvidia-driver-cuda=580.126.20-* "
            "nvidia-kernel-open-dkms=580.126.20-*",
        ),
        (
            host("T4"),
            {"source": "distro", "branch": "535", "version": "535.261.03", "allow_end_of_life": True},
            # Debian counts its daemon by itself.
            "linux-headers-amd64 libcuda1=535.261.03-* nvidia-smi=535.261.03-* nvidia-persistenced "
            "nvidia-kernel-dkms=535.261.03-*",
        ),
        (
            host("T4", **UBUNTU),
            {"source": "nvidia", "branch": "595", "version": "595.45.04"},
            "nvidia-driver-pinning-595.45.04 linux-headers-generic libnvidia-compute=595.45.04-* "
            "nvidia-utils=595.45.04-* nvidia-compute-utils=595.45.04-* nvidia-dkms-open=595.45.04-*",
        ),
    ],
    ids=["debian", "debians-own", "ubuntu"],
)
def test_one_release_is_asked_for_by_its_number(facts: dict[str, Any], settings: dict[str, Any], packages: str) -> None:
    found = plan(facts, **settings)

    assert (found["refusal"], found["first"] + found["driver"]) == ("", packages.split())


@pytest.mark.parametrize("there", ["580.95.05", "580.142"])
def test_the_driver_goes_to_its_release_forwards_or_back(there: str) -> None:
    found = plan(with_driver("T4", version=there), **EXACT)

    assert found["pinned"] == ["nvidia-driver-pinning-580"]
    assert found["outdated"] == ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"]
    assert (found["packages_due"], found["driver_changes"], found["replaces"]) == (True, True, [])
    # What apt may take back is what is of a later one, and no more.
    assert sorted(found["downgrades"]) == (
        ["libcuda1", "nvidia-driver-cuda", "nvidia-kernel-open-dkms"] if there == "580.142" else []
    )


def test_the_release_that_is_there_stays() -> None:
    facts = with_driver("T4", version="580.126.20", packages={"nvidia-driver-pinning-580.126.20": package("1")})
    del facts["packages"]["nvidia-driver-pinning-580"]
    found = plan(facts, **EXACT)

    assert (found["packages_due"], found["outdated"], found["downgrades"]) == (False, [], [])
    # Without a number again, only what apt prefers changes.
    found = plan(facts)
    assert (found["pin_due"], found["driver_changes"]) == (True, False)


def test_what_nvswitch_needs_goes_to_the_release_with_the_driver() -> None:
    manager = {"nvidia-fabricmanager-580": package("580.95.05-1")}
    found = plan(with_driver("H100", packages=manager), **EXACT)

    assert found["driver"][-1] == "nvidia-fabricmanager-580=580.126.20-*"
    # Also where it alone has stayed behind.
    alone = plan(with_driver("H100", version="580.126.20", packages=manager), **EXACT)
    assert alone["outdated"] == ["nvidia-fabricmanager-580"]


def test_no_other_release_comes_under_a_running_job() -> None:
    assert "python3 (ada, process 4242) uses the GPU" in plan(with_driver("T4", users=[JOB]), **EXACT)["refusal"]


@pytest.mark.parametrize("facts", [host("T4"), with_driver("T4", kernel={"stale_initramfs": [RUNNING]})])
def test_an_initramfs_has_room_before_one_is_written(facts: dict[str, Any]) -> None:
    full = {"boot_free_mib": 40, "initramfs_mib": 78}

    assert (
        "/boot has 40 MiB free, and a new initramfs takes 78"
        in plan({**facts, "kernel": facts["kernel"] | full})["refusal"]
    )
    assert plan(facts)["refusal"] == ""
    # Where none is to be written nobody is bothered.
    assert plan(with_driver("T4", kernel=full))["refusal"] == ""


# The kernel's side: loaded, installed, package and libraries do not agree


@pytest.mark.parametrize(
    ("differs", "how"),
    [
        ({"module": {"loaded": "", "loaded_flavour": ""}}, "load"),
        # A newer package of the same branch: the kernel still runs the old module.
        ({"module": {"loaded": "580.65.06"}}, "reload"),
        ({"module": {"loaded": "580.65.06"}, "users": [JOB]}, "reboot"),
        ({"module": {"loaded_flavour": "proprietary"}}, "reload"),
        ({"nouveau_loaded": True, "module": {"loaded": "", "loaded_flavour": ""}}, "reboot"),
        # Only the newest kernel has the module.
        (
            {
                "kernel": {**TWO_KERNELS, "headers": [NEWEST]},
                "module": {"installed": {RUNNING: module("570.1"), NEWEST: module()}},
            },
            "reboot",
        ),
        # The running one was removed from the disk.
        ({"kernel": {"running": "6.1.0-48-amd64"}, "module": {"loaded": "", "loaded_flavour": ""}}, "reboot"),
        # It would be gone after the boot.
        ({"kernel": {**TWO_KERNELS, "headers": [RUNNING]}, "module": {"loaded": "570.1"}}, ""),
        ({"container": True, "module": {"loaded": "570.1"}}, ""),
    ],
)  # fmt: skip
def test_how_the_right_module_comes_to_run(differs: dict[str, Any], how: str) -> None:
    found = plan(with_driver("RTX 4090", **differs))

    assert found["load"] == how
    assert found["work_due"] == (how != "" or not differs.get("container"))


def test_why_a_reboot_is_needed_is_said() -> None:
    found = plan(with_driver("T4", nouveau_loaded=True, module={"loaded": "", "loaded_flavour": ""}))
    assert found["reboot_reason"] == "nouveau drives the GPU until the next boot"
    found = plan(with_driver("T4", module={"loaded": "580.65.06"}, users=[JOB]))
    assert found["reboot_reason"] == "the kernel still runs NVIDIA's module 580.65.06 of open flavour"


@pytest.mark.parametrize(
    ("headers", "built", "packages", "build_for", "failure"),
    [
        ([RUNNING, NEWEST], [RUNNING], [], [NEWEST], "DKMS could not build it"),
        ([RUNNING], [RUNNING], [f"linux-headers-{NEWEST}"], [NEWEST], "because its headers are missing"),
        ([NEWEST], [NEWEST], [f"linux-headers-{RUNNING}"], [RUNNING], ""),
        ([RUNNING, NEWEST], [RUNNING, NEWEST], [], [], ""),
    ],
)
def test_the_running_kernel_and_the_newest_one_have_the_module(
    headers: list[str], built: list[str], packages: list[str], build_for: list[str], failure: str
) -> None:
    facts = with_driver("T4", kernel={**TWO_KERNELS, "headers": headers})
    facts["module"]["installed"] = {kernel: module() for kernel in built}
    found = plan(facts)

    assert (found["kernel_packages"], found["build_for"]) == (packages, build_for)
    assert failure in found["failure"]
    assert bool(found["failure"]) == bool(failure)
    assert found["load"] == ("reboot" if build_for == [RUNNING] else "")


def test_ubuntu_gets_its_module_for_a_kernel_that_lacks_it() -> None:
    facts = host("T4", **UBUNTU, packages=PREBUILT, module={"installed": {NOBLE: module("580.95.05", signed=True)}})
    facts["kernel"] |= {"installed": [NOBLE, HWE], "newest": HWE}
    found = plan(facts, source="distro")

    assert found["kernel_packages"] == [f"linux-modules-nvidia-580-server-open-{HWE}"]
    assert found["build_for"] == []
    assert "remove that kernel or wait for its module" in found["failure"]


def test_an_outdated_initramfs_is_made_anew() -> None:
    found = plan(with_driver("T4", kernel={"stale_initramfs": [RUNNING]}))
    assert found["stale_initramfs"] == [RUNNING]
    assert found["work_due"]


def test_where_no_kernel_is_nothing_of_it_is_due() -> None:
    found = plan(host("T4", kernel={"running": "6.18.2", "installed": [], "newest": ""}))

    assert found["no_kernel"] == "no kernel is installed here, nor the modules of the running one, 6.18.2"
    assert (found["refusal"], found["build_for"], found["load"]) == ("", [], "")


def test_in_a_container_nothing_of_a_kernel_is_due() -> None:
    found = plan(host("T4", container=True, kernel={"stale_initramfs": ["6.18"], "installed": ["6.18"]}))

    assert found["no_kernel"] == "a container has no kernel of its own"
    assert (found["stale_initramfs"], found["build_for"], found["load"], found["failure"]) == ([], [], "", "")


@pytest.mark.parametrize(
    ("unit", "loaded", "due"),
    [
        ({"active": "active", "enabled": "enabled"}, "580.95.05", False),
        ({"active": "inactive", "enabled": "enabled"}, "580.95.05", True),
        ({"active": "active", "enabled": "disabled"}, "580.95.05", True),
        # Ubuntu's, before the role's drop-in.
        ({"active": "active", "enabled": "static"}, "580.95.05", True),
        ({"active": "inactive", "enabled": "enabled"}, "", False),
        # It cannot start beside a module of another version.
        ({"active": "inactive", "enabled": "enabled"}, "570.211.01", False),
    ],
)
def test_the_persistence_daemon(unit: dict[str, str], loaded: str, due: bool) -> None:
    facts = with_driver("T4", module={"loaded": loaded}, units={"nvidia-persistenced.service": unit})

    assert plan(facts)["persistence_due"] == due
    assert plan(facts)["persistence_starts"] == (loaded == "580.95.05")
    assert not plan(facts, persistence=False)["persistence_due"]


@pytest.mark.parametrize(
    ("differs", "wrong"),
    [
        (limited("300.00", "300.00"), []),
        (limited("450.00", "300.00"), ["GPU 0 has 450.00 W"]),
        (limited("450.00", "450.00", active=""), ["is unknown", "GPU 0 has 450.00 W", "GPU 1 has 450.00 W"]),
        (limited("300.00", "300.00", active="failed"), ["is failed"]),
    ],
)
def test_the_limit_of_power_is_set_where_a_gpu_has_another(differs: dict[str, Any], wrong: list[str]) -> None:
    found = plan(with_driver("T4", "T4", **differs), power_limit_watts=300)

    assert [words.removeprefix("dlhost-nvidia-power.service ") for words in found["power_wrong"]] == wrong
    assert (found["power_due"], found["refusal"], found["work_due"]) == (bool(wrong), "", False)


def test_the_limit_of_power_waits_for_the_driver() -> None:
    asleep = with_driver("T4", module={"loaded": "", "loaded_flavour": ""}, smi={"ran": False, "gpus": []})
    found = plan(asleep, power_limit_watts=300)

    assert (found["power_due"], found["refusal"]) == (False, "")
    assert not plan(with_driver("T4", container=True, **limited("450.00")), power_limit_watts=300)["power_due"]


def test_a_limit_that_is_no_longer_wanted_is_given_up() -> None:
    facts = with_driver("T4", **limited("300.00"))

    assert plan(facts)["power_left"]
    assert plan(facts, state="absent")["power_left"]
    assert not plan(facts, power_limit_watts=300)["power_left"]
    # A unit whose file is gone is known to systemd until it has read its files anew.
    facts["units"]["dlhost-nvidia-power.service"]["loaded"] = "not-found"
    assert plan(facts)["power_left"]
    assert not plan(with_driver("T4", **limited("300.00", active="")))["power_left"]
    assert not plan(with_driver("T4"), state="absent")["power_left"]


# Secure Boot

MOK = "/var/lib/dkms/mok.pub"
SIGNED = {"loaded": "", "loaded_flavour": "", "installed": {RUNNING: module(signed=True)}}


@pytest.mark.parametrize(
    ("mok", "enrol", "load"),
    [
        ({"key": MOK, "enrolled": True}, "", "load"),
        ({"key": MOK}, "stage", ""),
        ({"key": MOK, "pending": True}, "confirm", ""),
    ],
)
def test_secure_boot_is_never_booted_into_without_a_key(mok: dict[str, Any], enrol: str, load: str) -> None:
    facts = with_driver("T4", secure_boot="enabled", mok=mok, module=SIGNED)
    facts["kernel"]["packages"]["mokutil"] = package("0.6.0-2")
    # Not even where it would be due for another reason.
    booted = {**facts, "nouveau_loaded": True}

    assert (plan(facts)["enrol"], plan(facts)["load"]) == (enrol, load)
    assert plan(booted)["load"] == ("" if enrol else "reboot")
    assert plan(facts)["failure"] == ""


def test_secure_boot_wants_a_signed_module_and_the_tool_that_enrols() -> None:
    found = plan(with_driver("T4", secure_boot="enabled", mok={"key": MOK, "enrolled": True}))

    assert found["missing"] == ["mokutil"]
    assert found["load"] == ""
    assert "/etc/dkms/framework.conf" in found["failure"]


def test_a_module_that_runs_is_trusted_whatever_its_key() -> None:
    signed = {"installed": {RUNNING: module(signed=True)}}
    found = plan(with_driver("T4", secure_boot="enabled", mok={"key": MOK}, module=signed))

    assert (found["enrol"], found["load"]) == ("", "")


def test_ubuntus_own_module_needs_no_key() -> None:
    facts = host(
        "T4",
        **UBUNTU,
        packages=PREBUILT,
        secure_boot="enabled",
        mok={"key": "/var/lib/shim-signed/mok/MOK.der"},
        module={"loaded": "580.95.05", "loaded_flavour": "open", "installed": {NOBLE: module(signed=True)}},
    )
    found = plan(facts, source="distro")

    assert (found["enrol"], found["load"], found["missing"]) == ("", "", [])


# What cannot be

UNLIMITED = {
    "index": "0",
    "name": "a laptop's",
    "power_limit_w": "[N/A]",
    "power_min_w": "[N/A]",
    "power_max_w": "[N/A]",
}
IN_TROUBLE = UNLIMITED | {"power_min_w": "[Unknown Error]", "power_max_w": "[Unknown Error]"}
ONE_RELEASE = {"source": "distro", "version": "580.95.05"}
OLD_KERNEL = {"packages": {name: package(version) for name, version in META.items()}}


@pytest.mark.parametrize(
    ("facts", "settings", "says"),
    [
        (host("T4"), {"branch": "581"}, "There is no driver branch 581"),
        # Not on a host without a card either, where nothing else is looked at.
        (host(), {"branch": "581"}, "There is no driver branch 581"),
        (host("T4"), {"branch": "550"}, "Driver branch 550 is past its end of life; set nvidia_driver_branch to 580"),
        (host("GTX 1070"), {"branch": "595"}, "up to branch 580, not by 595; set nvidia_driver_branch to 580"),
        (host("B200"), {"branch": "535", "allow_end_of_life": True}, "is supported from branch"),
        (host("GTX 1070"), {"kernel_module": "open"}, "set nvidia_driver_kernel_module to proprietary or auto"),
        (host("B200"), {"kernel_module": "proprietary"}, "set nvidia_driver_kernel_module to open or auto"),
        (host("GTX 1070", "B200"), {}, "take one of the two cards out of this host"),
        (host("GTX 1070", "RTX 4090"), {"kernel_module": "open"}, "does not drive"),
        (
            host("T4"),
            {"source": "distro"},
            "or nvidia_driver_branch to 535 with nvidia_driver_allow_end_of_life, since it gets no fixes any more.",
        ),
        (
            host("T4"),
            {"source": "distro", "allow_end_of_life": True},
            "Debian 12 itself has branch 525 and 535 and not 580; set nvidia_repo_source to nvidia for NVIDIA's own "
            "packages, or nvidia_driver_branch to 535.",
        ),
        (host("T4", runfile="/usr/bin/nvidia-uninstall"), {}, "remove it with `/usr/bin/nvidia-uninstall`"),
        (host("T4", platform="fedora-43", distribution="fedora"), {}, "dlhost does not know fedora-43"),
        (with_driver("GTX 1070", **OLD), {}, "set nvidia_driver_allow_branch_switch to true"),
        (
            with_driver("GTX 1070", **OLD, users=[JOB]),
            {"allow_branch_switch": True},
            "python3 (ada, process 4242) uses the GPU, and a driver is not changed under it",
        ),
        (with_driver("T4", users=[JOB]), {"kernel_module": "proprietary"}, "is not changed under it"),
        (with_driver("T4", users=[JOB] * 5), {"kernel_module": "proprietary"}, "and 2 more use the GPU"),
        (host("T4", container=True, module={"loaded": "570.211.01"}), {}, "set nvidia_driver_state to absent"),
        (
            with_driver("H100", version="570.211.01", packages={"nvidia-fabricmanager-570": package("570.211.01-1")}),
            {"allow_branch_switch": True},
            "nvidia-fabricmanager-570 has to be of the driver's version",
        ),
        (host("T4", kernel={**FOREIGN_KERNEL, "installed": ["6.18.2"]}), {}, "6.18.2 is none of Debian 12's"),
        (host("T4", **UBUNTU), {**ONE_RELEASE, "hold": False}, "nvidia_driver_hold keeps the distribution's packages"),
        (
            with_driver("T4", **limited("450.00")),
            {"power_limit_watts": 451},
            "GPU 0 (a card) can be limited to 100 W at least and 450 W at most, and not to 451 W",
        ),
        (with_driver("T4", **limited("450.00")), {"power_limit_watts": 99}, "and not to 99 W"),
        (
            with_driver("T4", smi={"gpus": [UNLIMITED]}),
            {"power_limit_watts": 300},
            "GPU 0 (a laptop's) does not let its power be limited",
        ),
        (
            with_driver("T4", smi={"gpus": [UNLIMITED | {"power_max_w": "[Not Supported]"}]}),
            {"power_limit_watts": 300},
            "GPU 0 (a laptop's) does not let its power be limited",
        ),
        (
            host("T4", kernel=OLD_KERNEL, candidates={"linux-headers-amd64": "6.1.180-1"}),
            {},
            "apt has no headers of the running kernel 6.1.0-49-amd64 any more",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(facts: dict[str, Any], settings: dict[str, Any], says: str) -> None:
    refusal = plan(facts, **settings)["refusal"]

    assert says in refusal
    assert refusal.endswith(".")
    assert ". " not in refusal.replace("GHz. ", "")


@pytest.mark.parametrize(
    ("facts", "settings"),
    [
        # Nothing of the driver changes: a job is no reason to refuse.
        (with_driver("T4", users=[JOB]), {}),
        (with_driver("T4", users=[JOB], packages={"nvidia-driver-cuda": package("580.95.05-1")}), {}),
        (with_driver("T4", users=[JOB]), {"kernel_module": "proprietary", "reboot": "force"}),
        (with_driver("T4", container=True), {}),
        (with_driver("T4", smi={"gpus": [UNLIMITED]}), {}),
        (with_driver("T4", **limited("450.00")), {"power_limit_watts": 450}),
        # One release of NVIDIA's packages is pinned, and the distribution's may go on.
        (host("T4"), {**ONE_RELEASE, "source": "nvidia", "hold": False}),
        (host("T4", **UBUNTU), ONE_RELEASE),
        (host("T4", **UBUNTU), {**ONE_RELEASE, "version": "", "hold": False}),
        # A run may be what mends the driver that is in trouble, and a container sets no limit.
        (with_driver("T4", smi={"gpus": [IN_TROUBLE]}), {"power_limit_watts": 300}),
        (with_driver("T4", container=True, smi={"gpus": [UNLIMITED]}), {"power_limit_watts": 300}),
        (host("T4"), {"branch": "535", "source": "distro", "allow_end_of_life": True}),
        # The headers come with apt's answer, or the module is for the kernel that comes next.
        (host("T4", candidates={"linux-headers-amd64": "1", f"linux-headers-{RUNNING}": "1"}), {}),
        (host("T4", kernel={**OLD_KERNEL, **TWO_KERNELS}, candidates={"linux-headers-amd64": "6.1.180-1"}), {}),
    ],
)
def test_what_can_be_is_not_refused(facts: dict[str, Any], settings: dict[str, Any]) -> None:
    assert plan(facts, **settings)["refusal"] == ""


def test_absent_wants_nothing_and_names_what_is_held() -> None:
    found = plan(with_driver("T4"), state="absent")

    assert (found["packages_due"], found["refusal"], found["skip"]) == (False, "", "")
    assert found["held"] == ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"]


def test_absent_lets_go_of_the_kernel_that_waited() -> None:
    kernel = {name: package("6.8.0-85.85", held=True) for name in ("linux-image-generic", "linux-headers-generic")}
    facts = host("T4", **UBUNTU, packages=PREBUILT)
    facts["kernel"]["packages"] = kernel
    assert set(kernel) < set(plan(facts, state="absent")["held"])

    # Somebody else's decision where the module is built for each kernel.
    facts = with_driver("T4", kernel={"packages": {"linux-image-amd64": package("6.1.170-1", held=True)}})
    assert "linux-image-amd64" not in plan(facts, state="absent")["held"]


def test_every_card_of_the_tests_is_the_tables() -> None:
    table = plugin("plugin_utils.compatibility").load()

    assert {name for name, number in CARDS.items() if not table.card(number).known} == {"unknown"}
