# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that modules of guarded changes have in common (module_utils/way_back.py, ARGUMENTS)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  packages:
    description: Debian packages that the role wants. Installed where missing; removal takes only what the role brought.
    type: list
    elements: str
    default: []
  guard:
    description: Arm the self-revert and prove the login from the controller. Needs an SSH connection.
    type: bool
    default: true
  guard_timeout_s:
    description: Seconds after which an unproved change is taken back by the host.
    type: int
    default: 120
  state:
    description: With V(absent), the role's files are removed, and with them what they made.
    type: str
    choices: [present, absent]
    default: present
  phase:
    description: Set by the action plugin.
    type: str
    choices: [plan, install, apply, confirm, revert]
    default: plan
"""
