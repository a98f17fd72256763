"""`dlhost bench` on this machine: the scripts and interpreters are real, the frameworks and the GPU are doubles."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from dlhost.adapters import bench as adapter
from dlhost.adapters import status
from dlhost.cli.app import app
from dlhost.operations import bench as operation
from dlhost.render.bench import tell
from dlhost.render.bench_plot import svg
from dlhost.values.bench import (
    CONDA_PREFIX,
    INSTALLED,
    Before,
    Bench,
    Machine,
    Row,
    Timing,
    failure,
    machine_from,
    rows,
    warnings,
    with_before,
)
from dlhost.values.checks import CheckResult
from dlhost.values.inventory import Connection, Host
from dlhost.values.status import NO_ANSWER, NOT_INSTALLED, Gpu, Process, Status
from tests.unit import nvidia_smi_double as smi
from tests.unit.framework_environments import VERSIONS, activation, furnish, new_environment
from tests.unit.world import write

EACH = pytest.mark.parametrize("name", VERSIONS)
HERE = Host("rig", (), Connection(transport="local"))
GPU_S = 0.005
ONE_GPU = smi.GTX_1070.replace("1, GPU", "0, GPU")


@pytest.fixture(scope="session")
def _interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_environment(tmp_path_factory.mktemp("environment"))


class Rig:
    """This machine as an inventory's one host, with one environment and an nvidia-smi as the test wants them."""

    def __init__(self, directory: Path, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment, self.monkeypatch = environment, monkeypatch
        self.prefix, self.programs = directory / "conda", directory / "programs"
        self.programs.mkdir()
        (self.prefix / "envs").mkdir(parents=True)
        self.link("pytorch", environment)
        variables = {"ansible_connection": "local", "conda_prefix": str(self.prefix)}
        self.hosts = directory / "work" / "inventories" / "rig" / "hosts.yml"
        write(self.hosts, json.dumps({"all": {"hosts": {"rig": variables}}}))
        # The places where a real driver would be found are not the test's to fill.
        monkeypatch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")
        # Warming up, and waiting between two looks, prove nothing here.
        for module, script, slow, fast in (
            (adapter, "PROGRAM", "\nWARM_S = 0.3\n", "\nWARM_S = 0.0\n"),
            (adapter, "RUN", "  sleep 0.2\n", "  sleep 0.02\n"),
            (status, "SCRIPT", "\nsleep 0.3\n", "\n"),
        ):
            text = getattr(module, script).read_text()
            assert slow in text
            hurried = directory / getattr(module, script).name
            hurried.write_text(text.replace(slow, fast))
            monkeypatch.setattr(module, script, hurried)

    def link(self, name: str, environment: Path) -> None:
        (self.prefix / "envs" / name).symlink_to(environment)

    def has(self, *frameworks: str, gpus: int = 1, **world: Any) -> None:
        """What the environment holds, and how many GPUs nvidia-smi shows."""
        furnish(self.environment, *frameworks, **{"off": [0] * gpus, "gpu_s": GPU_S, **world})
        cards = "".join(f"{ONE_GPU.replace('0, GPU-6', f'{number}, GPU-{number}')}\n" for number in range(gpus))
        smi.install(self.programs, smi.program(cards))

    def __call__(self, *arguments: str) -> Result:
        command = ["bench", "-i", "rig", "--size", "small", "--repeat", "3", *arguments]
        self.monkeypatch.setattr("sys.argv", ["dlhost", *command])
        result = CliRunner().invoke(app, command)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def document(self, code: int, *arguments: str) -> dict[str, Any]:
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        assert (document["schema_version"], document["operation"], document["exit_code"]) == (1, "bench", code)
        return document


@pytest.fixture
def rig(tmp_path: Path, _interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, _interpreter, monkeypatch)


# What a GPU is seen to do ---------------------------------------------------------------------------------------------


@EACH
def test_a_gpu_is_compared_with_the_processor(rig: Rig, name: str) -> None:
    rig.has(name, gpus=2)

    document = rig.document(0)

    assert [(row["work"], row["gpu_index"]) for row in document["rows"]] == [
        (work, index) for work in ("matrix_product", "convolution", "stylisation") for index in (0, 1)
    ]
    for row in document["rows"]:
        assert (row["environment"], row["framework"], row["version"]) == ("pytorch", name, VERSIONS[name])
        assert (row["gpu_name"], row["result"], row["off"]) == ("NVIDIA H200", "pass", "0.0e+00")
        assert len(row["cpu"]["seconds"]) == len(row["gpu"]["seconds"]) == 3
        # It computes beside the processor: less would be the time that it takes to ask it to.
        assert min(row["gpu"]["seconds"]) >= GPU_S
        assert row["ratio"] == pytest.approx(row["cpu"]["median_s"] / row["gpu"]["median_s"])
    # 2 n**3, and what 16 convolutions of 65,536 points take.
    operations = {row["work"]: row["operations"] for row in document["rows"]}
    assert operations["matrix_product"] == 2 * 1024**3
    assert operations["stylisation"] == pytest.approx(65536 * (15552 * 2 + 9216 * 4 + 10 * 18432), rel=1e-9)


def test_every_framework_is_a_row_of_the_table(rig: Rig) -> None:
    rig.has(*VERSIONS)

    result = rig()

    assert result.exit_code == 0
    assert result.stdout.startswith("rig: NVIDIA GeForce GTX 1070, ")
    for name, version in VERSIONS.items():
        assert f"{name} {version}" in result.stdout
        assert f"Measuring {name} {version} of pytorch" in result.stderr
    assert len(re.findall(r"\d x *$", result.stdout, re.MULTILINE)) == 9
    assert "TFLOP/s" in result.stdout
    assert "FAIL" not in result.stdout


@EACH
@pytest.mark.parametrize(
    ("off", "reason"),
    [
        (0.05, "wrong numbers, 5.0e-02 off where 1.2e-04 is allowed"),
        (2e-4, "wrong numbers, 2.0e-04 off where 1.2e-04 is allowed"),
        (float("nan"), "wrong numbers, nan off where 1.2e-04 is allowed"),
        (None, "its memory does not suffice; choose a smaller --size, or wait until others need less of it"),
    ],
)
def test_a_gpu_that_does_not_compute_right_has_no_speed(rig: Rig, name: str, off: float | None, reason: str) -> None:
    rig.has(name, gpus=2, off=[0, off])

    document = rig.document(7)

    well, bad = document["rows"][:2]
    assert (well["result"], bad["result"]) == ("pass", "fail")
    assert bad["reason"] == f"on GPU 1 NVIDIA H200: {reason}"
    assert bad["gpu"] is bad["ratio"] is None
    assert bad["cpu"]["seconds"]


def test_a_failure_is_told_in_a_sentence(rig: Rig) -> None:
    rig.has("torch", off=[None])

    result = rig()

    assert result.exit_code == 7
    assert (
        "FAIL  pytorch: torch 2.13.0, convolution, on GPU 0 NVIDIA H200: its memory does not suffice" in result.stdout
    )
    assert not re.search(r"\d x *$", result.stdout, re.MULTILINE)


@EACH
@pytest.mark.parametrize(
    ("world", "gpus", "code", "reason"),
    [
        ({"off": []}, 1, 7, "sees none of the host's GPUs, of which nvidia-smi shows 1"),
        ({"off": [0]}, 2, 7, "sees 1 of the host's 2 GPUs"),
        ({"cuda": "", "off": []}, 1, 0, "is built for the CPU alone, without CUDA"),
    ],
)
def test_a_missing_gpu_never_passes(
    rig: Rig, name: str, world: dict[str, Any], gpus: int, code: int, reason: str
) -> None:
    rig.has(name, gpus=gpus, **world)

    first, *_ = rig.document(code)["rows"]

    assert (first["result"], first["reason"]) == ("fail" if code else "skip", reason)
    assert reason in rig().stdout


def test_a_host_without_a_gpu_is_measured_for_what_it_has(rig: Rig) -> None:
    rig.has("torch", off=[])
    (rig.programs / "nvidia-smi").unlink()
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")

    document = rig.document(0)

    assert {(row["result"], row["reason"]) for row in document["rows"]} == {
        ("skip", f"has no GPU to compute on, for no driver is loaded and {NOT_INSTALLED}")
    }
    assert all(row["cpu"]["seconds"] for row in document["rows"])


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ("crash", "crashed (SIGSEGV)"),
        ("leave", "ended with status 3 (I0000 00:00:1.0 cuda_executor.cc:1228] could not open"),
        ("say nothing", "gave no answer"),
        ("libcudart.so.12: no such file", "does not start (libcudart.so.12: no such file)"),
    ],
)
def test_a_framework_that_does_not_start(rig: Rig, fate: str, reason: str) -> None:
    rig.has("torch", fate=fate)

    (row,) = rig.document(7)["rows"]

    assert (row["result"], row["work"]) == ("fail", "")
    assert row["reason"].startswith(reason)


def test_an_environment_of_condas_is_activated(rig: Rig, tmp_path: Path) -> None:
    environment = new_environment(tmp_path)
    activation(environment, 'touch "$CONDA_PREFIX/activated"')
    rig.link("own", environment)
    python = rig.prefix / "envs" / "own" / "bin" / "python"
    furnish(environment, "torch", off=[0])

    adapter.ask_inside(HERE, tmp_path, str(python), 60, INSTALLED)

    assert (environment / "activated").exists()


def test_one_that_never_ends_is_ended_with_what_it_has_started(rig: Rig, tmp_path: Path) -> None:
    rig.has("torch", fate="hang")

    with pytest.raises(adapter.NoAnswerError, match="did not end within 1 s"):
        adapter.ask_inside(HERE, tmp_path, str(rig.environment / "bin/python"), 1, "measured", "torch", 1, {})

    wait_until(lambda: not computing(rig.environment))


def test_where_nobody_listens_any_more_nobody_computes(rig: Rig, tmp_path: Path) -> None:
    """As after Ctrl-C, and with a connection that is cut."""
    rig.has("torch", fate="hang")
    place = tmp_path / "place"
    place.mkdir()
    script = adapter.run_script(str(rig.environment / "bin/python"), 60, "measured", "torch", 1, {})
    with subprocess.Popen(
        ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(place)}, text=True
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(script)
        shell.stdin.close()
        shell.stdout.readline()
        assert computing(rig.environment)
        shell.stdout.close()
        assert shell.wait(timeout=10) == 1

    wait_until(lambda: not computing(rig.environment))
    assert list(place.iterdir()) == []


def computing(environment: Path) -> list[str]:
    """What runs of the environment, with what it has started."""
    told = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True).stdout
    return [
        line for line in told.splitlines() if (str(environment) in line or " sleep 6071" in line) and line[0] != "Z"
    ]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# What else the host does ----------------------------------------------------------------------------------------------


def test_a_driver_that_hangs_is_not_computed_with(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.has("torch", fate="hang")
    hangs = partial(operation.Outside, status=lambda *_: Status("rig", gpu_error=NO_ANSWER))
    monkeypatch.setattr(operation, "Outside", hangs)

    result = rig()

    assert result.exit_code == 5
    assert NO_ANSWER in result.stderr


def test_a_busy_host_is_warned_about(rig: Rig) -> None:
    rig.has("torch")
    smi.install(rig.programs, smi.program(f"{smi.RTX_4090}\n", smi.APPS))

    refused, result = rig(), rig("--yes")

    users = "python, with a comma (root, pid 1), unknown (unknown, pid 999999999)"
    assert refused.exit_code == 5
    assert f"in use by {users}. It could run out of memory; run again when that has ended" in refused.stderr
    assert f"GPU 0 NVIDIA GeForce RTX 4090 is in use by {users}" in result.stdout
    assert f"GPU 0 NVIDIA GeForce RTX 4090 is in use by {users}." in result.stderr


def test_what_makes_figures_worse() -> None:
    gpu = Gpu(0, "u", "Card", 30, 1, 2, None, None, None, mig=False)

    assert list(warnings(Status("rig", busy_percent=4, gpus=(replace(gpu, load_percent=0),)))) == []
    assert list(warnings(Status("rig", busy_percent=63, gpus=(gpu,), processes=(Process(None, 7, "", "x", 1),)))) == [
        "A GPU is in use by x (unknown, pid 7)",
        "GPU 0 Card is 30 % busy",
        "The processors are 63 % busy",
    ]


# Which environments ---------------------------------------------------------------------------------------------------


def test_environments_are_those_of_our_roles_and_the_pythons_that_the_inventory_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = tmp_path / "envs"
    for name in ("torch-0123456789ab", "torch-ba9876543210"):
        (envs / name).mkdir(parents=True)
    (envs / "torch").symlink_to("torch-0123456789ab")
    (tmp_path / "jupyter").symlink_to("jupyter-0123456789ab")
    monkeypatch.setattr(adapter, "JUPYTER", f"{tmp_path}/jupyter")

    machine = adapter.look(HERE, tmp_path, str(tmp_path), ["/opt/it's here/bin/python"])

    assert [(each.name, each.python) for each in machine.environments] == [
        ("torch", f"{envs}/torch/bin/python"),
        (f"{tmp_path}/jupyter", f"{tmp_path}/jupyter/bin/python"),
        ("/opt/it's here", "/opt/it's here/bin/python"),
    ]
    assert machine.processor


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("conda/defaults/main.yml", f"conda_prefix: {CONDA_PREFIX}"),
        ("jupyter/vars/main.yml", f"__jupyter_environment: {adapter.JUPYTER}"),
    ],
)
def test_environments_are_looked_for_where_the_roles_have_them(file: str, line: str) -> None:
    path = Path(__file__).parents[2] / "roles" / file
    if not path.exists():
        pytest.skip("a role to come")

    assert line in path.read_text().splitlines()


def test_one_of_several_environments(rig: Rig) -> None:
    rig.has("torch")
    rig.link("other", rig.environment)

    assert {row["environment"] for row in rig.document(0, "--env", "other")["rows"]} == {"other"}
    refused = rig("--env", "jax")
    assert refused.exit_code == 2
    assert "rig has no environment jax; it has other, pytorch." in refused.stderr


def test_nothing_to_measure(rig: Rig) -> None:
    rig.has()
    empty = rig()
    assert empty.exit_code == 5
    assert "rig: nothing to measure, for no torch, tensorflow, jax or numpy is in pytorch." in empty.stderr
    (rig.prefix / "envs" / "pytorch").unlink()
    result = rig()
    assert result.exit_code == 5
    assert f"rig has no environment: neither in {rig.prefix}" in result.stderr


def test_an_environment_that_cannot_be_run(rig: Rig, tmp_path: Path) -> None:
    rig.has("torch")
    rig.link("gone", tmp_path / "gone")

    rows = {row["environment"]: row for row in rig.document(7)["rows"]}

    assert rows["gone"]["reason"] == "cannot be run (no such file)"
    assert rows["pytorch"]["result"] == "pass"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("theirs", ["python", "."])
def test_what_another_user_may_change_is_not_run(rig: Rig, tmp_path: Path, theirs: str) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir()
    python = directory / "python"
    python.symlink_to(rig.environment / "bin" / "python")
    os.chown(directory / theirs, 65534, 65534, follow_symlinks=False)

    with pytest.raises(adapter.NoAnswerError, match="belongs to nobody, and what another user may change"):
        adapter.ask_inside(HERE, tmp_path, str(python), 5, "installed")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--size", "huge"), "There is no size huge; there are small, medium, large."),
        (("--plot", "figures.png"), "--plot figures.png: name a file that ends in .svg"),
        (("--plot", "nowhere/figures.svg"), "in a directory that is there"),
        (("--host", "beta"), "beta"),
    ],
)
def test_what_cannot_be_asked_for(rig: Rig, arguments: tuple[str, ...], sentence: str) -> None:
    rig.has("torch", fate="crash")

    result = rig(*arguments)

    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_host_that_is_off(rig: Rig) -> None:
    write(rig.hosts, "all: {hosts: {rig: {ansible_host: 127.0.0.1, ansible_port: 9}}}")

    result = rig()

    assert result.exit_code == 4
    assert "rig cannot be reached at 127.0.0.1 port 9" in result.stderr


# The last time --------------------------------------------------------------------------------------------------------


def test_the_last_run_is_kept_privately_and_compared_with(rig: Rig, tmp_path: Path) -> None:
    rig.has("torch")
    first, second, third = (rig.document(0) for _run in range(3))

    assert {row["before"] for row in first["rows"]} == {None}
    for row, before in zip(third["rows"], second["rows"], strict=True):
        assert row["before"]["gpu_s"] == before["gpu"]["median_s"]
        assert row["before"]["moment"] == second["moment"]
    assert rig.document(0, "--env", "pytorch", "--size", "medium")["rows"][0]["before"] is None
    kept = tmp_path / "state" / "dlhost" / "bench"
    assert len(list(kept.rglob("*.json"))) == 4
    assert {path.stat().st_mode & 0o777 for path in kept.rglob("*.json")} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o700}

    next(kept.rglob("*.json")).write_text('{"schema_version": 0}')
    refused = rig()
    assert (refused.exit_code, "Measuring" in refused.stderr) == (2, False)
    assert "is not a bench of this version of dlhost. Move it away." in refused.stderr


def test_what_has_changed_since_is_told(rig: Rig) -> None:
    rig.has("torch")
    document = rig.document(0)
    bench = measured()

    for row in document["rows"]:
        row["gpu"] = {"seconds": [0.010]}
        row["version"] = "2.12.0"
    document["machine"]["driver"] = "570.1"
    document["moment"] = "2026-01-02T03:04:05+00:00"
    older = {**document, "moment": "2025-01-01T00:00:00+00:00"}

    shown = text(with_before(bench, [{**document, "host": "other"}, document, older]))

    assert "100 % faster" in shown
    assert "2026-01-02, driver 570.1, torch 2.12.0" in shown
    assert "2025" not in shown


def measured() -> Bench:
    """A bench that never was: a GPU of 5 ms beside a processor of 50 ms."""
    row = Row(
        "pytorch",
        "torch",
        "2.13.0",
        CheckResult.PASS,
        cuda="13.0",
        work="matrix_product",
        operations=2.0 * 1024**3,
        cpu=Timing((0.049, 0.05, 0.051)),
        gpu=Timing((0.005,)),
        gpu_index=0,
        gpu_name="NVIDIA H200",
    )
    machine = Machine("A processor", "580.95.05")
    return Bench("rig", "rig", datetime(2026, 11, 21, tzinfo=UTC), "small", 3, machine, 8, (), rows=(row,))


def text(found: Bench) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        tell(console, found)
    return captured.get()


def test_the_figures_of_the_table() -> None:
    shown = text(measured())

    # Its framework has seen it, though no nvidia-smi has.
    assert shown.startswith("rig: NVIDIA H200, driver 580.95.05, A processor with 8 cores")
    assert "50.0 ms ± 2 %" in shown
    assert "42.9 GFLOP/s" in shown
    assert "429 GFLOP/s" in shown
    assert re.search("10.0 x *$", shown, re.MULTILINE)
    assert "matrix product  " in shown


def test_gpus_are_told_apart_where_there_are_several() -> None:
    bench = measured()
    (row,) = bench.rows

    shown = text(replace(bench, rows=(row, replace(row, gpu_index=1))))

    assert shown.startswith("rig: 2 x NVIDIA H200, ")
    assert shown.count(" GPU 0 ") == shown.count(" GPU 1 ") == 1


@pytest.mark.parametrize(
    ("runs", "before_s", "words"),
    [
        ((0.005,), 0.00515, "the same"),
        ((0.005,), 0.0055, "10 % faster"),
        ((0.005,), 0.004, "20 % slower"),
        # Where the runs themselves lie far apart, this is nothing.
        ((0.004, 0.005, 0.006), 0.0055, "the same"),
    ],
)
def test_what_differs_from_run_to_run_is_the_same(runs: tuple[float, ...], before_s: float, words: str) -> None:
    bench = measured()
    (row,) = bench.rows
    before = Before("2026-01-02T03:04:05+00:00", "580.95.05", "2.13.0", 0.05, before_s)

    shown = text(replace(bench, rows=(replace(row, gpu=Timing(runs), before=before),)))

    assert words in shown
    assert re.search(r"2026-01-02 *\n", shown)


# The picture ----------------------------------------------------------------------------------------------------------


def test_the_longest_bar_is_the_fastest_and_the_others_are_to_its_scale() -> None:
    bench = measured()
    (row,) = bench.rows
    rows = (row, replace(row, environment="<jax> & \x1b", gpu=None), replace(row, work="", cpu=None))

    root = ElementTree.fromstring(svg(replace(bench, rows=rows)))  # noqa: S314  our own

    bars = [float(each.get("width", 0)) for each in root.iter() if each.get("height") == "15"]
    assert bars == [40.0, 400.0, 40.0]
    words = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert "429 GFLOP/s, 5.00 ms, 10.0 x faster" in words
    assert "<jax> & ␛: torch 2.13.0 GPU 0" in words


def test_a_plot_is_written(rig: Rig, tmp_path: Path) -> None:
    rig.has("torch")

    assert rig("--plot", str(tmp_path / "figures.svg")).exit_code == 0

    assert (tmp_path / "figures.svg").read_text().startswith("<svg ")
    refused = rig("--plot", "/proc/figures.svg")
    assert refused.exit_code == 2
    # Its figures are not lost with it.
    assert "FLOP/s" in refused.stdout


# Words of strangers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("", "cannot be run (no such file)"),
        ("bench:status=\nbench:owner=root", "did not end within 7 s"),
        ("bench:status=137", "was killed, as the kernel does where the host's memory does not suffice"),
        ("bench:status=126\nbench:noise=env: Permission denied", "cannot be run (env: Permission denied)"),
        ("bench:status=139", "crashed (SIGSEGV)"),
        ("bench:status=250", "crashed (signal 122)"),
        ("Welcome!\nbench:status=0", ""),
    ],
)
def test_how_an_environment_ended(printed: str, reason: str) -> None:
    assert failure(printed, 7).startswith(reason)
    assert bool(failure(printed, 7)) == bool(reason)


def test_a_login_that_says_something_else() -> None:
    assert machine_from("bench:environment=\nbench:environment=x\nenvironment=a|b\nbench:processor") == machine_from("")


@pytest.mark.parametrize("seconds", [[], [0], [-1], [float("nan")], [float("inf")], ["x"], None])
def test_times_that_are_none(seconds: Any) -> None:
    work = {"work": "convolution", "operations": 1, "cpu": {"seconds": seconds, "problem": ""}, "gpus": []}
    answer = {"problem": "", "cuda": "", "gpus": [], "works": [work]}

    with pytest.raises((ValueError, TypeError)):
        list(rows("e", "torch", "1", answer, Status("rig"), ""))


def test_memory_of_the_host_that_does_not_suffice() -> None:
    cpu = {"seconds": [], "problem": "Unable to allocate 3 GiB", "out_of_memory": True}
    answer = {
        "problem": "",
        "cuda": "13",
        "gpus": ["H200"],
        "works": [{"work": "stylisation", "operations": 0, "cpu": cpu, "gpus": []}],
    }

    (row,) = rows("e", "torch", "1", answer, Status("rig"), "")

    assert row.result is CheckResult.FAIL
    assert row.reason.startswith("on the processor: the host's memory does not suffice; choose a smaller --size")
