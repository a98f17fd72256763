"""What is seen of compilers and cuDNN: the release, the code, the numbers, and every way in which they go wrong."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.apt_host import PLUGINS, double

VERSION = '[ "$1" != --version ] || { echo "Cuda compilation tools, release 12.9, V12.9.86"; exit; }'
OUTPUT = 'for word; do [ "$last" != -o ] || output=$word; last=$word; done'
CODE = r"""printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\1\0\276\0' >"$output" """
CUDNN = "libcudnn.so.9"


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(f"{PLUGINS}.modules.cuda_probe")


@pytest.fixture
def nvcc(tmp_path: Path) -> Callable[..., str]:
    """A double of the compiler, whose programs say what a GPU is to have said."""

    def make(*lines: str, program: str = "exit 1") -> str:
        path = tmp_path / "nvcc"
        (tmp_path / "program").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "program").chmod(0o755)
        built = f'case "$*" in *-cubin*) {CODE} ;; *) cp {tmp_path}/program "$output" ;; esac'
        path.write_text("\n".join(["#!/bin/sh", *(lines or (VERSION, OUTPUT, built))]) + "\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_code_is_made_for_every_architecture_and_nothing_is_left(probe: Any, nvcc: Any) -> None:
    seen = probe.cuda_kernel.try_out(nvcc(), ["sm_75", "sm_90"], 0)
    assert (seen.release, seen.problem, seen.uncompiled, seen.computed, seen.miscomputed) == ("12.9", "", {}, 0, [])
    assert not list(Path("/tmp").glob("dlhost-cuda-*"))  # noqa: S108


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("echo no licence >&2; exit 3",), "no licence"),
        (("echo Copyright",), "Copyright"),
    ],
)
def test_a_compiler_that_says_no_release_says_something_else(
    probe: Any, nvcc: Any, lines: tuple[str, ...], problem: str
) -> None:
    seen = probe.cuda_kernel.try_out(nvcc(*lines), ["sm_90"], 1)
    assert (seen.release, seen.problem, seen.computed) == ("", problem, 0)


def test_a_compiler_that_is_not_there(probe: Any) -> None:
    assert probe.cuda_kernel.try_out("/nowhere/nvcc", ["sm_90"], 0).problem.endswith("No such file or directory")


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("echo nvcc fatal: Unsupported gpu architecture >&2; exit 1", "nvcc fatal: Unsupported gpu architecture"),
        ('echo text >"$output"', "what it made is no code for a GPU"),
        # The processor's own code is none for a GPU.
        ('cp /bin/true "$output"', "what it made is no code for a GPU"),
        ("exit 0", "what it made is no code for a GPU"),
    ],
)
def test_what_is_no_code_for_a_gpu(probe: Any, nvcc: Any, last: str, reason: str) -> None:
    seen = probe.cuda_kernel.try_out(nvcc(VERSION, OUTPUT, last), ["sm_90"], 1)
    assert seen.uncompiled == {"sm_90": reason}
    assert (seen.computed, seen.miscomputed) == (0, [])


RIGHT = "echo 'gpu 0|NVIDIA H200|0|'; echo 'gpu 1|NVIDIA H200|0|'"


@pytest.mark.parametrize(
    ("program", "computed", "reasons"),
    [
        (RIGHT, 2, []),
        ("echo 'gpu 0|NVIDIA H200|0|'; echo 'gpu 1|NVIDIA H200|7|'", 1, ["GPU 1 NVIDIA H200: 7 wrong numbers"]),
        ("echo 'gpu 0||-1|no CUDA-capable device is detected'", 0, ["GPU 0: no CUDA-capable device is detected"]),
        ("echo 'gpu 0|NVIDIA H200|0|'", 1, ["CUDA found 1 of the 2 GPUs"]),
        (f"{RIGHT}; echo crashed >&2; exit 139", 2, ["the program ended with status 139: crashed"]),
    ],
)
def test_every_gpu_has_to_compute(probe: Any, nvcc: Any, program: str, computed: int, reasons: list[str]) -> None:
    seen = probe.cuda_kernel.try_out(nvcc(program=program), ["sm_90"], 2)
    assert (seen.computed, seen.miscomputed) == (computed, reasons)


def test_a_program_that_cannot_be_linked(probe: Any, nvcc: Any) -> None:
    seen = probe.cuda_kernel.try_out(
        nvcc(VERSION, OUTPUT, f'case "$*" in *-cubin*) {CODE} ;; *) echo cannot find -lcudart >&2; exit 1 ;; esac'),
        ["sm_90"],
        1,
    )
    assert (seen.computed, seen.miscomputed) == (0, ["no program was made: cannot find -lcudart"])


def test_a_compiler_that_never_ends(probe: Any, nvcc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.cuda_kernel, "COMPILE_S", 0.2)
    seen = probe.cuda_kernel.try_out(nvcc(VERSION, "exec sleep 60"), ["sm_90"], 0)
    assert seen.uncompiled["sm_90"].endswith("did not end within 0.2 s")


# cuDNN


def test_the_double_of_the_packages_says_its_version(probe: Any, tmp_path: Path) -> None:
    for package in double().every():
        for path, content in package.files.items():
            if path.endswith(CUDNN):
                (tmp_path / CUDNN).write_bytes(content)
                said = probe.ask_library(str(tmp_path / CUDNN), 0)
                assert package.version.startswith(f"{said['version']}.")
                assert said["problem"] == ""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the doubles of cuDNN and the driver are."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("the doubles of cuDNN and the driver take a C compiler")
    directory = tmp_path_factory.mktemp("cuda-double")
    source = Path(__file__).with_name("cuda_double.c")
    for name in (CUDNN, "libcuda.so.1"):
        command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(directory / name), str(source)]
        subprocess.run(command, check=True)
    return directory


@pytest.mark.parametrize(
    ("environment", "gpus", "computed", "reasons"),
    [
        ({}, 0, 0, []),
        ({}, 1, 1, []),
        ({}, 8, 8, []),
        ({"DOUBLE_GPUS": "1"}, 2, 1, ["CUDA found 1 of the 2 GPUs"]),
        ({"DOUBLE_WRONG": "yes"}, 2, 0, ["GPU 0: wrong numbers", "GPU 1: wrong numbers"]),
        ({"DOUBLE_NO_DRIVER": "yes"}, 1, 0, ["cuInit: no CUDA-capable device is detected"]),
    ],
)
def test_every_gpu_has_to_convolve(
    probe: Any,
    libraries: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    gpus: int,
    computed: int,
    reasons: list[str],
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    for name, value in ({"DOUBLE_GPUS": str(gpus)} | environment).items():
        monkeypatch.setenv(name, value)
    said = probe.ask_library(str(libraries / CUDNN), gpus)
    assert (said["version"], said["problem"]) == ("9.15.1", "")
    assert (said["computed"], said["miscomputed"]) == (computed, reasons)


def test_a_gpu_without_a_driver(probe: Any, libraries: Path) -> None:
    said = probe.ask_library(str(libraries / CUDNN), 1)
    assert (said["version"], said["computed"]) == ("9.15.1", 0)
    assert "libcuda.so.1" in said["miscomputed"][0]


def test_a_library_that_is_none(probe: Any, tmp_path: Path) -> None:
    (tmp_path / CUDNN).write_text("text")
    said = probe.ask_library(str(tmp_path / CUDNN), 0)
    assert (said["version"], said["computed"]) == ("", 0)
    assert "file too short" in said["problem"]


def test_a_library_that_crashes_takes_only_itself_along(
    probe: Any, libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without DOUBLE_GPUS the double reads from nowhere.
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    assert probe.ask_library(str(libraries / CUDNN), 1)["problem"].startswith("it ended with status -")
