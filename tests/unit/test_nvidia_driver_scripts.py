"""The scripts with which role nvidia_driver builds and loads the kernel module, run with doubles of what they call."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader

TEMPLATES = Path(__file__).parents[2] / "roles" / "nvidia_driver" / "templates"
RMMOD = """
[ ! -e "$modules/$1/in_use" ] || exit 1
case $1 in
  nvidia) for user in nvidia_uvm nvidia_modeset nvidia_peermem; do [ ! -d "$modules/$user" ] || exit 1; done ;;
  nvidia_modeset) [ ! -d "$modules/nvidia_drm" ] || exit 1 ;;
esac
rm -r "$modules/$1"
"""
MODPROBE = """
[ ! -e "$modules/refuses" ] || exit 1
mkdir -p "$modules/$(echo "$1" | tr - _)"
"""
SYSTEMCTL = """
case $1 in
  is-active) [ -e "$modules/daemon" ] && echo active || { echo inactive; exit 3; } ;;
  start) touch "$modules/daemon" ;;
  stop) rm -f "$modules/daemon" ;;
esac
"""
APT_GET = """
for package; do :; done
[ "$DEBIAN_FRONTEND $NEEDRESTART_SUSPEND" = "noninteractive 1" ] || exit 1
mkdir -p "$modules/${package#linux-headers-}/build"
"""
DOUBLES = {
    "rmmod": RMMOD,
    "modprobe": MODPROBE,
    "systemctl": SYSTEMCTL,
    "apt-cache": '[ "$2" != linux-headers-gone ]',
    "apt-get": APT_GET,
    "apt-mark": "",
    "dkms": '[ "$3" != broken ]',
    "update-initramfs": '[ "$3" != full ]',
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a template as the role does; /sys/module and /lib/modules are the directory `modules`."""
    programs, modules = tmp_path / "bin", tmp_path / "modules"
    programs.mkdir()
    modules.mkdir()
    for name, does in DOUBLES.items():
        double = programs / name
        head = f'modules={modules}\necho "{name} $*" >>{tmp_path}/calls\n'
        double.write_text(f"#!/bin/sh\n{head}{does}\n")
        double.chmod(0o755)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=False)  # noqa: S701  # It is a shell script.
    environment.filters["quote"] = shlex.quote

    def run(template: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        script = environment.get_template(template).render(variables)
        for directory in ("/sys/module", "/lib/modules"):
            script = script.replace(directory, str(modules))
        return subprocess.run(
            ["sh", "-euc", script],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": f"{programs}:{os.environ['PATH']}"},
        )

    return run


def calls(directory: Path, *programs: str) -> list[str]:
    """What was called, in order; of these programs alone."""
    lines = (directory / "calls").read_text().splitlines()
    return [line for line in lines if line.partition(" ")[0] in programs]


# Loading

STACK = ("nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia")


def there(directory: Path) -> set[str]:
    """The modules that are loaded, and `daemon` while it runs."""
    return {path.name for path in (directory / "modules").iterdir()}


def loaded(directory: Path, *modules: str, daemon: bool = True) -> None:
    for module in modules:
        (directory / "modules" / module).mkdir()
    if daemon:
        (directory / "modules" / "daemon").touch()


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("modules", [STACK, (*STACK, "nvidia_peermem"), ("nvidia",)])
def test_what_nobody_uses_is_loaded_anew_with_all_that_was_there(
    run: Run, tmp_path: Path, modules: Sequence[str], daemon: bool
) -> None:
    loaded(tmp_path, *modules, daemon=daemon)

    assert run("load.sh.j2", __nvidia_driver_how="reload").returncode == 0
    assert {call.removeprefix("rmmod ") for call in calls(tmp_path, "rmmod")} == set(modules)
    assert there(tmp_path) == {*modules, "nvidia_uvm"} | ({"daemon"} if daemon else set())
    # With the old module's user space it would not go.
    assert calls(tmp_path, "systemctl", "rmmod")[1] == "systemctl stop nvidia-persistenced.service"


@pytest.mark.parametrize("used", STACK)
@pytest.mark.parametrize("daemon", [True, False])
def test_what_somebody_uses_stays_and_all_is_as_it_was(run: Run, tmp_path: Path, used: str, daemon: bool) -> None:
    loaded(tmp_path, *STACK, daemon=daemon)
    (tmp_path / "modules" / used / "in_use").touch()
    before = there(tmp_path)

    assert run("load.sh.j2", __nvidia_driver_how="reload").returncode == 10
    assert there(tmp_path) == before
    assert (tmp_path / "modules" / used / "in_use").exists()


def test_a_first_module_is_loaded_and_nothing_stopped_for_it(run: Run, tmp_path: Path) -> None:
    assert run("load.sh.j2", __nvidia_driver_how="load").returncode == 0
    assert there(tmp_path) == {"nvidia", "nvidia_uvm"}
    assert calls(tmp_path, "systemctl", "rmmod") == []


@pytest.mark.parametrize("how", ["load", "reload"])
def test_a_module_that_the_kernel_does_not_take_is_said_so(run: Run, tmp_path: Path, how: str) -> None:
    (tmp_path / "modules" / "refuses").touch()
    done = run("load.sh.j2", __nvidia_driver_how=how)

    assert done.returncode == 1
    assert "The kernel does not take NVIDIA's module" in done.stderr
    # Without a module it could only fail.
    assert "systemctl start nvidia-persistenced.service" not in calls(tmp_path, "systemctl")


# Building


def plan(**due: Sequence[str]) -> dict[str, Any]:
    return {"__nvidia_driver_plan": {"kernel_packages": [], "build_for": [], "stale_initramfs": [], **due}}


def test_the_module_is_built_for_each_kernel_once_its_headers_are_there(run: Run, tmp_path: Path) -> None:
    packages = ["linux-headers-gone", "linux-headers-new"]
    due = plan(kernel_packages=packages, build_for=["broken", "gone", "new"])
    (tmp_path / "modules" / "broken" / "build").mkdir(parents=True)

    assert run("kernel.sh.j2", **due).returncode == 0
    install = "apt-get install --yes --quiet --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 --"
    assert calls(tmp_path, "apt-get", "apt-mark") == [
        f"{install} linux-headers-new",
        "apt-mark auto linux-headers-new",
    ]
    # What cannot be built for one kernel is no reason to leave the next without.
    assert calls(tmp_path, "dkms") == ["dkms autoinstall -k broken", "dkms autoinstall -k new"]
    assert calls(tmp_path, "update-initramfs") == []


def test_the_initramfs_is_made_anew_where_it_is_stale(run: Run, tmp_path: Path) -> None:
    assert run("kernel.sh.j2", **plan(stale_initramfs=["old", "new"])).returncode == 0
    assert calls(tmp_path, *DOUBLES) == ["update-initramfs -u -k old", "update-initramfs -u -k new"]

    assert run("kernel.sh.j2", **plan(stale_initramfs=["full"])).returncode == 1
