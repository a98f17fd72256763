"""One play on this machine, in which every case is a host with variables of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlhost.adapters.ansible_env import collections_path


def results(
    directory: Path, hosts: Mapping[str, Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]], *arguments: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Run the tasks in a directory; yields each task's name, host and result, in order.

    Args:
        directory: Where it runs; the play's own templates and files are found there.
        hosts: Host to its variables.
        tasks: Ansible tasks.
        arguments: More of ansible-playbook's.
    """
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": tasks}
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (directory / "play.json").write_text(json.dumps([play]))
    done = ansible_playbook(directory, "play.json", *arguments, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    for task in json.loads(done.stdout)["plays"][0]["tasks"]:
        for host, result in task["hosts"].items():
            yield task["task"]["name"], host, result


def rules_of(role: str) -> dict[str, Any]:
    """The task that judges what the role is to do, as playbooks/rules.yml has it."""
    return {"ansible.builtin.import_role": {"name": f"dlhost.host.{role}", "tasks_from": "rules"}}


def refusals(directory: Path, role: str, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Host to what the role's rules say against its variables; a host that they let pass is not among them."""
    ran = results(directory, hosts, [rules_of(role)])
    return {host: str(result["msg"]) for _task, host, result in ran if result.get("failed")}


def ansible_playbook(
    directory: Path, playbook: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a playbook of the directory, or of the collection by its name, over the directory's hosts.json."""
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), *arguments, "-i", "hosts.json", playbook],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections_path()), **environment},
    )
