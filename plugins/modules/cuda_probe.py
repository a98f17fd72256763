# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what CUDA's compilers and cuDNN are seen to do on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cuda_probe
short_description: Compile and compute with CUDA and cuDNN
description:
  - Has each compiler make a kernel's code for the given architectures, and each cuDNN say its version. Where the host
    has GPUs that a driver runs, every one of them computes the kernel and a convolution, and the numbers are compared
    with the processor's.
  - Never fails; the caller judges. Leaves nothing behind.
author: dlhost maintainers (@dlhost)
options:
  compilers:
    description: Paths of C(nvcc).
    type: list
    elements: path
    default: []
  architectures:
    description: What the kernel is compiled for, such as V(sm_90).
    type: list
    elements: str
    default: []
  libraries:
    description: Paths of C(libcudnn.so.9).
    type: list
    elements: path
    default: []
  gpus:
    description: How many GPUs should compute; V(0) for a host without a GPU or without a driver that runs it.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Compile and compute
  dlhost.host.cuda_probe:
    compilers: [/usr/local/cuda-12.9/bin/nvcc]
    architectures: [sm_90]
    gpus: 1
  register: __cuda_toolkit_seen
"""

RETURN = r"""
compilers:
  description:
    - One element for each, with C(nvcc), C(release) (as 12.9), C(problem) (why it says none), C(uncompiled)
      (architecture to the reason), C(computed) (GPUs with the right numbers) and C(miscomputed) (what others did).
  type: list
  elements: dict
  returned: always
libraries:
  description:
    - One element for each, with C(library), C(version) (as 9.13.1), C(problem) (why it says none), C(computed) and
      C(miscomputed).
  type: list
  elements: dict
  returned: always
"""

import dataclasses
import json
import subprocess
import sys

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import cuda_kernel, cudnn_inside

CONVOLVE_S = 120


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "compilers": {"type": "list", "elements": "path", "default": []},
            "architectures": {"type": "list", "elements": "str", "default": []},
            "libraries": {"type": "list", "elements": "path", "default": []},
            "gpus": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    architectures, gpus = module.params["architectures"], module.params["gpus"]
    module.exit_json(
        changed=False,
        compilers=[
            dataclasses.asdict(cuda_kernel.try_out(nvcc, architectures, gpus)) for nvcc in module.params["compilers"]
        ],
        libraries=[ask_library(path, gpus) for path in module.params["libraries"]],
    )


def ask_library(path: str, gpus: int) -> dict[str, object]:
    """What one cuDNN answers, in a process of its own."""
    failed = {"library": path, "version": "", "computed": 0, "miscomputed": []}
    try:
        asked = subprocess.run(
            [sys.executable, "-c", own_text(cudnn_inside)],
            input=json.dumps({"library": path, "gpus": gpus}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CONVOLVE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {**failed, "problem": f"it did not answer within {CONVOLVE_S} s"}
    if asked.returncode != 0:
        said = asked.stderr.strip().splitlines()[-1:]
        return {**failed, "problem": " ".join([f"it ended with status {asked.returncode}", *said])}
    return {"library": path, **json.loads(asked.stdout)}


def own_text(of) -> str:
    """A module's source, which on a host lies in an archive."""
    return of.__loader__.get_source(of.__name__)


if __name__ == "__main__":
    main()
