"""A Zabbix server as a test sees it: its API asked, values fed as an agent sends them, its alarms told as a story."""

from __future__ import annotations

import importlib
import json
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dlhost.adapters.ansible_env import collections_path

TRAPPER_PORT = 10051
# A server takes changes of its configuration up within a minute, and looks for silence every 30 s.
PATIENCE_S = 120
READINGS = 6
TEMPLATES = ("dlhost GPU", "dlhost host")

Json = dict[str, Any]


class Zabbix:
    """One server: its API, by the arguments of module zabbix_values, and its port for agents."""

    def __init__(self, api: Any, address: str) -> None:
        self._api = api
        self._address = address

    def call(self, method: str, *identifiers: str, **parameters: Any) -> Any:
        return self._api.call(method, list(identifiers) or parameters)

    def add_host(self, name: str, macros: Mapping[str, str]) -> str:
        """A host without encryption, which anybody can feed, with both templates; returns its identifier."""
        groups = self.call("hostgroup.get", filter={"name": ["dlhost"]})
        templates = self.call("template.get", filter={"host": list(TEMPLATES)}, output=["templateid"])
        created = self.call(
            "host.create",
            host=name,
            groups=[{"groupid": groups[0]["groupid"]}],
            templates=[{"templateid": template["templateid"]} for template in templates],
            macros=[{"macro": macro, "value": value} for macro, value in macros.items()],
        )
        return str(created["hostids"][0])

    def items(self, host_id: str) -> dict[str, Json]:
        """The host's items by their keys."""
        output = ["key_", "lastvalue", "lastclock", "error", "state", "name"]
        return {item["key_"]: item for item in self.call("item.get", hostids=host_id, output=output)}

    def discovery_errors(self, host_id: str) -> set[str]:
        """What the server could not make of the cards that it was told of."""
        return {rule["error"] for rule in self.call("discoveryrule.get", hostids=host_id, output=["error"])} - {""}

    def clock(self, host_id: str, key: str) -> int:
        """When an item had its last value; 0 where there is none."""
        found = self.call("item.get", hostids=host_id, filter={"key_": [key]}, output=["lastclock"])
        return int(found[0]["lastclock"]) if found else 0

    def problems(self, host_id: str) -> set[str]:
        """Names of the alarms that are on, those left out that another one explains."""
        return {problem["name"] for problem in self.call("problem.get", hostids=host_id, output=["name"])}

    def feed(self, host: str, clock: int, values: Mapping[str, Json]) -> int:
        """Send the values of items as an active agent does; returns how many the server took."""
        data = [
            {"host": host, "key": key, "value": json.dumps(value), "clock": clock, "ns": 0, "id": number}
            for number, (key, value) in enumerate(values.items(), 1)
        ]
        session = f"{time.time_ns():032x}"
        return self._send({"request": "agent data", "session": session, "data": data})

    def push(self, host: str, clock: int, values: Mapping[str, Json]) -> int:
        """Send the values of items as zabbix_sender does; returns how many the server took."""
        data = [
            {"host": host, "key": key, "value": json.dumps(value), "clock": clock, "ns": 0}
            for key, value in values.items()
        ]
        return self._send({"request": "sender data", "data": data, "clock": int(time.time()), "ns": 0})

    def _send(self, request: Json) -> int:
        body = json.dumps(request).encode()
        with socket.create_connection((self._address, TRAPPER_PORT), 30) as stream:
            stream.sendall(b"ZBXD\1" + struct.pack("<II", len(body), 0) + body)
            with stream.makefile("rb") as answer:
                head = answer.read(13)
                said = json.loads(answer.read(struct.unpack("<I", head[5:9])[0]))
        # Of a host that it does not know yet a newer server says only so.
        counted = re.match(r"processed: (\d+)", said["info"])
        return int(counted[1]) if counted else 0


@contextmanager
def zabbix(access: Mapping[str, str], address: str) -> Iterator[Zabbix]:
    """The server whose API is reached by `access` (url, ca, address, user, password, token), at an address."""
    sys.path.append(str(collections_path()))
    api = importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.zabbix_api")
    empty = {"ca": "", "address": "", "token": "", "user": "Admin", "password": ""}
    with api.session({**empty, **access}) as session:
        yield Zabbix(session, address)


def until(look: Callable[[], Any], wanted: Any, patience_s: float = PATIENCE_S) -> Any:
    """What is seen once it is as wanted, or at last."""
    deadline = time.monotonic() + patience_s
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(1)
    return seen


def card(uuid: str, index: int, **values: Any) -> Json:
    """One healthy card as the collector reports it."""
    healthy = {
        "bus_id": f"00000000:{index + 1:02X}:00.0",
        "mig": False,
        "utilisation": 97,
        "memory_utilisation": 41,
        "memory_total": 24 << 30,
        "memory_used": 20 << 30,
        "temperature": 71,
        "memory_temperature": 88,
        "fan": 62,
        "power": 348.2,
        "power_limit": 350,
        "clock_sm": 1_695_000_000,
        "clock_memory": 9_501_000_000,
        "ecc_corrected": 0,
        "ecc_uncorrected": 0,
        "retired_pages": 0,
        "remap_failure": 0,
        "throttle": ["sw_power_cap"],
        "processes": 1,
    }
    return {"uuid": uuid, "index": index, "name": "NVIDIA GeForce RTX 3090", **healthy, **values}


def gpus(cards: Sequence[Json], **values: Any) -> Json:
    """A whole reading of the cards."""
    whole = {"schema_version": 1, "driver": "580.95.05", "cuda": "13.0", "error": ""}
    return {**whole, "count": len(cards), "expected": len(cards), "gpus": list(cards), **values}


def host(**values: Any) -> Json:
    """A reading of a host that lacks nothing."""
    fine = {"reboot_pending": 0, "certificate_days": 60, "driver_installed": "580.95.05", "driver_loaded": "580.95.05"}
    return {"schema_version": 1, **fine, **values}


@dataclass(frozen=True)
class Chapter:
    """What is reported six times in some minutes, and which alarms are on at the end; a card by its number."""

    title: str
    alarms: frozenset[str] = frozenset()
    ill: Mapping[int, Json] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    reading: Json = field(default_factory=dict)
    host: Json = field(default_factory=dict)
    drift: str = "in_sync"
    verify: str = "pass"
    minutes: int = 15


def _gpu(number: int, what: str) -> str:
    return f"GPU {number} (NVIDIA GeForce RTX 3090): {what}"


CARDS = 9
# A day of new errors, and an hour without a reboot, would make a long story.
MACROS = {"{$DLHOST.GPU.ERRORS.TIME}": "20m", "{$DLHOST.HOST.REBOOT.TIME}": "5m"}
HEALTHY = Chapter("everything is as it should be")
STORY = (
    HEALTHY,
    Chapter(
        "each card has something of its own, and the host too",
        ill={
            0: {"temperature": 89, "throttle": ["sw_thermal_slowdown"]},
            1: {"temperature": 95, "throttle": ["hw_slowdown", "hw_thermal_slowdown"]},
            2: {"fan": 0, "temperature": 96},
            3: {"ecc_uncorrected": 2, "retired_pages": 1},
            4: {"remap_failure": 1},
            5: {"processes": 0},
            6: {"throttle": ["hw_slowdown", "hw_power_brake_slowdown"]},
            7: {"memory_temperature": 106},
            8: {"power_limit": 250},
        },
        host={"reboot_pending": 1, "driver_loaded": "570.1", "certificate_days": 9},
        drift="drift",
        verify="fail",
        alarms=frozenset(
            {
                _gpu(0, "hot"),
                _gpu(1, "too hot"),
                _gpu(2, "fan stands still and the card is hot"),
                _gpu(3, "new uncorrected memory errors"),
                _gpu(4, "a bad memory row could not be replaced"),
                _gpu(5, "memory is in use and no process is there"),
                _gpu(6, "slowed down by its hardware"),
                _gpu(7, "memory is hot"),
                _gpu(8, "power limit was lowered"),
                "Host: loaded driver is not the installed one",
                "Host: certificate expires soon",
                "Host: not as declared",
                "Host: does not keep its promises",
            }
        ),
    ),
    Chapter("all is well again", minutes=30),
    Chapter(
        "nvidia-smi hangs",
        reading={
            "error": "nvidia-smi did not answer within 20 s",
            "driver": None,
            "cuda": None,
            "count": None,
            "gpus": [],
        },
        host={"certificate_days": 1},
        drift="failed",
        alarms=frozenset(
            {
                "GPUs: nvidia-smi does not answer as it should",
                "Host: certificate expires very soon",
                "Host: not as declared",
            }
        ),
    ),
    Chapter(
        "it answers, and nobody knows whether there is another certificate",
        host={"certificate_days": None, "reboot_pending": 1},
        drift="undetermined",
        alarms=frozenset({"Host: certificate expires very soon", "Host: waits for a reboot"}),
    ),
    HEALTHY,
    Chapter(
        "the driver lost a card that the bus still shows",
        missing=(3,),
        reading={"expected": CARDS},
        alarms=frozenset({"GPUs: fewer than there should be"}),
    ),
    HEALTHY,
    Chapter("a card fell off the bus", missing=(2,), alarms=frozenset({_gpu(2, "gone")})),
    Chapter(
        "it is back, with another driver, and two cards tell little",
        reading={"driver": "590.44.01"},
        ill={
            0: dict.fromkeys(("fan", "ecc_uncorrected", "memory_temperature", "throttle", "processes", "power")),
            1: {"retired_pages": 3},
        },
        alarms=frozenset({"GPUs: driver is another version", _gpu(1, "new retired memory pages")}),
    ),
)


def readings(chapter: Chapter) -> tuple[Json, Json]:
    """What the collector says of the cards and of the host in a chapter."""
    there = [number for number in range(CARDS) if number not in chapter.missing]
    # nvidia-smi has no gaps: where a card is missing, those after it move up.
    cards = [
        card(f"GPU-{number:08d}-0000-0000-0000-000000000000", index, **chapter.ill.get(number, {}))
        for index, number in enumerate(there)
    ]
    return gpus(cards, **chapter.reading), host(**chapter.host)


def tell(server: Zabbix, name: str, host_id: str) -> Iterator[tuple[Chapter, set[str]]]:
    """Feed a host the story, which ends now; yields each chapter with the alarms at its end."""
    clock = int(time.time()) - sum(chapter.minutes for chapter in STORY) * 60
    discover(server, name, host_id, clock)
    for chapter in STORY:
        of_gpus, of_host = readings(chapter)
        for _reading in range(READINGS):
            clock += chapter.minutes * 60 // READINGS
            checked = {"dlhost.drift": chapter.drift, "dlhost.verify": chapter.verify}
            pushed = {key: {"schema_version": 1, "time": clock, "result": said} for key, said in checked.items()}
            assert server.feed(name, clock, {"dlhost.gpu": of_gpus, "dlhost.host": of_host}) == 2
            assert server.push(name, clock, pushed) == 2
            # A server judges what arrives together; it is to judge these one after another, as they happened.
            assert until(lambda: server.clock(host_id, "dlhost.gpu.expected"), clock) == clock
        yield chapter, until(lambda: server.problems(host_id), set(chapter.alarms), patience_s=15)


def discover(server: Zabbix, name: str, host_id: str, clock: int) -> None:
    """Have the server make the items of the story's cards, and judge them from then on."""
    of_gpus, _of_host = readings(HEALTHY)
    last = f"dlhost.gpu.present[{of_gpus['gpus'][-1]['uuid']}]"

    def arrived() -> int:
        server.feed(name, clock, {"dlhost.gpu": of_gpus})
        return server.clock(host_id, last)

    assert until(arrived, clock) == clock
