# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what conda environments do when they are used."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: conda_probe
short_description: Run the Pythons of conda environments and what they have, and start their kernels
description:
  - Asks every Python who it is, has C(uv) compare what the distributions need with what is there, imports what was
    declared, has numpy, torch, tensorflow and jax multiply two small matrices on the processor, and computes a cell in
    every kernel, all without any rights. Sees no GPU. Changes nothing and leaves no kernel behind.
author: dlhost maintainers (@dlhost)
options:
  environments:
    description: Name to directory of the environments. One without a Python has nothing to be asked.
    type: dict
    required: true
  kernels:
    description: Those of them that are to be a kernel of Jupyter, called C(dlhost-NAME).
    type: list
    elements: str
    default: []
  imports:
    description:
      - Name of an environment to the distributions that are to be imported, each with the name of its module; empty
        where the distribution's own records tell. One that is not there, or whose module nothing tells, is passed over.
    type: dict
    default: {}
  uv:
    description: The program.
    type: path
    required: true
  shell:
    description: Whether login shells are to have conda and mamba.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Use the environments
  dlhost.host.conda_probe:
    uv: /opt/dlhost/conda/installer/bin/uv
    environments: {pytorch: /opt/dlhost/conda/envs/pytorch-3f2a9c1b7d4e}
    imports: {pytorch: {torchvision: "", opencv-python: cv2}}
    kernels: [pytorch]
"""

RETURN = r"""
environments:
  description:
    - Name to C(runs), C(consistent), C(imports) and C(multiplies), each a sentence about what is wrong, or empty, and
      to C(imported) and C(multiplied), the names of what was tried.
  type: dict
  returned: always
kernels:
  description: Name of an environment to what is wrong with its kernel, or empty.
  type: dict
  returned: always
shell:
  description: What is wrong with login shells, or empty.
  type: str
  returned: always
"""

import inspect
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import conda_activation, conda_kernel_inside, conda_use_inside

# A framework's environment is read from the disk for the first time.
LIMIT_S = 180
# What one has to import: each, and all of it.
STEP_S, USE_S = 120, 600
# Whether a GPU computes is another role's to prove, and others may be using it.
PROCESSOR_ALONE = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
NOBODY = "nobody"
WHO = "import ctypes, ssl, sys; print(sys.prefix)"
LONGEST_REASON = 40


class NoAnswerError(Exception):
    """Why a program did not do what it should, as the end of a sentence."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "environments": {"type": "dict", "required": True},
            "imports": {"type": "dict", "default": {}},
            "kernels": {"type": "list", "elements": "str", "default": []},
            "uv": {"type": "path", "required": True},
            "shell": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    directories = {name: Path(directory) for name, directory in given["environments"].items()}
    environments = {
        name: {
            "runs": runs(name, directory),
            "consistent": consistent(name, directory, given["uv"]),
            **used(name, directory, given["imports"].get(name, {})),
        }
        for name, directory in directories.items()
        if not directory.exists() or (directory / "bin" / "python").exists()
    }
    module.exit_json(
        changed=False,
        environments=environments,
        kernels={name: computes(name, directories[name]) for name in given["kernels"]},
        shell=has_conda() if given["shell"] else "",
    )


def runs(name: str, directory: Path) -> str:
    """What is wrong with the environment's Python; empty where nothing is."""
    try:
        said = _answer([str(directory / "bin" / "python"), "-I", "-c", WHO])
    except NoAnswerError as error:
        return f"the Python of {name} {error}"
    return "" if said == str(directory) else f"the Python of {name} believes to be in {said}"


def consistent(name: str, directory: Path, uv: str) -> str:
    """What a distribution lacks; empty where none lacks anything."""
    command = [uv, "pip", "check", "--no-config", "--no-cache", f"--python={directory / 'bin' / 'python'}"]
    try:
        done = _run(command)
    except NoAnswerError as error:
        return f"uv pip check of {name} {error}"
    # Of conda's packages not all have every file that uv would like to see.
    lacks = [line.strip() for line in done.stderr.splitlines() if " requires " in line]
    if done.returncode != 0 and "incompatibilit" not in done.stderr:
        lacks = [_ended(done)]
    return f"uv pip check of {name}: {' '.join(lacks)}" if lacks else ""


def used(name: str, directory: Path, imports: dict[str, str]) -> dict:
    """What is wrong with `imports` and with what `multiplies`, each empty where nothing is, and what was tried."""
    python = [str(directory / "bin" / "python"), "-I", "-B", "-c"]
    command = [*python, inspect.getsource(conda_activation), *python, inspect.getsource(conda_use_inside)]
    found: dict[str, dict] = {"imports": {}, "multiplies": {}}
    try:
        done = _run([*command, json.dumps(imports), str(STEP_S)], USE_S)
        ended = "" if done.returncode == 0 else _ended(done)
        if done.returncode == -signal.SIGALRM:
            ended = f"did not end within {STEP_S} s"
        for line in done.stdout.splitlines():
            what, subject, problem = json.loads(line)
            found[what][subject] = (ended or "ended its Python") if problem is None else problem
    except NoAnswerError as error:
        ended = str(error)
    if ended and ended not in [*found["imports"].values(), *found["multiplies"].values()]:
        found["imports"]["the Python"] = ended
    wrong = {
        what: "; ".join(f"{subject} of {name} {problem}" for subject, problem in said.items() if problem)
        for what, said in found.items()
    }
    return {**wrong, "imported": list(found["imports"]), "multiplied": list(found["multiplies"])}


def computes(name: str, directory: Path) -> str:
    """What is wrong with the environment's kernel; empty where it computes."""
    command = [str(directory / "bin" / "python"), "-I", "-B", "-c", inspect.getsource(conda_kernel_inside)]
    try:
        said = _answer([*command, f"dlhost-{name}"])
    except NoAnswerError as error:
        return f"the kernel of {name} {error}"
    right = f"42 {directory} {directory}"
    return "" if said == right else f"the kernel of {name} says {said!r} in place of {right}"


def has_conda() -> str:
    """What is wrong with a login shell; empty where it has both commands."""
    try:
        _answer(["/bin/bash", "-lc", "type conda mamba >/dev/null && conda --version && mamba --version"])
    except NoAnswerError as error:
        return f"a login shell {error}"
    return ""


def _answer(command: list[str]) -> str:
    """What a program says.

    Raises:
        NoAnswerError: It does not start, fails or takes too long.
    """
    done = _run(command)
    if done.returncode != 0:
        raise NoAnswerError(_ended(done))
    return done.stdout.strip()


def _ended(done: subprocess.CompletedProcess[str]) -> str:
    return f"ended with status {done.returncode}: {' '.join(done.stderr.split()[-LONGEST_REASON:])}"


def _run(command: list[str], limit_s: float | None = None) -> subprocess.CompletedProcess[str]:
    """A program, run by nobody in a home that goes again.

    Raises:
        NoAnswerError: It does not start, or takes too long.
    """
    limit_s = LIMIT_S if limit_s is None else limit_s
    rights = {"user": NOBODY, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="dlhost-conda-", ignore_cleanup_errors=True) as home:
        # What lies in a home has a say in what runs.
        if rights:
            shutil.chown(home, rights["user"], rights["group"])
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                cwd="/",
                timeout=limit_s,
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "LC_ALL": "C.UTF-8",
                    "HOME": home,
                    "TMPDIR": home,
                    **PROCESSOR_ALONE,
                },
                **rights,
            )
        except OSError as error:
            raise NoAnswerError(f"does not start: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise NoAnswerError(f"did not end within {limit_s} s") from None


if __name__ == "__main__":
    main()
