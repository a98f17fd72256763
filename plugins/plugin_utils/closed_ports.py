# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of a host, tried from the controller: those that nobody should reach, and those that a firewall lets in."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import address_from_here

# A packet that was lost is sent again after one second, and then after two more.
SILENCE_S = 5


def reached(action: ActionBase) -> dict[str, object]:
    """Those of the task's `closed_ports` that the controller reaches, and why they could not be tried."""
    # That a port is closed means something only at an address where the host could be reached.
    address, hindrance = address_from_here(action)
    answers = answers_of(address, action._task.args.get("closed_ports", [])) if address else {}
    return {
        "reachable": [port for port, answer in answers.items() if answer == "connects"],
        "closed_skipped_because": hindrance,
    }


def answers_of(address: str, ports: Iterable[int]) -> dict[int, str]:
    """Port to "connects", "refuses", or "silent", as one is that a firewall drops."""

    def answer(port: int) -> str:
        try:
            socket.create_connection((address, port), SILENCE_S).close()
        except OSError as error:
            return "refuses" if isinstance(error, ConnectionRefusedError) else "silent"
        return "connects"

    tried = list(ports)
    # All at once, as each that is silent takes the whole time.
    with ThreadPoolExecutor(max(len(tried), 1)) as pool:
        return dict(zip(tried, pool.map(answer, tried), strict=True))
