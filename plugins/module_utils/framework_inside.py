# SPDX-License-Identifier: GPL-3.0-or-later
"""What the torch, tensorflow or jax of an environment is built for, and a matrix product on every GPU it sees.

Runs with the environment's own interpreter, as a text given to `python -c`: one question as JSON on standard input,
one answer as a line of JSON on standard output. Whatever the framework says goes to standard error.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

SIZE = 1024
SEED = 20
# The numbers lie between 0 and 1, so nothing cancels out: single precision, in whatever order it adds SIZE products,
# is at most SIZE * 2**-24 off, once on the GPU and once on the processor. Frameworks may have tensor cores round the
# factors to the 11 bits of TF32, which can be further off than that on a card that is well; so TF32 is off here.
TOLERANCE = 2 * SIZE * 2.0**-24
LONGEST_REASON = 300
# Names under which each can be installed.
DISTRIBUTIONS = {
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly"),
    "jax": ("jax",),
}


@dataclasses.dataclass
class Framework:
    """One that was imported, with the factors of the product made on the processor."""

    cuda: str
    """The release of CUDA that it is built for; empty for none."""
    devices: list[tuple[str, Any]]
    """Each GPU's name, and what the framework calls it."""
    product: Callable[[Any], Any]
    """Multiplies on a device and gives the result as an array in the host's memory."""
    processor: Any
    """What the framework calls the processor."""


def installed() -> dict[str, str]:
    """Framework to its version, for those that are there. None is imported."""
    found = {}
    for framework, names in DISTRIBUTIONS.items():
        versions = [version for version in map(_version, names) if version]
        if versions:
            found[framework] = versions[0]
    return found


def compute(name: str) -> dict[str, object]:
    """Its release of CUDA, and for every device the name, the largest relative error and what is wrong."""
    try:
        framework = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}[name]()
        reference = framework.product(framework.processor) if framework.devices else None
    except Exception as error:
        return {"cuda": "", "devices": [], "problem": _first_line(error)}
    return {
        "cuda": framework.cuda,
        "devices": [_tried(framework, *device, reference) for device in framework.devices],
        "problem": "",
    }


def _tried(framework: Framework, name: str, device: Any, reference: Any) -> dict[str, str]:
    try:
        error = float((abs(framework.product(device) - reference) / reference).max())
    except Exception as failure:
        return {"name": name, "error": "", "problem": _first_line(failure)}
    # An error that is no number at all compares as false.
    problem = "" if error <= TOLERANCE else f"wrong numbers, {error:.1e} off where {TOLERANCE:.1e} is allowed"
    return {"name": name, "error": f"{error:.1e}", "problem": problem}


def _torch() -> Framework:
    import torch

    torch.set_float32_matmul_precision("highest")
    generator = torch.Generator().manual_seed(SEED)
    a, b = (torch.rand(SIZE, SIZE, generator=generator) for _factor in range(2))
    return Framework(
        cuda=torch.version.cuda or "",
        devices=[(torch.cuda.get_device_name(number), f"cuda:{number}") for number in range(torch.cuda.device_count())],
        product=lambda device: (a.to(device) @ b.to(device)).cpu(),
        processor="cpu",
    )


def _tensorflow() -> Framework:
    import tensorflow

    tensorflow.config.experimental.enable_tensor_float_32_execution(False)
    # Else a GPU that cannot do it would silently be stood in for by the processor.
    tensorflow.config.set_soft_device_placement(False)
    details = tensorflow.config.experimental.get_device_details
    gpus = tensorflow.config.list_physical_devices("GPU")
    with tensorflow.device("CPU:0"):
        a, b = (tensorflow.random.stateless_uniform((SIZE, SIZE), seed=(SEED, factor)) for factor in range(2))

    def product(device: str) -> Any:
        with tensorflow.device(device):
            return tensorflow.matmul(a, b).numpy()

    return Framework(
        cuda=tensorflow.sysconfig.get_build_info().get("cuda_version", ""),
        devices=[(details(gpu).get("device_name", gpu.name), f"GPU:{number}") for number, gpu in enumerate(gpus)],
        product=product,
        processor="CPU:0",
    )


def _jax() -> Framework:
    import jax

    processor = jax.local_devices(backend="cpu")[0]
    with jax.default_device(processor):
        keys = jax.random.split(jax.random.PRNGKey(SEED))
        a, b = (jax.random.uniform(key, (SIZE, SIZE)) for key in keys)
    # jax itself is built for no device; what its plugins are built for is in their names.
    names = " ".join(str(distribution.metadata["Name"]) for distribution in importlib.metadata.distributions())
    cuda = (re.findall(r"\bjax[-_]cuda(\d+)[-_]plugin\b", names) or [""])[0]
    return Framework(
        cuda=cuda,
        devices=[(gpu.device_kind, gpu) for gpu in (jax.local_devices(backend="cuda") if cuda else [])],
        product=lambda device: jax.device_get(
            jax.numpy.matmul(jax.device_put(a, device), jax.device_put(b, device), precision="highest")
        ),
        processor=processor,
    )


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:LONGEST_REASON]


if __name__ == "__main__":
    question, arguments = json.load(sys.stdin)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        # Also for what is not Python in a framework, which writes past sys.stdout.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        json.dump({"installed": installed, "compute": compute}[question](*arguments), answer)
