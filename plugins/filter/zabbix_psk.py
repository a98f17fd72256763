# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the pre-shared key of one host, from the secret of its inventory."""

from __future__ import annotations

import hashlib
import hmac

DOCUMENTATION = r"""
name: zabbix_psk
short_description: The pre-shared key of one host, from the secret of its inventory
description:
  - HMAC-SHA256 of the host's name. So the server and the host know the key without asking each other, it survives a
    reinstallation, and who takes it from one host does not have those of others.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The secret.
    type: str
    required: true
  host:
    description: The name of the host in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
psk: "{{ zabbix_agent_psk_secret | dlhost.host.zabbix_psk(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: 64 hexadecimal digits, as Zabbix wants them; empty without a secret.
  type: str
"""


def zabbix_psk(secret: str, host: str) -> str:
    return hmac.new(secret.encode(), f"dlhost zabbix psk {host}".encode(), hashlib.sha256).hexdigest() if secret else ""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"zabbix_psk": zabbix_psk}
