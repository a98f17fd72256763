"""The doctor's looks: at a host, by its sh over OpenSSH, and at this controller."""

from __future__ import annotations

import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from dlhost.adapters import ansible_env, gpu_stack, openssh
from dlhost.errors import RefusedError, UnreachableError
from dlhost.values.doctor import Look
from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact

SCRIPT = Path(__file__).with_name("doctor.sh")
# Ten seconds for every index that does not answer, twenty for nvidia-smi.
TIMEOUT_S = 90
ENGINE = ("ansible-core", "ansible-runner")


def look(
    host: Host,
    control_path_dir: Path,
    sysfs: str,
    indexes: Sequence[str],
    *,
    root: bool,
    sudo_password: str | None,
) -> Look:
    """Look at one host in one round trip, as root where sudo lets us.

    Raises:
        UnreachableError: It does not answer any more.
    """
    # What the GPU's look leaves open is known by its missing last word.
    script = (
        f"indexes={shlex.quote(' '.join(indexes))}\n{SCRIPT.read_text(encoding='utf-8')}"
        f"(\n{gpu_stack.script(sysfs)}\n)\necho gpu_look=ended\n"
    )
    shell = "sh"
    if root:
        shell = "sudo -n sh"
        if sudo_password is not None:
            shell, script = "env LC_ALL=C sudo -S -k -p '' sh", f"{sudo_password}\n{script}"
    before = time.time()
    answer = openssh.ask(host, control_path_dir, script, TIMEOUT_S, shell)
    after = time.time()
    if answer.contact is not Contact.REACHED:
        raise UnreachableError(answer.error)
    said: dict[str, list[str]] = {}
    for line in answer.printed.splitlines():
        key, separator, value = line.partition("=")
        if separator and key.isidentifier():
            said.setdefault(key, []).append(value)
    return Look(
        said=said,
        clock_off_s=_clock_off(said.get("now", [""])[0], before, after),
        gpu=gpu_stack.facts(answer.printed),
        gpu_look_ended=said.get("gpu_look") == ["ended"],
    )


def _clock_off(now: str, before: float, after: float) -> float:
    """By how much a host's clock is certainly off that was read between two moments."""
    if not now.isdecimal():
        return 0.0
    seconds = float(now)
    # It says whole seconds, cut off.
    return min(seconds - before + 1, 0.0) if seconds < before else max(seconds - after, 0.0)


def python() -> str:
    """This Python's version, which the package's own requirements have let in."""
    return f"Python {platform.python_version()} on {platform.system()}"


def engine() -> str:
    """The versions of Ansible's parts that dlhost runs.

    Raises:
        RefusedError: One is missing, or is none that this dlhost was made for.
    """
    wanted = {requirement.name: requirement for requirement in map(Requirement, metadata.requires("dlhost") or ())}
    found = []
    for name in ENGINE:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise RefusedError(f"{name} is not installed. Install dlhost anew: pipx reinstall dlhost") from None
        if name in wanted and version not in wanted[name].specifier:
            raise RefusedError(
                f"{name} {version} is installed, and dlhost needs {wanted[name].specifier}. "
                "Install dlhost anew: pipx reinstall dlhost"
            )
        found.append(f"{name} {version}")
    return ", ".join(found)


def ssh_client() -> str:
    """The version of OpenSSH's client.

    Raises:
        RefusedError: There is none.
    """
    try:
        said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    except FileNotFoundError:
        raise RefusedError(openssh.NO_CLIENT) from None
    return said.partition(",")[0].strip()


def collection() -> str:
    """Where dlhost's own Ansible content lies.

    Raises:
        RefusedError: It is not there.
    """
    root = ansible_env.content_root()
    if not (root / "galaxy.yml").is_file():
        raise RefusedError(f"dlhost's own content is not in {root}. Install dlhost anew: pipx reinstall dlhost")
    return f"dlhost.host in {root.resolve()}"
