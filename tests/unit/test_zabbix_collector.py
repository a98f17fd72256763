"""The collector of role zabbix_agent, with programs that stand in for nvidia-smi where there is no card."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit import nvidia_smi_log_double as double

REPOSITORY = Path(__file__).parents[2]
COLLECTOR = REPOSITORY / "roles/zabbix_agent/files/zabbix_collector.py"
DOUBLE = Path(double.__file__)


def load(path: Path) -> ModuleType:
    """A program of the role as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program on a host of the test's own, where nvidia-smi is not installed."""
    module = load(COLLECTOR)
    for name in ("RUNTIME", "RUN", "SYS"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(module, "CERTIFICATE", tmp_path / "cert.pem")
    monkeypatch.setattr(module, "SMI", (str(tmp_path / "nvidia-smi"), "-q", "-x"))
    return module


def install(collector: ModuleType, script: str) -> Path:
    """Put a program in nvidia-smi's place; returns where it counts its starts."""
    path = Path(collector.SMI[0])
    starts = path.with_name("starts")
    path.write_text(f"#!/bin/sh\necho $$ >> {starts}\n{script}")
    path.chmod(0o755)
    return starts


def play(collector: ModuleType, **settings: Any) -> None:
    """Put the double in nvidia-smi's place."""
    path = Path(collector.SMI[0])
    path.with_name("settings.json").write_text(json.dumps(settings))
    program = DOUBLE.read_text().replace("/etc/nvidia-smi-double.json", str(path.with_name("settings.json")))
    path.write_text(program.replace("/usr/bin/python3", sys.executable))
    path.chmod(0o755)


def gpus(collector: ModuleType, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = collector.read(text, "")["gpus"]
    return found


@pytest.mark.parametrize("schema", [11, 12, 13])
def test_every_value_of_a_card_in_its_unit(collector: ModuleType, schema: int) -> None:
    play(collector, cards=["trainer"], schema=schema)

    values = collector.gpu_values()

    driver, cuda = double.DRIVERS[schema]
    assert values == {
        "schema_version": 1,
        "driver": driver,
        "cuda": cuda,
        "error": "",
        "count": 1,
        "expected": 0,
        "gpus": [
            {
                "uuid": "GPU-00000000-0000-0000-0000-000000000000",
                "index": 0,
                "name": "NVIDIA RTX A6000",
                "bus_id": "00000000:01:00.0",
                "mig": False,
                "utilisation": 93,
                "memory_utilisation": 41,
                "memory_total": 49140 * 2**20,
                "memory_used": 47104 * 2**20,
                "temperature": 71,
                "memory_temperature": None,
                "fan": 62,
                "power": 287.45,
                "power_limit": 300,
                "clock_sm": 1_800_000_000,
                "clock_memory": 7_600_000_000,
                "ecc_corrected": 3,
                "ecc_uncorrected": 0,
                "retired_pages": 0,
                "remap_failure": 0,
                "throttle": ["sw_power_cap"],
                "processes": 2,
            }
        ],
    }


@pytest.mark.parametrize("schema", [11, 12, 13])
def test_what_a_card_does_not_have_is_not_nought(collector: ModuleType, schema: int) -> None:
    desktop = gpus(collector, double.document(double.cards(["desktop"], {}), schema))[0]

    missing = {name for name, value in desktop.items() if value is None}
    assert missing == {
        *("memory_temperature", "fan", "power", "power_limit"),
        *("ecc_corrected", "ecc_uncorrected", "retired_pages", "remap_failure"),
    }
    assert (desktop["utilisation"], desktop["throttle"], desktop["processes"]) == (0, ["gpu_idle"], 0)


def test_a_divided_card_has_its_own_memory_and_no_load(collector: ModuleType) -> None:
    divided = gpus(collector, double.document(double.cards(["divided"], {}), 12))[0]

    assert (divided["mig"], divided["memory_total"], divided["utilisation"]) == (True, 81920 * 2**20, None)
    assert (divided["ecc_uncorrected"], divided["remap_failure"]) == (2, 1)
    # One process in two instances.
    assert divided["processes"] == 1


@pytest.mark.parametrize("words", ["N/A", "[N/A]", "Not Supported", "[Not Supported]", "[Unknown Error]", "ERR!", ""])
def test_no_word_for_nothing_becomes_a_number(collector: ModuleType, words: str) -> None:
    names = ("utilization.gpu", "memory.used", "temperature.gpu", "fan.speed", "power.draw", "clocks.sm", "corrected")
    text = double.document(double.cards(["trainer"], dict.fromkeys(names, words)), 13)

    card = gpus(collector, text)[0]

    found = [card[name] for name in ("utilisation", "memory_used", "temperature", "fan", "power", "clock_sm")]
    assert found == [None] * 6


@pytest.mark.parametrize("words", ["[GPU is lost]", "[GPU requires reset]", "N/A"])
def test_a_card_that_only_says_what_is_wrong_is_none(collector: ModuleType, words: str) -> None:
    text = double.document(double.cards(2, {}), 13)
    uuid = gpus(collector, text)[0]["uuid"]

    found = collector.read(text.replace(uuid, words), "")

    assert [card["index"] for card in found["gpus"]] == [1] and found["count"] == 1
    assert found["error"] == f"00000000:01:00.0 says {'nothing' if words == 'N/A' else words}"


@pytest.mark.parametrize("count", [0, 1, 2, 16])
def test_any_number_of_cards(collector: ModuleType, count: int) -> None:
    found = gpus(collector, double.document(double.cards(count, {}), 13))

    assert [card["index"] for card in found] == list(range(count))
    assert len({card["uuid"] for card in found}) == count


@pytest.mark.parametrize(
    ("how", "error", "count"),
    [
        ("crashes", "Failed to initialize NVML: Driver/library version mismatch NVML library version: 580.95", None),
        ("says_nothing", "nvidia-smi printed nothing", None),
        ("is_cut_off", "nvidia-smi printed no whole document", None),
        ("finds_none", "", 0),
        ("loses_a_card", double.LOST.strip().replace("  ", " "), 2),
    ],
)
def test_what_went_wrong_is_said(collector: ModuleType, how: str, error: str, count: int | None) -> None:
    play(collector, how=how)

    values = collector.gpu_values()

    assert (values["error"], values["count"], len(values["gpus"])) == (error, count, count or 0)


def test_a_program_that_dies_of_a_signal_is_said(collector: ModuleType) -> None:
    install(collector, "kill -SEGV $$")

    assert collector.gpu_values()["error"] == "nvidia-smi ended with signal 11"


def test_a_host_without_the_program(collector: ModuleType) -> None:
    assert collector.gpu_values()["error"] == "nvidia-smi is not installed"


def test_a_program_that_hangs_is_ended(collector: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "SMI_LIMIT_S", 0.3)
    starts = install(collector, "trap '' TERM\nsleep 600 & wait\n")

    assert collector.gpu_values()["error"] == "nvidia-smi did not answer within 0.3 s"
    assert collector.start_of(int(starts.read_text())) == ""
    assert not (collector.RUNTIME / "running").exists()


# The process is left behind on purpose, as the program's end leaves it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_beside_one_that_cannot_be_ended_no_second_is_started(
    collector: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's uninterruptible sleep is played by a signal that does not arrive."""
    monkeypatch.setattr(collector, "SMI_LIMIT_S", 0.3)
    monkeypatch.setattr(collector, "KILL_LIMIT_S", 0.1)
    kill = os.killpg
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    starts = install(collector, "exec sleep 600\n")

    errors = [collector.gpu_values()["error"] for _ in range(3)]

    process = int(starts.read_text())
    try:
        assert errors[0] == f"nvidia-smi did not answer within 0.3 s and cannot be ended (process {process})"
        assert errors[1:] == [f"nvidia-smi, process {process}, hangs and cannot be ended"] * 2
    finally:
        kill(process, 9)
    os.waitpid(process, 0)
    play(collector, cards=1)
    assert collector.gpu_values()["count"] == 1


def test_one_that_nobody_waits_for_any_more_is_ended(collector: ModuleType) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as orphan:
        (collector.RUNTIME / "running").write_text(f"{orphan.pid} {collector.start_of(orphan.pid)}")
        play(collector, cards=1)

        assert collector.gpu_values()["count"] == 1
        assert orphan.wait() == -9


def test_a_record_of_a_process_whose_number_is_anothers_now_is_not_believed(collector: ModuleType) -> None:
    (collector.RUNTIME / "running").write_text(f"{os.getpid()} 1")
    play(collector, cards=1)

    assert collector.gpu_values()["count"] == 1


def test_who_asks_meanwhile_gets_the_same_answer(collector: ModuleType) -> None:
    starts = install(collector, "sleep 0.5\necho No devices were found\n")
    answers: list[dict[str, Any]] = []
    askers = [threading.Thread(target=lambda: answers.append(collector.gpu_values())) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert answers == [answers[0]] * 4
    assert len(starts.read_text().splitlines()) == 1
    # And who asks later asks anew.
    collector.gpu_values()
    assert len(starts.read_text().splitlines()) == 2


def test_a_directory_that_is_not_the_agents_is_said(collector: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "RUNTIME", collector.RUNTIME / "none")

    assert "none cannot be used: No such file or directory" in collector.gpu_values()["error"]


def test_what_a_call_of_roots_left_is_in_nobodys_way(collector: ModuleType) -> None:
    """Files that only their owner writes, in a directory that is the agent's; they stop whoever is not root."""
    play(collector, cards=1)
    left = [collector.RUNTIME / name for name in ("answer.json", "answer.staged", "running", "running.staged")]
    for path in left:
        path.write_text("{}")
        path.chmod(0o444)

    assert collector.gpu_values()["count"] == 1
    assert [path.name for path in collector.RUNTIME.iterdir()] == ["answer.json"]


def test_root_writes_through_no_link_of_the_agents_account(
    collector: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes after the last look is played by a link that a look does not remove."""
    play(collector, cards=1)
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    victim.chmod(0o600)
    (collector.RUNTIME / "answer.staged").symlink_to(victim)
    monkeypatch.setattr(Path, "unlink", lambda *_path, **_terms: None)

    assert "answer.staged cannot be used: File exists" in collector.gpu_values()["error"]
    assert (victim.read_text(), victim.stat().st_mode & 0o777) == ("as it was", 0o600)


def device(collector: ModuleType, name: str, vendor: str, kind: str, driver: str = "nvidia") -> None:
    directory = collector.SYS / "bus/pci/devices" / name
    directory.mkdir(parents=True)
    (directory / "vendor").write_text(f"{vendor}\n")
    (directory / "class").write_text(f"{kind}\n")
    (collector.SYS / "drivers" / driver).mkdir(parents=True, exist_ok=True)
    (directory / "driver").symlink_to(collector.SYS / "drivers" / driver)


def test_cards_on_the_bus_are_counted(collector: ModuleType) -> None:
    device(collector, "0000:01:00.0", "0x10de", "0x030000")
    device(collector, "0000:02:00.0", "0x10de", "0x030200")
    device(collector, "0000:01:00.1", "0x10de", "0x040300")
    device(collector, "0000:03:00.0", "0x1002", "0x030000")
    device(collector, "0000:04:00.0", "0x10de", "0x030000", driver="vfio-pci")

    assert collector.expected() == 2


def test_the_rest_of_the_host(collector: ModuleType, tmp_path: Path) -> None:
    bare = collector.host_values()
    assert {**bare, "driver_installed": None} == {
        "schema_version": 1,
        "reboot_pending": 0,
        "certificate_days": None,
        "driver_installed": None,
        "driver_loaded": None,
    }

    (collector.RUN / "reboot-required").touch()
    (collector.SYS / "module/nvidia").mkdir(parents=True)
    (collector.SYS / "module/nvidia/version").write_text("580.95.05\n")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=rig -days 30 -keyout key.pem -out cert.pem"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    values = collector.host_values()
    assert (values["reboot_pending"], values["driver_loaded"]) == (1, "580.95.05")
    assert values["certificate_days"] == 29


def test_a_certificate_that_is_none_has_no_days(collector: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate\n")

    assert collector.host_values()["certificate_days"] is None


def test_the_program_prints_one_line_of_json() -> None:
    done = subprocess.run([sys.executable, COLLECTOR, "host"], capture_output=True, text=True, check=True)

    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["schema_version"] == 1
    assert subprocess.run([sys.executable, COLLECTOR], capture_output=True, check=False).returncode == 2


def test_an_answer_of_a_time_to_come_is_not_believed(collector: ModuleType) -> None:
    """A clock that was set back."""
    answer = collector.RUNTIME / "answer.json"
    answer.write_text("{}")
    os.utime(answer, (time.time() + 3600,) * 2)
    play(collector, cards=1)

    assert collector.gpu_values()["count"] == 1
