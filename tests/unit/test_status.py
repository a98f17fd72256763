"""What a host is doing: its words as values, and those as lines and JSON. The script runs for real, on this machine."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dlhost.adapters import content
from dlhost.adapters import status as adapter
from dlhost.cli.app import app
from dlhost.operations import status as operation
from dlhost.render.status import picture
from dlhost.values.inventory import Connection, Host
from dlhost.values.schema import RoleSchema
from dlhost.values.status import NO_ANSWER, UNITS, Status, status_from, units_of
from tests.unit import nvidia_smi_double as double

HERE = Host("alpha", (), Connection(transport="local"))
ROLES = Path(__file__).parents[2] / "roles"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose programs come before all others."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def look(tmp_path: Path, units: Sequence[str] = (), ask_gpus: bool = True) -> Status:
    return adapter.look(HERE, tmp_path, units, ask_gpus)


def text(*found: Status | None, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(picture(found))
    return captured.get()


def test_this_machine_is_doing_something_for_real(tmp_path: Path) -> None:
    found = look(tmp_path)

    assert found.error == ""
    assert found.cores == os.cpu_count()
    assert found.busy_percent is not None
    assert 0 <= found.busy_percent <= 100
    assert len(found.load) == 3
    assert 0 < found.memory_available_mib < found.memory_mib
    assert found.uptime_s > 0
    assert [disk.place for disk in found.disks].count("/") == 1
    assert all(0 <= disk.used_mib + disk.free_mib <= disk.size_mib for disk in found.disks)


def test_two_gpus_and_their_processes(tmp_path: Path, programs: Path) -> None:
    double.install(programs, double.program(f"{double.RTX_4090}\n{double.GTX_1070}\n", double.APPS))

    found = look(tmp_path)

    first, second = found.gpus
    assert (first.name, first.load_percent, first.memory_used_mib, first.power_w) == (
        "NVIDIA GeForce RTX 4090",
        93,
        21704,
        412.55,
    )
    assert (second.name, second.power_w, second.power_limit_w, second.mig) == (
        "NVIDIA GeForce GTX 1070",
        None,
        None,
        False,
    )
    assert found.gpu_error == ""
    # Process 1 is somebody's on every machine; the other one, of a container, is not seen from here.
    assert [(one.gpu, one.pid, one.user, one.command, one.memory_mib) for one in found.processes] == [
        (0, 1, "root", "/opt/conda/bin/python, with a comma", 21500),
        (0, 999999999, "", "", None),
    ]
    shown = text(found)
    assert "NVIDIA GeForce RTX 4090  load 93 %  memory 21.2 of 24.0 GiB (88 %)  71 °C  413 of 450 W" in shown
    assert "1  root  python, with a comma  21.0 GiB" in shown
    assert "999999999  unknown  unknown" in shown
    assert "NVIDIA GeForce GTX 1070  load 0 %  memory 0.0 of 8.0 GiB (0 %)  41 °C\n" in "".join(
        line.rstrip() + "\n" for line in shown.splitlines()
    )


def test_a_gpu_divided_by_mig_tells_less(tmp_path: Path, programs: Path) -> None:
    double.install(programs, double.program(f"{double.A100_DIVIDED}\n"))

    found = look(tmp_path)

    assert found.gpus[0].mig
    assert found.gpus[0].load_percent is found.gpus[0].memory_total_mib is None
    assert "NVIDIA A100-SXM4-80GB, divided by MIG  load unknown  memory unknown  47 °C  62 of 400 W" in text(found)


@pytest.mark.parametrize(
    ("said", "status", "shown"),
    [
        (double.NO_DRIVER, 9, "couldn't communicate with the NVIDIA driver"),
        (double.MISMATCH, 18, "Driver/library version mismatch NVML library version: 580.95"),
        ("", 12, "nvidia-smi ended with status 12"),
        # One of two has fallen off the bus.
        (f"{double.RTX_4090}\nUnable to determine the device handle for GPU1\n", 15, "device handle for GPU1"),
    ],
)
def test_what_nvidia_smi_says_instead_is_shown(
    tmp_path: Path, programs: Path, said: str, status: int, shown: str
) -> None:
    double.install(programs, double.program(said, status=status))

    found = look(tmp_path)

    assert len(found.gpus) == said.count("RTX 4090")
    assert shown in found.gpu_error
    assert shown in text(found)
    assert not found.driver_hangs


def test_an_nvidia_smi_that_hangs_and_cannot_be_ended(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As one that waits in the kernel: no signal of timeout's reaches it.
    double.install(programs, "#!/bin/sh\nexec setsid sleep 3\n")
    (programs / "timeout").write_text('#!/bin/sh\n[ "$1" = -k ] && shift 2; shift; exec "$@"\n')
    (programs / "timeout").chmod(0o755)
    monkeypatch.setattr(adapter, "TIMEOUT_S", 1.5)

    found = look(tmp_path)

    assert found.cores
    assert (found.gpus, found.gpu_error) == ((), NO_ANSWER)
    assert found.driver_hangs
    # Not asked again, it is still said.
    assert look(tmp_path, ask_gpus=False).driver_hangs


def test_an_nvidia_smi_that_is_slow_is_ended_on_the_host(tmp_path: Path, programs: Path) -> None:
    double.install(programs, "#!/bin/sh\nexec sleep 60\n")
    (programs / "timeout").write_text('#!/bin/sh\n[ "$1" = -k ] && shift 3 && exec /usr/bin/timeout -k 1 0.2 "$@"\n')
    (programs / "timeout").chmod(0o755)

    assert look(tmp_path).gpu_error == NO_ANSWER


def test_units_in_systemds_words() -> None:
    printed = """
    unit=Id=nginx.service|LoadState=loaded|ActiveState=failed|SubState=failed|
    unit=Id=dlhost-jupyter@ada.service|LoadState=loaded|ActiveState=active|SubState=running|
    unit=Id=nvidia-persistenced.service|LoadState=not-found|ActiveState=inactive|SubState=dead|
    """
    found = status_from("alpha", printed.replace("    ", ""))

    assert [(unit.name, unit.active, unit.sub) for unit in found.units] == [
        ("nginx.service", "failed", "failed"),
        ("dlhost-jupyter@ada.service", "active", "running"),
    ]
    assert "dlhost-jupyter@ada.service  active (running)" in text(found)


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "Welcome!\nload=much\ncores=²\nuptime_s=-1\ncpu=1 2\ncpu=x\nMemTotal=\nunit=Id\n",
        "disk=1\ndisk=1 2 3\ndisk=a b c d\n",
        "gpu=0, GPU-1, nan, inf, 1e9, -3, , , , \napp=, , , \napp=root, GPU-1, ²³, 1, x\n",
        "smi=0\ngpu=\n",
    ],
)
def test_a_host_that_says_something_else_is_taken_for_no_more_than_it_is(printed: str) -> None:
    found = status_from("alpha", printed)

    assert (found.cores, found.busy_percent, found.load, found.disks, found.processes) == (0, None, (), (), ())
    json.dumps(operation_document(found), allow_nan=False)
    text(found)


def operation_document(found: Status) -> dict[str, Any]:
    from dlhost.errors import ExitCode
    from dlhost.render.status import document

    return document("rig", [found], ExitCode.DONE)


def test_what_a_host_says_does_not_steer_the_terminal() -> None:
    lines = [
        "disk=4096 1024 2048 /\x1b[2J",
        "gpu=\x1b[31mfailed",
        "gpu=0, u, 1, 1, 2, 3, 4, 5, x, \x1b]0;evil\x07",
        "smi=0",
        "unit=Id=\x1b[31m|LoadState=x",
    ]

    assert "\x1b" not in text(status_from("alpha", "\n".join(lines)))


def test_a_role_answers_for_units_that_it_really_has() -> None:
    for role, units in UNITS.items():
        if not (ROLES / role).is_dir():
            continue  # A role to come.
        files = "".join(path.read_text() for path in (ROLES / role).rglob("*.y*ml"))
        names = [path.name for path in (ROLES / role / "templates").glob("*.j2")]
        for unit in units:
            name = unit.replace("*", "").partition(".")[0]
            assert name in files or any(name in file for file in names), f"{role} has no {unit}"


def test_only_the_units_of_a_hosts_roles_are_asked_about() -> None:
    schemas = [RoleSchema("nginx_proxy", "", {}, frozenset({"web"})), RoleSchema("system", "", {}, frozenset({"all"}))]

    assert units_of(Host("alpha", ("all", "web"), Connection()), schemas) == ("nginx.service",)
    assert units_of(Host("alpha", ("all",), Connection()), schemas) == ()


# The command ---------------------------------------------------------------------------------------------------------


class Fleet:
    """Two hosts that do what the test says."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.found = {"alpha": Status("alpha", cores=4, load=(1.0, 2.0, 3.0)), "beta": Status("beta", cores=8)}
        self.asked: list[tuple[str, bool]] = []

    def look(self, host: Host, _sockets: Path, _units: Sequence[str], ask_gpus: bool) -> Status:
        self.asked.append((host.name, ask_gpus))
        return self.found[host.name]

    def close(self, hosts: Iterable[Host], _sockets: Path) -> None:
        self.closed += [host.name for host in hosts]


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, rig: Path) -> Fleet:
    assert rig.is_dir()
    found = Fleet()
    fakes = partial(operation.Outside, look=found.look, close_connections=found.close)
    monkeypatch.setattr(operation, "Outside", fakes)
    monkeypatch.setattr(operation, "PAUSE_S", 0.01)
    monkeypatch.setattr(content, "role_schemas", lambda: ())
    return found


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr("sys.argv", ["dlhost", *arguments])
    return CliRunner().invoke(app, list(arguments))


def test_every_host_is_shown(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, "status", "-i", "rig")

    assert result.exit_code == 0
    assert "of 4 cores, load 1.00 2.00 3.00" in result.stdout
    assert "of 8 cores" in result.stdout
    assert fleet.closed == ["alpha", "beta"]


def test_a_host_that_is_lost_is_one_line_and_the_others_are_shown(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.found["beta"] = Status("beta", error="cannot be reached at 192.0.2.2 port 22: timed out")

    result = run(monkeypatch, "status", "-i", "rig")
    as_json = run(monkeypatch, "status", "-i", "rig", "--json")

    assert result.exit_code == as_json.exit_code == 4
    assert "beta cannot be reached at 192.0.2.2 port 22: timed out." in result.stdout
    assert "of 4 cores" in result.stdout
    document = json.loads(as_json.stdout)
    assert (document["schema_version"], document["operation"], document["exit_code"]) == (1, "status", 4)
    assert [bool(host["error"]) for host in document["hosts"]] == [False, True]


def test_one_host_of_several(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "status", "-i", "rig", "--limit", "beta").exit_code == 0
    assert fleet.asked == [("beta", True)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--watch", "--json"), "--watch never ends, and --json is one document"),
        (("--watch",), "--watch redraws a terminal, and this output goes elsewhere"),
        (("--limit", "gamma"), "There is no host or group gamma"),
    ],
)
def test_what_cannot_be_shown(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    result = run(monkeypatch, "status", "-i", "rig", *arguments)

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert fleet.asked == []


def test_watching_goes_at_each_hosts_own_pace(fleet: Fleet) -> None:
    """Beta never answers; alpha's driver hangs, and it is not asked about its GPUs again."""
    fleet.found["alpha"] = Status("alpha", gpu_error=NO_ANSWER)
    shown: list[list[Status | None]] = []
    never = threading.Event()

    def look(host: Host, sockets: Path, units: Sequence[str], ask_gpus: bool) -> Status:
        if host.name == "beta":
            never.wait()
        return fleet.look(host, sockets, units, ask_gpus)

    def show(found: Sequence[Status | None]) -> None:
        shown.append(list(found))
        if len(shown) == 3:
            raise KeyboardInterrupt

    outside = operation.Outside(look=look, close_connections=fleet.close)
    with pytest.raises(KeyboardInterrupt):
        operation.watch("rig", (), outside, show)
    never.set()

    assert shown[-1] == [fleet.found["alpha"], None]
    assert fleet.asked[:3] == [("alpha", True), ("alpha", False), ("alpha", False)]
    assert fleet.closed == ["alpha", "beta"]
    assert text(*shown[-1]).count("…") == 1


def test_what_ends_a_look_ends_the_watching(fleet: Fleet) -> None:
    def look(_host: Host, _sockets: Path, _units: Sequence[str], _ask_gpus: bool) -> Status:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        operation.watch("rig", (), operation.Outside(look=look, close_connections=fleet.close), lambda _found: None)
