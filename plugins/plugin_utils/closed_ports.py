# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of a host that nobody should reach from outside of it, tried from the controller."""

from __future__ import annotations

import socket

from ansible.plugins.action import ActionBase
from ansible_collections.dlhost.host.plugins.plugin_utils.fresh_ssh import address_from_here

CONNECT_TIMEOUT_S = 5


def reached(action: ActionBase) -> dict[str, object]:
    """Those of the task's `closed_ports` that the controller reaches, and why they could not be tried."""
    # That a port is closed means something only at an address where the host could be reached.
    address, hindrance = address_from_here(action)
    ports = [port for port in action._task.args.get("closed_ports", []) if address and _connects(address, port)]
    return {"reachable": ports, "closed_skipped_because": hindrance}


def _connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True
