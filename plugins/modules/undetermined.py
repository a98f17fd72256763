# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of this name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: undetermined
short_description: Say what a dry run could not know
description:
  - Plan and drift count the role as undetermined on that host, a class of its own between in sync and drifted.
author: dlhost maintainers (@dlhost)
options:
  reason:
    description: What could not be known and why, as one sentence without a full stop.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Say what a dry run cannot know
  dlhost.host.undetermined:
    reason: whether the time service runs, because its package is not installed yet
  when: ansible_check_mode and __system_install is changed
"""

RETURN = r"""
dlhost_undetermined:
  description: The reason.
  type: str
  returned: always
"""
