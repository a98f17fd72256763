"""ansible-runner: one PlaybookRun becomes one process of ansible-playbook, whose event stream becomes typed events."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from dlhost.adapters.ansible_env import isolate_this_process, isolated_environment
from dlhost.adapters.xdg import private_directory, private_place
from dlhost.values.checks import Check, check_from
from dlhost.values.redaction import Redaction
from dlhost.values.run import (
    Event,
    FileDiff,
    Listener,
    Notice,
    Outcome,
    PlaybookRun,
    Stats,
    TaskEnded,
    TaskStarted,
)

# How long ansible-playbook may take to stop by itself after an interrupt before it is killed.
GRACE_S = 10
# Of a failed command's output, the end is shown.
PRINTED_LINES = 5


def run_playbook(run: PlaybookRun, listen: Listener) -> bool:
    """Run the playbook, telling every event as it comes; returns whether the user interrupted it.

    The verdict is in the events' closing statistics: ansible-playbook's own return code mixes up a lost host with
    a playbook that cannot be read.
    """
    # Runner lays the environment we give it over this process's own.
    isolate_this_process()
    import ansible_runner

    interrupt = _Interrupt()
    convert = Conversion(run.redaction)

    def on_event(document: dict[str, Any]) -> bool:
        interrupt.pid = document.get("pid") or interrupt.pid
        event = convert(document)
        if event is not None:
            listen(event)
        return False  # Runner writes no file for an event; what is kept is the redacted record.

    with private_place() as directory, interrupt:
        ansible_runner.run(
            private_data_dir=str(directory),
            playbook=run.playbook,
            inventory=[str(run.inventory), *_moved_ports(run, directory)],
            cmdline=shlex.join(_arguments(run, directory)),
            limit=",".join(run.limit) or None,
            tags=",".join(run.tags) or None,
            skip_tags=",".join(run.skip_tags) or None,
            verbosity=run.verbosity or None,
            forks=run.forks,
            envvars=isolated_environment(control_path_dir(run.inventory)),
            passwords=_passwords(run),
            settings={"pexpect_timeout": 0.5},
            event_handler=on_event,
            cancel_callback=interrupt.is_overdue,
            suppress_env_files=True,
            suppress_output_file=True,
            quiet=True,
        )
    return interrupt.asked


def control_path_dir(inventory: Path) -> Path:
    """Where the sockets of an inventory's multiplexed connections lie, shared with the preflight's own ssh.

    Another inventory may name the same machine: who looks there must see its host key held against its own keys, and
    does not end others' connections with its own.
    """
    directory = private_directory() / "cp" / sha256(str(inventory.resolve()).encode()).hexdigest()[:8]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


class _Interrupt:
    """Ctrl-C, or a closed terminal, while ansible-playbook runs: it is asked to stop, and killed when it does not."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.asked = False
        self._deadline: float | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's way
                self._earlier[number] = signal.signal(number, self._ask)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            self._deadline = time.monotonic() + GRACE_S
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # It ended by itself just now.
                os.kill(self.pid, signal.SIGINT)
        else:
            self._deadline = 0.0

    def is_overdue(self) -> bool:
        """Runner's question whether to kill the process group now."""
        return self._deadline is not None and time.monotonic() > self._deadline


def _arguments(run: PlaybookRun, directory: Path) -> list[str]:
    arguments = ["--diff"]
    if run.check:
        arguments.append("--check")
    if run.extra_vars:
        # In a file, since a process list is public.
        path = directory / "extra_vars.yml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(dict(run.extra_vars)), encoding="utf-8")
        arguments += ["--extra-vars", f"@{path}"]
    if run.vault_password is not None:
        arguments.append("--ask-vault-pass")
    elif run.vault_password_file is not None:
        arguments += ["--vault-password-file", str(run.vault_password_file)]
    if run.become_password is not None:
        arguments.append("--ask-become-pass")
    return arguments


def _moved_ports(run: PlaybookRun, directory: Path) -> list[str]:
    """A second inventory for ports that differ from the first one's; its host_vars win over any of the first."""
    if not run.ports:
        return []
    inventory = directory / "moved-ports"
    (inventory / "host_vars").mkdir(parents=True)
    (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(run.ports)}}))
    for host, port in run.ports.items():
        (inventory / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump({"ansible_port": int(port)}))
    return [str(inventory)]


def _passwords(run: PlaybookRun) -> dict[str, str]:
    """Prompts, as regular expressions, and what to type at them."""
    asked = {
        r"^BECOME password.*:\s*?$": run.become_password,
        r"^Vault password:\s*?$": run.vault_password,
    }
    return {prompt: password for prompt, password in asked.items() if password is not None}


class Conversion:
    """Runner's events as ours, secrets hidden in every text; names that the report is keyed by stay as they are.

    Of a task with no_log, runner keeps nothing, not even whether it changed something: only the line that Ansible
    printed says so, for a loop one line an item. Without it, a secret that differs would be reported as in sync.
    """

    def __init__(self, hide: Redaction) -> None:
        self._hide = hide
        self._changed_items: set[tuple[str, str]] = set()

    def __call__(self, document: Mapping[str, Any]) -> Event | None:
        """One event; None for those that say nothing a report needs."""
        data = document.get("event_data") or {}
        printed = _without_colour(document.get("stdout") or "").strip()
        match document["event"]:
            case "runner_on_start":
                return TaskStarted(data["host"], _role(data), self._hide(data["task"]), _judges_values(data))
            case "runner_item_on_ok" if printed.startswith("changed: "):
                self._changed_items.add((data["host"], data["task_uuid"]))
            case "playbook_on_stats":
                return Stats(failures=data["failures"], dark=data["dark"])
            case "verbose" | "warning" | "error" | "system_warning" if printed:
                return Notice(self._hide(printed))
            case kind if kind in _OUTCOMES:
                return self._ended(_OUTCOMES[kind], data, printed)
        return None

    def _ended(self, outcome: Outcome, data: Mapping[str, Any], printed: str) -> TaskEnded:
        result = data.get("res") or {}
        if "censored" in result:
            changed = printed.startswith("changed: ") or (data["host"], data["task_uuid"]) in self._changed_items
        else:
            changed = bool(result.get("changed"))
        changed = changed and outcome is Outcome.OK
        return TaskEnded(
            host=data["host"],
            role=_role(data),
            task=self._hide(data["task"]),
            outcome=Outcome.CHANGED if changed else outcome,
            path=data.get("task_path", ""),
            action=data.get("resolved_action", data.get("task_action", "")),
            seconds=data.get("duration") or 0.0,
            message=self._hide(_message(result)),
            diffs=tuple(_diffs(result, self._hide)) if changed else (),
            items=tuple(map(self._hide, _changed_items(result))),
            undetermined=self._hide(result.get("dlhost_undetermined", "")),
            actions_needed=tuple(self._hide(_actions_needed(result))),
            checks=tuple(self._check(check) for check in result.get("dlhost_checks", ())),
            facts=result.get("ansible_facts") or {},
            rules=_judges_values(data),
        )

    def _check(self, document: Mapping[str, str]) -> Check:
        check = check_from(document)
        return replace(check, promise=self._hide(check.promise), reason=self._hide(check.reason))


_OUTCOMES = {
    "runner_on_ok": Outcome.OK,
    "runner_on_skipped": Outcome.SKIPPED,
    "runner_on_failed": Outcome.FAILED,
    "runner_on_unreachable": Outcome.UNREACHABLE,
}


def _role(data: Mapping[str, Any]) -> str:
    """The role's own name, without the collection's."""
    return str(data.get("role") or "").rpartition(".")[2]


def _judges_values(data: Mapping[str, Any]) -> bool:
    """Whether a task is of a role's entry point `rules`, or Ansible's own look at a role's arguments.

    Ansible takes that look whatever the tags of the run.
    """
    own = str(data.get("task_action", "")).endswith("validate_argument_spec")
    return own or "/tasks/rules.yml:" in data.get("task_path", "")


def _message(result: Mapping[str, Any]) -> str:
    """What a task said; of a loop, what its failed items said."""
    failed = [item for item in result.get("results", ()) if isinstance(item, dict) and item.get("failed")]
    said = [_message(item) for item in failed] or [str(result.get("msg") or result.get("censored") or "")]
    detail = str(result.get("stderr") or result.get("module_stderr") or "").strip()
    if said[0] == "non-zero return code":
        # What a command printed last says why; of ssh's own closing line that cannot be said.
        printed = str(result.get("stdout") or "").strip().splitlines()
        detail = "\n".join(printed[-PRINTED_LINES:]) if detail.startswith("Shared connection to") else detail
    if detail and detail not in said[0]:
        said.append(detail)
    return "\n".join(text for text in said if text)


def _changed_items(result: Mapping[str, Any]) -> list[str]:
    """The labels of a loop's elements that changed something; one that is a structure has no short name."""
    items = [item for item in result.get("results", ()) if isinstance(item, dict) and item.get("changed")]
    labels = [item.get("_ansible_item_label", item.get("item")) for item in items]
    return [str(label) for label in labels if isinstance(label, (str, int))]


def _actions_needed(result: Mapping[str, Any]) -> list[str]:
    """What the task, or the elements of its loop, leave to the user."""
    items = [item for item in result.get("results", ()) if isinstance(item, dict)]
    found = [result.get("dlhost_action_needed"), *(item.get("dlhost_action_needed") for item in items)]
    return [str(action) for action in found if action]


def _diffs(result: Mapping[str, Any], hide: Redaction) -> list[FileDiff]:
    results = [item for item in result.get("results", ()) if isinstance(item, dict)]
    found: list[FileDiff] = [diff for item in results for diff in _diffs(item, hide)]
    diffs = result.get("diff") or []
    for diff in [diffs] if isinstance(diffs, dict) else diffs:
        before, after = _text(diff.get("before"), hide), _text(diff.get("after"), hide)
        prepared = _text(diff.get("prepared"), hide)
        header = str(diff.get("header") or diff.get("after_header") or diff.get("before_header") or "")
        if prepared or before != after:
            found.append(FileDiff(hide(header), before, after, prepared))
    return found


def _text(value: Any, hide: Redaction) -> str:
    """A side of a diff: a text, or for modules that compare states, a mapping."""
    if isinstance(value, (dict, list)):
        # Hidden before it is laid out as YAML, which folds long texts.
        return yaml.safe_dump(hide(value), default_flow_style=False)
    return "" if value is None else hide(str(value))


def _without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
