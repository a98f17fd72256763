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
    required: true
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
"""

RETURN = r"""
missing:
  description: The packages that were not installed.
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
            "names": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    missing = owned_files.missing_packages(module.params["names"])
    was_cut = debian_packages.was_cut()
    if (missing or was_cut) and not module.check_mode:
        try:
            owned_files.claim_packages(module.params["role"], module.params["names"])
            debian_packages.install(missing)
        except (owned_files.OwnedFilesError, debian_packages.PackagesError) as error:
            module.fail_json(msg=str(error))
    lines = ["an installation that was cut is finished\n"] if was_cut else []
    lines += [f"package {name}: not installed\n" for name in missing]
    module.exit_json(changed=bool(missing or was_cut), missing=missing, diff=[{"prepared": line} for line in lines])


if __name__ == "__main__":
    main()
