"""What `conda activate` sets, for programs that no shell starts: conda_activation.py PROGRAM [ARGUMENT ...].

Runs with the interpreter of the environment and becomes PROGRAM. An environment that is not conda's has nothing to be
set. What is set, and in which order, is conda's own (conda/activate.py): variables of packages, those of
`conda env config vars set`, then packages' scripts, which a shell runs.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Packages' scripts for POSIX shells often need this one.
SHELL = "/bin/bash"
UNSET = "***unset***"


def activated(
    command: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> tuple[Sequence[str], Mapping[str, str]]:
    """What to start in place of command, and with which variables, for the environment in directory to be activated."""
    if not (directory / "conda-meta").is_dir():
        return command, environment
    # They see no argument of the program's, and what it reads and writes is its own.
    lines = [f". {shlex.quote(str(path))} </dev/null >&2" for path in scripts(directory)]
    if lines:
        command = [SHELL, "-c", "\n".join([*lines, f"exec {shlex.join(command)}"])]
    return command, variables(directory, environment)


def variables(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with what packages and conda itself set in it."""
    said = [
        *(json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("etc/conda/env_vars.d/*"))),
        *(
            json.loads(path.read_text(encoding="utf-8")).get("env_vars", {})
            for path in directory.glob("conda-meta/state")
        ),
    ]
    found = {
        # Its name, where it has one, is known to whoever starts it.
        "CONDA_DEFAULT_ENV": str(directory),
        **environment,
        "CONDA_PREFIX": str(directory),
        "CONDA_SHLVL": "1",
        "PATH": os.pathsep.join([str(directory / "bin"), environment.get("PATH", os.defpath)]),
    }
    for each in said:
        found.update(each)
    return {name: value for name, value in found.items() if value != UNSET}


def scripts(directory: Path) -> list[Path]:
    """Packages' scripts in their order, which is that of the bytes of their names in any locale."""
    return sorted(directory.glob("etc/conda/activate.d/*.sh"))


if __name__ == "__main__":
    program, surroundings = activated(sys.argv[1:], Path(sys.prefix), os.environ)
    os.execve(program[0], program, surroundings)  # noqa: S606  no shell where none is needed
