# SPDX-License-Identifier: GPL-3.0-or-later
"""What cuDNN itself says of its version, and one convolution on every GPU against the same by hand.

Runs as a process of its own, as a text given to `python -c`: a library that crashes takes only that one along. A
question comes as JSON on standard input, the answer goes as JSON to standard output. Needs nothing but the two
libraries: GPU memory is had from the driver's API, so that no toolkit has to be there.
"""

from __future__ import annotations

import ctypes
import json
import sys

# cudnn_graph.h and cudnn_cnn.h: CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, CUDNN_CROSS_CORRELATION, implicit GEMM.
NCHW, FLOAT, CROSS_CORRELATION, IMPLICIT_GEMM = 0, 0, 1, 0
CHANNELS, SIZE, FILTERS, KERNEL = 3, 9, 4, 3
OUTPUT = SIZE - KERNEL + 1


class RefusedError(Exception):
    """What a call of either library said instead of success."""


def version(library: ctypes.CDLL) -> str:
    """Major, minor and patch level: cuDNN 9 gives one number as 90501, its predecessors as 8907."""
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = library.cudnnGetVersion()
    thousand = 10000 if number >= 90000 else 1000
    return f"{number // thousand}.{number % thousand // 100}.{number % 100}"


def numbers(count: int, modulus: int) -> list[float]:
    """Small whole numbers: their products and sums are exact in every format that a GPU might take for them."""
    return [float(i % modulus - modulus // 2) for i in range(count)]


def by_hand(image: list[float], filters: list[float]) -> list[float]:
    """The convolution, as its definition says."""
    return [
        sum(
            image[(c * SIZE + row + i) * SIZE + column + j] * filters[((f * CHANNELS + c) * KERNEL + i) * KERNEL + j]
            for c in range(CHANNELS)
            for i in range(KERNEL)
            for j in range(KERNEL)
        )
        for f in range(FILTERS)
        for row in range(OUTPUT)
        for column in range(OUTPUT)
    ]


class Driver:
    """The few calls of the driver's API (cuda.h) that memory on one GPU takes."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: object) -> None:
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(status, ctypes.byref(text))
            raise RefusedError(f"{name}: {(text.value or b'unknown error').decode()}")

    def count(self) -> int:
        found = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(found))
        return found.value

    def take(self, gpu: int) -> None:
        """Make the GPU's primary context, which is cuDNN's too, the current one."""
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), gpu)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def memory(self, size: int) -> ctypes.c_uint64:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address

    def put(self, values: list[float]) -> ctypes.c_uint64:
        array = (ctypes.c_float * len(values))(*values)
        address = self.memory(ctypes.sizeof(array))
        self.call("cuMemcpyHtoD_v2", address, array, ctypes.c_size_t(ctypes.sizeof(array)))
        return address

    def get(self, address: ctypes.c_uint64, count: int) -> list[float]:
        self.call("cuCtxSynchronize")
        array = (ctypes.c_float * count)()
        self.call("cuMemcpyDtoH_v2", array, address, ctypes.c_size_t(ctypes.sizeof(array)))
        return list(array)


def convolve(library: ctypes.CDLL, driver: Driver, image: list[float], filters: list[float]) -> list[float]:
    """The convolution on the current GPU. What is taken of it goes with the process."""
    library.cudnnGetErrorString.restype = ctypes.c_char_p

    def call(name: str, *arguments: object) -> None:
        status = getattr(library, name)(*arguments)
        if status != 0:
            raise RefusedError(f"{name}: {library.cudnnGetErrorString(status).decode()}")

    def made(name: str) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        call(name, ctypes.byref(handle))
        return handle

    cudnn = made("cudnnCreate")
    x, y = made("cudnnCreateTensorDescriptor"), made("cudnnCreateTensorDescriptor")
    w, how = made("cudnnCreateFilterDescriptor"), made("cudnnCreateConvolutionDescriptor")
    call("cudnnSetTensor4dDescriptor", x, NCHW, FLOAT, 1, CHANNELS, SIZE, SIZE)
    call("cudnnSetTensor4dDescriptor", y, NCHW, FLOAT, 1, FILTERS, OUTPUT, OUTPUT)
    call("cudnnSetFilter4dDescriptor", w, FLOAT, NCHW, FILTERS, CHANNELS, KERNEL, KERNEL)
    call("cudnnSetConvolution2dDescriptor", how, 0, 0, 1, 1, 1, 1, CROSS_CORRELATION, FLOAT)
    needed = ctypes.c_size_t()
    call("cudnnGetConvolutionForwardWorkspaceSize", cudnn, x, w, how, y, IMPLICIT_GEMM, ctypes.byref(needed))
    result = driver.memory(4 * FILTERS * OUTPUT * OUTPUT)
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    call(
        "cudnnConvolutionForward",
        cudnn,
        ctypes.byref(one),
        x,
        driver.put(image),
        w,
        driver.put(filters),
        how,
        IMPLICIT_GEMM,
        driver.memory(needed.value),
        needed,
        ctypes.byref(zero),
        y,
        result,
    )
    return driver.get(result, FILTERS * OUTPUT * OUTPUT)


def answer(path: str, gpus: int) -> dict[str, object]:
    """The library's version, how many GPUs convolved right, and what the others did instead."""
    try:
        library = ctypes.CDLL(path)
        found: dict[str, object] = {"version": version(library), "problem": ""}
    except (OSError, AttributeError) as error:
        return {"version": "", "problem": str(error), "computed": 0, "miscomputed": []}
    computed, wrong = 0, []
    image, filters = numbers(CHANNELS * SIZE * SIZE, 7), numbers(FILTERS * CHANNELS * KERNEL * KERNEL, 5)
    try:
        driver = Driver() if gpus else None
        there = driver.count() if driver else 0
        if there != gpus:
            wrong.append(f"CUDA found {there} of the {gpus} GPUs")
        for gpu in range(there):
            try:
                driver.take(gpu)
                right = convolve(library, driver, image, filters) == by_hand(image, filters)
                computed += right
                wrong += [] if right else [f"GPU {gpu}: wrong numbers"]
            except RefusedError as error:
                wrong.append(f"GPU {gpu}: {error}")
    except (OSError, AttributeError, RefusedError) as error:
        wrong.append(str(error))
    return found | {"computed": computed, "miscomputed": wrong}


if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump(answer(question["library"], question["gpus"]), sys.stdout)
