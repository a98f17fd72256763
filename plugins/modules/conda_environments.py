# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: conda environments that hold exactly what their locks say."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: conda_environments
short_description: Keep conda environments exactly as their locks say
description:
  - C(PREFIX/envs/NAME) becomes a symbolic link to an environment that lies beside it, in a directory named after what
    it holds. What differs from its lock or is damaged is built anew in full, then switched to. So what runs from the
    present one is not disturbed, and a build that fails changes nothing.
  - The previous environment is kept until the next switch, and as long as a process runs from it. To go back to its
    lock is a switch, which downloads nothing.
  - Conda packages are linked by py-rattler, those of pip by uv, both from an environment of their own at
    C(PREFIX/installer). Nothing is solved. Every file has a checksum in the lock; what was fetched is kept in
    C(PREFIX/packages) as long as an environment has it.
  - What was installed is recorded in the environment. A run that changes nothing compares the record with the files.
author: dlhost maintainers (@dlhost)
options:
  prefix:
    description: The directory of all environments.
    type: path
    required: true
  environments:
    description: The environments; others that are there are left as they are.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the environment.
        type: str
        required: true
      state:
        description: With V(absent), it is removed, but for what a process runs from.
        type: str
        choices: [present, absent]
        default: present
      optional:
        description: Whether the others are kept although this one cannot be.
        type: bool
        default: false
      digest:
        description: One name for all that it holds. Required unless it is to go, as is C(platform).
        type: str
      platform:
        description: Conda's name of the platform that it was locked for.
        type: str
      virtual_packages:
        description:
          - What the host must have at least, as conda's virtual packages C(__glibc), C(__linux) and C(__cuda), the
            last where it has a driver.
        type: dict
        default: {}
      holds:
        description: Name to version of every package, for people. A comparison does without.
        type: dict
        default: {}
      python:
        description: Where its Python has its distributions, relative to the environment; empty where there is none.
        type: str
        default: ""
      index:
        description: One more index of Python packages.
        type: str
        default: ""
      lock_command:
        description: The command that locks it anew, for refusals.
        type: str
        default: dlhost env lock
      conda:
        description: Its conda packages as the lock has them. A dry run does without.
        type: list
        elements: dict
        default: []
      pip:
        description: Its pip part, as a requirements file with hashes. A dry run does without.
        type: str
        default: ""
  installer:
    description: The lock of the installer's environment, as for M(dlhost.host.python_environment).
    type: str
    required: true
  python:
    description: The interpreter to make the installer's environment with.
    type: path
    default: /usr/bin/python3
  mirrors:
    description: Prefixes of addresses in the lock, and what the host has in place of each.
    type: dict
    default: {}
  pip_options:
    description: Options of pip by their long names, as of M(dlhost.host.python_environment).
    type: dict
    default: {}
  thorough:
    description: Read every file instead of those that look changed by size or time.
    type: bool
    default: false
  state:
    description: With V(absent), the environments, the installer and what was fetched are removed.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would be built and why, on a bare host too, and writes nothing.
  diff_mode:
    support: full
    description: One line per package that comes, goes or changes its version, and per damage.
"""

EXAMPLES = r"""
- name: Keep the environments
  dlhost.host.conda_environments:
    prefix: /opt/dlhost/conda
    environments: "{{ __conda_plan.build }}"
    installer: "{{ lookup('ansible.builtin.file', 'installer.txt') }}"
  register: __conda_environments
"""

RETURN = r"""
environments:
  description:
    - Name to C(reasons), why it is changed, and C(error), why an optional one is not as its lock says.
  type: dict
  returned: always
directories:
  description:
    - Name to the real directory of every environment that is there, which changes with what the environment holds. In
      check mode, what it would be.
  type: dict
  returned: always
in_use:
  description: Name to the real directory of every environment that is in use when the module ends, in any mode.
  type: dict
  returned: always
busy:
  description: Environments that stay for now, since a process runs from them.
  type: list
  elements: str
  returned: when O(state=absent)
reasons:
  description: Why anything is changed; empty where nothing is.
  type: list
  elements: str
  returned: always
"""

import contextlib
import os
import platform
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import conda_build, environment_link, python_lock
from ansible_collections.dlhost.host.plugins.module_utils.python_environment import Environment
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_build import find_interpreter
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import PythonEnvironmentError

MACHINES = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}


class SomeFailedError(PythonEnvironmentError):
    """Environments that are not optional cannot be had; the module's result has what became of all of them."""

    def __init__(self, said: str, result: dict[str, object]) -> None:
        super().__init__(said)
        self.result = result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prefix": {"type": "path", "required": True},
            "environments": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                    "optional": {"type": "bool", "default": False},
                    "digest": {"type": "str"},
                    "platform": {"type": "str"},
                    "virtual_packages": {"type": "dict", "default": {}},
                    "holds": {"type": "dict", "default": {}},
                    "python": {"type": "str", "default": ""},
                    "index": {"type": "str", "default": ""},
                    "lock_command": {"type": "str", "default": "dlhost env lock"},
                    "conda": {"type": "list", "elements": "dict", "default": []},
                    "pip": {"type": "str", "default": ""},
                },
                "required_if": [("state", "present", ["digest", "platform"])],
            },
            "installer": {"type": "str", "required": True},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            # A mirror, an index or a proxy may have a password in its URL.
            "mirrors": {"type": "dict", "default": {}, "no_log": True},
            "pip_options": {"type": "dict", "default": {}, "no_log": True},
            "thorough": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    # Ansible hides these values wherever they occur in the result, and a number or a word would hit a directory's name.
    module.no_log_values = {value for value in module.no_log_values if "://" in value or "@" in value}
    act = converge if module.params["state"] == "present" else remove
    try:
        result = act(module.params, module.check_mode)
    except (PythonEnvironmentError, python_lock.LockError) as error:
        # Whose directory has changed is to be known all the same: kernels name it.
        module.fail_json(msg=str(error), **(error.result if isinstance(error, SomeFailedError) else {}))
    for name, environment in result["environments"].items():
        if environment["error"]:
            module.warn(f"Optional environment {name}: {environment['error']}")
    module.exit_json(**result)


def converge(request: dict, check: bool) -> dict[str, object]:
    """Make every environment an intact one of its lock; returns the module's result.

    Raises:
        SomeFailedError: An environment that is not optional cannot be had; the others are as they should.
        PythonEnvironmentError: Nothing can be had here, and nothing has changed.
    """
    prefix, environments = Path(request["prefix"]), request["environments"]
    # All of them before the first is touched.
    refused = {environment["name"]: _refusal(environment) for environment in environments}
    for environment in environments:
        if refused[environment["name"]] and not environment["optional"]:
            raise PythonEnvironmentError(refused[environment["name"]])
    # sudo's umask may be another; everybody reads the environments, and nobody but their owner writes to them.
    os.umask(0o022)
    results, directories, reasons, diffs, failed = {}, {}, [], [], []
    with contextlib.nullcontext(-1) if check else environment_link.only_run(prefix) as held:
        if any(environment["state"] == "present" for environment in environments):
            installer = _keep_installer(prefix / "installer", request, check, held)
            reasons, diffs = [*installer["reasons"]], [*installer["diff"]]
        for environment in environments:
            name, path = environment["name"], prefix / "envs" / environment["name"]
            try:
                if refused[name]:
                    raise PythonEnvironmentError(refused[name])
                done = _keep(path, environment, request, check, held)
            except PythonEnvironmentError as error:
                done = {"reasons": [], "diff": [], "directory": _in_use(path), "error": str(error)}
                if not environment["optional"]:
                    failed.append(f"Environment {name}: {error}")
            reasons += done["reasons"]
            diffs += done["diff"]
            results[name] = {"reasons": done["reasons"], "error": done.get("error", "")}
            if done["directory"]:
                directories[name] = str(done["directory"])
        # What was fetched for one that failed is good for the next run.
        if reasons and not check and not any(result["error"] for result in results.values()):
            conda_build.prune(prefix)
    present = [environment["name"] for environment in environments if environment["state"] == "present"]
    in_use = {name: str(directory) for name in present if (directory := _in_use(prefix / "envs" / name))}
    result = {
        "changed": bool(reasons),
        "environments": results,
        "directories": directories,
        "in_use": in_use,
        "reasons": reasons,
        "diff": diffs,
    }
    if failed:
        raise SomeFailedError(" ".join(failed), result)
    return result


def _in_use(path: Path) -> Path | None:
    """The directory that path points to; none where that is not dlhost's either."""
    with contextlib.suppress(PythonEnvironmentError):
        return environment_link.in_use(path)
    return None


def remove(request: dict, check: bool) -> dict[str, object]:
    """Remove all that the module ever made below prefix; returns the module's result."""
    prefix = Path(request["prefix"])
    links = {path.parent / re.sub(r"^\.|-link$|-[0-9a-f]{12}(-\d+)?$", "", path.name) for path in prefix.glob("envs/*")}
    paths = [*sorted(links), prefix / "installer"]
    with environment_link.only_run(prefix) if prefix.exists() and not check else contextlib.nullcontext():
        there = [each for path in paths for each in environment_link.what_can_go(path)]
        busy = [each for path in paths for each in environment_link.what_is_there(path) if each not in there]
        if (prefix / "packages").exists():
            there.append(prefix / "packages")
        if not check:
            for path in there:
                environment_link.remove([path])
            for directory in (prefix / "envs", prefix):
                with contextlib.suppress(OSError):  # Other things may be in it, or a process runs from an environment.
                    directory.rmdir()
    reasons = [f"{path} is removed" for path in there]
    return {
        "changed": bool(there),
        "environments": {},
        "directories": {},
        "in_use": {},
        "busy": [str(path) for path in busy],
        "reasons": reasons,
        "diff": [{"prepared": f"{reason}\n"} for reason in reasons],
    }


def _refusal(environment: dict) -> str:
    """Why this host cannot have what the lock has; empty where it can."""
    if environment["state"] == "absent":
        return ""
    again = f"lock it for this host too: `{environment['lock_command']}`."
    machine = os.uname().machine
    if MACHINES.get(environment["platform"]) != machine:
        return f"Environment {environment['name']} was locked for {environment['platform']}, not for {machine}; {again}"
    here = {"__glibc": platform.libc_ver()[1], "__linux": os.uname().release}
    if "__cuda" in environment["virtual_packages"]:
        here["__cuda"] = _cuda_of_driver()
    for package, version in here.items():
        least = environment["virtual_packages"].get(package, "0")
        # Without a driver it may be the image of a host that will have one.
        if version and _numbers(version) < _numbers(least):
            what, is_here = ("CUDA", "the driver here runs") if package == "__cuda" else (package.strip("_"), "here is")
            return f"Environment {environment['name']} was locked for {what} {least}, and {is_here} {version}; {again}"
    return ""


def _cuda_of_driver() -> str:
    """The newest CUDA that the host's driver runs; empty where it has none."""
    # Most hosts have no use for it.
    import ctypes

    try:
        driver, version = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return ""
    # 12080 is 12.8.
    found = driver.cuDriverGetVersion(ctypes.byref(version)) == 0
    return f"{version.value // 1000}.{version.value % 1000 // 10}" if found else ""


def _numbers(version: str) -> list[int]:
    """Major and minor; a kernel's patches add nothing that a package could need, and a host may boot an older one."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def _keep_installer(path: Path, request: dict, check: bool, held: int) -> dict[str, object]:
    try:
        interpreter = find_interpreter(Path(request["python"]))
    except PythonEnvironmentError:
        if not check:
            raise
        return {"reasons": [f"{path} is not there yet"], "diff": []}
    environment = Environment(path, interpreter, python_lock.parse(request["installer"]))
    plan = environment.plan(request["thorough"])
    if not check:
        environment_link.carry_out(plan, lambda: environment.build(plan, request["pip_options"], held))
    return plan.result()


def _keep(path: Path, environment: dict, request: dict, check: bool, held: int) -> dict[str, object]:
    """Keep one environment as it is wanted; returns its part of the result, and its diff."""
    if environment["state"] == "absent":
        there = environment_link.what_can_go(path)
        if there and not check:
            environment_link.remove(there)
        reasons = [f"{each} is removed" for each in there]
        return {"directory": None, "reasons": reasons, "diff": [{"prepared": f"{reason}\n"} for reason in reasons]}
    wanted = environment_link.Wanted(path, environment["digest"], conda_build.MADE_WITH, environment["holds"])
    plan = environment_link.plan(wanted, request["thorough"])
    prefix = Path(request["prefix"])
    workshop = conda_build.Workshop(
        prefix / "installer", prefix / "packages", request["mirrors"], request["pip_options"]
    )
    if not check:
        environment_link.carry_out(plan, lambda: conda_build.build(plan.directory, environment, workshop, held))
    result = plan.result()
    return {"directory": plan.directory, "reasons": result["reasons"], "diff": result["diff"]}


if __name__ == "__main__":
    main()
