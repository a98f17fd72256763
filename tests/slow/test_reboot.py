"""A reboot for a driver's sake on real machines, over SSH: only where it harms nobody, and one host after the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlhost.errors import ExitCode
from tests.e2e.conftest import Installed, Play
from tests.slow.driver import SYSFS, settings
from tests.slow.machine import Machine

pytestmark = pytest.mark.slow

REASON = "the kernel still runs another driver"
MARKER = "/run/dlhost/reboot-needed"
# A double, for no machine here has a GPU: it answers as one would whose driver takes a while after each boot.
REFUSALS = 2
ASKED = "/run/nvidia-smi-double-was-asked"
INSTALL_SMI = f"""cat >/usr/local/bin/nvidia-smi <<'END'
#!/bin/sh
echo once >>{ASKED}
[ "$(wc -l <{ASKED})" -gt {REFUSALS} ] || {{ echo "couldn't communicate with the NVIDIA driver"; exit 9; }}
echo '0, GPU-66666666, NVIDIA GeForce GTX 1070, 00000000:01:00.0, 550.163.01, 8192, 151.00, 75.50, 170.00'
END
chmod +x /usr/local/bin/nvidia-smi
"""


@pytest.fixture(scope="module")
def machines(new_machine: Callable[[Path], Machine], template: Path) -> tuple[Machine, Machine]:
    pair = new_machine(template), new_machine(template)
    for machine in pair:
        machine.wait_for_sshd()
    return pair


def reboot(*machines: Machine, **arguments: object) -> Play:
    """One play that reboots the machines where it may, and goes on with what is there then."""
    tasks: list[dict[str, object]] = [
        {"dlhost.host.guarded_reboot": {"reason": REASON, **arguments}, "throttle": 1},
        {"ansible.builtin.shell": {"cmd": f"cat /proc/sys/kernel/random/boot_id; wc -l <{ASKED} || true"}},
    ]
    more = [word for machine in machines[1:] for word in ("--inventory", str(machine.write_inventory()))]
    play = machines[0].play(tasks, *more)
    assert not play.failed, play.output
    return play


def said(play: Play, machine: Machine) -> str:
    """What is left to the machine's owner."""
    return str(play.events["plays"][0]["tasks"][0]["hosts"][machine.name].get("dlhost_action_needed", ""))


def boots(machine: Machine) -> list[dict[str, Any]]:
    """The machine's boots, the oldest first, with their first and last moments in microseconds."""
    found: list[dict[str, Any]] = json.loads(machine.execute("journalctl --list-boots --output=json"))
    return found


def test_it_waits_for_its_owner_or_happens_on_one_host_after_the_other(machines: tuple[Machine, Machine]) -> None:
    before = [machine.boot_id() for machine in machines]
    left = reboot(*machines, mode="never")
    assert [machine.boot_id() for machine in machines] == before
    for machine in machines:
        assert said(left, machine) == f"Reboot the host when it suits you, then run dlhost again. ({REASON}.)"
        assert machine.execute(f"cat {MARKER}").strip() == said(left, machine)

    done = reboot(*machines)
    assert not set(before) & {machine.boot_id() for machine in machines}
    for machine in machines:
        assert not said(done, machine)
        assert "gone" in machine.execute(f"test -e {MARKER} || echo gone")
    first, second = sorted((boots(machine)[-2:] for machine in machines), key=lambda pair: int(pair[0]["last_entry"]))
    assert first[1]["first_entry"] < second[0]["last_entry"], "Both were away at once."


def test_not_while_a_process_holds_a_gpu_and_then_until_the_gpu_answers(machines: tuple[Machine, Machine]) -> None:
    machine, _ = machines
    process = machine.execute("touch /dev/nvidia0; setsid sleep 1000 </dev/nvidia0 >/dev/null 2>&1 & echo $!").strip()
    before = machine.boot_id()
    assert said(reboot(machine), machine) == (
        f"sleep (root, process {process}) uses the GPU, and a reboot would end that; reboot the host afterwards, "
        f"then run dlhost again. ({REASON}.)"
    )
    assert machine.boot_id() == before

    machine.execute(INSTALL_SMI)
    boot_id, asked = reboot(machine, mode="force", gpus=1).results()[-1]["stdout_lines"]
    assert boot_id == machine.boot_id() != before
    assert int(asked) == REFUSALS + 1


def test_never_on_the_machine_that_dlhost_runs_on(machines: tuple[Machine, Machine]) -> None:
    _, machine = machines
    before = machine.boot_id()
    ask = f"ansible -i localhost, -c local localhost -m dlhost.host.guarded_reboot -a 'reason=\"{REASON}\" mode=force'"
    answer = json.loads(machine.execute(ask).partition("=> ")[2])
    assert answer["dlhost_action_needed"] == (
        f"This is the machine that dlhost runs on; reboot it yourself, then run dlhost again. ({REASON}.)"
    )
    assert machine.boot_id() == before


def test_the_role_reboots_once_and_the_kernel_takes_the_module_that_was_built(
    new_machine: Callable[[Path], Machine], driver_template: Path, tmp_path: Path
) -> None:
    """The module is Debian's and real, the card a fixture: the kernel runs the module until that looks for the card."""
    machine = new_machine(driver_template)
    machine.wait_for_sshd()
    # nouveau drives the card, as far as the role can see, until the next boot.
    machine.execute(f"mkdir -p /run/module/nouveau; ln -s /run/module {SYSFS}/module")
    machine.execute(INSTALL_SMI)
    dlhost = Installed(Path(sys.executable).with_name("dlhost"), tmp_path)
    inventory = dlhost.begin("rig", machine, workspace=True)
    (inventory / "group_vars" / "all" / "test.yml").write_text(json.dumps(settings("13")))
    provision = ("provision", "-i", "rig", "--roles", "nvidia_driver", "--yes")
    before = machine.boot_id()

    left = dlhost.run(*provision, "-e", "nvidia_driver_reboot=never")
    assert left.returncode == ExitCode.USER_MUST_ACT, left.stdout + left.stderr
    assert "nouveau drives the GPU until the next boot" in left.stdout
    assert machine.boot_id() == before

    # Without a card the module ends at once, which no second boot would mend.
    rebooted = dlhost.run(*provision)
    assert rebooted.returncode == ExitCode.TASK_FAILED, rebooted.stdout + rebooted.stderr
    assert "The host was rebooted, and that did not help" in rebooted.stdout
    assert machine.boot_id() != before
    assert "NVRM: No NVIDIA GPU found." in machine.execute("journalctl -k -b --output=cat")
