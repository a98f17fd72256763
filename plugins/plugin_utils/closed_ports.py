# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of a host, tried from the controller: those that nobody should reach, and those that a firewall lets in."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import address_from_here

CONNECT_TIMEOUT_S = 5
# A packet that was lost is sent again after one second.
SILENCE_S = 3


def reached(action: ActionBase) -> dict[str, object]:
    """Those of the task's `closed_ports` that the controller reaches, and why they could not be tried."""
    # That a port is closed means something only at an address where the host could be reached.
    address, hindrance = address_from_here(action)
    ports = [port for port in action._task.args.get("closed_ports", []) if address and _connects(address, port)]
    return {"reachable": ports, "closed_skipped_because": hindrance}


def answering(address: str, ports: Iterable[int]) -> set[int]:
    """Those of the ports that answer at all, if only to refuse; what a firewall drops is silent."""

    def answers(port: int) -> bool:
        try:
            socket.create_connection((address, port), SILENCE_S).close()
        except OSError as error:
            return isinstance(error, ConnectionRefusedError)
        return True

    tried = list(ports)
    # All at once, as each that is dropped takes the whole time.
    with ThreadPoolExecutor(max(len(tried), 1)) as pool:
        return {port for port, answer in zip(tried, pool.map(answers, tried), strict=True) if answer}


def _connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True
