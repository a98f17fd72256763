"""A reboot that is done where it harms nobody, and otherwise left to the user in one sentence."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from tests.unit.nvidia_host import host, with_driver
from tests.unit.python_environments import plugin

REASON = "nouveau drives the GPU until the next boot"
JOB = {"pid": 4242, "command": "python3", "user": "ada"}
ANSWERS = with_driver("A100", "A100")
DOES_NOT_ANSWER = host("A100", "A100", smi={"error": "No devices were found"})


class Task(SimpleNamespace):
    def copy(self) -> Task:
        return Task(**vars(self))


class Rig:
    """A host that is looked at again and again; each look shows the next of `looks`, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: dict[str, Any], back: bool = True) -> None:
        self.action = plugin("action.guarded_reboot")
        self.looks = list(looks)
        self.back = back
        self.done: list[str] = []
        self.marker = ""
        clock = itertools.count(0, 5)
        monkeypatch.setattr(self.action.time, "monotonic", lambda: next(clock))
        monkeypatch.setattr(self.action.time, "sleep", lambda seconds: self.done.append(f"sleep {seconds}"))
        monkeypatch.setattr(self.action, "_own_boot_id", lambda: "the controller's")
        monkeypatch.setattr(self.action, "action_loader", SimpleNamespace(get=self._other))

    def run(self, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        task = Task(args={"reason": REASON, **arguments}, check_mode=check, async_val=0)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="none"))
        action = self.action.ActionModule(task, connection, None, None, None, None)
        action._low_level_execute_command = self._execute
        result: dict[str, Any] = action.run(task_vars={})
        return result

    def _other(self, name: str, task: Task, **_context: Any) -> SimpleNamespace:
        def run(task_vars: dict[str, Any]) -> dict[str, Any]:
            del task_vars
            self.done.append(name)
            if name == "ansible.builtin.reboot":
                assert task.args == {"reboot_timeout": 600}
                return {"elapsed": 60} if self.back else {"failed": True, "msg": "Timed out waiting for last boot time"}
            return {"nvidia": self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]}

        return SimpleNamespace(run=run)

    def _execute(self, _command: str, in_data: bytes, executable: str) -> dict[str, Any]:
        del executable
        self.marker = in_data.decode()
        return {"rc": 0}

    @property
    def rebooted(self) -> bool:
        return "ansible.builtin.reboot" in self.done


def test_a_host_that_nobody_uses_is_rebooted_and_its_gpus_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, ANSWERS, DOES_NOT_ANSWER, DOES_NOT_ANSWER, ANSWERS)
    result = rig.run(gpus=2)

    look = "dlhost.host.nvidia_facts"
    assert rig.done == [look, "ansible.builtin.reboot", look, "sleep 5", look, "sleep 5", look]
    assert result["changed"]
    assert result["elapsed"] == 60 + 15
    assert (rig.marker, "dlhost_action_needed" in result) == ("", False)


def test_ssh_alone_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, ANSWERS, DOES_NOT_ANSWER)
    with pytest.raises(AnsibleActionFail, match="its GPUs do not answer: No devices were found"):
        rig.run(gpus=2, gpu_timeout_s=30)

    one_is_lost = with_driver("A100", "A100", smi={"gpus": [{}]})
    with pytest.raises(AnsibleActionFail, match="nvidia-smi shows 1 of 2"):
        Rig(monkeypatch, ANSWERS, one_is_lost).run(gpus=2, gpu_timeout_s=30)


def test_a_host_that_stays_away_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, ANSWERS, back=False)
    with pytest.raises(AnsibleActionFail, match="does not come back: Timed out waiting"):
        rig.run(gpus=2)


@pytest.mark.parametrize(
    ("differs", "arguments", "says"),
    [
        ({}, {"mode": "never"}, "Reboot the host when it suits you, then run dlhost again."),
        ({"is_controller": True}, {}, "This is the machine that dlhost runs on; reboot it yourself"),
        # Force is about what runs on the GPUs.
        ({"is_controller": True}, {"mode": "force"}, "This is the machine that dlhost runs on"),
        ({"boot_id": "the controller's"}, {"mode": "force"}, "This is the machine that dlhost runs on"),
        ({"container": True}, {"mode": "force"}, "Restart this container's host"),
        ({"users": [JOB]}, {}, "python3 (ada, process 4242) uses the GPU, and a reboot would end that"),
        ({}, {"mode": "force", "console": "Choose Enroll MOK at its console."}, "Choose Enroll MOK at its console."),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_is_left_to_the_user(
    monkeypatch: pytest.MonkeyPatch, differs: dict[str, Any], arguments: dict[str, Any], says: str, check: bool
) -> None:
    rig = Rig(monkeypatch, with_driver("A100", **differs))
    result = rig.run(check=check, gpus=1, **arguments)

    assert not rig.rebooted
    assert not result["changed"]
    assert result["dlhost_action_needed"].startswith(says)
    assert f"({REASON}.)" in result["dlhost_action_needed"]
    # The host says it too, until it boots.
    assert (">/run/dlhost/reboot-needed" in rig.marker) == (not check)


def test_with_consent_a_job_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, with_driver("A100", users=[JOB]), with_driver("A100"))

    assert rig.run(mode="force", gpus=1)["changed"]
    assert rig.rebooted


def test_a_dry_run_says_that_it_would_be_rebooted(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, ANSWERS)
    result = rig.run(check=True, gpus=2)

    assert (result["changed"], rig.rebooted, rig.marker) == (True, False, "")
    assert REASON in result["msg"]


def test_the_sentence_is_written_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rig = Rig(monkeypatch, with_driver("A100", users=[{**JOB, "command": "it's; rm -rf"}]))
    marker = tmp_path / "run" / "reboot-needed"
    monkeypatch.setattr(rig.action, "MARKER", str(marker))
    sentence = rig.run()["dlhost_action_needed"]
    subprocess.run(["sh", "-s"], input=rig.marker, text=True, check=True)

    assert marker.read_text() == f"{sentence}\n"


def test_a_controller_with_another_system_has_no_boot_of_this_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    action = plugin("action.guarded_reboot")
    if sys.platform == "linux":
        assert action._own_boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    monkeypatch.setattr(action, "BOOT_ID", tmp_path / "none")
    assert action._own_boot_id() == "none"
