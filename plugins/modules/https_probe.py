# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, host side: looks at an HTTPS front for a controller that cannot reach it itself."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: https_probe
short_description: Look at an HTTPS front as a browser would
description:
  - Opens connections to the front of the task's host, by each name, and says what is not as it should be. Never fails;
    the caller judges.
  - The controller does this itself, at the address where it reaches the host by SSH. Where there is no such address the
    host looks at its own loopback address, and the result says so.
author: dlhost maintainers (@dlhost)
options:
  names:
    description: Names and addresses by which the front is reached.
    type: list
    elements: str
    required: true
  sites:
    description: What there must be somebody behind.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name under which it is; empty for the first of O(names).
        type: str
        default: ""
      path:
        description: Its path.
        type: str
        required: true
      user:
        description: Somebody who may come in, where it asks for a password; empty where it does not.
        type: str
        default: ""
      password:
        description: That one's password.
        type: str
        default: ""
  authority:
    description: PEM certificates to trust, and no other; empty for those that the machine trusts that looks.
    type: str
    default: ""
  redirects:
    description: Whether port 80 leads to the front.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
"""

EXAMPLES = r"""
- name: Verify | Look at the front from the controller
  dlhost.host.https_probe:
    names: [rig.example.org]
    sites: [{path: /jupyter/ada/}]
    authority: "{{ nginx_proxy_ca }}"
"""

RETURN = r"""
problems:
  description:
    - What is not as it should be, as one sentence for each of C(reachable), C(chain), C(names), C(old_tls), C(paths),
      C(passwords), C(headers) and C(redirect); one that is as it should be is not there.
  type: dict
  returned: always
unasked:
  description: Why something could not be asked, by the same keys.
  type: dict
  returned: always
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import nginx_front


def main() -> None:
    module = AnsibleModule(argument_spec=nginx_front.LOOK_ARGUMENTS, supports_check_mode=True)
    seen = nginx_front.look("127.0.0.1", **module.params)
    module.exit_json(changed=False, **dataclasses.asdict(seen))


if __name__ == "__main__":
    main()
