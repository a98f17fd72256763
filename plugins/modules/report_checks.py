# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of this name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: report_checks
short_description: Return a role's checks in one shape
description:
  - Collects the checks of a role's C(verify) entry point. Fails only where a check is malformed, so that the
    checks of later roles are still made; M(dlhost.host.require_checks) gives the verdict.
author: dlhost maintainers (@dlhost)
options:
  role:
    description: The role whose promises are checked.
    type: str
    required: true
  checks:
    description: The checks.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Name, unique within the role, in snake_case.
        type: str
        required: true
      promise:
        description: What should be so, as one sentence without a full stop.
        type: str
        required: true
      passed:
        description: Whether it is so.
        type: bool
        required: true
      skip:
        description: Why it could not be checked here; when not empty, the check neither passes nor fails.
        type: str
      reason:
        description: What was seen instead; shown when the check fails.
        type: str
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Report the checks
  dlhost.host.report_checks:
    role: system
    checks:
      - id: time_service
        promise: A time service keeps the clock
        passed: "{{ __system_time.rc == 0 }}"
        skip: "{{ 'a container has its host clock' if __system_is_container else '' }}"
        reason: "{{ __system_time.stdout }}"
"""

RETURN = r"""
dlhost_checks:
  description: One element for each check, with role, id (C(role.id)), promise, result (pass, fail, skip) and reason.
  type: list
  elements: dict
  returned: always
"""
