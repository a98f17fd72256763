"""What only an environment's own jupyter_client can do: start its kernel, as Jupyter finds it, and compute a cell.

Runs with the environment's interpreter, as a text given to `python -c` with the kernel's name. Prints what the cell
prints.
"""

from __future__ import annotations

import sys

START_S = 60
# The second directory is that of the activated environment.
CELL = "import os, sys; print(6 * 7, sys.prefix, os.environ.get('CONDA_PREFIX'))"


def compute(name: str) -> str:
    """What the cell says in the kernel of that name, which is ended afterwards."""
    from jupyter_client.manager import start_new_kernel

    said = []

    def hear(message) -> None:
        said.append(message["content"].get("text", ""))

    manager, client = start_new_kernel(kernel_name=name, startup_timeout=START_S)
    try:
        client.execute_interactive(CELL, timeout=START_S, output_hook=hear)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(said)


if __name__ == "__main__":
    print(compute(sys.argv[1]), end="")  # noqa: T201
