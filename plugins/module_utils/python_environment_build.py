"""One Python environment made from nothing: venv, the pip of the interpreter's ensurepip, wheels with known hashes."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import python_environment_record as record
from ansible_collections.dlhost.host.plugins.module_utils import python_lock

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")

WHO = "import os, sys; print(sys.version.split()[0], sys.implementation.name, os.uname().machine)"

# Debian keeps ensurepip's wheels in a directory of their own.
FIND_PIP = """
import ensurepip, glob, os, sysconfig
places = [sysconfig.get_config_var("WHEEL_PKG_DIR"), os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")]
for place in filter(None, places):
    print(*glob.glob(os.path.join(place, "pip-*.whl")))
"""

# Beyond what the host's pip.conf and variables say.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    # An old pip.conf may want the home directory for everything, which an environment refuses.
    "PIP_USER": "0",
}

AGAIN = "Nothing has changed; what was fetched is kept for the next run."
UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED\] certificate verify failed: ([^(\n]*[^(\s])")
UNREACHABLE = re.compile(
    r"Failed to establish a new connection: (?:\[Errno -?\d+\] )?([\w ]+)|Failed to resolve '([^']+)'"
    r"|(Connection refused|Connection reset by peer|Remote end closed connection without response|Read timed out"
    r"|Cannot connect to proxy|Tunnel connection failed: [\w ]+|Connection broken|IncompleteRead)"
)
REFUSED = re.compile(r"HTTP error (\d{3}[\w ]*)")
WRONG_HASH = re.compile(r"DO NOT MATCH THE HASHES.*?\n +(\S+) .*?Got +([0-9a-f]+)", re.DOTALL)
NOT_FOUND = re.compile(r"No matching distribution found for (\S+)")
INCOMPLETE = re.compile(r"^\S+ \S+ (?:requires|has requirement) .*$", re.MULTILINE)


class PythonEnvironmentError(Exception):
    """One sentence for the user: what stopped the environment, and what to do."""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """The Python that an environment is made with; `markers` are its values for PEP 508."""

    executable: Path
    markers: dict[str, str]

    @property
    def version(self) -> str:
        """Of its language, like 3.13: an environment outlives the updates of one version."""
        return self.markers["python_version"]


def find_interpreter(executable: Path) -> Interpreter:
    """Ask a Python who it is.

    Raises:
        PythonEnvironmentError: It does not run.
    """
    # /usr/bin/python3 is another Python after an upgrade of the distribution; the file behind it is not.
    executable = executable.resolve()
    try:
        command = [str(executable), "-I", "-S", "-c", WHO]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        version, implementation, machine = said.stdout.split()
    except (OSError, ValueError):
        raise PythonEnvironmentError(f"{executable} is no Python that runs here. Install it or name another.") from None
    return Interpreter(
        executable,
        {
            "implementation_name": implementation,
            "implementation_version": version,
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": {"cpython": "CPython"}.get(implementation, implementation),
            "platform_system": "Linux",
            "python_full_version": version,
            "python_version": ".".join(version.split(".")[:2]),
            "sys_platform": "linux",
        },
    )


def build(
    directory: Path,
    interpreter: Interpreter,
    pins: list[python_lock.Pin],
    options: dict[str, object],
    downloads: Path,
    lock: int,
) -> None:
    """Make an environment of exactly these pins; its bytecode is there too, since nobody who uses it may write.

    `downloads` keeps what was fetched, for the run after one that failed. `lock` is held by pip as well.

    Raises:
        PythonEnvironmentError: It could not be made; what there is of it lacks a record.
    """
    python, work = str(directory / "bin" / "python"), directory / ".build"
    variables = {**ENVIRONMENT, **_pip_variables(options), "TMPDIR": str(work)}
    pip = [python, "-I", f"{_find_pip(interpreter.executable)}/pip"]
    directory.mkdir()  # Never into one that is there: a server may run from it.
    _must([str(interpreter.executable), "-I", "-m", "venv", "--without-pip", str(directory)], {}, lock)
    work.mkdir()
    downloads.mkdir(mode=0o700, exist_ok=True)
    requirements = work / "requirements.txt"
    requirements.write_text("".join(f"{pin.name}=={pin.version} {' '.join(pin.options)}\n" for pin in pins))
    install = ["install", "--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile", "--ignore-installed"]
    _must([*pip, *install, f"--cache-dir={downloads}", f"--requirement={requirements}"], variables, lock)
    _must([*pip, "check"], variables, lock)
    _require_exactly(pins, record.site_packages(directory, interpreter.version))
    # What does not compile is for other Pythons, and nobody imports it here.
    _run([python, "-I", "-m", "compileall", "-qq", "-j0", str(directory / "lib")], {}, lock)
    shutil.rmtree(work)


def _find_pip(interpreter: Path) -> str:
    wheels = _run([str(interpreter), "-I", "-c", FIND_PIP], {}, None).stdout.split()
    if not wheels:
        raise PythonEnvironmentError(
            f"{interpreter} has no ensurepip. Install the Debian package python3-venv and run again."
        )
    return max(wheels)


def _require_exactly(pins: list[python_lock.Pin], site: Path) -> None:
    """Neither a marker that pip reads otherwise nor anything else makes the environment another than planned."""
    found = {python_lock.canonical_name(info.name.partition("-")[0]) for info in site.glob("*.dist-info")}
    differing = sorted(found ^ {pin.name for pin in pins})
    if differing:
        raise PythonEnvironmentError(f"pip did not install what the lock says; it differs in {', '.join(differing)}.")


def _pip_variables(options: dict[str, object]) -> dict[str, str]:
    """pip's options as variables: a password in a URL is in no process list."""
    given = {f"PIP_{name.upper()}": value for name, value in options.items() if value not in (None, [])}
    return {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in given.items()}


def _must(command: list[str], variables: dict[str, str], lock: int) -> None:
    done = _run(command, variables, lock)
    if done.returncode != 0:
        raise PythonEnvironmentError(_why(f"{done.stdout}\n{done.stderr}"))


def _run(command: list[str], variables: dict[str, str], lock: int | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    # The host's own bundle has what the host trusts besides. An option of pip outranks it, in pip.conf too.
    if CA_BUNDLE.exists():
        environment.setdefault("REQUESTS_CA_BUNDLE", str(CA_BUNDLE))
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
        pass_fds=() if lock is None else (lock,),
    )


def _why(said: str) -> str:
    """What pip said, as one sentence with what to do. The order counts: pip goes on after the first causes."""
    if "No space left on device" in said:
        return "The disk is full. Nothing has changed; make room and run again."
    wrong = WRONG_HASH.search(said)
    if wrong:
        return (
            f"The index serves another file for {wrong[1]} than the lock allows; its hash is {wrong[2]}. "
            "Nothing has changed; find out which of the two is wrong."
        )
    untrusted = UNTRUSTED.search(said)
    if untrusted:
        return (
            f"The host does not trust the certificate of the package index ({untrusted[1]}). Nothing has changed; "
            "make the host trust its authority and run again."
        )
    unreachable = UNREACHABLE.findall(said)
    if unreachable:
        reason = next(part for part in unreachable[-1] if part)
        return f"The package index does not answer ({reason}). {AGAIN}"
    refused = REFUSED.search(said)
    if refused:
        return f"The package index answers with {refused[1].strip()}. {AGAIN}"
    missing = NOT_FOUND.search(said)
    if missing:
        return (
            f"The package index has no file of {missing[1]} that the lock allows and this Python takes. "
            "Nothing has changed; correct the lock or name another index."
        )
    incomplete = INCOMPLETE.search(said)
    if incomplete:
        return f"The lock is not complete: {incomplete[0].rstrip('.')}. Nothing has changed; resolve it again."
    return f"The environment cannot be made: {' '.join(said.split()[-40:])}"
