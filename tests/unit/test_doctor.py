"""The doctor's findings: facts in, verdicts out; the script runs for real on this machine, with trees of fake GPUs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from dlhost.adapters import doctor as adapter
from dlhost.adapters import gpu_stack, openssh
from dlhost.cli import options
from dlhost.cli.app import app
from dlhost.errors import RefusedError, UnreachableError
from dlhost.operations import doctor as operation
from dlhost.render.doctor import table
from dlhost.values.doctor import Advice, Finding, Look, Port, Verdict, of_gpus, of_look, wanted_ports
from dlhost.values.inventory import Connection, Host
from dlhost.values.preflight import Contact, Probe
from tests.unit import nvidia_smi_double as double
from tests.unit.world import FACTS, with_gpu_roles, write

HERE = Host("alpha", (), Connection(transport="local"))
GTX_1070, RTX_4090, B200, UNKNOWN = "1b81", "2684", "2901", "ffff"
ROLES = Path(__file__).parents[2] / "roles"
# As the role has them, so that a variable renamed there is missed here.
DEFAULTS = {role: yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text()) for role in gpu_stack.ROLES}
DRIVER = DEFAULTS["nvidia_driver"]
REPOSITORY = {"nvidia_repo": DEFAULTS["nvidia_repo"]}


def facts(*lines: str, gpus: Sequence[str] = (RTX_4090,), kernel: str = "6.12.1-amd64") -> dict[str, Any]:
    """GPU facts of a Debian machine, as the look prints them."""
    cards = [f"gpu=0000:0{index}:00.0|{device}|" for index, device in enumerate(gpus, 1)]
    said = [
        *("distribution=debian", "version=13", "machine=x86_64", "architecture=amd64", "container=no"),
        *("source_file=/etc/apt/sources.list", "source_line=deb http://deb.debian.org/debian trixie main"),
        *(f"running_kernel={kernel}", f"kernel={kernel}", f"headers={kernel}", *cards, *lines),
    ]
    return gpu_stack.facts("".join(f"nvidia:{line}\n" for line in said))


def look(gpu: Mapping[str, Any] | None = None, *, ended: bool = True, off: float = 0.0, **said: Sequence[str]) -> Look:
    return Look(said, off, facts() if gpu is None else gpu, gpu_look_ended=ended)


def found(findings: Iterable[Finding]) -> dict[str, tuple[str, str]]:
    """The last finding of each topic: its verdict and its words."""
    return {one.topic: (one.verdict.value, f"{one.seen} -> {one.todo}") for one in findings}


def of(gpu: Mapping[str, Any], *, ended: bool = True, **settings: object) -> dict[str, tuple[str, str]]:
    advice = gpu_stack.advise(gpu, REPOSITORY | {"nvidia_driver": {**DRIVER, **settings}})
    return found(of_gpus(look(gpu, ended=ended), advice, "rig", wanted=True))


def toolkit_refusals(
    gpu: Mapping[str, Any], judged: Sequence[str] = gpu_stack.ROLES, **variables: object
) -> tuple[str, ...]:
    """What is refused of a host with variables of any GPU role."""
    roles = {
        role: defaults | {name: value for name, value in variables.items() if name in defaults}
        for role, defaults in DEFAULTS.items()
    }
    return gpu_stack.advise(gpu, roles, judged).refusals


# A host without its GPUs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off", "verdict", "words"),
    [
        (0.0, "pass", "right"),
        (-29.0, "pass", "right"),
        (40.0, "warn", "40 s ahead of this machine's"),
        (-86400.0, "fail", "86400 s behind this machine's"),
    ],
)
def test_a_clock(off: float, verdict: str, words: str) -> None:
    seen = found(of_look(look(off=off), []))["clock"]

    assert seen[0] == verdict
    assert words in seen[1]
    assert ("timedatectl" in seen[1]) == (verdict != "pass")


@pytest.mark.parametrize(
    ("now", "off"), [("1000", 0.0), ("999", 0.0), ("1010", 0.0), ("1100", 89.0), ("900", -99.0), ("soon", 0.0)]
)
def test_a_clock_is_only_called_wrong_by_what_is_certain(now: str, off: float) -> None:
    assert adapter._clock_off(now, 1000.0, 1011.0) == off


def test_package_indexes() -> None:
    lines = [
        "answers deb.debian.org 80 http://deb.debian.org/debian",
        "unknown nowhere.invalid 443 https://nowhere.invalid/simple",
        "silent proxy.lan 3128 http://archive.lan/debian",
        "",
    ]
    answers, unknown, silent, _ = [one for one in of_look(look(index=lines), []) if one.topic == "index"]

    assert (answers.verdict, answers.todo) == (Verdict.PASS, "")
    assert (unknown.verdict, "getent hosts nowhere.invalid" in unknown.todo) == (Verdict.WARN, True)
    assert (silent.verdict, "proxy.lan port 3128 does not answer" in silent.seen) == (Verdict.WARN, True)


LISTENERS = (
    'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=10,fd=3))',
    'LISTEN 0 128 [::]:443 [::]:* users:(("apache2",pid=20,fd=4),("apache2",pid=21,fd=4))',
    'LISTEN 0 128 127.0.0.1:8888 0.0.0.0:* users:(("jupyter-lab",pid=30,fd=6))',
    'LISTEN 0 128 127.0.0.1:8889 0.0.0.0:* users:(("python3",pid=40,fd=6))',
    "LISTEN 0 128 127.0.0.1:6006 0.0.0.0:*",
    # In a container without CAP_SYS_PTRACE.
    "LISTEN 0 128 127.0.0.1:8890 0.0.0.0:* ino:5 sk:6 cgroup:/system.slice/j.slice/dlhost-jupyter@ada.service <->",
    "LISTEN 0 128 127.0.0.1:8891 0.0.0.0:* ino:5 sk:6 cgroup:/system.slice/apache2.service <->",
    "LISTEN 0 128 127.0.0.1:8892 0.0.0.0:* ino:5 sk:6 cgroup:/ <->",
)
UNITS = ("10 ssh.service", "20 apache2.service", "21 apache2.service", "30 dlhost-jupyter@ada.service", "40 ")


@pytest.mark.parametrize(
    ("port", "verdict", "words"),
    [
        (Port(22, "SSH", ("sshd",)), "pass", "ssh.service has it"),
        (Port(80, "nginx_proxy", ("nginx.service",)), "pass", "free"),
        (
            Port(443, "nginx_proxy", ("nginx.service",)),
            "fail",
            "taken by apache2 (pid 20, apache2.service) -> sudo systemctl disable --now apache2.service",
        ),
        (Port(8888, "jupyter", ("dlhost-jupyter@*.service",)), "pass", "dlhost-jupyter@ada.service has it"),
        (Port(8889, "jupyter", ("dlhost-jupyter@*.service",)), "fail", "taken by python3 (pid 40) -> end process 40"),
        (Port(6006, "jupyter", ()), "warn", "by whom is not known, which only root sees"),
        (Port(8890, "jupyter", ("dlhost-jupyter@*.service",)), "pass", "dlhost-jupyter@ada.service has it"),
        (Port(8891, "jupyter", ()), "fail", "taken by apache2.service -> sudo systemctl disable --now apache2.service"),
        (Port(8892, "jupyter", ()), "warn", "by whom is not known, which only root sees"),
    ],
)
def test_ports_and_who_has_them(port: Port, verdict: str, words: str) -> None:
    seen = found(of_look(look(listeners=["known"], listener=LISTENERS, unit=UNITS, root=["1000"]), [port]))

    assert seen[f"port_{port.number}"][0] == verdict
    assert words in seen[f"port_{port.number}"][1]


def test_a_host_that_cannot_tell_its_ports() -> None:
    seen = found(of_look(look(), [Port(443, "nginx_proxy", ())]))

    assert seen["port_443"] == ("skip", "nginx_proxy: the host has no ss(8) to ask -> sudo apt-get install iproute2")


def test_the_ports_that_roles_want() -> None:
    host = Host("a", (), Connection(address="h", port=2222), {"ssh_hardening_port": 2200})
    jupyter: dict[str, Any] = {
        "jupyter_port": 8888,
        "jupyter_users": [{"name": "ada"}, {"name": "grace", "port": 9000}, {"name": "joan"}],
        "jupyter_tensorboard": True,
        "jupyter_tensorboard_port": "{{ port }}",
    }
    roles = {"jupyter": jupyter, "nginx_proxy": {"nginx_proxy_http_redirect": True}}

    assert {port.number for port in wanted_ports(host, {})} == {2222, 2200}
    assert [port.number for port in wanted_ports(HERE, roles)] == [443, 80, 8888, 9000, 8890]
    # The role's own list of users is a template, and one user long.
    assert [port.number for port in wanted_ports(HERE, {"jupyter": {**jupyter, "jupyter_users": "{{ x }}"}})] == [8888]
    assert [port.number for port in wanted_ports(HERE, {"nginx_proxy": {}})] == [443]


def test_kernels_reboots_and_cut_installations() -> None:
    newer = facts("kernel=6.12.9-amd64", "reboot_required=yes", "dpkg_was_cut=yes")
    seen = found(of_look(look(newer), []))

    assert seen["kernel"][0] == "warn"
    assert "6.12.9-amd64 waits for a reboot" in seen["kernel"][1]
    assert seen["reboot"][0] == "warn"
    assert seen["packages"] == ("warn", "an installation was cut in the middle -> dlhost provision finishes it")
    seen = found(of_look(look(facts()), []))
    assert seen["kernel"] == ("pass", "6.12.1-amd64, the newest installed -> ")
    assert not {"reboot", "packages"} & set(seen)
    assert found(of_look(look(facts("container=yes") | {"container": True}), []))["kernel"][0] == "skip"


# Its GPUs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "settings", "verdict", "words"),
    [
        ([RTX_4090], {}, "pass", "driver 580 (open kernel module), CUDA"),
        ([GTX_1070], {}, "pass", "driver 580 (proprietary kernel module), CUDA 12."),
        (
            [GTX_1070],
            {"nvidia_driver_branch": "595"},
            "fail",
            "up to branch 580, not by 595 -> set nvidia_driver_branch to 580",
        ),
        (
            [GTX_1070],
            {"nvidia_driver_kernel_module": "open"},
            "fail",
            "-> set nvidia_driver_kernel_module to proprietary",
        ),
        ([B200], {"nvidia_driver_kernel_module": "proprietary"}, "fail", "set nvidia_driver_kernel_module to open"),
        ([RTX_4090], {"nvidia_driver_branch": "470"}, "fail", "set nvidia_driver_branch to 580"),
        ([RTX_4090], {"nvidia_driver_branch": "58"}, "fail", "no driver branch 58"),
        ([GTX_1070, B200], {}, "fail", "take one of the two cards out of this host"),
        ([UNKNOWN], {}, "warn", "is not in dlhost's table of cards"),
        (
            [RTX_4090],
            {"nvidia_driver_branch": "{{ mine }}"},
            "skip",
            "templates set nvidia_driver_branch; what fits: driver 580",
        ),
    ],
)
def test_the_compatibility_tables_verdict(
    gpus: list[str], settings: dict[str, object], verdict: str, words: str
) -> None:
    gpu = facts(gpus=gpus)
    advice = gpu_stack.advise(gpu, REPOSITORY | {"nvidia_driver": {**DRIVER, **settings}})
    told = [one for one in of_gpus(look(gpu), advice, "rig", wanted=True) if one.topic == "compatibility"]

    assert told[0].verdict.value == verdict
    assert words in f"{told[0].seen} -> {told[0].todo}"
    if verdict == "fail":
        assert "the nearest that works:" in told[-1].seen


def test_toolkits_are_held_against_the_cards_too() -> None:
    wanted: dict[str, Any] = {"cuda_toolkit_versions": ["13.0", "12.9"], "cudnn_cuda_majors": [13]}

    assert [refusal.partition(" has no code")[0] for refusal in toolkit_refusals(facts(gpus=[GTX_1070]), **wanted)] == [
        "CUDA 13.0",
        "cuDNN 9.* for CUDA 13",
    ]


def test_an_older_cudnn_serves_a_card_that_the_newest_does_not() -> None:
    wanted: dict[str, Any] = {"cuda_toolkit_versions": ["12.9"], "cudnn_cuda_majors": [12]}
    (refusal,) = toolkit_refusals(facts(gpus=[GTX_1070]), **wanted)

    assert "take cuDNN 9.10.2" in refusal
    assert toolkit_refusals(facts(gpus=[GTX_1070]), **wanted, cudnn_version="9.10.2.*") == ()


def test_a_card_that_a_virtual_machine_has_is_held_against_nothing() -> None:
    passed_through = facts("gpu=0000:09:00.0|1b81|vfio-pci")

    assert toolkit_refusals(passed_through, cuda_toolkit_versions=["13.0"], cudnn_cuda_majors=[13]) == ()
    assert gpu_stack.advise(passed_through, DEFAULTS).nearest == gpu_stack.advise(facts(), DEFAULTS).nearest


@pytest.mark.parametrize(
    ("lines", "variables", "words"),
    [
        ([], {"nvidia_repo_source": "distro", "cuda_toolkit_versions": ["12.9"]}, "Debian 13 itself has CUDA 12.4"),
        ([], {"nvidia_repo_source": "distro", "cudnn_cuda_majors": [12]}, "Debian 13 itself has no cuDNN"),
        ([], {"cudnn_cuda_majors": [13]}, "of no use without CUDA 13 itself"),
        (
            ["package=libcudnn8|8.9.7.29-1|installed|install"],
            {"cuda_toolkit_versions": ["12.9"], "cudnn_cuda_majors": [12]},
            "remove libcudnn8 and run again",
        ),
    ],
)
def test_what_the_look_tells_of_toolkits_is_refused_before_a_role_acts(
    lines: list[str], variables: dict[str, Any], words: str
) -> None:
    refused = toolkit_refusals(facts(*lines), judged=["cuda_toolkit", "cudnn"], **variables)

    assert [words in refusal for refusal in refused] == [True]


def test_who_is_not_meant_tells_the_others_what_they_need() -> None:
    """A toolkit by itself is held against the driver of the inventory, whatever still runs."""
    old = facts("loaded=NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.10  Release Build")

    assert toolkit_refusals(old, ["cuda_toolkit"], cuda_toolkit_versions=["13.0"]) == ()
    assert toolkit_refusals(old, ["cudnn"], nvidia_driver_branch="470") == ()


def test_an_unknown_distribution_is_refused_once() -> None:
    gpu = facts() | {"platform": "debian-11", "version": "11"}
    (refusal,) = toolkit_refusals(gpu, cuda_toolkit_versions=["13.0"])

    assert refusal.startswith("dlhost does not know debian-11")


def test_the_source_of_packages_is_judged_and_handed_on() -> None:
    def refusals(*lines: str, **settings: object) -> tuple[str, ...]:
        return gpu_stack.advise(
            facts(*lines), DEFAULTS | {"nvidia_repo": {**DEFAULTS["nvidia_repo"], **settings}}
        ).refusals

    assert refusals() == ()
    # Debian itself has no such branch.
    assert "set nvidia_repo_source to nvidia" in refusals(nvidia_repo_source="distro")[0]
    # Two of the same are one too many.
    other = "https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64/"
    (rival,) = refusals("source_file=/etc/apt/sources.list.d/cuda.list", f"source_line=deb {other} /")
    assert "/etc/apt/sources.list.d/cuda.list" in rival


def test_the_roles_own_defaults_are_judged() -> None:
    """Some of them are templates, but none that the advice depends on."""
    advice = gpu_stack.advise(facts(gpus=[GTX_1070]), DEFAULTS)

    assert (advice.refusals, advice.unjudged) == ((), "")


def test_cards_are_named() -> None:
    gpu = facts(*SMI, gpus=[RTX_4090, UNKNOWN])
    told = of_gpus(look(gpu), gpu_stack.advise(gpu, {}), "rig", wanted=True)
    first, second = [one for one in told if one.topic == "gpu"]

    seen = "0000:01:00.0 NVIDIA GeForce RTX 4090: Ada, compute capability 8.9; driven by nothing yet"
    assert first == Finding("gpu", Verdict.PASS, seen)
    assert second.verdict is Verdict.WARN
    assert second.seen.startswith("0000:02:00.0 10de:ffff: not in the compatibility table")


def test_a_host_without_a_card() -> None:
    gpu = facts(gpus=[])

    assert found(of_gpus(look(gpu), Advice(), "rig", wanted=True))["gpu"][0] == "warn"
    assert found(of_gpus(look(gpu), Advice(), "rig", wanted=False))["gpu"][0] == "skip"


def test_a_card_that_nobody_wants_driven() -> None:
    seen = found(of_gpus(look(gpu := facts()), gpu_stack.advise(gpu, {}), "rig", wanted=False))

    assert seen["driver"][0] == "skip"
    assert "what fits: driver 580" in seen["driver"][1]
    assert set(seen) == {"gpu", "driver"}


LOADED = "loaded=NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build"
MODULE = "module=6.12.1-amd64|580.95.05|Dual MIT/GPL|"
PACKAGE = "package=nvidia-kernel-open-dkms|580.95.05-1|installed|install"
SMI = (
    "smi_path=/usr/bin/nvidia-smi",
    "smi_status=0",
    "smi=0, GPU-1, NVIDIA GeForce RTX 4090, 00000000:01:00.0, 580.95.05, 24564, 450.00, 150.00, 600.00",
)
WELL = (LOADED, MODULE, PACKAGE, "user_space=580.95.05", *SMI)


def without(line: str, *more: str) -> list[str]:
    assert line in WELL
    return [*(one for one in WELL if one != line), *more]


@pytest.mark.parametrize(
    ("lines", "verdict", "words"),
    [
        (WELL, "pass", "loaded module 580.95.05, installed module 580.95.05, package 580.95.05, user space 580.95.05"),
        ([], "warn", "none yet -> dlhost provision -i rig"),
        (without("user_space=580.95.05", "user_space=580.105.08"), "warn", "the versions differ"),
        (without(MODULE, "module=6.12.1-amd64|580.105.08|NVIDIA|"), "warn", "the versions differ"),
        (
            without(PACKAGE, "package=nvidia-kernel-open-dkms|580.105.08-1|installed|hold"),
            "warn",
            "the versions differ",
        ),
        ([MODULE, PACKAGE, "user_space=580.95.05"], "warn", "it does not run"),
        (
            [*(line for line in WELL if line not in SMI), SMI[0], "smi_status=9", f"smi={double.NO_DRIVER.strip()}"],
            "warn",
            "nvidia-smi: NVIDIA-SMI has failed",
        ),
    ],
)
def test_the_drivers_versions(lines: Sequence[str], verdict: str, words: str) -> None:
    seen = of(facts(*lines))["driver"]

    assert seen[0] == verdict
    assert words in seen[1]


def test_a_driver_that_hangs() -> None:
    seen = of(facts(LOADED, MODULE, SMI[0]), ended=False)["driver"]

    assert seen[0] == "warn"
    assert "nvidia-smi does not answer" in seen[1]


def test_tools_beside_the_driver_do_not_stand_for_it() -> None:
    lines = [
        "package=nvidia-settings|525.85.05-1|installed|install",
        "package=libnvidia-ml1:amd64|580.95.05-1|installed|",
    ]

    assert gpu_stack.advise(facts(*lines), {}).package_version == "580.95.05"
    assert gpu_stack.advise(facts(lines[0]), {}).package_version == ""


def test_kernels_that_would_boot_without_a_gpu() -> None:
    seen = of(facts(*WELL, "kernel=6.12.9-amd64"))

    assert seen["module"] == (
        "warn",
        "kernel 6.12.9-amd64 has no driver: no GPU after a boot into it -> dlhost provision -i rig",
    )
    assert seen["headers"][0] == "warn"
    assert "linux-headers-6.12.9-amd64" in seen["headers"][1]
    well = of(facts(*WELL))
    assert (well["module"][0], well["headers"][0]) == ("pass", "pass")
    # Ubuntu's own modules need no headers; a container has no kernel of its own.
    prebuilt = "package=linux-modules-nvidia-580-server-open-generic|6.8.0-31.31|installed|install"
    assert of(facts(*WELL, prebuilt, "kernel=6.12.9-amd64"))["headers"][0] == "pass"
    assert not {"module", "headers"} & set(of(facts(*WELL) | {"container": True}))


@pytest.mark.parametrize(
    ("lines", "verdict", "words"),
    [
        ((), "pass", "unsupported"),
        (("secure_boot=disabled",), "pass", "disabled"),
        (("secure_boot=enabled",), "pass", "nothing unsigned is installed"),
        (("secure_boot=enabled", MODULE), "warn", "not signed, so the kernel refuses it"),
        (
            (
                "secure_boot=enabled",
                f"{MODULE}host",
                "mok_key=/var/lib/dkms/mok.pub",
                "mok=/var/lib/dkms/mok.pub is not enrolled",
            ),
            "warn",
            "the key /var/lib/dkms/mok.pub is not enrolled",
        ),
        (
            ("secure_boot=enabled", "mok_key=/k", "mok=/k is already in the enrollment request"),
            "warn",
            "choose Enroll MOK in the blue menu",
        ),
        (
            ("secure_boot=enabled", f"{MODULE}host", "mok_key=/k", "mok=/k is already enrolled"),
            "pass",
            "nothing unsigned",
        ),
    ],
)
def test_secure_boot(lines: Sequence[str], verdict: str, words: str) -> None:
    seen = of(facts(*lines))["secure_boot"]

    assert seen[0] == verdict
    assert words in seen[1]


def test_without_nvidias_repository_there_is_the_distributions_driver() -> None:
    (refused,) = gpu_stack.advise(facts(), {"nvidia_driver": DRIVER}).refusals
    assert refused.startswith("Debian 13 itself has branch 535 and 550 and not 580")


def test_a_gpu_at_work_and_a_runfile_in_the_way() -> None:
    seen = of(facts(*WELL, "user=77|python|ada", "runfile=/usr/bin/nvidia-uninstall"))

    assert seen["in_use"] == (
        "pass",
        "python (ada, pid 77); no driver is replaced, and nothing rebooted, under them -> ",
    )
    refused = gpu_stack.advise(
        facts(*WELL, "runfile=/usr/bin/nvidia-uninstall"), REPOSITORY | {"nvidia_driver": DRIVER}
    ).refusals
    assert len(refused) == 1
    assert "nvidia-uninstall" in refused[0]


# The look itself, on this machine ------------------------------------------------------------------------------------


def tree(root: Path, *devices: str) -> str:
    """A sysfs as far as GPUs are in it, with other devices beside them."""
    for index, device in enumerate(
        ["8086:0x060000:1237", *(f"10de:0x030000:{it}" for it in devices), "10de:0x040300:10f0"]
    ):
        vendor, kind, number = device.split(":")
        directory = root / "bus" / "pci" / "devices" / f"0000:{index:02x}:00.0"
        directory.mkdir(parents=True)
        for name, text in (("vendor", f"0x{vendor}"), ("class", kind), ("device", f"0x{number}")):
            (directory / name).write_text(f"{text}\n")
    return str(root)


@pytest.mark.parametrize("devices", [(), (GTX_1070,), (RTX_4090, GTX_1070), (B200,) * 8, (UNKNOWN,)], ids=len)
def test_gpus_are_found_in_sysfs_for_real(tmp_path: Path, devices: tuple[str, ...]) -> None:
    seen = adapter.look(HERE, tmp_path, tree(tmp_path / "sys", *devices), (), root=False, sudo_password=None)

    assert [gpu["device_id"] for gpu in seen.gpu["gpus"]] == list(devices)
    assert seen.gpu_look_ended
    assert seen.clock_off_s == 0
    assert seen.said["complete"] == ["yes"]
    assert seen.gpu["kernel"]["running"] == os.uname().release


def test_indexes_are_asked_for_real(tmp_path: Path) -> None:
    wanted = ("https://name:secret@nowhere.invalid/simple", "http://127.0.0.1:9/simple")
    seen = adapter.look(HERE, tmp_path, str(tmp_path), wanted, root=False, sudo_password=None)

    # The password of an index is nobody's business.
    assert seen.said["index"][-2:] == [
        "unknown nowhere.invalid 443 https://nowhere.invalid/simple",
        "silent 127.0.0.1 9 http://127.0.0.1:9/simple",
    ]


@pytest.mark.parametrize(("password", "options_"), [(None, "-n sh"), ("correct horse", "-S -k -p  sh")])
def test_root_is_had_by_sudo_which_alone_reads_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str | None, options_: str
) -> None:
    read = "" if password is None else f'read -r given; [ "$given" = "{password}" ] || exit 1; '
    sudo = write(tmp_path / "bin" / "sudo", f'#!/bin/sh\necho "$*" >{tmp_path}/log; {read}exec sh')
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sudo.parent}:{os.environ['PATH']}")

    seen = adapter.look(HERE, tmp_path, str(tmp_path), (), root=True, sudo_password=password)

    assert seen.said["complete"] == ["yes"]
    assert (tmp_path / "log").read_text().strip() == options_


def test_a_driver_that_hangs_for_real_hides_only_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    double.install(tmp_path / "bin", "#!/bin/sh\nexec setsid sleep 5\n")
    write(tmp_path / "bin" / "timeout", '#!/bin/sh\n[ "$1" = -k ] && shift 2; shift; exec "$@"\n').chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(adapter, "TIMEOUT_S", 3)

    seen = adapter.look(HERE, tmp_path, tree(tmp_path / "sys", RTX_4090), (), root=False, sudo_password=None)

    assert not seen.gpu_look_ended
    assert len(seen.gpu["gpus"]) == 1


def test_a_host_that_is_lost_in_between(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="cannot be looked at over a docker connection"):
        adapter.look(
            replace(HERE, connection=Connection(transport="docker")),
            tmp_path,
            "/sys",
            (),
            root=False,
            sudo_password=None,
        )


# The controller ------------------------------------------------------------------------------------------------------


def test_this_controller_is_well_for_real() -> None:
    assert re.match(r"Python 3\.\d+\.\d+ on \w+$", adapter.python())
    assert re.fullmatch(r"ansible-core \S+, ansible-runner \S+", adapter.engine())
    assert adapter.ssh_client().startswith("OpenSSH_")
    assert adapter.collection().startswith("dlhost.host in /")


def test_an_engine_of_another_age_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.16.0" if name == "ansible-core" else "2.4.3")

    with pytest.raises(RefusedError, match=r"ansible-core 2\.16\.0 is installed, and dlhost needs .*2\.19"):
        adapter.engine()


def test_no_ssh_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(RefusedError, match="apt-get install openssh-client"):
        adapter.ssh_client()


# The command ---------------------------------------------------------------------------------------------------------


@dataclass
class Clinic:
    """What a test says about the outside of `dlhost doctor`."""

    monkeypatch: pytest.MonkeyPatch
    probes: dict[str, Probe] = field(default_factory=dict)
    looks: dict[str, Look | Exception] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def probe_all(self, hosts: Iterable[Host], _sockets: Path) -> list[Probe]:
        well = Probe("", Contact.REACHED, sudo="ok", facts=FACTS)
        return [self.probes.get(host.name) or replace(well, host=host.name) for host in hosts]

    def try_sudo_password(self, _host: Host, password: str, _sockets: Path) -> bool:
        return password == "correct horse"  # noqa: S105  not a real one

    def look(self, host: Host, _sockets: Path, sysfs: str, indexes: Sequence[str], **how: Any) -> Look:
        self.asked.append({"host": host.name, "sysfs": sysfs, "indexes": list(indexes), **how})
        answer = self.looks.get(host.name) or look(facts(gpus=[]))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self, hosts: Iterable[Host], _sockets: Path) -> None:
        self.closed += [host.name for host in hosts]

    def ask(self, question: str) -> str:
        self.questions.append(question)
        return "correct horse"

    def __call__(self, *arguments: str, at_terminal: bool = False) -> Result:
        fakes = partial(
            operation.Outside,
            controller=(("python", lambda: "Python 3.11"),),
            probe_all=self.probe_all,
            try_sudo_password=self.try_sudo_password,
            look=self.look,
            close_connections=self.close,
        )
        with self.monkeypatch.context() as patch:
            patch.setattr(operation, "Outside", fakes)
            patch.setattr("sys.argv", ["dlhost", "doctor", *arguments])
            if at_terminal:
                patch.setattr(options, "ask_secret", lambda: self.ask)
            result = CliRunner().invoke(app, ["doctor", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def document(self, *arguments: str, **more: bool) -> dict[str, Any]:
        result = self(*arguments, "--json", **more)
        document: dict[str, Any] = json.loads(result.stdout)
        assert document["exit_code"] == result.exit_code
        return document


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rig: Path) -> Clinic:
    """The command line over a small collection that has the real GPU roles, and the inventory rig."""
    assert rig.is_dir()
    with_gpu_roles(tmp_path / "content", monkeypatch)
    return Clinic(monkeypatch)


def test_a_controller_alone(clinic: Clinic) -> None:
    result = clinic()

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "this controller"
    assert "pass  python  Python 3.11" in result.stdout
    assert "0 failed, 0 with a warning, 1 passed, 0 skipped" in result.stdout
    assert clinic.asked == []


def test_hosts_that_are_well(clinic: Clinic) -> None:
    clinic.looks["alpha"] = look(facts(*WELL), listeners=["known"])
    document = clinic.document("-i", "rig")

    assert (document["schema_version"], document["operation"], document["inventory"]) == (1, "doctor", "rig")
    assert document["exit_code"] == 0
    alpha, beta = document["hosts"]
    assert {"ssh", "system", "sudo", "disk", "python", "clock", "gpu", "compatibility", "driver", "secure_boot"} <= {
        finding["topic"] for finding in alpha["findings"]
    }
    assert (alpha["gpus"][0]["chip"], alpha["driver"]["nvidia_smi"]) == ("AD102", "580.95.05")
    assert beta["gpus"] == []
    # Where NVIDIA's packages come from concerns only the host that gets them.
    indexes = {one["host"]: one["indexes"] for one in clinic.asked}
    assert indexes == {"alpha": ["https://developer.download.nvidia.com"], "beta": []}
    assert all((one["root"], one["sudo_password"], one["sysfs"]) == (True, None, "/sys") for one in clinic.asked)
    assert clinic.closed == ["alpha", "beta"]


def test_a_host_that_is_off_has_its_line_and_the_others_go_on(clinic: Clinic) -> None:
    clinic.probes["alpha"] = Probe("alpha", Contact.UNREACHABLE, "cannot be reached at 192.0.2.1 port 22: timed out")
    result = clinic("-i", "rig")

    assert result.exit_code == 4
    assert "FAIL  ssh  cannot be reached at 192.0.2.1 port 22: timed out" in result.stdout
    assert [one["host"] for one in clinic.asked] == ["beta"]


def test_a_host_that_is_lost_between_two_looks(clinic: Clinic) -> None:
    clinic.looks["beta"] = UnreachableError("does not finish a login within 90 s")
    document = clinic.document("-i", "rig")

    assert document["exit_code"] == 4
    assert document["hosts"][1]["contact"] == "unreachable"
    assert document["hosts"][1]["findings"][-1]["topic"] == "look"


def test_what_provision_would_refuse_counts_more_than_a_lost_host(clinic: Clinic) -> None:
    clinic.probes["alpha"] = Probe("alpha", Contact.UNREACHABLE, "is off")
    clinic.probes["beta"] = Probe("beta", Contact.UNTRUSTED, "has a host key that you have not trusted yet (h port 22)")
    result = clinic("-i", "rig")

    assert result.exit_code == 5
    assert "→ To trust its key, run `dlhost ssh -i rig --host beta`" in result.stdout


@pytest.mark.parametrize(
    ("more", "sudo", "topic", "todo"),
    [
        ({"version": "11", "pretty_name": "Eleven"}, "ok", "system", "Supported: Debian"),
        ({"free_mib_root": "100"}, "ok", "disk", "Free some space first"),
        ({}, "none", "sudo", "Install it: su -c"),
        ({}, "password", "sudo", "dlhost secrets set -i rig ansible_become_password"),
    ],
)
def test_the_preflights_refusals_are_findings(
    clinic: Clinic, more: dict[str, str], sudo: str, topic: str, todo: str
) -> None:
    clinic.probes["beta"] = Probe("beta", Contact.REACHED, sudo=sudo, facts={**FACTS, **more})
    document = clinic.document("-i", "rig", "--limit", "beta", at_terminal=True)

    assert document["exit_code"] == 5
    finding = next(one for one in document["hosts"][0]["findings"] if one["topic"] == topic)
    assert finding["verdict"] == "fail"
    assert todo in finding["todo"]
    # Nobody is asked for --json; without root, the rest is seen all the same.
    assert clinic.questions == []
    assert clinic.asked[0]["root"] is (sudo == "ok")


def test_a_person_is_asked_for_the_sudo_password_once(clinic: Clinic) -> None:
    for name in ("alpha", "beta"):
        clinic.probes[name] = Probe(name, Contact.REACHED, sudo="password", facts=FACTS)
    result = clinic("-i", "rig", at_terminal=True)

    assert result.exit_code == 0
    assert clinic.questions == ["sudo password on alpha"]
    assert [one["sudo_password"] for one in clinic.asked] == ["correct horse", "correct horse"]
    assert "correct horse" not in result.stdout


def test_root_needs_no_sudo_and_a_bare_host_no_python(clinic: Clinic) -> None:
    clinic.probes["beta"] = Probe("beta", Contact.REACHED, sudo="ok", facts={**FACTS, "uid": "0", "python": "no"})
    result = clinic("-i", "rig", "--limit", "beta")

    assert result.exit_code == 0
    assert clinic.asked[0]["root"] is False
    assert re.search("pass +python +none yet, role system brings it", result.stdout)


def test_settings_that_do_not_fit_the_card(clinic: Clinic, rig: Path) -> None:
    write(rig / "host_vars" / "alpha.yml", "nvidia_driver_branch: [595]\nnvidia_driver_sysfs: /srv/sysfs\n")
    clinic.looks["alpha"] = look(facts(gpus=[GTX_1070]))
    result = clinic("-i", "rig", "--limit", "alpha")

    assert result.exit_code == 5
    assert clinic.asked[0]["sysfs"] == "/srv/sysfs"
    # What is no branch at all is named as such, and not held against anything.
    assert "nvidia_driver_branch should be a text, not a list" in result.stdout
    assert "skip  compatibility  the inventory is to be mended first" in result.stdout

    write(rig / "host_vars" / "alpha.yml", "nvidia_driver_branch: 595\n")
    result = clinic("-i", "rig", "--limit", "alpha")
    assert result.exit_code == 5
    assert "→ set nvidia_driver_branch to 580" in result.stdout


def test_an_inventory_that_cannot_be_read(clinic: Clinic, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "system_packages: [\n")
    document = clinic.document("-i", "rig")

    assert document["exit_code"] == 5
    assert document["controller"][-1]["topic"] == "inventory"
    assert "this is not valid YAML" in document["controller"][-1]["seen"]
    assert document["hosts"] == []


def test_a_vault_without_its_password(clinic: Clinic, rig: Path) -> None:
    write(rig / "group_vars" / "all.yml", "$ANSIBLE_VAULT;1.1;AES256\n00\n")
    document = clinic.document("-i", "rig")

    assert document["exit_code"] == 5
    assert "needs its password" in document["controller"][-1]["seen"]
    assert clinic.questions == []


def test_no_client_to_reach_any_host_with(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_hosts: Iterable[Host], _sockets: Path) -> list[Probe]:
        raise RefusedError(openssh.NO_CLIENT)

    monkeypatch.setattr(clinic, "probe_all", none)
    document = clinic.document("-i", "rig")

    assert (document["exit_code"], document["hosts"]) == (5, [])
    assert document["controller"][-1]["todo"] == "Install it: sudo apt-get install openssh-client"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--limit", "alpha"), "--limit chooses among the hosts of an inventory: name it with -i."),
        (("-i", "rgi"), "There is no inventory rgi; did you mean rig?"),
        (("-i", "rig", "--limit", "gamma"), "There is no host or group gamma"),
    ],
)
def test_what_there_is_not(clinic: Clinic, arguments: tuple[str, ...], sentence: str) -> None:
    result = clinic(*arguments)

    assert result.exit_code == 2
    assert sentence in result.stderr


def test_the_demos_container_engine_is_looked_at(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path / "work" / "inventories" / "demo" / "hosts.yml", "all: {hosts: {demo: {ansible_host: 192.0.2.9}}}\n")

    def none() -> None:
        raise RefusedError("No container engine answers. Start it")

    monkeypatch.setattr("dlhost.adapters.container.engine", none)
    document = clinic.document("-i", "demo")

    finding = next(one for one in document["controller"] if one["topic"] == "container_engine")
    assert (finding["verdict"], finding["todo"]) == ("fail", "Start it")
    assert not any(one["topic"] == "container_engine" for one in clinic.document("-i", "rig")["controller"])


def test_what_a_host_says_does_not_steer_the_terminal() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        table(console, [Finding("system", Verdict.FAIL, "runs \x1b[2J", "\x1b]0;evil\x07")], [])

    assert "\x1b[2J" not in captured.get()
    assert "evil\x07" not in captured.get()
