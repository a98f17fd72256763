# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of this name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nvidia_facts
short_description: Look at a host's GPUs, driver, kernels and NVIDIA packages
description:
  - One read-only look in one round trip, which needs no Python on the host. What it finds is joined with the
    compatibility table on the controller.
  - The roles of the GPU stack decide from it what is due, and C(dlhost doctor) what to advise.
author: dlhost maintainers (@dlhost)
options:
  sysfs:
    description: Where GPUs are looked for. A copy of another host's tree stands in for GPUs that a host has not.
    type: path
    default: /sys
  units:
    description: systemd units whose states are wanted.
    type: list
    elements: str
    default: []
  candidates:
    description:
      - Packages of which it is wanted which version apt would install.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Looks all the same; it never changes anything.
"""

EXAMPLES = r"""
- name: Look at the host
  dlhost.host.nvidia_facts:
    units: [nvidia-persistenced.service]
  register: __nvidia_driver_look
"""

RETURN = r"""
nvidia:
  description: What was found.
  type: dict
  returned: always
  contains:
    platform:
      description: C(distribution) and C(version), which are there on their own too, as in V(debian-13).
      type: str
    machine:
      description: The processor's architecture, like V(x86_64).
      type: str
    container:
      description: Whether the host is a container, which has no kernel of its own.
      type: bool
    is_controller:
      description: Whether the host is the machine that Ansible runs on.
      type: bool
    boot_id:
      description: Differs after every boot. C(machine_id) stays, C(uptime_s) is in seconds.
      type: str
    reboot_required:
      description: Whether some package asked for a reboot.
      type: bool
    gpus:
      description:
        - NVIDIA's display controllers on the PCI bus, in order of C(address). C(device_id) has four hexadecimal
          digits, C(name) is the driver's and C(bound_driver) the kernel driver that has the device, if any. C(chip),
          C(architecture), C(compute_capability) and C(known) are the compatibility table's.
      type: list
      elements: dict
    nouveau_loaded:
      description: Whether the kernel's own driver is loaded.
      type: bool
    kernel:
      description:
        - C(running), C(newest) and all C(installed) kernels, oldest first, and C(headers), those with headers.
        - C(packages), like the other of this name, has kernels, headers and mokutil; C(stale_initramfs) the kernels
          whose initramfs is older than dlhost's word on nouveau; C(initramfs_mib) is the size of the largest one and
          C(boot_free_mib) what is free beside them.
      type: dict
    dkms:
      description: What DKMS says of NVIDIA's modules, as C(module), C(version), C(kernel), C(state).
      type: list
      elements: dict
    module:
      description:
        - C(loaded) is the running kernel module's version, empty for none, and C(loaded_flavour) V(open) or
          V(proprietary). C(installed) has C(version), C(flavour) and C(signed) of the module that each installed kernel
          would load.
      type: dict
    packages:
      description: Name to C(version), C(status) as dpkg has it, and C(held), of every package of NVIDIA's.
      type: dict
    user_space:
      description: The driver libraries' version, empty where there are none.
      type: str
    smi:
      description:
        - Whether C(nvidia-smi) C(ran), its C(path), C(error), C(driver_version) and C(gpus). Of these it is told what
          power they may draw, C(power_limit_w), and within which bounds that can be set, in watts as text or V([N/A]).
      type: dict
    runfile:
      description: Path of the uninstaller that a driver from a C(.run) file leaves, empty otherwise.
      type: str
    secure_boot:
      description: V(enabled), V(disabled) or V(unsupported).
      type: str
    mok:
      description: C(key) that DKMS signs with, and whether it is C(enrolled), or C(pending) until the next boot.
      type: dict
    users:
      description:
        - Processes that hold a GPU, by NVIDIA's driver or as a display by any, as C(pid), C(command), C(user). The
          persistence daemon is not among them.
      type: list
      elements: dict
    dpkg_was_cut:
      description: Whether an installation was stopped half-way.
      type: bool
    sources:
      description: apt's sources, as C(file), C(uri), C(suite), C(components), C(signed_by).
      type: list
      elements: dict
    units:
      description: The units asked for, to C(loaded), C(active) and C(enabled) in systemd's words.
      type: dict
    candidates:
      description: The packages asked for that apt knows, to the version it would install; empty where there is none.
      type: dict
"""
