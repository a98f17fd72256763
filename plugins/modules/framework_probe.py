# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: whether the torch, tensorflow and jax of Python environments compute on a host's GPUs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: framework_probe
short_description: Compute with torch, tensorflow and jax
description:
  - Has every framework that an interpreter's environment has multiply two matrices of 1024 x 1024 in single precision,
    on each GPU that it sees and on the processor, and compares the results.
  - Each framework runs in a process of its own with a time limit, with the rights of the user who owns the
    interpreter or a directory that leads to it, and without the memory of a whole GPU being taken.
  - Never fails; the caller judges. Leaves nothing behind.
author: dlhost maintainers (@dlhost)
options:
  interpreters:
    description: Paths of the environments' Python, such as C(/opt/envs/torch/bin/python).
    type: list
    elements: path
    required: true
  gpus:
    description: How many GPUs must compute; V(0) for a host without one.
    type: int
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Compute with the frameworks
  dlhost.host.framework_probe:
    interpreters: [/opt/envs/torch/bin/python]
    gpus: 1
  register: __nvidia_driver_frameworks
"""

RETURN = r"""
frameworks:
  description:
    - One element for each framework of each interpreter, or one for the interpreter where it has none or does not run.
      C(interpreter), C(framework) (C(torch), C(tensorflow), C(jax) or empty), C(version), C(cuda) (the release of CUDA
      that it is built for; empty for none and where it was not asked), C(devices) (the GPUs that it sees, each with
      C(name), C(error) (the largest relative error) and C(problem)), C(outcome) (C(computes), C(fails) or C(skip)) and
      C(reason) (a sentence; empty where it computes).
  type: list
  elements: dict
  returned: always
"""

import contextlib
import dataclasses
import inspect
import json
import os
import pwd
import signal
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import conda_activation, framework_inside

FIND_S = 30
# A framework's first start reads gigabytes from the disk, and jax compiles for each GPU.
COMPUTE_S = 180
END_S = 5
# Else these two would take most of every GPU's memory, which others may be using.
SPARING = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


@dataclasses.dataclass
class Seen:
    """What one framework was seen to do."""

    interpreter: str
    framework: str = ""
    version: str = ""
    cuda: str = ""
    devices: list = dataclasses.field(default_factory=list)
    outcome: str = "computes"
    reason: str = ""

    def but(self, outcome: str, reason: str) -> Seen:
        title = " ".join(word for word in (self.framework, self.version, reason) if word)
        return dataclasses.replace(self, outcome=outcome, reason=f"{self.interpreter}: {title}")


class NoAnswerError(Exception):
    """Why an interpreter did not answer, as the end of a sentence."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "interpreters": {"type": "list", "elements": "path", "required": True},
            "gpus": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    interpreters, gpus = module.params["interpreters"], module.params["gpus"]
    module.exit_json(
        changed=False,
        frameworks=[dataclasses.asdict(seen) for path in interpreters for seen in try_out(path, gpus)],
    )


def try_out(interpreter: str, gpus: int) -> list[Seen]:
    """What every framework of an environment does, where that many GPUs must compute."""
    seen = Seen(interpreter)
    try:
        versions, _words = ask(interpreter, FIND_S, "installed")
    except NoAnswerError as error:
        return [seen.but("fails", str(error))]
    if not versions:
        return [seen.but("skip", f"none of {', '.join(framework_inside.DISTRIBUTIONS)} is installed")]
    return [computed(Seen(interpreter, name, version), gpus) for name, version in versions.items()]


def computed(seen: Seen, gpus: int) -> Seen:
    """What one framework does."""
    if gpus == 0:
        return seen.but("skip", "has no GPU to compute on, for none is on the host")
    try:
        answer, words = ask(seen.interpreter, COMPUTE_S, "compute", seen.framework)
    except NoAnswerError as error:
        return seen.but("fails", str(error))
    seen = dataclasses.replace(seen, cuda=answer["cuda"], devices=answer["devices"])
    wrong = [
        f"GPU {number} {device['name']}: {device['problem']}"
        for number, device in enumerate(seen.devices)
        if device["problem"]
    ]
    if answer["problem"]:
        return seen.but("fails", f"does not start ({answer['problem']})")
    if not seen.cuda:
        return seen.but("skip", "is built for the CPU alone, without CUDA")
    if len(seen.devices) < gpus:
        wrong.insert(0, " ".join([f"sees {len(seen.devices)} of the {gpus} GPUs", *words]))
    return seen.but("fails", "; ".join(wrong)) if wrong else seen


def ask(interpreter: str, limit_s: float, question: str, *arguments: str) -> tuple:
    """What framework_inside answers in another interpreter, and the last line of what was said meanwhile.

    Raises:
        NoAnswerError: It does not run, crashes or takes too long.
    """
    run = [interpreter, "-I", "-B", "-c"]
    activated = [*run, inspect.getsource(conda_activation), *run, inspect.getsource(framework_inside)]
    with tempfile.TemporaryDirectory(prefix="dlhost-framework-", ignore_cleanup_errors=True) as home:
        try:
            process = subprocess.Popen(
                activated,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                cwd="/",
                # A home that goes again, since code that is compiled for a GPU is kept in it.
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": home, "TMPDIR": home, **SPARING},
                start_new_session=True,
                **rights(interpreter, home),
            )
        except OSError as error:
            raise NoAnswerError(f"cannot be run ({error.strerror})") from None
        try:
            said, noise = process.communicate(json.dumps([question, arguments]), timeout=limit_s)
        except subprocess.TimeoutExpired:
            # With what it has started. One that waits for a GPU's driver may not even end then.
            os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=END_S)
            raise NoAnswerError(f"did not end within {limit_s} s") from None
    words = [line.strip()[: framework_inside.LONGEST_REASON] for line in noise.splitlines() if line.strip()][-1:]
    if process.returncode < 0:
        raise NoAnswerError(f"crashed ({signal.Signals(-process.returncode).name})")
    if process.returncode > 0:
        raise NoAnswerError(" ".join([f"ended with status {process.returncode}", *words]))
    try:
        # An environment may have Python say something before the program has its turn.
        return json.loads(said.splitlines()[-1]), words
    except (IndexError, ValueError):
        raise NoAnswerError("gave no answer") from None


def rights(interpreter: str, home: str) -> dict:
    """Those of whoever may change what runs, to whom the home is given: root runs nothing of another's.

    Raises:
        NoAnswerError: Everybody may change it.
    """
    if os.geteuid() != 0:
        return {}
    owner = next((owner for owner in owners(interpreter) if owner != "root"), "")
    if not owner:
        return {}
    try:
        account = pwd.getpwnam(owner)
    except KeyError:  # Nobody has that number any more.
        os.chown(home, int(owner), -1)
        return {"user": int(owner), "group": int(owner), "extra_groups": []}
    os.chown(home, account.pw_uid, account.pw_gid)
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


def owners(interpreter: str) -> list[str]:
    """Who owns the interpreter, each directory that leads to it, and each link among them with what it leads to.

    Raises:
        NoAnswerError: One of them may be changed by everybody.
    """
    command = ["namei", "--modes", "--owners", "--", interpreter]
    listed = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    found = []
    for line in listed.stdout.splitlines()[1:]:
        mode, owner, *_group, name = line.split(maxsplit=3)
        if owner == "-":  # It is not there, which running it will tell.
            break
        if mode[0] != "l" and mode[8] == "w" and mode[9] not in "tT":
            raise NoAnswerError(f"is not run, since everybody may change {name}")
        found.append(owner)
    return found


if __name__ == "__main__":
    main()
