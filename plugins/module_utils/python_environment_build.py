"""One Python environment made from nothing: venv, the pip of the interpreter's ensurepip, wheels with known hashes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import host_proxies, python_lock
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import (
    PythonEnvironmentError,
    explain,
)

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


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """The Python that an environment is made with; `markers` are its values for PEP 508."""

    executable: Path
    markers: dict[str, str]

    @property
    def identity(self) -> str:
        """What an environment is bound to: an update from 3.13.1 to 3.13.2 is none of its business."""
        return f"{self.executable} ({self.markers['python_version']})"


def find_interpreter(executable: Path) -> Interpreter:
    """Ask a Python who it is.

    Raises:
        PythonEnvironmentError: It does not run.
    """
    # /usr/bin/python3 is another Python after an upgrade of the distribution; the file behind it is not.
    executable = executable.resolve()
    if executable == Path(sys.executable).resolve():
        # It is the one that runs this, as a rule; to start it would take longer than to compare an environment.
        version, implementation, machine = sys.version.split()[0], sys.implementation.name, os.uname().machine
    else:
        version, implementation, machine = _who_is(executable)
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


def _who_is(executable: Path) -> list[str]:
    try:
        command = [str(executable), "-I", "-S", "-c", WHO]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        version, implementation, machine = said.stdout.split()
    except (OSError, ValueError):
        raise PythonEnvironmentError(f"{executable} is no Python that runs here. Install it or name another.") from None
    return [version, implementation, machine]


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
    wheel = _find_pip(interpreter.executable)
    directory.mkdir()  # Never into one that is there: a server may run from it.
    _must([str(interpreter.executable), "-I", "-m", "venv", "--without-pip", str(directory)], {}, lock, work)
    work.mkdir()
    with zipfile.ZipFile(wheel) as unpacked:  # So it keeps its bytecode from one call to the next.
        unpacked.extractall(work)
    pip = [python, "-I", str(work / "pip"), f"--log={work}/pip.log"]
    variables = {**ENVIRONMENT, **_pip_variables(options), "TMPDIR": str(work)}
    downloads.mkdir(mode=0o700, exist_ok=True)
    requirements = work / "requirements.txt"
    requirements.write_text("".join(f"{pin.name}=={pin.version} {' '.join(pin.options)}\n" for pin in pins))
    install = ["install", "--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile", "--ignore-installed"]
    _must([*pip, *install, f"--cache-dir={downloads}", f"--requirement={requirements}"], variables, lock, work)
    _must([*pip, "check"], variables, lock, work)
    _require_exactly(pins, site_packages(directory, interpreter))
    # What does not compile is for other Pythons, and nobody imports it here.
    _run([python, "-I", "-m", "compileall", "-qq", "-j0", str(directory / "lib")], {}, lock)
    shutil.rmtree(work)


def site_packages(directory: Path, interpreter: Interpreter) -> Path:
    """Where distributions lie in an environment of that interpreter."""
    return directory / "lib" / f"python{interpreter.markers['python_version']}" / "site-packages"


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


def _must(command: list[str], variables: dict[str, str], lock: int, work: Path) -> None:
    done = _run(command, variables, lock)
    if done.returncode != 0:
        log = work / "pip.log"
        raise explain(f"{done.stdout}\n{done.stderr}", log.read_text(errors="replace") if log.exists() else "")


def _run(command: list[str], variables: dict[str, str], lock: int | None) -> subprocess.CompletedProcess[str]:
    environment = {**host_proxies.surroundings(), **variables}
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
