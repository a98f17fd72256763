"""GPUs get the limit back that they came with, by the script that role nvidia_driver runs then."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from tests.unit import nvidia_smi_double

TEMPLATES = Path(__file__).parents[2] / "roles" / "nvidia_driver" / "templates"
UNIT = "dlhost-nvidia-power.service"
SYSTEMD = [f"systemctl stop {UNIT}", "systemctl daemon-reload"]


@pytest.mark.parametrize(
    ("said", "status", "limits"),
    [
        # One that cannot be limited is left out.
        (
            "0, 450.00\n1, [N/A]\n2, 75.50\n",
            0,
            ["nvidia-smi --id=0 --power-limit=450.00", "nvidia-smi --id=2 --power-limit=75.50"],
        ),
        (nvidia_smi_double.NO_DRIVER, 9, []),
        (nvidia_smi_double.MISMATCH, 18, []),
    ],
    ids=["runs", "no-driver", "mismatch"],
)
@pytest.mark.parametrize("unit_status", [0, 5], ids=["unit", "no-unit"])
def test_every_card_gets_its_own_limit_back(
    tmp_path: Path, said: str, status: int, limits: list[str], unit_status: int
) -> None:
    journal = tmp_path / "journal"
    doubles = {
        "systemctl": f"[ $1 != stop ] || exit {unit_status}",
        "nvidia-smi": f"case $1 in --query-gpu=*) printf %s {shlex.quote(said)}; exit {status} ;; esac",
    }
    for name, does in doubles.items():
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{journal}\n{does}\n')
        program.chmod(0o755)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=False)  # noqa: S701  # It is a shell script.
    script = environment.get_template("unlimit.sh.j2").render(__nvidia_driver_power=UNIT)

    done = subprocess.run(
        ["sh", "-euc", script], check=False, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True
    )

    assert (done.returncode, done.stderr) == (0, b"")
    asked = "nvidia-smi --query-gpu=index,power.default_limit --format=csv,noheader,nounits"
    assert journal.read_text().splitlines() == [*SYSTEMD, asked, *limits]
