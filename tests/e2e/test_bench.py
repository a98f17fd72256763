"""`dlhost bench` against a real host: real numpy, of Debian's packages, in an environment where role conda has its own.

No machine of the tests has a GPU: what becomes of one is in tests/unit/test_bench.py, with doubles.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Host, Installed

pytestmark = pytest.mark.e2e

PYTHON = "/opt/dlhost/conda/envs/science/bin/python"
MEDIUM = ("bench", "-i", "rig", "--size", "medium", "--repeat", "1000")


@pytest.fixture(scope="module")
def host(module_host: Callable[..., Host]) -> Host:
    """Its one environment is the link of that name, as role conda makes it, and sees Debian's numpy."""
    host = module_host()
    host.execute(
        # Without the latter numpy multiplies by the reference implementation, and this takes a minute.
        "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-numpy libopenblas0-pthread "
        ">/dev/null 2>&1 && "
        "mkdir -p /opt/dlhost/conda/envs && cd /opt/dlhost/conda/envs && "
        "python3 -m venv --without-pip --system-site-packages science-0123456789ab && "
        "ln -s science-0123456789ab science"
    )
    return host


def test_an_environment_is_measured_and_compared_with_the_last_time(dlhost: Installed, host: Host) -> None:
    dlhost.begin("rig", host)
    places = "find /tmp /opt /root /home -mindepth 1 -xdev -printf '%p %T@\\n' | sort"
    before = host.execute(places)

    first = dlhost.document("bench", "-i", "rig", "--size", "small")
    told = dlhost.run("bench", "-i", "rig", "--size", "small", "--repeat", "3", "--plot", "figures.svg")

    assert host.execute(places) == before, "bench left something on the host"
    assert (first["schema_version"], first["exit_code"], told.returncode) == (1, 0, 0), told.stderr
    version = host.execute(f"{PYTHON} -c 'import numpy; print(numpy.__version__)'").strip()
    assert [(row["environment"], row["framework"], row["version"], row["work"]) for row in first["rows"]] == [
        ("science", "numpy", version, "matrix_product"),
        ("science", "numpy", version, "convolution"),
    ]
    # Without a GPU nothing has passed.
    assert {row["result"] for row in first["rows"]} == {"skip"}
    assert all(0 < row["cpu"]["median_s"] < 60 and len(row["cpu"]["seconds"]) == 5 for row in first["rows"])
    assert first["machine"]["processor"]
    assert "no GPU (nvidia-smi is not installed)" in told.stdout
    assert re.search(r"science +matrix product +[\d.]+ m?s ± \d+ % +skip +(the same|\d+ % \w+)", told.stdout)
    assert f"\nnumpy {version} " in told.stdout
    assert f"Measuring numpy {version} of science" in told.stderr
    assert "GFLOP/s" in (dlhost.home / "figures.svg").read_text()
    kept = dlhost.home / ".local" / "state" / "dlhost" / "bench" / "rig"
    assert (len(list(kept.iterdir())), kept.stat().st_mode & 0o777) == (2, 0o700)


def test_after_ctrl_c_nothing_computes_on_the_host(dlhost: Installed, host: Host) -> None:
    dlhost.begin("rig", host)
    process = dlhost.start(*MEDIUM)
    wait_until(lambda: computing(host))

    process.send_signal(signal.SIGINT)

    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted." in said
    wait_until(lambda: not computing(host))
    wait_until(lambda: not host.execute("ls -d /tmp/tmp.* 2>/dev/null || true"))


def computing(host: Host) -> str:
    return host.execute(f"grep -l '^{PYTHON}' /proc/[0-9]*/cmdline 2>/dev/null || true")


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)
