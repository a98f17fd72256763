"""One conda environment made from nothing: the lock's conda packages by rattler, then its pip part by uv."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import stat
import subprocess
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import conda_inside, conda_pip, conda_trust
from ansible_collections.dlhost.host.plugins.module_utils import python_environment_record as record
from ansible_collections.dlhost.host.plugins.module_utils.conda_trouble import explain
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import (
    AS_IT_WAS,
    PythonEnvironmentError,
)

META = "conda-meta"
# What the record says an environment is made with; another text has every environment built anew.
MADE_WITH = "conda"
UV = {
    "LC_ALL": "C.UTF-8",
    "UV_NO_CONFIG": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_SYSTEM_CERTS": "true",
    # One copy of a framework's gigabytes for the cache and all environments.
    "UV_LINK_MODE": "hardlink",
    # A version is on several indexes; its hash is on one of them.
    "UV_INDEX_STRATEGY": "unsafe-best-match",
}
INSTALL = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--break-system-packages"]


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What environments are made with: the installer's environment, what was fetched, and the ways to more."""

    installer: Path
    packages: Path
    mirrors: dict[str, str]
    pip_options: dict[str, object]

    @property
    def wheels(self) -> Path:
        """uv's part of what was fetched."""
        return self.packages / "pip"


def build(directory: Path, lock: dict, workshop: Workshop, held: int) -> None:
    """Make the environment of a lock, with a record of its files; `held` is kept open by whoever works on it.

    What was fetched goes first where an environment shows that somebody changed it.

    Raises:
        PythonEnvironmentError: It could not be made; nothing is left of it.
    """
    if conda_trust.is_touched(directory.parent):
        shutil.rmtree(workshop.packages, ignore_errors=True)
    _require_room(directory, lock, workshop)
    kept = workshop.wheels.exists()
    try:
        made = _make(directory, lock, workshop, held)
        site = directory / made["site_packages"]
        # What is not as listed although it has just come is the wheel's own mistake.
        if kept and conda_trust.is_other_than_listed(directory, site, made["files"]):
            shutil.rmtree(directory)
            shutil.rmtree(workshop.wheels)
            made = _make(directory, lock, workshop, held)
        record.write(directory, made)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _require_room(directory: Path, lock: dict, workshop: Workshop) -> None:
    """See that the disk has room for what is to be fetched, as far as the lock says how much that is.

    Raises:
        PythonEnvironmentError: It has not.
    """
    fetched = [
        package.get("size", 0)
        for package in lock["conda"]
        if not (workshop.packages / "conda" / f"{package['name']}-{package['version']}-{package['build']}").exists()
    ]
    # The archive, and what is in it, which is no smaller.
    needed = 2 * sum(fetched)
    free = shutil.disk_usage(next(path for path in directory.parents if path.exists())).free
    if needed > free:
        raise PythonEnvironmentError(
            f"{directory.parent} needs {_mib(needed)} for it at least and has {_mib(free)} free. {AS_IT_WAS}; "
            "make room and run again."
        )


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"


def _make(directory: Path, lock: dict, workshop: Workshop, held: int) -> dict:
    """The environment without its record, which is returned."""
    directory.mkdir(parents=True)  # Never into one that is there: somebody may work in it.
    _link(directory, lock, workshop, held)
    for said in (directory / META).glob("*.json"):
        # rattler leaves them to root alone, and users' conda lists from them.
        said.chmod(0o644)
    # Where there is no Python there are no distributions, and another directory is watched anyway.
    site = directory / (lock["python"] or META)
    if lock["pip"].strip():
        _install_wheels(directory, lock, workshop, held)
    if lock["python"]:
        # Python brings its own bytecode. What does not compile is for other Pythons, and nobody imports it here.
        compiler = [str(directory / "bin" / "python"), "-I", "-m", "compileall", "-qq", "-j0", str(site)]
        _run(compiler, "", {}, held)
    conda_trust.tidy(directory)
    return record.take(directory, lock["digest"], MADE_WITH, site, lock["holds"], [directory / META])


def _link(directory: Path, lock: dict, workshop: Workshop, held: int) -> None:
    question = {
        "prefix": str(directory),
        "cache": str(workshop.packages / "conda"),
        "platform": lock["platform"],
        "packages": lock["conda"],
        "mirrors": workshop.mirrors,
    }
    python = str(workshop.installer / "bin" / "python")
    command = [python, "-I", "-c", inspect.getsource(conda_inside)]
    done = _run(command, json.dumps(question), conda_pip.ways_out(workshop.pip_options), held)
    try:
        error = json.loads(done.stdout.splitlines()[-1])["error"]
    except (IndexError, ValueError):
        said = " ".join(done.stderr.split()[-40:])
        raise PythonEnvironmentError(f"The installer ended with status {done.returncode}: {said}") from None
    if error:
        raise explain(error)


def _install_wheels(directory: Path, lock: dict, workshop: Workshop, held: int) -> None:
    requirements = directory / ".requirements.txt"
    requirements.write_text(lock["pip"], encoding="utf-8")
    variables = {**UV, "UV_CACHE_DIR": str(workshop.wheels), **conda_pip.variables(workshop.pip_options, lock["index"])}
    command = [str(workshop.installer / "bin" / "uv"), "pip", "install", *INSTALL]
    command += [f"--python={directory / 'bin' / 'python'}", f"--requirement={requirements}"]
    command += ["--no-index"] if conda_pip.without_index(workshop.pip_options) else []
    done = _run(command, "", variables, held)
    if done.returncode != 0:
        raise explain(done.stderr)
    requirements.unlink()


def _run(command: list[str], given: str, variables: dict[str, str], held: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**conda_pip.surroundings(), **variables},
        cwd="/",
        pass_fds=(held,),
    )


def prune(prefix: Path) -> None:
    """Remove what was fetched and is in no environment any more."""
    used = {path.stem for path in prefix.glob(f"envs/*/{META}/*.json")}
    for package in prefix.glob("packages/conda/*"):
        if package.is_dir() and package.name not in used:
            shutil.rmtree(package)
    for wheel in prefix.glob("packages/pip/archive-*/*"):
        # uv links every file, where the file system can.
        if not any(_is_linked(path) for path in wheel.rglob("*")):
            shutil.rmtree(wheel)


def _is_linked(path: Path) -> bool:
    seen = path.lstat()
    return stat.S_ISREG(seen.st_mode) and seen.st_nlink > 1
