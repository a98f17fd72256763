# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of this name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: shell_script
short_description: Run a shell script on a host that may have no Python
description:
  - Like M(ansible.builtin.raw), but the script travels on standard input. So nothing of it is in the host's process
    list nor in sudo's journal, where a password of a proxy would be read by others, and it may be of any length.
  - A line C(dlhost-fact:NAME=VALUE) among what it prints sets a fact of the host.
  - Skipped in check mode, unless the task says C(check_mode=false) because the script only looks.
author: dlhost maintainers (@dlhost)
options:
  script:
    description: A script for /bin/sh. It must not read standard input itself.
    type: str
    required: true
attributes:
  check_mode:
    support: none
    description: Cannot know what a script would change.
"""

EXAMPLES = r"""
- name: Look at the host
  dlhost.host.shell_script:
    script: "{{ lookup('ansible.builtin.template', 'look.sh.j2') }}"
  check_mode: false
  changed_when: false
"""

RETURN = r"""
rc:
  description: The script's exit status; other than 0 is a failure.
  type: int
  returned: always
stdout:
  description: What it printed.
  type: str
  returned: always
ansible_facts:
  description: The facts that it printed.
  type: dict
  returned: when there are any
"""
