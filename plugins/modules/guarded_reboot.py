# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of this name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guarded_reboot
short_description: Reboot a host where that harms nobody, and wait for its GPUs
description:
  - The machine that Ansible runs on is never rebooted, nor a container; a host on which a process holds a GPU only with
    consent. What is not done is returned as C(dlhost_action_needed) and written to C(/run/dlhost/reboot-needed), which
    the next boot begins without.
  - After the boot it waits until C(nvidia-smi) sees the GPUs, not just for SSH. Give the task C(throttle=1), and hosts
    are rebooted one after the other.
author: dlhost maintainers (@dlhost)
options:
  reason:
    description: Why only a reboot helps, without a full stop.
    type: str
    required: true
  mode:
    description:
      - V(never) leaves every reboot to the user, V(auto) one that would end a process on a GPU, and V(force) none.
    type: str
    choices: [auto, never, force]
    default: auto
  console:
    description:
      - What the user has to do at the machine's own console while it boots, as sentences; where given, it is left to
        them whatever the mode.
    type: str
  sysfs:
    description: Where GPUs are looked for.
    type: path
    default: /sys
  gpus:
    description: So many have to answer after the boot; with V(0) none is waited for.
    type: int
    default: 0
  reboot_timeout_s:
    description: How long the host may take to boot.
    type: int
    default: 600
  gpu_timeout_s:
    description: How long its GPUs may take then.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says whether the host would be rebooted.
"""

EXAMPLES = r"""
- name: Have the kernel run the driver
  dlhost.host.guarded_reboot:
    reason: nouveau drives the GPU until the next boot
    gpus: 2
  throttle: 1
"""

RETURN = r"""
dlhost_action_needed:
  description: What is left to the user, where the host was not rebooted.
  type: str
  returned: when not rebooted
elapsed:
  description: Seconds until the GPUs answered.
  type: int
  returned: when rebooted
"""
