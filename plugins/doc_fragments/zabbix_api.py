# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that modules which ask Zabbix's API have in common (module_utils/zabbix_api.py, ACCESS_ARGUMENTS)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  url:
    description: The frontend's address, as in a browser. Without TLS only on the loopback address.
    type: str
    required: true
  ca:
    description: PEM certificates to trust, and no other; empty for those that the machine trusts that asks.
    type: str
    default: ""
  address:
    description:
      - Where to connect, where it is not where the URL's name leads (the front of the same host). On the loopback
        address, at a port that only root can have, any certificate will do where O(ca) is empty.
    type: str
    default: ""
  token:
    description: An API token. Without one, O(user) logs in with O(password), and out again.
    type: str
    default: ""
  user:
    description: Who logs in where there is no O(token).
    type: str
    default: Admin
  password:
    description: The user's password.
    type: str
    default: ""
"""
