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
  - Packages that were not on the host are recorded in C(/etc/dlhost/managed.json) before they are installed.
author: dlhost maintainers (@dlhost)
options:
  role:
    description: The owner's name.
    type: str
    required: true
  names:
    description: Debian packages.
    type: list
    elements: str
    default: []
  state:
    description:
      - With V(absent), the packages that the role brought, and that no other role wants, are marked as automatically
        installed, for C(apt autoremove). They are not removed, since others may depend on them by now.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would be installed and changes nothing.
  diff_mode:
    support: full
    description: One line per package.
"""

EXAMPLES = r"""
- name: Install the base packages
  dlhost.host.owned_packages:
    role: system
    names: [curl, tmux]

- name: Hand them back
  dlhost.host.owned_packages:
    role: system
    state: absent
"""

RETURN = r"""
changed_packages:
  description: The packages that were installed or handed back.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import debian_packages, owned_files


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    act = install if module.params["state"] == "present" else hand_back
    try:
        result = act(module.params["role"], module.params["names"], module.check_mode)
    except (owned_files.OwnedFilesError, debian_packages.PackagesError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def install(role: str, names: list[str], check: bool) -> dict[str, object]:
    """Install what is missing; returns the module's result."""
    missing = owned_files.missing_packages(names)
    was_cut = debian_packages.was_cut()
    if (missing or was_cut) and not check:
        owned_files.claim_packages(role, names)
        debian_packages.install(missing)
    lines = ["an installation that was cut is finished\n"] if was_cut else []
    result = _result(missing, [*lines, *(f"package {name}: not installed\n" for name in missing)])
    strangers = debian_packages.unknown(missing, check=True) if check else []
    if strangers:
        named = ", ".join(strangers)
        result["dlhost_undetermined"] = f"whether apt has {named}, which the host's present package lists do not name"
    return result


def hand_back(role: str, _names: list[str], check: bool) -> dict[str, object]:
    """Leave to apt what the role brought; returns the module's result."""
    handed = debian_packages.hand_back(owned_files.brought_packages(role), check=check)
    return _result(handed, [f"package {name}: kept at nobody's wish\n" for name in handed])


def _result(packages: list[str], lines: list[str]) -> dict[str, object]:
    diff = [{"prepared": line} for line in lines]
    return {"changed": bool(lines), "changed_packages": packages, "diff": diff}


if __name__ == "__main__":
    main()
