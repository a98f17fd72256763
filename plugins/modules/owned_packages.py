# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the packages of one role in one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: owned_packages
short_description: Install the packages of one role, and remember which of them it brought
description:
  - Installs what is missing with apt-get, in one transaction and without recommendations. Unlike
    M(ansible.builtin.apt) it needs no python3-apt, so that a dry run knows the answer on a bare host too, it
    finishes an installation that was cut before, and it names the process that holds apt's lock.
  - What apt would do is simulated first. A transaction that would remove what nobody named, that needs more room than
    the disk has, or that changes what is held or protected is refused in one sentence, before anything has changed.
  - Packages that were not on the host are recorded in C(/etc/dlhost/managed.json) before they are installed.
author: dlhost maintainers (@dlhost)
options:
  role:
    description: The owner's name.
    type: str
    required: true
  names:
    description:
      - Debian packages, as NAME, or as NAME=VERSION with a shell pattern such as V(580.*). A package in another version
        is brought to the newest one that matches and that the preferences of apt allow.
    type: list
    elements: str
    default: []
  replaces:
    description:
      - Shell patterns of package names. Installed packages of these names that the new ones do without are purged in
        the same transaction; without any O(names), all of them are. Without it nothing is ever removed; what apt would
        remove is named in a refusal.
    type: list
    elements: str
    default: []
  protects:
    description:
      - Shell patterns of package names that the transaction may neither install, change nor remove, O(names) excepted.
    type: list
    elements: str
    default: []
  downgrades:
    description:
      - Shell patterns of package names that the transaction may take back to an older version, beside O(names) that
        have one.
    type: list
    elements: str
    default: []
  hold:
    description:
      - Whether apt leaves the packages as they are from then on. For its own transaction the module lifts the hold,
        and a failed one gets it back. Left out, a hold on the packages stays as it is.
    type: bool
  state:
    description:
      - With V(absent), the packages that the role brought, and that no other role wants, are marked as automatically
        installed, for C(apt autoremove), and no longer held. They are not removed, since others may depend on them by
        now.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would be installed, or refused, as far as the host's present package lists tell.
  diff_mode:
    support: full
    description: One line per package.
"""

EXAMPLES = r"""
- name: Install the base packages
  dlhost.host.owned_packages:
    role: system
    names: [curl, tmux]

- name: Go to another branch of the driver, which stays until it is asked for
  dlhost.host.owned_packages:
    role: nvidia_driver
    names: ["nvidia-driver-cuda=590.*", "nvidia-kernel-open-dkms=590.*"]
    replaces: [nvidia-*, libnvidia-*, cuda-drivers*]
    hold: true

- name: Hand them back
  dlhost.host.owned_packages:
    role: system
    state: absent
"""

RETURN = r"""
changed_packages:
  description: The packages that were installed, held, released or handed back.
  type: list
  elements: str
  returned: always
removed_packages:
  description: The packages that were purged for them.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import debian_packages, owned_files
from ansible_collections.dlhost.host.plugins.module_utils.debian_transaction import Transaction, Wish, listed


def main() -> None:
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "names": names,
            "replaces": names,
            "protects": names,
            "downgrades": names,
            "hold": {"type": "bool"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    act = install if module.params["state"] == "present" else hand_back
    try:
        result = act(module.params, module.check_mode)
    except (owned_files.OwnedFilesError, debian_packages.PackagesError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def install(request: dict, check: bool) -> dict[str, object]:
    """Install what is missing; returns the module's result."""
    names, hold = request["names"], request["hold"]
    bare = [Wish.from_text(name).name for name in names]
    terms = {name: request[name] for name in ("replaces", "protects", "downgrades")}
    was_cut = debian_packages.was_cut()
    due = [Wish.from_text(name).name for name in debian_packages.unmet(names)]
    to_mark = [] if hold is None else debian_packages.set_held(bare, held=hold, check=True)
    transaction: Transaction | None = Transaction()
    if check:
        transaction = debian_packages.foresee(names, **terms)
    elif due or to_mark or was_cut or not names:
        transaction = debian_packages.install(
            names, hold=hold, on_start=lambda: owned_files.claim_packages(request["role"], bare), **terms
        )
    steps = transaction.steps if transaction else ()
    changing = {step.name: step for step in steps if step.before}
    lines = ["an installation that was cut is finished\n"] if was_cut else []
    lines += [f"package {name}: not installed\n" for name in due if name not in changing]
    lines += [step.line for step in changing.values()]
    lines += [f"package {name}: {'not ' if hold else ''}held\n" for name in to_mark]
    result = _result(sorted({*due, *to_mark}), lines)
    result["removed_packages"] = transaction.removed if transaction else []
    if transaction is None:
        named = listed(due)
        result["dlhost_undetermined"] = f"how apt installs {named}, which the host's present package lists do not tell"
    return result


def hand_back(request: dict, check: bool) -> dict[str, object]:
    """Leave to apt what the role brought; returns the module's result."""
    handed = debian_packages.hand_back(owned_files.brought_packages(request["role"]), check=check)
    return {**_result(handed, [f"package {name}: kept at nobody's wish\n" for name in handed]), "removed_packages": []}


def _result(packages: list[str], lines: list[str]) -> dict[str, object]:
    diff = [{"prepared": line} for line in lines]
    return {"changed": bool(lines), "changed_packages": packages, "diff": diff}


if __name__ == "__main__":
    main()
