# SPDX-License-Identifier: GPL-3.0-or-later
"""What a CUDA compiler gives: its release, code for a GPU, and numbers that are right."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import commands

RELEASE = re.compile(r"\brelease (\d+\.\d+)")
# One line for each GPU: number, name, wrong elements, the runtime's error.
RESULT = re.compile(r"^gpu (\d+)\|([^|]*)\|(-?\d+)\|(.*)$", re.MULTILINE)
ELF_MAGIC = b"\x7fELF"
# elf.h, EM_CUDA: what a cubin says that it is for.
CUDA_MACHINE = 190
COMPILE_S = 120
RUN_S = 60
SHOWN_WORDS = 40

# Every number here is exact in single precision, so a GPU has to give just what the processor gives.
SOURCE = r"""
#include <cstdio>
#include <vector>

__global__ void scale_and_add(int count, float factor, const float *x, float *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = factor * x[i] + y[i];
}

static cudaError_t compute(int count, float factor, const std::vector<float> &x, std::vector<float> &y) {
  size_t bytes = count * sizeof(float);
  float *on_gpu = nullptr;
  cudaError_t error = cudaMalloc(&on_gpu, 2 * bytes);
  if (error == cudaSuccess) error = cudaMemcpy(on_gpu, x.data(), bytes, cudaMemcpyHostToDevice);
  if (error == cudaSuccess) error = cudaMemcpy(on_gpu + count, y.data(), bytes, cudaMemcpyHostToDevice);
  if (error == cudaSuccess) {
    scale_and_add<<<(count + 255) / 256, 256>>>(count, factor, on_gpu, on_gpu + count);
    error = cudaGetLastError();
  }
  if (error == cudaSuccess) error = cudaDeviceSynchronize();
  if (error == cudaSuccess) error = cudaMemcpy(y.data(), on_gpu + count, bytes, cudaMemcpyDeviceToHost);
  cudaFree(on_gpu);
  return error;
}

int main() {
  const int count = 1000003;
  const float factor = 3;
  int gpus = 0;
  cudaError_t error = cudaGetDeviceCount(&gpus);
  if (error != cudaSuccess) {
    std::printf("gpu 0||-1|%s\n", cudaGetErrorString(error));
    return 0;
  }
  for (int gpu = 0; gpu < gpus; ++gpu) {
    cudaDeviceProp about = {};
    std::vector<float> x(count), y(count);
    for (int i = 0; i < count; ++i) {
      x[i] = i;
      y[i] = 0.5f * i;
    }
    error = cudaSetDevice(gpu);
    if (error == cudaSuccess) error = cudaGetDeviceProperties(&about, gpu);
    if (error == cudaSuccess) error = compute(count, factor, x, y);
    int wrong = 0;
    for (int i = 0; i < count; ++i) wrong += y[i] != 3.5f * i;
    std::printf("gpu %d|%s|%d|%s\n", gpu, about.name, error == cudaSuccess ? wrong : -1,
                error == cudaSuccess ? "" : cudaGetErrorString(error));
  }
}
"""


@dataclasses.dataclass
class Toolkit:
    """What one compiler was seen to do; an empty `problem` and no reasons mean that all went well."""

    nvcc: str
    release: str = ""
    problem: str = ""
    uncompiled: dict[str, str] = dataclasses.field(default_factory=dict)
    """Architecture to why no code for it was made."""
    computed: int = 0
    """GPUs that gave the right numbers."""
    miscomputed: list[str] = dataclasses.field(default_factory=list)
    """What each other GPU did instead."""


def try_out(nvcc: str, architectures: list[str], gpus: int) -> Toolkit:
    """Compile a kernel for every architecture (sm_90), and run it on every GPU where there are any."""
    toolkit = Toolkit(nvcc)
    with tempfile.TemporaryDirectory(prefix="dlhost-cuda-") as name:
        directory = Path(name)
        said = _run(directory, RUN_S, nvcc, "--version")
        release = RELEASE.search(said.stdout)
        if said.returncode != 0 or not release:
            toolkit.problem = _shown(said)
            return toolkit
        toolkit.release = release[1]
        (directory / "kernel.cu").write_text(SOURCE, encoding="utf-8")
        toolkit.uncompiled = {name: why for name in architectures if (why := _uncompiled(directory, nvcc, name))}
        if gpus and not toolkit.uncompiled:
            _compute(directory, toolkit, architectures, gpus)
    return toolkit


def _uncompiled(directory: Path, nvcc: str, architecture: str) -> str:
    """Why there is no code for a GPU of this architecture; empty where there is."""
    code = directory / f"{architecture}.cubin"
    done = _run(directory, COMPILE_S, nvcc, "-cubin", f"-arch={architecture}", "-o", str(code), "kernel.cu")
    if done.returncode != 0:
        return _shown(done)
    header = code.read_bytes()[:20] if code.exists() else b""
    if header[:4] != ELF_MAGIC or int.from_bytes(header[18:20], "little") != CUDA_MACHINE:
        return "what it made is no code for a GPU"
    return ""


def _compute(directory: Path, toolkit: Toolkit, architectures: list[str], gpus: int) -> None:
    wanted = [f"-gencode=arch={name.replace('sm', 'compute', 1)},code={name}" for name in dict.fromkeys(architectures)]
    built = _run(directory, COMPILE_S, toolkit.nvcc, *wanted, "-o", "kernel", "kernel.cu")
    if built.returncode != 0:
        toolkit.miscomputed = [f"no program was made: {_shown(built)}"]
        return
    ran = _run(directory, RUN_S, str(directory / "kernel"))
    seen = RESULT.findall(ran.stdout)
    for number, name, wrong, error in seen:
        if wrong == "0":
            toolkit.computed += 1
        else:
            toolkit.miscomputed.append(f"GPU {number} {name}: {error or f'{wrong} wrong numbers'}".replace(" :", ":"))
    if ran.returncode != 0:
        toolkit.miscomputed.append(f"the program ended with status {ran.returncode}: {_shown(ran)}")
    elif len(seen) != gpus and not toolkit.miscomputed:
        toolkit.miscomputed.append(f"CUDA found {len(seen)} of the {gpus} GPUs")


def _run(directory: Path, timeout_s: int, *command: str) -> subprocess.CompletedProcess[str]:
    # The compiler leaves what it makes in between there, and a failed one does not clear up.
    return commands.run(*command, directory=directory, timeout_s=timeout_s, variables={"TMPDIR": str(directory)})


def _shown(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr.strip() or done.stdout).split()[:SHOWN_WORDS])
