# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: every file of one role in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: owned_files
short_description: Keep every file of one role as declared, in one call
description:
  - Compares all files of a role with the host, stages and validates what differs, then swaps it in.
  - Files that the role wrote in an earlier run and no longer declares are removed; others are not touched.
  - What each role owns is kept in C(/etc/dlhost/managed.json), together with the packages it brought to the host.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  packages:
    description:
      - Debian packages that the role is about to install. Those not yet on the host are recorded as brought by it.
    type: list
    elements: str
    default: []
  state:
    description: With V(absent), every file of the role is removed, and the record of what it owned.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing.
  diff_mode:
    support: full
    description: One diff per file.
"""

EXAMPLES = r"""
- name: Write the policy of apt
  dlhost.host.owned_files:
    role: system
    files:
      - path: /etc/apt/apt.conf.d/90dlhost
        content: "{{ lookup('ansible.builtin.template', '90dlhost.j2') }}"
"""

RETURN = r"""
changed_paths:
  description: Files written or removed.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import owned_files


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "files": owned_files.FILES_ARGUMENT,
            "packages": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    request = owned_files.request_of(module.params)
    try:
        result = converge(
            role=request["role"],
            wanted=[owned_files.OwnedFile.from_argument(file) for file in request["files"]],
            packages=request["packages"],
            absent=request["state"] == "absent",
            check=module.check_mode,
        )
    except owned_files.OwnedFilesError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def converge(
    role: str, wanted: list[owned_files.OwnedFile], packages: list[str], absent: bool, check: bool
) -> dict[str, object]:
    """Make the host hold exactly the role's files; returns the module's result.

    Raises:
        OwnedFilesError: A file is refused or cannot be written; the host is as it was.
    """
    plan = owned_files.plan(role, wanted, packages, absent)
    if not check:
        owned_files.carry_out(plan)
    return {
        "changed": bool(plan.paths),
        "changed_paths": plan.paths,
        "diff": plan.diffs,
    }


if __name__ == "__main__":
    main()
