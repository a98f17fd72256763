"""A double of nvidia-smi for machines without a GPU: a shell program that prints what the documentation shows.

None of this was recorded from a card. The columns are those of `nvidia-smi --help-query-gpu`, the exit codes those of
nvidia-smi(1); `[N/A]` for the load of a card divided by MIG and `[Insufficient Permissions]` are as in
github.com/Stability-AI/StableSwarmUI/issues/388, `mig.mode.current` as in github.com/Syllo/nvtop/pull/470.
"""

from __future__ import annotations

from pathlib import Path

RTX_4090 = (
    "0, GPU-11111111-2222-3333-4444-555555555555, 93, 21704, 24564, 71, 412.55, 450.00, [N/A], NVIDIA GeForce RTX 4090"
)
GTX_1070 = "1, GPU-66666666-7777-8888-9999-000000000000, 0, 3, 8192, 41, [N/A], [N/A], [N/A], NVIDIA GeForce GTX 1070"
A100_DIVIDED = (
    "0, GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee, [N/A], [Insufficient Permissions], [Insufficient Permissions], 47, "
    "62.10, 400.00, Enabled, NVIDIA A100-SXM4-80GB"
)
APPS = (
    "GPU-11111111-2222-3333-4444-555555555555, 1, 21500, /opt/conda/bin/python, with a comma\n"
    "GPU-11111111-2222-3333-4444-555555555555, 999999999, [N/A], [Not Found]\n"
)
# What it says instead, and how it ends.
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n"


def program(gpus: str = "", apps: str = "", status: int = 0) -> str:
    """The double as a shell script."""
    return (
        "#!/bin/sh\n"
        f"case $1 in --query-gpu=*) cat <<'EOF'\n{gpus}EOF\n;;\n"
        f"--query-compute-apps=*) cat <<'EOF'\n{apps}EOF\n;; esac\nexit {status}\n"
    )


def install(directory: Path, script: str) -> None:
    """Put a program called nvidia-smi into a directory of PATH's."""
    (directory / "nvidia-smi").write_text(script)
    (directory / "nvidia-smi").chmod(0o755)
