# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of this name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ssh_probe
short_description: Log in from the controller as a user would
description:
  - Opens two new connections to the host that the task reaches by SSH, one with keys alone and one without any key.
    Neither is multiplexed. Never fails; the caller judges.
author: dlhost maintainers (@dlhost)
options: {}
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Log in from the controller
  dlhost.host.ssh_probe:
  register: __ssh_hardening_login
"""

RETURN = r"""
skipped_because:
  description: Why nothing was tried; empty where it was.
  type: str
  returned: always
key_login:
  description: Whether a login with a key alone works.
  type: bool
  returned: when tried
key_login_error:
  description: What ssh said instead.
  type: str
  returned: when tried
offered:
  description: Authentication methods that sshd offers to somebody without a key, sorted.
  type: list
  elements: str
  returned: when tried
login_without_key:
  description: Whether a login without a key succeeded.
  type: bool
  returned: when tried
"""
