# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of this name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: require_checks
short_description: Fail where any check of this play failed
description:
  - The verdict over what M(dlhost.host.report_checks) collected on the host. No check at all is a failure too.
author: dlhost maintainers (@dlhost)
options: {}
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Require that every check passed
  dlhost.host.require_checks:
"""

RETURN = r"""
msg:
  description: The failed checks with what was seen instead, or how many were made.
  type: str
  returned: always
"""
