"""Which distributions the pip part of an environment comes to: uv, for another machine than this one."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlhost.adapters.ansible_env import module_util
from dlhost.errors import DlhostError, RefusedError

NO_SOLUTION = 1


@dataclass(frozen=True, slots=True)
class Question:
    """What the pip part is to hold, and what is there already.

    `provided` are the distributions that conda brings, `index` is one more index, `preferred` the lock before.
    """

    environment: str
    requirements: tuple[str, ...]
    python: str
    platform: str
    provided: Mapping[str, str]
    constraints: tuple[str, ...] = ()
    index: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    preferred: str = ""


def resolve(question: Question) -> str:
    """A requirements file with hashes: everything but what conda brings.

    Raises:
        RefusedError: Nothing fits together.
        DlhostError: An index cannot be read.
    """
    if not question.requirements:
        return ""
    for requirement in question.requirements:
        _require_plain(question.environment, requirement)
    from uv import find_uv_bin

    with tempfile.TemporaryDirectory(prefix="dlhost-") as directory:
        place = Path(directory)
        (place / "requirements.in").write_text("\n".join(question.requirements) + "\n", encoding="utf-8")
        # What conda brings is a wheel without content: it fits, or there is no solution; nobody brings it again.
        stubs = [_stub(place, name, version) for name, version in sorted(question.provided.items())]
        constraints = [*(f"{name} @ {path.as_uri()}" for name, path in stubs), *question.constraints]
        output = place / "lock.txt"
        command = [find_uv_bin(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
        command += ["--no-python-downloads", f"--python={sys.executable}", f"--python-version={question.python}"]
        # What has to be built first would need the host's compilers, and be another thing on every host.
        command += [f"--python-platform={question.platform}", "--only-binary=:all:"]
        # As pip does: of all indexes the best version, so that one more of them adds and hides nothing.
        command += ["--index-strategy=unsafe-best-match"]
        # As on the host: no settings of uv's own, whoever wrote them, and the authorities that the machine trusts.
        command += ["--no-config", "--system-certs"]
        # An index's address may hold a password, and everybody sees a command line.
        flags, ways = _ways(question)
        command += flags
        command += [f"--no-emit-package={name}" for name, _ in stubs]
        command += ["--constraints=constraints.txt", "--output-file=lock.txt", "requirements.in"]
        inherited = module_util("conda_pip").surroundings()
        # First with all that is locked as it is, then with what uv keeps of it, which reads its own output for that; at
        # once that would lose a version of which the first of two indexes lacks the fitting wheel.
        for kept, before in [(_pins(question), ""), ([], question.preferred)] if question.preferred else [([], "")]:
            (place / "constraints.txt").write_text("\n".join([*constraints, *kept, ""]), encoding="utf-8")
            output.write_text(before, encoding="utf-8")
            ran = subprocess.run(
                command, cwd=place, env={**inherited, **ways}, capture_output=True, text=True, check=False
            )
            if ran.returncode == 0:
                return output.read_text(encoding="utf-8")
            if ran.returncode != NO_SOLUTION:
                break
        raise _refusal(question, ran.returncode, ran.stderr)


def _ways(question: Question) -> tuple[list[str], dict[str, str]]:
    """The way to an index that this machine's pip.conf and the options say: as uv's flags, and as its variables.

    Raises:
        RefusedError: A pip.conf cannot be read.
    """
    pip, trouble = module_util("conda_pip"), module_util("python_environment_trouble")
    try:
        # The one option that uv has no variable for.
        flags = ["--no-index"] if pip.without_index(question.options) else []
        return flags, pip.variables(question.options, question.index)
    except trouble.PythonEnvironmentError as error:
        raise RefusedError(str(error)) from None


def _pins(question: Question) -> list[str]:
    """What is locked and not conda's by now, as constraints."""
    pins = module_util("python_lock").parse(question.preferred)
    return [f"{pin.name}=={pin.version}" for pin in pins if pin.name not in question.provided]


def distributions(packages: Sequence[Any], pypi_names: Mapping[str, str]) -> dict[str, str]:
    """The Python distributions among conda packages, by their names on PyPI."""
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    found = {}
    for package in packages:
        needs = {spec.split(" ")[0] for spec in package.depends}
        if package.noarch != "python" and not needs & {"python", "python_abi"}:
            continue
        try:
            version = str(Version(package.version))
        except InvalidVersion:  # Nothing that PyPI has would ever ask for it.
            continue
        found[str(canonicalize_name(pypi_names.get(package.name, package.name)))] = version
    return found


def _require_plain(environment: str, text: str) -> None:
    """See that a requirement is a name with versions: what a file or an address holds today has no version to lock."""
    from packaging.requirements import InvalidRequirement, Requirement

    with suppress(InvalidRequirement):
        if not Requirement(text).url:
            return
    raise RefusedError(f"Environment {environment}: {text!r} is no requirement of pip; one looks like `torch>=2,<3`.")


def _stub(place: Path, name: str, version: str) -> tuple[str, Path]:
    file = name.replace("-", "_")
    path = place / f"{file}-{version}-py3-none-any.whl"
    info = f"{file}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: dlhost\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name, path


def _refusal(question: Question, returned: int, said: str) -> DlhostError:
    """What uv said as one sentence."""
    lines = [
        re.sub(r"^\s*(?:error|cause|hint):\s*", "", line).rstrip(". ") for line in said.splitlines() if line.strip()
    ]
    subject = f"Environment {question.environment}"
    if returned == NO_SOLUTION:
        told = "; ".join(lines[1:] or lines)
        return RefusedError(
            f"{subject} has no solution for {', '.join(question.requirements)} with Python {question.python} on "
            f"{question.platform}: {told}. Change its pip requirements."
        )
    fetching = next((line for line in lines if line.startswith("Failed to fetch")), "")
    if fetching:
        return DlhostError(
            f"{subject}: the package index cannot be read: {fetching}: {lines[-1]}; "
            "see that this machine reaches what conda_pip_options names, or PyPI."
        )
    return RefusedError(f"{subject}: its pip requirements are refused: {'; '.join(lines)}.")
