# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why no Python environment can be made from a lock."""

from __future__ import annotations

DOCUMENTATION = r"""
name: python_lock_refusal
short_description: Why no Python environment can be made from a lock
description:
  - Lines that M(dlhost.host.python_environment) would refuse, before anything else is done to a host.
author: dlhost maintainers (@dlhost)
positional: _input
options:
  _input:
    description: The lock, as the text of a pip requirements file with hashes.
    type: str
    required: true
"""

EXAMPLES = r"""
__jupyter_refusal: "{{ jupyter_requirements | dlhost.host.python_lock_refusal }}"
"""

RETURN = r"""
_value:
  description: One sentence; empty where nothing speaks against it.
  type: str
"""


def python_lock_refusal(lock: str) -> str:
    # Whoever uses one filter of the collection loads all of them.
    from ansible_collections.dlhost.host.plugins.module_utils import python_lock

    try:
        python_lock.parse(lock)
    except python_lock.LockError as error:
        return str(error)
    return ""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"python_lock_refusal": python_lock_refusal}
