"""The templates: the files are the description's, hold together, and read what the collector says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.e2e.zabbix import STORY

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "roles" / "zabbix_server" / "files").glob("*/dlhost.yaml"))
VERSION_4 = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")
SILENCE = {"GPUs: no readings", "dlhost host: silent"}
EACH = pytest.mark.parametrize("export", FILES, ids=[path.parent.name for path in FILES], indirect=True)


@pytest.fixture
def export(request: pytest.FixtureRequest) -> Any:
    return yaml.safe_load(request.param.read_text())["zabbix_export"]


def mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of the file, at any depth."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from mappings(child)


def collector() -> Any:
    """The program on a host that says what the templates read."""
    path = ROOT / "roles" / "zabbix_agent" / "files" / "zabbix_collector.py"
    spec = importlib.util.spec_from_file_location("zabbix_collector", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def triggers(export: Any) -> list[dict[str, Any]]:
    return [node for node in mappings(export) if "expression" in node and "uuid" in node]


def test_the_files_are_what_the_description_makes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "zabbix_template", "--check"], capture_output=True, text=True, check=False
    )

    assert len(FILES) == 2
    assert (done.returncode, done.stderr) == (0, "")


@EACH
def test_everything_is_known_by_a_uuid_of_its_own(export: Any) -> None:
    uuids = [node["uuid"] for node in mappings(export) if "uuid" in node]

    assert len(uuids) == len(set(uuids)) and all(VERSION_4.fullmatch(uuid) for uuid in uuids)


@EACH
def test_every_threshold_is_a_macro_with_an_explanation(export: Any) -> None:
    for template in export["templates"]:
        defined = {macro["macro"] for macro in template["macros"]}
        used = {
            f"{name}}}"
            for trigger in triggers(export)
            for name in re.findall(r"(\{\$[A-Z.]+)", trigger["expression"] + trigger.get("recovery_expression", ""))
            if f"/{template['name']}/" in trigger["expression"]
        }
        assert used == defined
        assert all(macro["description"] for macro in template["macros"])


@EACH
def test_every_alarm_says_what_to_do_and_leads_to_one_that_explains_it(export: Any) -> None:
    named = {trigger["name"]: trigger for trigger in triggers(export)}
    assert all(trigger["description"] for trigger in named.values())

    def explained(name: str, *seen: str) -> None:
        assert name not in seen
        for dependency in named[name].get("dependencies", []):
            assert dependency["expression"] == named[dependency["name"]]["expression"]
            explained(dependency["name"], name, *seen)

    for name in named:
        explained(name)


@EACH
def test_every_alarm_but_silence_has_its_place_in_the_story(export: Any) -> None:
    told = {re.sub(r"GPU \d+ \(.*?\)", "GPU {#INDEX} ({#NAME})", name) for part in STORY for name in part.alarms}

    assert told == {trigger["name"] for trigger in triggers(export)} - SILENCE


@EACH
def test_a_card_has_an_item_for_each_of_its_values(export: Any) -> None:
    reported = set(collector().gpu(ElementTree.Element("gpu"), 0))

    steps = [node["parameters"][0] for node in mappings(export) if node.get("type") == "JSONPATH"]
    read = {match[1] for step in steps if (match := re.fullmatch(r".*\)\]\.(\w+)\.first\(\)", step))}
    assert reported - {"uuid", "index", "name", "bus_id"} == read


@EACH
@pytest.mark.parametrize(
    ("cards", "error", "kept"),
    [([], "nvidia-smi hangs", True), ([], "", False), ([{"uuid": "GPU-1"}], "one is lost", False)],
)
def test_cards_that_nobody_could_look_for_are_not_lost(export: Any, cards: list[Any], error: str, kept: bool) -> None:
    rule = export["templates"][0]["discovery_rules"][0]["preprocessing"][0]
    said = json.dumps({**collector().without(error), "gpus": cards}, separators=(",", ":"))

    assert rule["type"] == "NOT_MATCHES_REGEX" and rule["error_handler"] == "DISCARD_VALUE"
    assert bool(re.search(rule["parameters"][0], said)) == kept
