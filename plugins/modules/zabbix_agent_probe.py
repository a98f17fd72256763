# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what an agent of Zabbix gives, and to whom. An action plugin adds what the controller reaches."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zabbix_agent_probe
short_description: Ask an agent as its server would
description:
  - Asks the agent on loopback in clear, with another pre-shared key and with the right one; asks it to run a command;
    and asks the server, with the host's name and key, for what the agent is to report.
  - Holds what the agent says of every GPU against what nvidia-smi says just before and just after.
  - The controller tries whether it reaches the agent past SSH.
author: dlhost maintainers (@dlhost)
options:
  host:
    description: What the agent calls itself.
    type: str
    required: true
  port:
    description: Its port on loopback.
    type: int
    required: true
  server:
    description: Where it reports to, as HOST or HOST:PORT.
    type: str
    required: true
  psk_identity:
    description: The name of its pre-shared key.
    type: str
    required: true
  psk:
    description: The key.
    type: str
    required: true
  closed_ports:
    description: Ports that nobody should reach from outside of the host.
    type: list
    elements: int
    default: []
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Ask the agent
  dlhost.host.zabbix_agent_probe:
    host: rig
    port: 10050
    server: zabbix.example.org
    psk_identity: dlhost rig
    psk: "{{ zabbix_agent_psk }}"
    closed_ports: [10050]
  register: __zabbix_agent_probe
"""

RETURN = r"""
said:
  description: The name under which the agent answers to the key; empty where it does not.
  type: str
  returned: always
error:
  description: Why it does not; empty where it does.
  type: str
  returned: always
open_to:
  description: To whom else it answered, such as V(somebody without a key).
  type: list
  elements: str
  returned: always
command:
  description: What it said to a command that it should run.
  type: str
  returned: always
server_error:
  description: Why the server would not take its values, one sentence; empty where it would.
  type: str
  returned: always
cards:
  description: The GPUs that it reports, as the collector describes them.
  type: list
  elements: dict
  returned: always
time:
  description: When it was asked, in seconds since the epoch by the host's clock, which is the one of its values too.
  type: int
  returned: always
driver:
  description: The version of the driver that it reports; empty where it reports none.
  type: str
  returned: always
plugin_driver:
  description: What Zabbix' plugin says that it is.
  type: str
  returned: always
gpu_skip:
  description: Why nothing could be compared; empty where something was.
  type: str
  returned: always
gpu_problems:
  description: Where it says something else than nvidia-smi, one sentence each.
  type: list
  elements: str
  returned: always
host_values:
  description: What it says of the rest of the host; empty where it says nothing.
  type: dict
  returned: always
reachable:
  description: Those of the closed ports that the controller reached.
  type: list
  elements: int
  returned: always
closed_skipped_because:
  description: Why the closed ports were not tried; empty where they were.
  type: str
  returned: always
"""

import json
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.zabbix_wire import WireError, ask, place

LOOPBACK = "127.0.0.1"
# The collector gives nvidia-smi 20 seconds.
AGENT_TIMEOUT_S = 30
PLUGIN_DRIVER = "nvml.system.driver.version"
SERVER_TIMEOUT_S = 10

MIB = 1024 * 1024
MHZ = 1_000_000
# What the agent calls it, its name for `nvidia-smi --query-gpu`, the unit, and how far a value may be from those just
# before and just after. A load comes and goes within the second: what differs is looked at again.
COMPARED = (
    ("utilisation", "utilization.gpu", 1, 25),
    ("memory_utilisation", "utilization.memory", 1, 25),
    ("memory_total", "memory.total", MIB, 0),
    ("memory_used", "memory.used", MIB, 512 * MIB),
    ("temperature", "temperature.gpu", 1, 5),
    ("fan", "fan.speed", 1, 10),
    ("power", "power.draw", 1, 50),
    ("power_limit", "power.limit", 1, 0),
    ("clock_sm", "clocks.sm", MHZ, 300 * MHZ),
    ("clock_memory", "clocks.mem", MHZ, 0),
)
ATTEMPTS = 3


def main() -> None:
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "host": text,
            "port": {"type": "int", "required": True},
            "server": text,
            "psk_identity": text,
            "psk": {**text, "no_log": True},
            "closed_ports": {"type": "list", "elements": "int", "default": []},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **look(module.params))


def look(request: dict) -> dict[str, object]:
    """What the agent and its server say."""
    key = (request["psk_identity"], request["psk"])

    def answer(item: str, key: tuple[str, str] | None = key) -> tuple[str, str]:
        """What the agent answers, and why it does not."""
        try:
            return ask(LOOPBACK, request["port"], item, AGENT_TIMEOUT_S, key), ""
        except WireError as error:
            return "", str(error)

    def agent(item: str) -> str:
        return answer(item)[0]

    said, error = answer("agent.hostname")
    strangers = {"somebody without a key": None, "somebody with another key": (key[0], "5a" * 32)}
    seen = {
        "time": int(time.time()),
        "said": said,
        "error": error,
        "open_to": [who for who, other in strangers.items() if answer("agent.ping", other)[0]],
        "server_error": server_error(request, key),
    }
    if not said:
        unsaid = {"command": "", "driver": "", "plugin_driver": "", "cards": [], "gpu_skip": "", "host_values": {}}
        return {**seen, **unsaid, "gpu_problems": [error]}
    return {
        **seen,
        "plugin_driver": agent(PLUGIN_DRIVER).strip('"'),
        "command": agent("system.run[id]"),
        **compare(agent),
        "host_values": _document(agent("dlhost.host")),
    }


def server_error(request: dict, key: tuple[str, str]) -> str:
    """Why the server would not take the host's values; empty where it would."""
    question = json.dumps({"request": "active checks", "host": request["host"]})
    try:
        answer = json.loads(ask(*place(request["server"]), question, SERVER_TIMEOUT_S, key))
    except WireError as error:
        return f"{request['server']} does not answer: {error}"
    except ValueError:
        return f"{request['server']} does not answer as a Zabbix server does"
    if answer.get("response") != "success":
        return f"{request['server']} says: {answer.get('info', 'no')}"
    return ""


def compare(agent) -> dict[str, object]:
    """What the agent says of the GPUs, held against nvidia-smi."""
    for _attempt in range(ATTEMPTS):
        before = _query()
        reported = _document(agent("dlhost.gpu"))
        cards = reported.get("gpus", [])
        if before is None and not cards and reported.get("expected") == 0:
            why = f" ({reported['error']})" if reported["error"] else ""
            return {"driver": "", "cards": [], "gpu_skip": f"the host has no NVIDIA GPU{why}", "gpu_problems": []}
        if trouble := reported.get("error", "the agent says nothing of the GPUs"):
            problems = [trouble]
            break
        problems = differences(cards, before or {}, _query() or {})
        if len(cards) < reported["expected"]:
            problems.append(f"{reported['expected']} GPUs are on the PCI bus, and nvidia-smi has {len(cards)}")
        if not problems:
            break
    return {"driver": reported.get("driver") or "", "cards": cards, "gpu_skip": "", "gpu_problems": problems}


def differences(cards: list[dict], *moments: dict[str, dict[str, float | None]]) -> list[str]:
    """Where the agent's cards are not as at these moments, one sentence each."""
    found = []
    uuids = {uuid for moment in moments for uuid in moment}
    if missing := sorted(uuids - {card["uuid"] for card in cards}):
        found.append(f"{', '.join(missing)} is not reported")
    for card in cards:
        for name, _query_name, _scale, tolerance in COMPARED:
            seen = [moment[card["uuid"]][name] for moment in moments if card["uuid"] in moment]
            values = [value for value in seen if value is not None]
            value = card[name]
            if value is None and not values:
                continue
            if value is None or not values or not min(values) - tolerance <= value <= max(values) + tolerance:
                found.append(f"{name} of {card['uuid']} is reported as {value}, and nvidia-smi says {seen}")
    return found


def _query() -> dict[str, dict[str, float | None]] | None:
    """UUID to values, by nvidia-smi's other way to tell; None where it does not."""
    names = ",".join(["uuid", *(name for _agent, name, _scale, _tolerance in COMPARED)])
    done = run("nvidia-smi", f"--query-gpu={names}", "--format=csv,noheader,nounits", timeout_s=AGENT_TIMEOUT_S)
    if done.returncode != 0:
        return None
    found = {}
    for line in done.stdout.splitlines():
        uuid, *words = [word.strip() for word in line.split(",")]
        found[uuid] = {
            row[0]: float(word) * row[2] if re.fullmatch(r"-?\d+(\.\d+)?", word) else None
            for row, word in zip(COMPARED, words, strict=False)
        }
    return found


def _document(text: str) -> dict:
    try:
        return json.loads(text)
    except ValueError:
        return {}


if __name__ == "__main__":
    main()
