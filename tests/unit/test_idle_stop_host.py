"""What of a host counts as work for role idle_stop, from a /proc, a /sys and an nvidia-smi of the test's own."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

SYSTEM = "0::/system.slice/"
# Without pam_systemd.
SSH = f"{SYSTEM}ssh.service"
SESSION = "0::/user.slice/user-1000.slice/session-3.scope"
PTS = os.makedev(136, 7)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with nothing on its host."""
    monkeypatch.syspath_prepend(str(collections_path()))
    module = importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.idle_host")
    for name in ("PROC", "SYS", "DEV", "TRANSIENT_AT"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(module, "SMI", (str(tmp_path / "nvidia-smi"),))
    monkeypatch.setattr(module, "SMI_LIMIT_S", 0.5)
    return module


def process(host: Any, name: str, *arguments: str, **more: Any) -> Any:
    values = {"number": 42, "state": "S", "terminal": PTS, "ticks": 0, "started": 0, "group": SESSION, "owner": 1000}
    return host.Process(name=name, command=[more.pop("path", name), *arguments], **{**values, **more})


def left_by(running: list[Any]) -> dict[str, int]:
    """What a look at these leaves for the next."""
    return {one.key: one.ticks for one in running}


# Load


@pytest.mark.parametrize(
    ("limit", "load", "said"), [(0.5, 0.5, ["the load is 0.5 or more"]), (0.5, 0.49, []), (0, 99, [])]
)
def test_the_load_of_the_last_minute_is_work_from_its_limit_on(
    host: Any, monkeypatch: pytest.MonkeyPatch, limit: float, load: float, said: list[str]
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 99 - load, 99 - load))

    assert host.under_load(limit) == said


# Programs


def test_a_process_is_read_as_the_kernel_writes_it(host: Any) -> None:
    directory = host.PROC / "42"
    directory.mkdir()
    (directory / "stat").write_text(f"42 (a) (b) R 1 42 42 {PTS} 42 0 0 0 0 0 1 2 3 4 20 0 1 0 777 0 0\n")
    (directory / "cmdline").write_bytes(b"/usr/bin/a\0--fast\0")
    (directory / "cgroup").write_text(SESSION)
    (host.PROC / "43").mkdir()  # It ends while it is looked at.
    (found,) = host.processes()
    assert (found.name, found.state, found.terminal, found.ticks, found.started) == ("a) (b", "R", PTS, 10, 777)
    assert found.command == ["/usr/bin/a", "--fast"]


@pytest.mark.parametrize(
    ("name", "arguments", "more"),
    [
        ("python3", ["train.py"], {}),
        ("bash", ["train.sh"], {}),
        ("bash", ["-c", "make"], {}),
        ("vim", [], {}),
        # Their own programs begin like a desktop's helpers.
        ("R", ["--no-echo"], {"path": "/usr/lib/R/bin/exec/R"}),
        ("java", ["-jar", "x"], {"path": "/usr/lib/jvm/java-17-openjdk-amd64/bin/java"}),
        ("firefox-esr", [], {"path": "/usr/lib/firefox-esr/firefox-esr", "terminal": 0}),
        ("cc1", [], {"path": "/usr/libexec/gcc/x86_64-linux-gnu/14/cc1"}),
        # A loop in the shell itself.
        ("bash", [], {"path": "-bash", "state": "R"}),
        # A copy over a slow line takes no time that could be seen.
        ("sftp-server", [], {"path": "/usr/lib/openssh/sftp-server", "terminal": 0}),
        ("sshd", [], {"path": "sshd: ada@internal-sftp", "terminal": 0}),
        # Without pam_systemd.
        ("python3", ["train.py"], {"group": SSH}),
        ("python3", ["train.py"], {"group": SSH, "terminal": 0}),
        ("python3", ["x"], {"group": f"{SYSTEM}system-ssh.slice/ssh@3-10.0.0.1:22-10.0.0.2:4711.service"}),
        ("python3", ["x"], {"group": f"{SYSTEM}system-getty.slice/getty@tty1.service"}),
        # Left behind by who logged out, of a user's own systemd, and root's.
        ("python3", ["train.py"], {"terminal": 0}),
        ("python3", ["x"], {"group": "0::/user.slice/user-1000.slice/user@1000.service/app.slice/train.service"}),
        ("python3", ["x"], {"group": "0::/user.slice/user-0.slice/session-1.scope"}),
        ("python3", ["x"], {"group": "0::/docker/f1b/user.slice/user-1000.slice/session-c1.scope"}),
        # For a time table, and by systemd-run.
        ("python3", ["x"], {"group": "0::/system.slice/cron.service"}),
        ("python3", ["x"], {"group": "0::/system.slice/run-u12.service"}),
        ("python3", ["x"], {"group": f"{SYSTEM}train.service"}),
        ("python3", ["x"], {"group": f"{SYSTEM}slurmstepd.scope/job_3/step_0/user/task_0"}),
        ("slurmstepd", [], {"group": f"{SYSTEM}slurmd.service"}),
    ],
)
def test_a_program_counts(host: Any, name: str, arguments: list[str], more: dict[str, Any]) -> None:
    (host.TRANSIENT_AT / "train.service").touch()
    (said,) = host.programs([process(host, name, *arguments, **more)], {"htop"})
    assert name in said


@pytest.mark.parametrize(
    ("name", "arguments", "more"),
    [
        ("bash", [], {"path": "-bash"}),
        ("zsh", ["-l"], {}),
        ("tmux: server", ["new"], {"path": "tmux"}),
        ("sshd", [], {"path": "sshd: ada@pts/0", "terminal": 0}),
        ("sshd-session", [], {"path": "sshd-session: ada@pts/0", "terminal": 0}),
        ("sudo", ["-i"], {}),
        ("htop", [], {}),
        ("xfce4-panel", [], {"terminal": 0}),
        ("gvfsd", [], {"path": "/usr/libexec/gvfsd", "terminal": 0}),
        ("xfconfd", [], {"path": "/usr/lib/x86_64-linux-gnu/xfce4/xfconf/xfconfd", "terminal": 0}),
        ("tumblerd", [], {"path": "/usr/lib/x86_64-linux-gnu/tumbler-1/tumblerd", "terminal": 0}),
        ("bash", [], {"path": "-bash", "group": SSH}),
        ("sshd", [], {"path": "sshd: ada@pts/0", "terminal": 0, "group": SSH}),
        ("sshd", ["-D"], {"path": "sshd: /usr/sbin/sshd", "terminal": 0, "group": SSH}),
        ("agetty", [], {"group": f"{SYSTEM}system-getty.slice/getty@tty1.service"}),
        ("slurmd", ["-D"], {"group": f"{SYSTEM}slurmd.service", "terminal": 0}),
        ("python3", ["x"], {"state": "Z"}),
        # The system's own: a service, the login of a screen, cron itself.
        ("python3", ["x"], {"group": "0::/system.slice/fail2ban.service"}),
        ("gnome-shell", [], {"group": "0::/user.slice/user-117.slice/session-c1.scope"}),
        ("gnome-shell", [], {"group": "0::/user.slice/user-61184.slice/session-c1.scope"}),
        ("cron", ["-f"], {"group": "0::/system.slice/cron.service", "path": "/usr/sbin/cron"}),
    ],
)
def test_what_waits_does_not(host: Any, name: str, arguments: list[str], more: dict[str, Any]) -> None:
    assert host.programs([process(host, name, *arguments, **more)], {"htop"}) == []


@pytest.mark.parametrize(("age_s", "typed"), [(10, True), (100, True), (130, False), (-60, False)])
def test_who_types_is_seen_by_the_terminal(host: Any, age_s: int, typed: bool) -> None:
    terminal = host.DEV / "pts" / "7"
    terminal.parent.mkdir()
    terminal.touch()
    os.utime(terminal, (time.time() - age_s, time.time()))
    assert bool(host.typing([process(host, "bash")])) is typed
    assert bool(host.typing([process(host, "bash", group=SSH)])) is typed
    assert host.typing([process(host, "agetty", group="0::/system.slice/getty@tty1.service")]) == []


@pytest.mark.parametrize(
    ("number", "device"),
    [
        (os.makedev(136, 7), "pts/7"),
        (os.makedev(137, 1), "pts/257"),
        (os.makedev(4, 1), "tty1"),
        (os.makedev(4, 64), "ttyS0"),
        (os.makedev(5, 1), None),
        (0, None),
    ],
)
def test_terminals_by_their_numbers(host: Any, number: int, device: str | None) -> None:
    assert host._terminal(number) == (host.DEV / device if device else None)


def test_every_terminal_is_told_and_none_is_waited_for(host: Any) -> None:
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    (host.DEV / "pts").mkdir()
    (host.DEV / "pts/7").symlink_to(os.ttyname(theirs))
    # Nobody reads there.
    os.mkfifo(host.DEV / "pts/8")
    for group in (SESSION, SSH):
        running = [process(host, "bash", terminal=os.makedev(136, number), group=group) for number in (7, 8, 9)]
        host.tell(running, "dlhost: stopped in 5 min.")
        assert b"dlhost: stopped in 5 min." in os.read(ours, 1000)
    for descriptor in (ours, theirs):
        os.close(descriptor)


# Jupyter and desktops


@pytest.fixture
def units(host: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Units that run, by their names; what they do is asked of role jupyter's and vnc's own modules."""
    names: list[str] = []
    unit = importlib.import_module(f"{host.__package__}.service_host").Unit

    def find_units(found: list[str]) -> dict[str, Any]:
        return {name: unit(name, "", True, True, False, False, 42, 1.0) for name in found}

    monkeypatch.setattr(
        host, "find_instances", lambda templates: [each for each in names if each[:11] == templates[0][:11]]
    )
    monkeypatch.setattr(host, "find_units", find_units)
    monkeypatch.setattr(host.jupyter_host, "work_of", lambda _unit, _environment: [])
    monkeypatch.setattr(host.vnc_host, "is_watched", lambda unit: "grace" in unit.name)
    return names


def test_a_kernel_that_computes_counts_and_one_that_is_open_does_not(
    host: Any, units: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    units.append("dlhost-jupyter@ada.service")
    assert host.in_jupyter([], {}) == {}
    monkeypatch.setattr(host.jupyter_host, "work_of", lambda _unit, _environment: ["1 kernel is busy"])
    assert host.in_jupyter([], {}) == {"dlhost-jupyter@ada.service": ["Jupyter of ada: 1 kernel is busy"]}


def test_short_cells_are_seen_by_what_they_take(host: Any, units: list[str]) -> None:
    units.append("dlhost-jupyter@ada.service")
    group = "0::/system.slice/system-dlhost\\x2djupyter.slice/dlhost-jupyter@ada.service"

    def look(server: int, kernel: int) -> list[Any]:
        ticks = {41: server, 42: kernel}
        running = [process(host, "python3", group=group, number=number, ticks=ticks[number]) for number in ticks]
        return [*running, process(host, "python3", number=43, ticks=9999)]

    looks = [look(500, 0), look(520, 10), look(540, 70)]
    assert host.in_jupyter(looks[1], left_by(looks[0])) == {}
    assert host.in_jupyter(looks[2], left_by(looks[0])) == {"dlhost-jupyter@ada.service": ["ada uses Jupyter"]}


def test_a_desktop_that_somebody_looks_at_counts(host: Any, units: list[str]) -> None:
    units += ["dlhost-vnc@ada.service", "dlhost-vnc@grace.service"]
    assert host.at_desktops() == ["somebody looks at the desktop of grace"]


# SSH


@pytest.mark.parametrize("group", [SESSION, SSH], ids=["session", "without pam_systemd"])
def test_work_over_ssh_is_seen_by_what_it_takes_of_the_processor(host: Any, group: str) -> None:
    def look(ticks: int, **more: Any) -> list[Any]:
        return [process(host, "sshd", path="sshd: ada", ticks=ticks, **{"terminal": 0, "group": group, **more})]

    def seen(running: list[Any], earlier: list[Any]) -> bool:
        return bool(host.over_ssh(running, left_by(earlier), {"htop"}))

    assert not seen(look(105), look(100))
    assert seen(look(110), look(100))
    # One that has come since, also under a number that another had.
    assert seen(look(20), [])
    assert seen(look(20, started=7), look(500))
    # What is typed and runs in a terminal is judged by that, and what the same connection does beside it by this.
    shell = process(host, "bash", ticks=900, group=group)
    assert not seen([*look(105), shell], look(100))
    assert seen([*look(110), shell], look(100))
    # Only these are left, or count for nothing.
    assert not seen([process(host, "tmux: server", terminal=0, ticks=900, group=group)], [])
    assert not seen([*look(100), process(host, "htop", number=43, terminal=0, ticks=900, group=group)], look(100))


def test_who_only_knocks_at_the_door_does_no_work(host: Any) -> None:
    titles = (
        "sshd: /usr/sbin/sshd -D [listener] 1 of 10",
        "sshd: root [priv]",
        "sshd: unknown [net]",
        "sshd: [accepted]",
    )
    running = [process(host, "sshd", path=title, terminal=0, ticks=900, group=SSH) for title in titles]
    assert host.over_ssh(running, {}, set()) == []
    assert host.in_services(running, {}, set()) == []


# Services


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (f"{SYSTEM}docker-9f1c.scope", "docker-9f1c.scope"),
        ("0::/docker/9f1c", "/docker/9f1c"),
        ("0::/machine.slice/libpod-9f1c.scope/container", "libpod-9f1c.scope"),
        (f"{SYSTEM}anacron.service", "anacron.service"),
        (f"{SYSTEM}cron.service", "cron.service"),
        (f"{SYSTEM}slurmstepd.scope/job_3/step_0/user/task_0", "slurmstepd.scope"),
        (f"{SYSTEM}systemd-nspawn@x.service/payload", "systemd-nspawn@x.service"),
        ("0::/user.slice/user-998.slice/user@998.service/app.slice/runner.service", "runner.service"),
    ],
)
def test_a_service_or_a_container_works_by_what_it_takes_of_the_processor(host: Any, group: str, name: str) -> None:
    def look(ticks: int, **more: Any) -> list[Any]:
        return [process(host, "python3", terminal=0, ticks=ticks, group=group, **more)]

    said = [f"something works in {name}"]
    assert host.in_services(look(1299), left_by(look(1000)), set()) == []
    assert host.in_services(look(1300), left_by(look(1000)), set()) == said
    assert host.in_services(look(300, number=43), left_by(look(1000)), set()) == said
    assert host.in_services(look(1300), left_by(look(1000)), {"python3"}) == []


@pytest.mark.parametrize(
    "group",
    [
        "0::/init.scope",
        "0::/",
        f"{SYSTEM}dlhost-idle-stop.service",
        f"{SYSTEM}systemd-journald.service",
        f"{SYSTEM}zabbix-agent2.service",
        f"{SYSTEM}system-dlhost\\x2djupyter.slice/dlhost-jupyter@ada.service",
    ],
)
def test_what_watches_the_host_does_no_work_on_it(host: Any, group: str) -> None:
    running = process(host, "x", terminal=0, ticks=9999, group=group)
    if group == "0::/":
        running.command.clear()  # The kernel's own.
    assert host.in_services([running], {}, set()) == []


def test_people_with_numbers_of_the_system_are_people(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    working = process(host, "python3", group="0::/user.slice/user-998.slice/session-3.scope")
    for shell, found in (("/bin/bash", 1), ("/usr/sbin/nologin", 0), ("/bin/false", 0)):
        entry = pwd.struct_passwd(("ada", "x", 998, 998, "", "/home/ada", shell))
        monkeypatch.setattr(host.pwd, "getpwuid", lambda _uid, entry=entry: entry)
        assert len(host.programs([working], set())) == found


# Who wants no shutdown


@pytest.mark.parametrize(
    ("what", "mode", "said"),
    [
        ("shutdown:sleep", "block", ["fwupd holds up a shutdown"]),
        ("shutdown", "delay", []),
        ("handle-power-key:sleep", "block", []),
        (None, "", []),
    ],
)
def test_who_asked_for_no_shutdown_is_heard(
    host: Any, tmp_path: Path, what: str | None, mode: str, said: list[str]
) -> None:
    answer = {"type": "a(ssssuu)", "data": [[[what, "fwupd", "Flashing", mode, 0, 42]]]}
    busctl = tmp_path / "busctl"
    # Without systemd-logind there is none who could ask for it.
    busctl.write_text(f"#!/bin/sh\ncat <<'EOS'\n{json.dumps(answer)}\nEOS\n" if what else "#!/bin/sh\nexit 1\n")
    busctl.chmod(0o755)
    host.INHIBITORS = (str(busctl),)
    assert host.inhibited() == said


# Packages


def test_a_lock_of_apt_is_seen_and_not_taken(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    monkeypatch.setattr(host, "PACKAGE_LOCKS", (str(tmp_path / "missing"), str(lock)))
    assert host.at_packages() == []
    program = (
        f"import fcntl; f = open({str(lock)!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as apt:
        assert apt.stdout
        apt.stdout.readline()
        assert host.at_packages() == ["packages are being installed"]
        apt.communicate(b"\n")
    assert host.at_packages() == []
    with lock.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# GPUs

LOG = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log><driver_version>580.95.05</driver_version>
<gpu id="00000000:01:00.0"><mig_mode><current_mig>{mig}</current_mig></mig_mode>
<utilization><gpu_util>{load}</gpu_util></utilization>
<processes>{processes}</processes></gpu></nvidia_smi_log>
"""


def using(number: int, kind: str = "C") -> str:
    return f"<process_info><pid>{number}</pid><type>{kind}</type><process_name>x</process_name></process_info>"


def install(host: Any, script: str) -> None:
    """A card on the bus, and a program that stands in for nvidia-smi."""
    card = host.SYS / "bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True, exist_ok=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030200\n")
    path = Path(host.SMI[0])
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("load", "processes", "said"),
    [
        ("0 %", "", []),
        ("4 %", "", []),
        ("5 %", "", ["GPU 0 computes"]),
        ("97 %", using(42), ["GPU 0 computes", "python3 uses GPU 0"]),
        ("0 %", using(42), ["python3 uses GPU 0"]),
        ("0 %", using(42, "C+G"), ["python3 uses GPU 0"]),
        # Divided by MIG: who holds on to it may compute, whoever it is.
        ("MIG", using(42), ["python3 uses GPU 0"]),
        ("MIG", "", []),
        ("MIG", using(43), ["jupyter uses GPU 0"]),
        ("MIG", using(44), ["ollama uses GPU 0"]),
        ("N/A", "", ["GPU 0 does not tell its load, so nobody knows what the GPUs do"]),
        ("Unknown Error", "", ["GPU 0 does not tell its load, so nobody knows what the GPUs do"]),
        # Of Jupyter's that works, between two batches.
        ("0 %", using(45), ["kernel uses GPU 0"]),
        # It draws; it holds on to its memory; the user does not count it; another's container.
        ("3 %", using(42, "G"), []),
        ("0 %", using(43), []),
        ("60 %", using(43), ["GPU 0 computes"]),
        ("0 %", using(44), []),
        ("60 %", using(44), ["GPU 0 computes"]),
        ("0 %", using(99), ["a program that cannot be seen from here uses GPU 0"]),
    ],
)
def test_a_gpu_is_judged_by_its_load_and_who_uses_it(host: Any, load: str, processes: str, said: list[str]) -> None:
    told = {"load": "N/A" if load == "MIG" else load, "mig": "Enabled" if load == "MIG" else "Disabled"}
    install(host, f"cat <<'EOS'\n{LOG.format(processes=processes, **told)}EOS")
    jupyter = f"{SYSTEM}system-dlhost\\x2djupyter.slice/dlhost-jupyter@"
    running = [
        process(host, "python3"),
        process(host, "jupyter", number=43, group=f"{jupyter}ada.service"),
        process(host, "ollama", number=44, group=f"{SYSTEM}ollama.service"),
        process(host, "kernel", number=45, group=f"{jupyter}grace.service"),
    ]
    assert host.busy_gpus(running, {"ollama"}, {"dlhost-jupyter@grace.service"}) == said


@pytest.mark.parametrize("log", ["<nvidia_smi_log/>", LOG.format(load="0 %", mig="Disabled", processes="")])
def test_of_a_gpu_that_is_left_out_nobody_knows(host: Any, log: str) -> None:
    install(host, f"cat <<'EOS'\n{log}\nEOS")
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (host.DEV / name).touch()
    assert host.busy_gpus([], set(), set()) == ["nvidia-smi leaves a GPU out, so nobody knows what the GPUs do"]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 9", "ended with status 9"),
        ("echo No devices were found; exit 6", "ended with status 6"),
        ("exec sleep 60", "does not answer"),
        ("echo broken", "printed no document"),
        (None, "is not installed"),
    ],
)
def test_of_a_gpu_that_cannot_be_asked_nobody_knows(host: Any, script: str | None, why: str) -> None:
    install(host, script or "")
    if script is None:
        Path(host.SMI[0]).unlink()
    assert host.busy_gpus([], set(), set()) == [f"nvidia-smi {why}, so nobody knows what the GPUs do"]


def test_beside_one_that_hangs_no_other_is_started(host: Any, tmp_path: Path) -> None:
    install(host, f"touch {tmp_path}/started")
    (said,) = host.busy_gpus([process(host, "nvidia-smi", state="D")], set(), set())
    assert "nvidia-smi (process 42) hangs" in said
    assert not (tmp_path / "started").exists()


def test_a_host_without_a_card_asks_nobody(host: Any, tmp_path: Path) -> None:
    install(host, f"touch {tmp_path}/started")
    # Its sound is a device of its own, and a card of another maker is not NVIDIA's.
    (host.SYS / "bus/pci/devices/0000:01:00.0/class").write_text("0x040300\n")
    assert host.busy_gpus([], set(), set()) == []
    assert not (tmp_path / "started").exists()
