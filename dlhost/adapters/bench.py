"""What computes on a host, and what an environment there answers, by its sh over OpenSSH."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlhost.adapters import openssh
from dlhost.adapters.ansible_env import content_root
from dlhost.errors import UnreachableError
from dlhost.values.bench import Machine, failure, last_words, machine_from
from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact

LOOK = Path(__file__).with_name("bench_look.sh")
RUN = Path(__file__).with_name("bench_run.sh")
PROGRAM = Path(__file__).with_name("bench_inside.py")
# Below the root of the collection.
ACTIVATION = "plugins/module_utils/conda_activation.py"
# The notebooks' first kernel is in it, and may have been given a framework by jupyter_requirements.
JUPYTER = "/opt/dlhost/jupyter"
LOOK_TIMEOUT_S = 20
# More than the script itself waits for what does not end.
GRACE_S = 60


class NoAnswerError(Exception):
    """Why an environment did not answer, as the end of a sentence."""


def look(host: Host, control_path_dir: Path, prefix: str, pythons: Sequence[str]) -> Machine:
    """Look at one host; `prefix` is where role conda has its environments, `pythons` are those elsewhere.

    Raises:
        UnreachableError: It does not answer.
    """
    head = f"prefix={shlex.quote(prefix)} jupyter={JUPYTER}\nset -- {shlex.join(pythons)}\n"
    return machine_from(_asked(host, control_path_dir, head + LOOK.read_text(encoding="utf-8"), LOOK_TIMEOUT_S))


def ask_inside(host: Host, control_path_dir: Path, python: str, limit_s: int, question: str, *arguments: Any) -> Any:
    """What bench_inside.py answers in an environment.

    Raises:
        UnreachableError: The host does not answer.
        NoAnswerError: The environment does not.
    """
    script = run_script(python, limit_s, question, *arguments)
    printed = _asked(host, control_path_dir, script, limit_s + GRACE_S)
    reason = failure(printed, limit_s)
    if reason:
        raise NoAnswerError(reason)
    try:
        return json.loads(last_words(printed))
    except ValueError:
        raise NoAnswerError("gave no answer") from None


def run_script(python: str, limit_s: int, question: str, *arguments: Any) -> str:
    """What a host's sh is sent to ask an environment."""
    settings = {
        "python": python,
        "activation": (content_root() / ACTIVATION).read_text(encoding="utf-8"),
        "program": PROGRAM.read_text(encoding="utf-8"),
        "argument": json.dumps([question, arguments]),
        "limit_s": str(limit_s),
    }
    head = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    return head + RUN.read_text(encoding="utf-8")


def _asked(host: Host, control_path_dir: Path, script: str, timeout_s: float) -> str:
    answer = openssh.ask(host, control_path_dir, script, timeout_s)
    if answer.contact is not Contact.REACHED:
        raise UnreachableError(f"{host.name} {answer.why}.")
    return answer.printed
