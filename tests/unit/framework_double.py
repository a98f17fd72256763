"""Doubles of torch, tensorflow and jax, since no machine of the tests has a GPU: the calls that dlhost makes.

A copy lies in an environment's site-packages, where the packages that bear the real names do nothing but give way to
one of the classes here. Beside it, framework_double.json says what the double has to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WORLD: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
OFF: list[float | None] = WORLD.get("off", [])
"""How far off each GPU's numbers are; none for one that cannot compute at all."""
CUDA: str = WORLD.get("cuda", "12.9")
GPU_S: float = WORLD.get("gpu_s", 0)
"""How long a GPU computes, beside the processor: only who waits for it knows."""


def wait(device: str) -> None:
    if device.lower().startswith(("cuda", "gpu")):
        time.sleep(GPU_S)


class Array:
    """Stands in for a matrix or images by its largest element, on a device."""

    shape = (1, 4, 4, 1)

    def __init__(self, value: float, device: str = "cpu") -> None:
        self.value, self.device = value, device

    def to(self, device: str) -> Array:
        return Array(self.value, device)

    def cpu(self) -> Array:
        return Array(self.value)

    numpy = cpu

    def __matmul__(self, other: Array) -> Array:
        kind, _, number = self.device.lower().rpartition(":")
        if kind not in ("cuda", "gpu"):
            return Array(self.value * other.value)
        off = OFF[int(number)]
        if off is None:
            raise RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")
        return Array(self.value * other.value * (1 + off), self.device)

    def __add__(self, other: Array) -> Array:
        return Array(self.value + other.value, self.device)

    def __sub__(self, other: Array | float) -> Array:
        return Array(self.value - (other.value if isinstance(other, Array) else other), self.device)

    def __mul__(self, factor: float) -> Array:
        return Array(self.value * factor, self.device)

    def __truediv__(self, other: Array) -> Array:
        return Array(self.value / other.value)

    def __abs__(self) -> Array:
        return Array(abs(self.value))

    def max(self) -> float:
        return self.value

    def mean(self, _axes: object, keepdims: bool) -> float:
        assert keepdims
        return 0

    def var(self, _axes: object, keepdims: bool) -> float:
        assert keepdims
        return 1

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    def block_until_ready(self) -> None:
        wait(self.device)


def convolved(image: Array, kernel: Array, *_settings: object, **_more: object) -> Array:
    return image @ kernel


def unchanged(it: Any) -> Any:
    return it


class Torch:
    def __init__(self) -> None:
        self.version = SimpleNamespace(cuda=CUDA or None)
        self.cuda = SimpleNamespace(
            device_count=lambda: len(OFF), get_device_name=lambda _number: "NVIDIA H200", synchronize=wait
        )
        self.backends = SimpleNamespace(cudnn=SimpleNamespace(allow_tf32=True, benchmark=False))
        functional = SimpleNamespace(conv2d=self._conv2d, conv_transpose2d=convolved, instance_norm=unchanged)
        self.nn = SimpleNamespace(functional=functional)
        self.inference_mode = contextlib.nullcontext
        self.relu = unchanged

    def _conv2d(self, image: Array, kernel: Array, stride: int, padding: int) -> Array:
        assert not self.backends.cudnn.allow_tf32
        del stride, padding
        return image @ kernel

    class Generator:
        def manual_seed(self, _seed: int) -> object:
            return self

    def set_float32_matmul_precision(self, precision: str) -> None:
        assert precision == "highest"

    def rand(self, *_size: int, generator: object) -> Array:
        del generator
        return Array(2)


class Tensorflow:
    """Its device is that of the innermost `with`, and TF32 makes its numbers worse until it is off."""

    def __init__(self) -> None:
        self.placed, self.tf32, self.soft = "CPU:0", True, True
        self.config = SimpleNamespace(
            experimental=SimpleNamespace(
                enable_tensor_float_32_execution=lambda enabled: setattr(self, "tf32", enabled),
                get_device_details=lambda _gpu: {"device_name": "NVIDIA H200"},
            ),
            set_soft_device_placement=lambda enabled: setattr(self, "soft", enabled),
            list_physical_devices=lambda _kind: [SimpleNamespace(name=f"GPU {number}") for number in range(len(OFF))],
        )
        build = {"is_cuda_build": True, "cuda_version": CUDA} if CUDA else {"is_cuda_build": False}
        self.sysconfig = SimpleNamespace(get_build_info=lambda: build)
        self.random = SimpleNamespace(stateless_uniform=lambda _size, seed: Array(2 + 0 * len(seed)))
        self.test = SimpleNamespace(experimental=SimpleNamespace(sync_devices=lambda: wait(self.placed)))
        self.nn = SimpleNamespace(
            conv2d=self._conv2d,
            conv2d_transpose=self._conv2d,
            moments=lambda *_, keepdims: (0, keepdims),
            relu=unchanged,
        )
        self.math = SimpleNamespace(rsqrt=lambda _variance: 1)

    @contextlib.contextmanager
    def device(self, name: str) -> Any:
        outside, self.placed = self.placed, name
        yield
        self.placed = outside

    def identity(self, array: Array) -> Array:
        return array.to(self.placed)

    def _conv2d(self, image: Array, kernel: Array, *_shape: object, strides: int, padding: str) -> Array:
        assert (strides in (1, 2), padding) == (True, "SAME")
        return self.matmul(image, kernel)

    def matmul(self, a: Array, b: Array) -> Array:
        assert not self.tf32
        assert not self.soft
        return a.to(self.placed) @ b


class Jax:
    def __init__(self) -> None:
        self.random = SimpleNamespace(
            PRNGKey=lambda seed: seed, split=lambda key: (key, key + 1), uniform=lambda _key, _size: Array(2)
        )
        self.numpy = SimpleNamespace(matmul=self._matmul)
        self.lax = SimpleNamespace(
            conv_general_dilated=self._conv, conv_transpose=self._conv, rsqrt=lambda _variance: 1
        )
        self.nn = SimpleNamespace(relu=unchanged)
        self.jit = unchanged

    def local_devices(self, backend: str) -> list[Any]:
        number = {"cpu": 1, "cuda": len(OFF)}[backend]
        return [SimpleNamespace(device_kind="NVIDIA H200", it=f"{backend}:{number}") for number in range(number)]

    def default_device(self, _device: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def device_put(self, array: Array, device: Any) -> Array:
        return array.to(device.it)

    def device_get(self, array: Array) -> Array:
        return array.cpu()

    def _conv(self, image: Array, kernel: Array, *_settings: object, precision: str, **_more: object) -> Array:
        return self._matmul(image, kernel, precision)

    def _matmul(self, a: Array, b: Array, precision: str) -> Array:
        assert precision == "highest"
        return a @ b


def stand_in(name: str) -> None:
    """Take the place of the package that is being imported, with the noise that the real ones make."""
    # Past Python's own buffers, as code in C++ does.
    os.write(1, b"{}\n")
    os.write(2, b"I0000 00:00:1.0 cuda_executor.cc:1228] could not open file to read NUMA node\n")
    fate = WORLD.get("fate", "")
    if fate == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fate == "hang":
        # What it has started keeps its outputs open.
        subprocess.Popen(["sleep", "6071"])
        time.sleep(60)
    elif fate == "leave":
        sys.exit(3)
    elif fate == "say nothing":
        os._exit(0)
    elif fate:
        raise ImportError(fate)
    sys.modules[name] = {"torch": Torch, "tensorflow": Tensorflow, "jax": Jax}[name]()  # type: ignore[assignment]
