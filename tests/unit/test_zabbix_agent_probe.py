"""What zabbix_agent_probe makes of what an agent, its server and nvidia-smi say."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

REQUEST = {"host": "rig", "port": 10050, "server": "zabbix.example.org", "psk_identity": "dlhost rig", "psk": "8f" * 32}
CARD = {
    "uuid": "GPU-1",
    "utilisation": 93,
    "memory_utilisation": None,
    "memory_total": 24 * 2**30,
    "memory_used": 2**30,
    "temperature": 71,
    "fan": None,
    "power": 287.5,
    "power_limit": 300,
    "clock_sm": 1_800_000_000,
    "clock_memory": 7_600_000_000,
}
ROW = "GPU-1, 93, [N/A], 24576, 1024, 71, [Not Supported], 287.45, 300.00, 1800, 7600\n"


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module("ansible_collections.dlhost.host.plugins.modules.zabbix_agent_probe")


def smi(monkeypatch: pytest.MonkeyPatch, probe: ModuleType, *rows: str) -> None:
    """What nvidia-smi prints, one after the other; nothing where it fails."""
    left = list(rows)

    class Done:
        def __init__(self) -> None:
            self.stdout = left.pop(0) if left else ""
            self.returncode = 0 if self.stdout else 9

    monkeypatch.setattr(probe, "run", lambda *_words, **_more: Done())


def agent(*documents: dict[str, Any]) -> Callable[[str], str]:
    left = list(documents)
    return lambda _item: json.dumps(left.pop(0))


def gpus(*cards: dict[str, Any], expected: int = 1, error: str = "") -> dict[str, Any]:
    driver = None if error else "580.126.20"
    return {"schema_version": 1, "driver": driver, "gpus": list(cards), "expected": expected, "error": error}


def test_what_agrees_agrees(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, probe, ROW, ROW)

    agrees = {"driver": "580.126.20", "cards": [CARD], "gpu_skip": "", "gpu_problems": []}
    assert probe.compare(agent(gpus(CARD))) == agrees


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("utilisation", 50),
        ("memory_utilisation", 0),
        ("memory_total", 24 * 2**30 + 1),
        ("memory_used", 2 * 2**30),
        ("temperature", 77),
        ("temperature", None),
        ("fan", 0),
        ("power", 400),
        ("power_limit", 250),
        ("clock_sm", 1_200_000_000),
        ("clock_memory", 405_000_000),
    ],
)
def test_what_differs_for_good_is_said(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, value: float | None
) -> None:
    smi(monkeypatch, probe, *[ROW] * 6)

    problems = probe.compare(agent(*[gpus({**CARD, name: value})] * 3))["gpu_problems"]

    assert len(problems) == 1
    assert problems[0].startswith(f"{name} of GPU-1 is reported as {value}, and nvidia-smi says [")


def test_what_differs_for_a_moment_is_looked_at_again(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, probe, *[ROW] * 4)

    assert probe.compare(agent(gpus({**CARD, "utilisation": 0}), gpus(CARD)))["gpu_problems"] == []


def test_a_value_between_before_and_after_is_right(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, probe, ROW.replace(" 71,", " 40,"), ROW.replace(" 71,", " 80,"))

    assert probe.compare(agent(gpus({**CARD, "temperature": 60})))["gpu_problems"] == []


def test_a_card_that_is_not_reported(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ROW + ROW.replace("GPU-1", "GPU-2")
    smi(monkeypatch, probe, *[both] * 6)

    said = probe.compare(agent(*[gpus(CARD, expected=2)] * 3))["gpu_problems"]

    assert said == ["GPU-2 is not reported", "2 GPUs are on the PCI bus, and nvidia-smi has 1"]


def test_a_host_without_a_card_is_not_compared(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, probe)

    said = probe.compare(agent(gpus(expected=0, error="nvidia-smi is not installed")))

    assert said == {
        "driver": "",
        "cards": [],
        "gpu_skip": "the host has no NVIDIA GPU (nvidia-smi is not installed)",
        "gpu_problems": [],
    }


def test_cards_without_a_driver_are_a_problem(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, probe)

    said = probe.compare(agent(gpus(expected=2, error="nvidia-smi is not installed")))

    assert said["gpu_problems"] == ["nvidia-smi is not installed"]


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("zabbix.example.org", ("zabbix.example.org", 10051)),
        ("192.0.2.1:20051", ("192.0.2.1", 20051)),
        ("[2001:db8::1]:20051", ("2001:db8::1", 20051)),
        ("[2001:db8::1]", ("2001:db8::1", 10051)),
    ],
)
def test_the_server_is_asked_where_it_is(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, server: str, place: tuple[str, int]
) -> None:
    asked: list[Any] = []

    def ask(*question: Any) -> str:
        asked.append(question)
        return json.dumps({"response": "success", "data": []})

    monkeypatch.setattr(probe, "ask", ask)

    assert probe.server_error({**REQUEST, "server": server}, ("dlhost rig", "8f" * 32)) == ""
    assert asked[0][:2] == place
    assert json.loads(asked[0][2]) == {"request": "active checks", "host": "rig"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"response":"failed","info":"host [rig] not found"}', "zabbix.example.org says: host [rig] not found"),
        ("SSH-2.0", "zabbix.example.org does not answer as a Zabbix server does"),
    ],
)
def test_a_server_that_does_not_take_the_host(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    monkeypatch.setattr(probe, "ask", lambda *_question: answer)

    assert probe.server_error(REQUEST, ("dlhost rig", "8f" * 32)) == said


def test_an_agent_that_is_silent_or_open_is_seen_so(probe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, probe)

    def ask(address: str, port: int, item: str, _timeout_s: float, key: tuple[str, str] | None) -> str:
        if (address, port) != ("127.0.0.1", 10050) or item.startswith("dlhost.") or (key and key[1] != "8f" * 32):
            raise probe.WireError("it ended the connection without an answer")
        words = {"agent.hostname": "rig", "agent.ping": "1", "system.run[id]": "uid=0"}
        return {**words, "nvml.system.driver.version": '"580.126.20"'}[item]

    monkeypatch.setattr(probe, "ask", ask)

    seen = probe.look(REQUEST)

    assert (seen["said"], seen["error"], seen["open_to"]) == ("rig", "", ["somebody without a key"])
    assert (seen["command"], seen["cards"], seen["host_values"]) == ("uid=0", [], {})
    assert seen["gpu_problems"] == ["the agent says nothing of the GPUs"]
    assert (seen["driver"], seen["plugin_driver"]) == ("", "580.126.20")
    assert seen["server_error"] == "zabbix.example.org does not answer: it ended the connection without an answer"
