# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a Python environment that holds exactly what a lock says."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: python_environment
short_description: Keep a Python environment exactly as a lock says
description:
  - O(path) becomes a symbolic link to an environment that lies beside it, in a directory named after what it holds, as
    C(jupyter-3f2a9c1b7d4e). What differs from the lock or is damaged is built anew in full, then switched to. So a
    server that runs from the present one is not disturbed, and a build that fails changes nothing.
  - The previous environment is kept until the next switch, and as long as a process runs from it. To go back to its
    lock is a switch.
  - What was installed is recorded in the environment. A run that changes nothing compares the record with the files and
    needs neither pip nor an index.
  - Wheels only; every one must have a hash of the lock. pip comes from the interpreter's ensurepip (the Debian package
    python3-venv) and is not part of the environment. It honours the host's pip.conf, PIP_* and proxy variables.
author: dlhost maintainers (@dlhost)
options:
  path:
    description: The link. Its directory is made where it is missing.
    type: path
    required: true
  requirements:
    description:
      - The lock, as the text of a pip requirements file. Each line is C(name==version), perhaps with a marker, and one
        or more C(--hash), as C(uv pip compile --generate-hashes) or C(pip-compile --generate-hashes) write it.
      - Required unless O(state=absent).
    type: str
  python:
    description: The interpreter to make the environment with.
    type: path
    default: /usr/bin/python3
  pip_options:
    description: Options of pip by their long names, for hosts whose way to an index no pip.conf says.
    type: dict
    default: {}
    suboptions:
      index_url:
        description: The package index.
        type: str
      extra_index_url:
        description: More indexes.
        type: list
        elements: str
      find_links:
        description: Directories or pages with wheels.
        type: list
        elements: str
      no_index:
        description: Use nothing but O(pip_options.find_links).
        type: bool
      proxy:
        description: The proxy, as scheme://user:password@host:port.
        type: str
      cert:
        description: A bundle of certificate authorities, instead of the host's.
        type: path
      trusted_host:
        description: Hosts that may do without a valid certificate.
        type: list
        elements: str
  thorough:
    description: Read every file instead of those that look changed by size or time.
    type: bool
    default: false
  state:
    description: With V(absent), the link and all environments of it are removed.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would be built and why, on a host without python3-venv too, and writes nothing.
  diff_mode:
    support: full
    description: One line per distribution that comes, goes or changes its version, and per damage.
"""

EXAMPLES = r"""
- name: Keep the environment of the server
  dlhost.host.python_environment:
    path: /opt/dlhost/jupyter
    requirements: "{{ lookup('ansible.builtin.file', 'jupyter.txt') }}"
  register: __jupyter_environment

- name: Install from a directory of wheels
  dlhost.host.python_environment:
    path: /opt/dlhost/jupyter
    requirements: "{{ lookup('ansible.builtin.file', 'jupyter.txt') }}"
    pip_options:
      no_index: true
      find_links: [/srv/wheels]
"""

RETURN = r"""
path:
  description: The link, for people. What a running process was started from changes under it at a switch.
  type: str
  returned: always
python:
  description:
    - The environment's interpreter by its real path, for a unit's C(ExecStart). It changes with the environment, and so
      does the unit; a service that has not been restarted yet keeps running from the directory it was started from.
    - In check mode, what it would be.
  type: str
  returned: always
digest:
  description: What the environment holds, as one SHA-256 over the pins that apply and the version of Python.
  type: str
  returned: when O(state=present)
reasons:
  description: Why the environment is changed; empty where it is not.
  type: list
  elements: str
  returned: always
"""

import contextlib
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import environment_link, python_environment, python_lock
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_build import find_interpreter
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import PythonEnvironmentError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "requirements": {"type": "str"},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "pip_options": {
                "type": "dict",
                "default": {},
                # An index or proxy may have a password in its URL.
                "no_log": True,
                "options": {
                    "index_url": {"type": "str"},
                    "extra_index_url": {"type": "list", "elements": "str"},
                    "find_links": {"type": "list", "elements": "str"},
                    "no_index": {"type": "bool"},
                    "proxy": {"type": "str"},
                    "cert": {"type": "path"},
                    "trusted_host": {"type": "list", "elements": "str"},
                },
            },
            "thorough": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["requirements"])],
        supports_check_mode=True,
    )
    act = converge if module.params["state"] == "present" else remove
    try:
        result = act(module.params, module.check_mode)
    except (PythonEnvironmentError, python_lock.LockError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def converge(request: dict, check: bool) -> dict[str, object]:
    """Make path an intact environment of the lock; returns the module's result."""
    path, pins = Path(request["path"]), python_lock.parse(request["requirements"])
    try:
        interpreter = find_interpreter(Path(request["python"]))
    except PythonEnvironmentError:
        if not check:
            raise
        return {
            **_result(path, True, []),
            "dlhost_undetermined": f"{path}, because {request['python']} does not run yet",
        }
    environment = python_environment.Environment(path, interpreter, pins)
    if check:
        return environment.plan(request["thorough"]).result()
    # sudo's umask may be another; everybody reads the environment, and nobody but its owner writes to it.
    os.umask(0o022)
    with environment_link.only_run(path.parent) as lock:
        plan = environment.plan(request["thorough"])
        environment_link.carry_out(plan, lambda: environment.build(plan, request["pip_options"], lock))
    return plan.result()


def remove(request: dict, check: bool) -> dict[str, object]:
    """Remove the link and its environments; returns the module's result."""
    path = Path(request["path"])
    with environment_link.only_run(path.parent) if path.parent.exists() and not check else contextlib.nullcontext():
        there = environment_link.what_is_there(path)
        if there and not check:
            environment_link.remove(there)
    return _result(path, bool(there), [f"{each} is removed" for each in there])


def _result(path: Path, changed: bool, reasons: list[str]) -> dict[str, object]:
    return {
        "changed": changed,
        "path": str(path),
        "python": str(path / "bin" / "python"),
        "reasons": reasons,
        "diff": [{"prepared": f"{reason}\n"} for reason in reasons],
    }


if __name__ == "__main__":
    main()
