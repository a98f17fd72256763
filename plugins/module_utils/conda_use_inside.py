# SPDX-License-Identifier: GPL-3.0-or-later
"""What only an environment's own Python can do: import what was declared, and multiply with what it has for that.

Runs with that interpreter, as a text given to `python -c` with a mapping as JSON, of distributions to the module that
each is imported as, empty where the distribution's own records tell, and with how many seconds a step may take. Prints
a line of JSON before and after each: what it is, with which distribution, and what is wrong; so a step that ends the
interpreter is known.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import os
import signal
import sys

# Whole numbers below 16, their products and sums are exact in single precision, and whatever factors are rounded to
# for a processor's matrix instructions: what differs at all is wrong.
SIZE = 64
LONGEST_REASON = 300


def use(declared, limit_s, say) -> None:
    """Take every step; `say` is given each line. What takes too long is ended, and all the rest with it."""

    def step(what, subject, take, argument) -> None:
        say([what, subject, None])
        problem = ""
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            take(argument)
        except (Exception, SystemExit) as error:
            # Every package has its own kinds; one that exits does not end the steps of the others.
            problem = f"fails: {type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        say([what, subject, problem])

    for name, told in declared.items():
        found = distribution(name)
        module = (told or module_of(found)) if found else ""
        if module:
            step("imports", name, importlib.import_module, module)
    for framework, (names, product) in PRODUCTS.items():
        if any(map(distribution, names)):
            step("multiplies", framework, compare, product)


def distribution(name):
    """One that is there, or None."""
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def module_of(found) -> str:
    """What a distribution is imported as, by its records; empty where they leave it open."""
    tops = set((found.read_text("top_level.txt") or "").split())
    for file in found.files or ():
        is_package = len(file.parts) > 1 and file.suffix in {".py", ".so"}
        tops.add(file.parts[0] if is_package else inspect.getmodulename(file.name) or "")
    public = [top for top in tops if top.isidentifier() and not top.startswith("_")]
    usual = found.metadata["Name"].lower().replace("-", "_")
    # Beside their own, many bring modules for their tests.
    fitting = [top for top in public if top.lower() == usual] or public
    return fitting[0] if len(fitting) == 1 else ""


def compare(product) -> None:
    """Hold a product on the processor against the same in Python alone.

    Raises:
        ArithmeticError: It differs.
    """
    a = [[float((3 * i + 5 * j) % 16) for j in range(SIZE)] for i in range(SIZE)]
    b = [[float((7 * i + j) % 16) for j in range(SIZE)] for i in range(SIZE)]
    columns = [[row[number] for row in b] for number in range(SIZE)]
    if product(a, b) != [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]:  # noqa: B905
        raise ArithmeticError("the product of two matrices has wrong numbers")


def _numpy(a, b):
    import numpy

    return (numpy.array(a, dtype="float32") @ numpy.array(b, dtype="float32")).tolist()


def _torch(a, b):
    import torch

    return (torch.tensor(a, dtype=torch.float32) @ torch.tensor(b, dtype=torch.float32)).tolist()


def _tensorflow(a, b):
    import tensorflow

    factors = [tensorflow.constant(each, dtype=tensorflow.float32) for each in (a, b)]
    return tensorflow.matmul(*factors).numpy().tolist()


def _jax(a, b):
    import jax

    factors = [jax.numpy.array(each, dtype="float32") for each in (a, b)]
    return jax.numpy.matmul(*factors).tolist()


# Each with the names under which it can be installed.
PRODUCTS = {
    "numpy": (("numpy",), _numpy),
    "torch": (("torch",), _torch),
    "tensorflow": (("tensorflow", "tensorflow-cpu"), _tensorflow),
    "jax": (("jax",), _jax),
}


if __name__ == "__main__":
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        # Also for what is not Python in a package, which writes past sys.stdout.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        given, seconds = json.loads(sys.argv[1]), float(sys.argv[2])
        use(given, seconds, lambda line: print(json.dumps(line), file=answer, flush=True))
