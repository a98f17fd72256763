"""A Python environment that holds exactly what a lock says: built in full beside the one in use, then switched to.

`path` is a symbolic link to the environment in use, a directory beside it that is named after what it holds. What was
installed is recorded inside, so that a later look needs neither pip nor an index.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import python_lock

RECORD = "dlhost-environment.json"
SCHEMA_VERSION = 1
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PROC = Path("/proc")
LOCK_TIMEOUT_S = 120
LOCK_POLL_S = 1
# So many damages are named; of the others only how many they are.
NAMED_DAMAGES = 8

WHO = """
import os, sys
print(sys.version.split()[0], sys.implementation.name, os.uname().machine)
"""

# pip comes from the interpreter's own ensurepip: where Debian keeps it, else where Python does. It does not become part
# of the environment.
PIP = """
import ensurepip, glob, os, runpy, sys, sysconfig
places = [sysconfig.get_config_var("WHEEL_PKG_DIR"), os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")]
wheels = [wheel for place in places if place for wheel in sorted(glob.glob(os.path.join(place, "pip-*.whl")))]
sys.path.insert(0, wheels[-1])
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""

# Beyond what the host's pip.conf and environment say.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    # An old pip.conf may say otherwise for root.
    "PIP_USER": "0",
}


class PythonEnvironmentError(Exception):
    """One sentence for the user: what stopped the environment, and what to do."""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """The Python that an environment is made with; `markers` are its values for PEP 508."""

    executable: Path
    markers: dict[str, str]

    @property
    def version(self) -> str:
        return self.markers["python_version"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What makes `path` an intact environment of the lock: nothing, a switch, or building and switching."""

    path: Path
    directory: Path  # What path shall point to.
    digest: str
    pins: list[python_lock.Pin]
    build: bool
    switch: bool
    reasons: list[str]
    diffs: list[dict[str, str]]

    def result(self) -> dict[str, object]:
        return {
            "changed": self.build or self.switch,
            "path": str(self.path),
            "python": str(self.directory / "bin" / "python"),
            "digest": self.digest,
            "reasons": self.reasons,
            "diff": self.diffs,
        }


def find_interpreter(executable: Path) -> Interpreter:
    """Ask a Python who it is.

    Raises:
        PythonEnvironmentError: It does not run.
    """
    # /usr/bin/python3 is another Python after an upgrade of the distribution; the real file is not.
    executable = executable.resolve()
    try:
        said = _run([str(executable), "-I", "-S", "-c", WHO])
        version, implementation, machine = said.stdout.split()
    except (OSError, ValueError):
        raise PythonEnvironmentError(
            f"{executable} is no Python that runs here. Install it, or name another."
        ) from None
    markers = {
        "implementation_name": implementation,
        "implementation_version": version,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython" if implementation == "cpython" else implementation,
        "platform_system": "Linux",
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "sys_platform": "linux",
    }
    return Interpreter(executable, markers)


def plan(path: Path, pins: list[python_lock.Pin], interpreter: Interpreter, thorough: bool) -> Plan:
    """Compare the environment with the lock; `thorough` reads every file instead of those that look changed.

    Raises:
        LockError: The lock has nothing for this Python.
        PythonEnvironmentError: Something else is where the link should be.
    """
    wanted = python_lock.select(pins, interpreter.markers)
    pins = [pin for pin in pins if pin.applies(interpreter.markers)]
    digest = python_lock.digest(pins, interpreter.version, interpreter.markers["platform_machine"])
    current = _current(path)
    record = _read_record(current) if current else {}
    reasons, diffs = _differences(path, current, record, digest, interpreter.version, thorough)
    if current and not reasons:
        return Plan(path, current, digest, pins, False, False, [], [])
    before, after = (_listing(names) for names in (record.get("distributions", {}), wanted))
    if before != after:
        diffs.append({"before_header": str(path), "after_header": str(path), "before": before, "after": after})
    for directory in _siblings(path):
        if directory != current and not _differences(path, directory, _read_record(directory), digest, "", thorough)[0]:
            return Plan(path, directory, digest, pins, False, True, reasons, diffs)
    return Plan(path, _free_name(path, digest), digest, pins, True, True, reasons, diffs)


def carry_out(plan: Plan, interpreter: Interpreter, options: dict[str, object]) -> None:
    """Build where needed, then switch; the environment in use serves until then, and afterwards as the previous one.

    Raises:
        PythonEnvironmentError: The build failed; what was in use still is.
    """
    _make_parents(plan.path.parent)
    previous = _current(plan.path)
    with _only_one(plan.path) as lock:
        if plan.build:
            _remove([path for path in _siblings(plan.path) if path != previous and not _read_record(path)])
            _build(plan, interpreter, options, lock)
        if plan.switch:
            _switch(plan.path, plan.directory)
            _remove([path for path in _siblings(plan.path) if path not in (plan.directory, previous)])
            shutil.rmtree(_downloads(plan.path), ignore_errors=True)


def what_is_there(path: Path) -> list[Path]:
    """All that path consists of: the link, its environments, and what an interrupted build left."""
    link = [path] if path.is_symlink() else []
    return [*link, *_siblings(path), *([_downloads(path)] if _downloads(path).exists() else [])]


def remove(paths: list[Path]) -> None:
    """Remove them, and the directory they lie in where nothing else does.

    Raises:
        PythonEnvironmentError: One cannot be removed.
    """
    try:
        for path in paths:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
    except OSError as error:
        raise PythonEnvironmentError(f"{error.filename} cannot be removed: {error.strerror}.") from None
    with contextlib.suppress(OSError):  # Other things may be in it.
        paths[0].parent.rmdir()


def _current(path: Path) -> Path | None:
    """The directory beside path that it points to, where that is so."""
    if not path.is_symlink():
        if path.exists():
            raise PythonEnvironmentError(f"{path} is there and not dlhost's. Move it away and run again.")
        return None
    target = path.parent / path.readlink()
    return target if target in _siblings(path) else None


def _siblings(path: Path) -> list[Path]:
    ours = re.compile(re.escape(path.name) + r"-[0-9a-f]{12}(-\d+)?")
    with contextlib.suppress(FileNotFoundError):
        return sorted(beside for beside in path.parent.iterdir() if ours.fullmatch(beside.name) and beside.is_dir())
    return []


def _free_name(path: Path, digest: str) -> Path:
    """A name that no environment has or ever had while it may still be in use."""
    name = f"{path.name}-{digest[:12]}"
    taken = {beside.name for beside in _siblings(path)}
    number = 1
    while (name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return path.with_name(name if number == 1 else f"{name}-{number}")


def _downloads(path: Path) -> Path:
    return path.with_name(f".{path.name}-downloads")


def _read_record(directory: Path) -> dict:
    """What was recorded when the environment was complete; empty where it never was, or the record is damaged."""
    try:
        record = json.loads((directory / RECORD).read_bytes())
        return record if record["schema_version"] == SCHEMA_VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _differences(
    path: Path, directory: Path | None, record: dict, digest: str, version: str, thorough: bool
) -> tuple[list[str], list[dict[str, str]]]:
    """Why this is not the intact environment of that digest, and the same as lines of a diff."""
    if directory is None:
        return [f"{path} points to no environment" if path.is_symlink() else f"{path} is not there yet"], []
    if not record:
        return [f"{directory} was not finished"], []
    if record["digest"] != digest:
        if record["python"] != version:
            return [f"Python is {version} now, and was {record['python']}"], []
        return ["the lock has changed"], []
    damages = _damages(directory, record, thorough)
    more = len(damages) - NAMED_DAMAGES
    named = [f"{directory}/{damage}" for damage in damages[:NAMED_DAMAGES]]
    named += [f"{more} more"] if more > 0 else []
    return named, [{"prepared": f"{damage}\n"} for damage in named]


def _damages(directory: Path, record: dict, thorough: bool) -> list[str]:
    files, site = record["files"], record["site_packages"]
    names = {name.rpartition("/")[2] for name in files if name.rpartition("/")[0] == site}
    try:
        there = {beside.name for beside in (directory / site).iterdir()} - {"__pycache__"}
    except OSError:
        there = set()
    damages = [f"{site}/{name}: not of the lock" for name in sorted(there - names)]
    owner = tuple(record["owner"])
    for name, recorded in files.items():
        damage = _damage(f"{directory}/{name}", recorded, owner, thorough)
        if damage:
            damages.append(f"{name}: {damage}")
    return damages


def _damage(path: str, recorded: list, owner: tuple[int, int], thorough: bool) -> str:
    mode, size, mtime_ns, content = recorded
    try:
        found = os.lstat(path)
    except OSError:
        return "missing"
    if found.st_mode != mode or (found.st_uid, found.st_gid) != owner:
        return "mode or owner changed"
    if stat.S_ISDIR(mode):
        return ""
    if found.st_size != size or ((thorough or found.st_mtime_ns != mtime_ns) and _content(path, mode) != content):
        return "content changed"
    return ""


def _content(path: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return str(Path(path).readlink())
    return "" if stat.S_ISDIR(mode) else hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _listing(distributions: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(distributions.items()))


def _build(plan: Plan, interpreter: Interpreter, options: dict[str, object], lock: int) -> None:
    work = plan.directory / ".build"
    python = str(plan.directory / "bin" / "python")
    try:
        _must(interpreter, "venv", [str(interpreter.executable), "-I", "-m", "venv", "--without-pip", plan.directory])
        work.mkdir()
        _downloads(plan.path).mkdir(mode=0o700, exist_ok=True)
        (work / "lock.txt").write_text(
            "".join(
                f"{pin.name}=={pin.version} {' '.join(f'--hash={value}' for value in pin.hashes)}\n"
                for pin in plan.pins
            )
        )
        environment = {**ENVIRONMENT, **_pip_environment(options), "TMPDIR": str(work)}
        install = ["install", "--require-hashes", "--only-binary=:all:", "--no-deps", "--ignore-installed"]
        install += ["--no-compile", f"--cache-dir={_downloads(plan.path)}", f"--requirement={work}/lock.txt"]
        _pip(python, install, environment, lock)
        _pip(python, ["check"], environment, lock)
        # Files that some distributions carry for other Pythons do not compile; nobody imports them here.
        _run([python, "-I", "-m", "compileall", "-qq", "-j0", str(plan.directory / "lib")], lock=lock)
        shutil.rmtree(work)
        _record(plan, interpreter)
    except OSError as error:
        _remove([plan.directory])
        raise PythonEnvironmentError(f"{error.filename or plan.directory}: {error.strerror}.") from None
    except BaseException:
        _remove([plan.directory])
        raise


def _pip_environment(options: dict[str, object]) -> dict[str, str]:
    """pip's options as variables, which a process list does not show."""
    given = {f"PIP_{name.upper()}": value for name, value in options.items() if value not in (None, [])}
    return {name: " ".join(value) if isinstance(value, list) else str(value) for name, value in given.items()}


def _pip(python: str, arguments: list[str], environment: dict[str, str], lock: int) -> None:
    done = _run([python, "-I", "-c", PIP, *arguments], environment, lock)
    if done.returncode != 0:
        raise PythonEnvironmentError(_why(done))


def _why(failed: subprocess.CompletedProcess[str]) -> str:
    """What pip said, as one sentence with what to do."""
    said = f"{failed.stdout}\n{failed.stderr}"
    errors = [line[7:].strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    last = errors[-1] if errors else " ".join(said.split()[-40:])
    if "No module named 'ensurepip'" in said or "list index out of range" in said:
        return "This Python cannot make environments. Install the Debian package python3-venv and run again."
    if "No space left on device" in said:
        return f"The disk is full ({last}). Make room and run again."
    mismatch = re.search(r"(?s)DO NOT MATCH THE HASHES.*?\n +(\S+) from (.*?)Expected.*?Got +(\S+)", said)
    if mismatch:
        return (
            f"The index serves a {mismatch[1]} that is not the lock's: its hash is {mismatch[3]}. "
            "Correct the lock, or the index if it should be the same file."
        )
    broken = re.search(r"(?:connection broken by|Could not install packages due to an OSError:) (.*)", said)
    if broken:
        return f"The package index does not answer: {broken[1]}. What was fetched is kept; run again when it does."
    missing = re.search(r"No matching distribution found for (\S+)", said)
    if missing:
        return f"The index has no {missing[1]} for this Python that the lock allows. Correct the lock or the index."
    return f"pip failed: {last}"


def _must(interpreter: Interpreter, what: str, command: list[object]) -> None:
    done = _run([str(part) for part in command])
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split()[-40:])
        raise PythonEnvironmentError(f"{interpreter.executable} cannot make a {what}: {said}")


def _record(plan: Plan, interpreter: Interpreter) -> None:
    """Remember what is there now; an environment with a record is a complete one."""
    site = f"lib/python{interpreter.version}/site-packages"
    found = {
        python_lock.canonical_name(info.name.partition("-")[0]) for info in (plan.directory / site).glob("*.dist-info")
    }
    wanted = {pin.name: pin.version for pin in plan.pins}
    if found != set(wanted):
        differing = ", ".join(sorted(found ^ set(wanted)))
        raise PythonEnvironmentError(f"pip did not install what the lock says; it differs in {differing}.")
    files = {}
    for root, directories, names in os.walk(plan.directory):
        for path in (f"{root}/{name}" for name in [*directories, *names]):
            seen = os.lstat(path)
            files[os.path.relpath(path, plan.directory)] = [
                seen.st_mode,
                seen.st_size,
                seen.st_mtime_ns,
                _content(path, seen.st_mode),
            ]
    record = {
        "schema_version": SCHEMA_VERSION,
        "digest": plan.digest,
        "python": interpreter.version,
        "site_packages": site,
        "distributions": wanted,
        "owner": [os.geteuid(), os.getegid()],
        "files": files,
    }
    # A record that outlives a power cut must not speak of files that did not.
    os.sync()
    temporary = plan.directory / f".{RECORD}"
    with temporary.open("w") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(plan.directory / RECORD)


def _switch(path: Path, directory: Path) -> None:
    temporary = path.with_name(f".{path.name}-link")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(directory.name)
        temporary.replace(path)
    except OSError as error:
        raise PythonEnvironmentError(f"{path} cannot be switched: {error.strerror}.") from None


def _remove(directories: list[Path]) -> None:
    """Remove environments, but for those that a process still runs from."""
    busy = _in_use(directories)
    for directory in directories:
        if directory not in busy:
            # The record goes first, so that what remains of a cut removal is known to be incomplete.
            (directory / RECORD).unlink(missing_ok=True)
            shutil.rmtree(directory, ignore_errors=True)


def _in_use(directories: list[Path]) -> set[Path]:
    """Those that a running process was started from or has libraries of."""
    busy: set[Path] = set()
    for process in PROC.glob("[0-9]*") if directories else []:
        with contextlib.suppress(OSError):  # It has ended.
            seen = (process / "cmdline").read_bytes() + (process / "maps").read_bytes()
            busy.update(directory for directory in directories if f"{directory}/".encode() in seen)
    return busy


@contextlib.contextmanager
def _only_one(path: Path):
    """Keep a second run from building beside this one; pip inherits the lock, and keeps it where this process dies."""
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PythonEnvironmentError(
                        f"Another run has been building in {path.parent} for {LOCK_TIMEOUT_S} s. "
                        "Run again when it has ended."
                    ) from None
                time.sleep(LOCK_POLL_S)
        yield lock
    finally:
        os.close(lock)


def _make_parents(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PythonEnvironmentError(f"{path} cannot be made: {error.strerror}.") from None


def _run(
    command: list[str], environment: dict[str, str] | None = None, lock: int | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **(environment or {})}
    # The host's own bundle has what the host trusts besides. An option of pip outranks it, in pip.conf too.
    if CA_BUNDLE.exists():
        variables.setdefault("REQUESTS_CA_BUNDLE", str(CA_BUNDLE))
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=variables,
        pass_fds=() if lock is None else (lock,),
    )
