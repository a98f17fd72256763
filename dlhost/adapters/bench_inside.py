"""How long the torch, tensorflow, jax or numpy of an environment takes, on the processor and on every GPU it sees.

Runs on a host with the environment's own interpreter, as a text given to `python -c`: what is asked as JSON in its one
argument, one answer as a line of JSON on standard output. Whatever the framework says goes to standard error.

All is in single precision without TF32, whose rounded factors would hide a GPU that computes wrongly, and with the data
on the device already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

SEED = 20
# Before anything counts: libraries choose their algorithms in the first run, and clocks rise from idle for a while.
WARM_S = 0.3
# Of one work on one device: a slow processor is measured less often, and never less than once.
LONGEST_S = 20.0
LONGEST_REASON = 300
# Fast algorithms for convolutions (Winograd's, Fourier's) transform the numbers first, which costs digits. Two of
# torch's on a processor were 1e-6 apart, and in the network 2e-6; with TF32's factors it was 1.3e-3 off.
CONVOLUTION_TOLERANCE = 1e-3
OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|MemoryError|RESOURCE_EXHAUSTED|ResourceExhausted|allocate memory"
)
# Names under which each can be installed.
DISTRIBUTIONS = {
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly"),
    "jax": ("jax",),
    "numpy": ("numpy",),
}
# The convolutions of the network of github.com/lengstrom/fast-style-transfer: width and height of the kernel, channels
# before and after, and by how much the picture is smaller there than at first. The last but two and but one enlarge it:
# theirs are the kernels of the convolutions that they undo.
LAYERS = (
    (9, 3, 32, 1),
    (3, 32, 64, 2),
    (3, 64, 128, 4),
    *[(3, 128, 128, 4)] * 10,
    (3, 64, 128, 4),
    (3, 32, 64, 2),
    (9, 32, 3, 1),
)


class Framework:
    """One that was imported; images are count x height x width x channels, unless it has them otherwise."""

    cuda = ""
    """The release of CUDA that it is built for; empty for none."""
    gpus: list[tuple[str, Any]] = []  # noqa: RUF012  set anew, never added to
    """Each GPU's name, and what the framework calls it."""
    processor: Any = None
    """What the framework calls the processor."""
    works: tuple[str, ...] = ("matrix_product", "convolution", "stylisation")

    def image(self, count: int, height: int, width: int, channels: int) -> Any:
        return self.random(count, height, width, channels)

    def kernel(self, side: int, before: int, after: int) -> Any:
        return self.random(side, side, before, after)

    def random(self, *shape: int) -> Any:
        """Numbers from 0 to 1, the same at every call."""
        raise NotImplementedError

    def put(self, array: Any, device: Any) -> Any:
        raise NotImplementedError

    def compute_on(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        """Around what is computed on a device."""
        del device
        return contextlib.nullcontext()

    def prepared(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """The computation as the framework is at its fastest with it."""
        return compute

    def wait_for(self, result: Any) -> None:
        """Wait until it is really there: on a GPU a computation is only begun."""

    def fetched(self, result: Any) -> Any:
        """The result as an array in the host's memory."""
        return result

    def product(self, a: Any, b: Any) -> Any:
        return a @ b

    def convolved(self, image: Any, kernel: Any, step: int = 1) -> Any:
        raise NotImplementedError

    def enlarged(self, image: Any, kernel: Any) -> Any:
        """Twice as wide and high, by the transpose of a convolution: the kernel's channels are those of that one."""
        raise NotImplementedError

    def normalised(self, image: Any) -> Any:
        """Every channel of every image with the mean 0 and the variance 1."""
        raise NotImplementedError

    def rectified(self, image: Any) -> Any:
        raise NotImplementedError


@dataclasses.dataclass
class Work:
    """Something to compute, its operations, and how far two right results may be apart."""

    operations: float
    inputs: list[Any]
    compute: Callable[..., Any]
    tolerance: float


def installed() -> dict[str, str]:
    """Framework to its version, for those that are there. None is imported."""
    found: dict[str, str] = {}
    for framework, names in DISTRIBUTIONS.items():
        for name in names:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found.setdefault(framework, importlib.metadata.version(name))
    return found


def measured(name: str, repeat: int, size: dict[str, int]) -> dict[str, Any]:
    """Its release of CUDA, the names of the GPUs, and of every work the times on the processor and on each of them."""
    try:
        framework = {"torch": Torch, "tensorflow": Tensorflow, "jax": Jax, "numpy": Numpy}[name]()
    except Exception as error:
        return {"problem": trouble(error)["problem"]}
    return {
        "cuda": framework.cuda,
        "gpus": [gpu for gpu, _device in framework.gpus],
        "works": [{"work": work, **compared(framework, work, size, repeat)} for work in framework.works],
        "problem": "",
    }


def compared(framework: Framework, name: str, size: dict[str, int], repeat: int) -> dict[str, Any]:
    """One work everywhere, the results of the GPUs held against the processor's."""
    make = {"matrix_product": matrix_product, "convolution": convolution, "stylisation": stylisation}[name]
    try:
        # Not on a GPU, where the frameworks would begin it.
        with framework.compute_on(framework.processor):
            work = make(framework, size)
        cpu, reference = timed(framework, framework.processor, work, repeat)
    except Exception as error:
        # Without its numbers nobody knows what a GPU's are worth.
        return {"operations": 0, "cpu": {"seconds": [], **trouble(error)}, "gpus": []}
    gpus = [tried(framework, device, work, repeat, reference) for _name, device in framework.gpus]
    return {"operations": work.operations, "cpu": {"seconds": cpu, "problem": ""}, "gpus": gpus}


def tried(framework: Framework, device: Any, work: Work, repeat: int, reference: Any) -> dict[str, Any]:
    try:
        seconds, result = timed(framework, device, work, repeat)
        off = float(abs(result - reference).max()) / float(abs(reference).max())
    except Exception as error:
        return {"seconds": [], **trouble(error)}
    # A result that is no number at all compares as false.
    problem = "" if off <= work.tolerance else f"wrong numbers, {off:.1e} off where {work.tolerance:.1e} is allowed"
    return {"seconds": seconds, "off": f"{off:.1e}", "problem": problem}


def timed(framework: Framework, device: Any, work: Work, repeat: int) -> tuple[list[float], Any]:
    """The seconds of every run after the first ones, and the result."""
    seconds: list[float] = []
    with framework.compute_on(device):
        inputs = [framework.put(array, device) for array in work.inputs]
        compute = framework.prepared(work.compute)

        def run() -> Any:
            begin = time.perf_counter()
            result = compute(*inputs)
            framework.wait_for(result)
            seconds.append(time.perf_counter() - begin)
            return result

        result = run()
        while sum(seconds) < WARM_S:
            result = run()
        if sum(seconds) < LONGEST_S:
            seconds.clear()
        while len(seconds) < repeat and sum(seconds) < LONGEST_S:
            # The one before would take memory twice.
            del result
            result = run()
        return seconds, framework.fetched(result)


def matrix_product(framework: Framework, size: dict[str, int]) -> Work:
    """Of two square matrices.

    The numbers lie between 0 and 1, so nothing cancels out: in whatever order they are added, each of the two results
    is at most a rounding of 2**-24 for every addition off.
    """
    n = size["matrix"]
    return Work(2 * n**3, [framework.random(n, n) for _factor in range(2)], framework.product, 2 * n * 2.0**-24)


def convolution(framework: Framework, size: dict[str, int]) -> Work:
    """Of some images with 64 channels by a kernel of 3 x 3, as deep networks are full of."""
    images, side, channels = size["images"], size["side"], 64
    return Work(
        2 * images * side**2 * 9 * channels**2,
        [framework.image(images, side, side, channels), framework.kernel(3, channels, channels)],
        framework.convolved,
        CONVOLUTION_TOLERANCE,
    )


def stylisation(framework: Framework, size: dict[str, int]) -> Work:
    """Of one picture by a network with random weights: 16 convolutions, whose roundings each next one takes over."""
    height, width = size["height"], size["width"]
    # Weights of both signs, as training finds them.
    kernels = [framework.kernel(side, before, after) - 0.5 for side, before, after, _smaller in LAYERS]
    return Work(
        sum(2 * side**2 * before * after * height * width / smaller**2 for side, before, after, smaller in LAYERS),
        [framework.image(1, height, width, 3), *kernels],
        lambda image, *weights: stylised(framework, image, *weights),
        CONVOLUTION_TOLERANCE,
    )


def stylised(framework: Framework, image: Any, *kernels: Any) -> Any:
    def layer(image: Any, kernel: Any, step: int = 1) -> Any:
        return framework.rectified(framework.normalised(framework.convolved(image, kernel, step)))

    first, halving, quartering, *residual, doubling, redoubling, last = kernels
    image = layer(layer(layer(image, first), halving, 2), quartering, 2)
    for number in range(0, len(residual), 2):
        one, other = residual[number : number + 2]
        image = image + framework.normalised(framework.convolved(layer(image, one), other))
    for kernel in (doubling, redoubling):
        image = framework.rectified(framework.normalised(framework.enlarged(image, kernel)))
    return framework.convolved(image, last)


class Numpy(Framework):
    # It has no convolution of its own, and a whole network of ours would compare nothing that anybody uses.
    works = ("matrix_product", "convolution")

    def __init__(self) -> None:
        self.numpy = importlib.import_module("numpy")

    def random(self, *shape: int) -> Any:
        return self.numpy.random.default_rng(SEED).random(shape, dtype="float32")

    def put(self, array: Any, device: Any) -> Any:
        del device
        return array

    def convolved(self, image: Any, kernel: Any, step: int = 1) -> Any:
        """One matrix product for every number of the kernel's side times side."""
        side, (height, width) = kernel.shape[0], image.shape[1:3]
        padding = [(0, 0), (side // 2, side // 2), (side // 2, side // 2), (0, 0)]
        padded = self.numpy.pad(image, padding)
        places = [(y, x) for y in range(side) for x in range(side)]
        return sum(padded[:, y : y + height : step, x : x + width : step] @ kernel[y, x] for y, x in places)


class Torch(Framework):
    """Its images are count x channels x height x width, its kernels channels after x before x side x side."""

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")
        self.functional = self.torch.nn.functional
        self.torch.set_float32_matmul_precision("highest")
        self.torch.backends.cudnn.allow_tf32 = False
        # The other two always try which algorithm is the fastest.
        self.torch.backends.cudnn.benchmark = True
        cuda = self.torch.cuda
        self.cuda = self.torch.version.cuda or ""
        self.gpus = [(cuda.get_device_name(number), f"cuda:{number}") for number in range(cuda.device_count())]
        self.processor = "cpu"

    def image(self, count: int, height: int, width: int, channels: int) -> Any:
        return self.random(count, channels, height, width)

    def kernel(self, side: int, before: int, after: int) -> Any:
        return self.random(after, before, side, side)

    def random(self, *shape: int) -> Any:
        return self.torch.rand(*shape, generator=self.torch.Generator().manual_seed(SEED))

    def put(self, array: Any, device: Any) -> Any:
        return array.to(device)

    def compute_on(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        del device
        inference: contextlib.AbstractContextManager[Any] = self.torch.inference_mode()
        return inference

    def wait_for(self, result: Any) -> None:
        if result.is_cuda:
            self.torch.cuda.synchronize(result.device)

    def fetched(self, result: Any) -> Any:
        return result.cpu()

    def convolved(self, image: Any, kernel: Any, step: int = 1) -> Any:
        return self.functional.conv2d(image, kernel, stride=step, padding=kernel.shape[-1] // 2)

    def enlarged(self, image: Any, kernel: Any) -> Any:
        return self.functional.conv_transpose2d(image, kernel, stride=2, padding=1, output_padding=1)

    def normalised(self, image: Any) -> Any:
        return self.functional.instance_norm(image)

    def rectified(self, image: Any) -> Any:
        return self.torch.relu(image)


class Tensorflow(Framework):
    def __init__(self) -> None:
        self.tensorflow = importlib.import_module("tensorflow")
        config = self.tensorflow.config
        config.experimental.enable_tensor_float_32_execution(False)
        # Else a GPU that cannot do it would silently be stood in for by the processor.
        config.set_soft_device_placement(False)
        self.cuda = self.tensorflow.sysconfig.get_build_info().get("cuda_version", "")
        gpus = enumerate(config.list_physical_devices("GPU"))
        details = config.experimental.get_device_details
        self.gpus = [(details(gpu).get("device_name", gpu.name), f"GPU:{number}") for number, gpu in gpus]
        self.processor = "CPU:0"

    def random(self, *shape: int) -> Any:
        return self.tensorflow.random.stateless_uniform(shape, seed=(SEED, 0))

    def put(self, array: Any, device: Any) -> Any:
        del device
        return self.tensorflow.identity(array)

    def compute_on(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        placed: contextlib.AbstractContextManager[Any] = self.tensorflow.device(device)
        return placed

    def wait_for(self, result: Any) -> None:
        del result
        self.tensorflow.test.experimental.sync_devices()

    def fetched(self, result: Any) -> Any:
        return result.numpy()

    def product(self, a: Any, b: Any) -> Any:
        return self.tensorflow.matmul(a, b)

    def convolved(self, image: Any, kernel: Any, step: int = 1) -> Any:
        return self.tensorflow.nn.conv2d(image, kernel, strides=step, padding="SAME")

    def enlarged(self, image: Any, kernel: Any) -> Any:
        count, height, width, _before = image.shape
        shape = (count, 2 * height, 2 * width, kernel.shape[2])
        return self.tensorflow.nn.conv2d_transpose(image, kernel, shape, strides=2, padding="SAME")

    def normalised(self, image: Any) -> Any:
        mean, variance = self.tensorflow.nn.moments(image, (1, 2), keepdims=True)
        return (image - mean) * self.tensorflow.math.rsqrt(variance + 1e-5)

    def rectified(self, image: Any) -> Any:
        return self.tensorflow.nn.relu(image)


class Jax(Framework):
    LAYOUT = ("NHWC", "HWIO", "NHWC")

    def __init__(self) -> None:
        self.jax = importlib.import_module("jax")
        # jax itself is built for no device; what its plugins are built for is in their names.
        names = " ".join(str(distribution.metadata["Name"]) for distribution in importlib.metadata.distributions())
        self.cuda = (re.findall(r"\bjax[-_]cuda(\d+)[-_]plugin\b", names) or [""])[0]
        gpus = self.jax.local_devices(backend="cuda") if self.cuda else []
        self.gpus = [(gpu.device_kind, gpu) for gpu in gpus]
        self.processor = self.jax.local_devices(backend="cpu")[0]

    def random(self, *shape: int) -> Any:
        return self.jax.random.uniform(self.jax.random.PRNGKey(SEED), shape)

    def put(self, array: Any, device: Any) -> Any:
        return self.jax.device_put(array, device)

    def compute_on(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        placed: contextlib.AbstractContextManager[Any] = self.jax.default_device(device)
        return placed

    def prepared(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = self.jax.jit(compute)
        return compiled

    def wait_for(self, result: Any) -> None:
        result.block_until_ready()

    def fetched(self, result: Any) -> Any:
        return self.jax.device_get(result)

    def product(self, a: Any, b: Any) -> Any:
        return self.jax.numpy.matmul(a, b, precision="highest")

    def convolved(self, image: Any, kernel: Any, step: int = 1) -> Any:
        return self.jax.lax.conv_general_dilated(
            image, kernel, (step, step), "SAME", dimension_numbers=self.LAYOUT, precision="highest"
        )

    def enlarged(self, image: Any, kernel: Any) -> Any:
        return self.jax.lax.conv_transpose(
            image, kernel, (2, 2), "SAME", dimension_numbers=self.LAYOUT, transpose_kernel=True, precision="highest"
        )

    def normalised(self, image: Any) -> Any:
        mean = image.mean((1, 2), keepdims=True)
        return (image - mean) * self.jax.lax.rsqrt(image.var((1, 2), keepdims=True) + 1e-5)

    def rectified(self, image: Any) -> Any:
        return self.jax.nn.relu(image)


def trouble(error: Exception) -> dict[str, Any]:
    """What an error says in a line, and whether it is about memory."""
    kind = type(error).__name__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), kind)
    out_of_memory = bool(OUT_OF_MEMORY.search(f"{kind} {error}"))
    return {"problem": line[:LONGEST_REASON], "out_of_memory": out_of_memory}


if __name__ == "__main__":
    question, arguments = json.loads(sys.argv[1])
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        # Also for what is not Python in a framework, which writes past sys.stdout.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        json.dump(installed() if question == "installed" else measured(*arguments), answer)
