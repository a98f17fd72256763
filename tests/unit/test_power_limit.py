"""GPUs get the limit back that they came with, by the script that role nvidia_driver runs then."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from tests.unit import nvidia_smi_double

TEMPLATES = Path(__file__).parents[2] / "roles" / "nvidia_driver" / "templates"
UNIT = "dlhost-nvidia-power.service"
SYSTEMD = [f"systemctl stop {UNIT}", "systemctl daemon-reload"]
ASKED = "nvidia-smi --query-gpu=index,power.default_limit --format=csv,noheader,nounits"
# One that cannot be limited is left out.
CARDS = "0, 450.00\n1, [N/A]\n2, 75.50\n"
LIMITS = ["nvidia-smi --id=0 --power-limit=450.00", "nvidia-smi --id=2 --power-limit=75.50"]


@dataclass(frozen=True)
class Machine:
    """One with doubles of the programs that the script calls."""

    directory: Path

    def unlimit(self, *, loaded: str = "580.95.05") -> subprocess.CompletedProcess[str]:
        environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=False)  # noqa: S701  # It is a shell script.
        look = {"nvidia": {"module": {"loaded": loaded}}}
        script = environment.get_template("unlimit.sh.j2").render(__nvidia_driver_power=UNIT, __nvidia_driver_look=look)
        path = {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        return subprocess.run(["sh", "-euc", script], check=False, env=path, capture_output=True, text=True)

    def systemctl(self, stop_status: int = 0) -> None:
        self._double("systemctl", f"[ $1 != stop ] || exit {stop_status}")

    def nvidia_smi(self, said: str = CARDS, status: int = 0, set_status: int = 0) -> None:
        asked = f"printf %s {shlex.quote(said)}; exit {status}"
        self._double("nvidia-smi", f"case $1 in --query-gpu=*) {asked} ;; *) exit {set_status} ;; esac")

    def timeout(self, hangs: str) -> None:
        """One whose time is up where the command has this word; it lets others run."""
        self._double("timeout", f'case "$*" in *{hangs}*) exit 124 ;; esac; shift 3; "$@"')

    def _double(self, name: str, does: str) -> None:
        program = self.directory / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.directory}/journal\n{does}\n')
        program.chmod(0o755)

    @property
    def journal(self) -> list[str]:
        return (self.directory / "journal").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.systemctl()
    machine.nvidia_smi()
    return machine


@pytest.mark.parametrize("stop_status", [0, 5], ids=["unit", "no-unit"])
def test_every_card_gets_its_own_limit_back(machine: Machine, stop_status: int) -> None:
    machine.systemctl(stop_status)

    done = machine.unlimit()

    assert (done.returncode, done.stderr) == (0, "")
    assert machine.journal == [ASKED, *LIMITS, *SYSTEMD]


def test_without_a_module_there_is_no_limit(machine: Machine) -> None:
    assert machine.unlimit(loaded="").returncode == 0
    assert machine.journal == SYSTEMD


def test_limits_end_with_a_module_that_is_to_be_replaced(machine: Machine) -> None:
    machine.nvidia_smi(nvidia_smi_double.MISMATCH, 18)

    assert machine.unlimit().returncode == 0
    assert machine.journal == [ASKED, *SYSTEMD]


def test_the_unit_stays_for_the_next_run_where_no_limit_can_be_told(machine: Machine) -> None:
    machine.nvidia_smi(nvidia_smi_double.NO_DRIVER, 9)

    done = machine.unlimit()

    assert done.returncode == 1
    assert done.stderr == (
        f"nvidia-smi does not tell which limit of power each GPU came with: {nvidia_smi_double.NO_DRIVER}"
    )
    assert machine.journal == [ASKED]


def test_the_unit_stays_for_the_next_run_where_a_limit_cannot_be_set(machine: Machine) -> None:
    machine.nvidia_smi(set_status=4)

    assert machine.unlimit().returncode == 4
    assert machine.journal == [ASKED, LIMITS[0]]


def test_nobody_waits_for_an_nvidia_smi_that_hangs(machine: Machine) -> None:
    machine.timeout("--query-gpu")

    done = machine.unlimit()

    assert (done.returncode, machine.journal) == (1, [f"timeout -k 2 60 {ASKED}"])
    assert "it ended with status 124" in done.stderr


def test_nor_for_one_that_hangs_when_it_sets_a_limit(machine: Machine) -> None:
    machine.timeout("--power-limit")

    assert machine.unlimit().returncode == 124
    assert machine.journal == [f"timeout -k 2 60 {ASKED}", ASKED, f"timeout -k 2 60 {LIMITS[0]}"]
