"""Python environments that hold doubles of torch, tensorflow and jax (framework_double.py), with a real interpreter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

VERSIONS = {"torch": "2.13.0", "tensorflow": "2.20.0", "jax": "0.10.2"}
DOUBLE = Path(__file__).with_name("framework_double.py")


def furnish(environment: Path, *names: str, **world: Any) -> str:
    """Have an environment hold doubles and nothing else; returns its interpreter."""
    (packages,) = environment.glob("lib/python*/site-packages")
    shutil.rmtree(packages)
    packages.mkdir()
    shutil.copy(DOUBLE, packages)
    (packages / "framework_double.json").write_text(json.dumps(world))
    has_plugin = "jax" in names and world.get("cuda", "any")
    for name in [*names, *(["jax_cuda12_plugin"] if has_plugin else [])]:
        (packages / f"{name}.py").write_text("import framework_double\nframework_double.stand_in(__name__)\n")
        about = packages / f"{name}-{VERSIONS.get(name, '1')}.dist-info" / "METADATA"
        about.parent.mkdir()
        about.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {VERSIONS.get(name, '1')}\n")
    return str(environment / "bin" / "python")


def new_environment(parent: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", parent / "it"], check=True)
    return parent / "it"


def activation(environment: Path, script: str) -> None:
    """Have the environment be one of conda's, with a package that has this script for its activation."""
    (environment / "conda-meta").mkdir()
    path = environment / "etc" / "conda" / "activate.d" / "package.sh"
    path.parent.mkdir(parents=True)
    path.write_text(script)
