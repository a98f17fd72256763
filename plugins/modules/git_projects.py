# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: git identities and repositories of the accounts of a host, brought where they are missing."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: git_projects
short_description: Bring users' git identity and repositories, and leave what they have
description:
  - Sets C(user.name) and C(user.email) in a user's own configuration where the user has set none. One that differs is
    told and stays.
  - Clones repositories where nothing is. One that is there is left as it is, whatever is checked out or changed in it,
    also where it is reached by another kind of address. Something else at its place is refused by name before any
    change.
  - Everything is done with the user's rights, configuration and keys, and nobody is asked. A repository that takes a
    passphrase or a token is the user's to clone.
  - A clone that is cut leaves nothing at its place; the next run makes it.
author: dlhost maintainers (@dlhost)
options:
  users:
    description: Whose.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The account.
        type: str
        required: true
      identity:
        description: C(user.name) and C(user.email) of git-config(1), and what they are set to where they are unset.
        type: dict
        default: {}
      repositories:
        description: The repositories.
        type: list
        elements: dict
        default: []
        suboptions:
          url:
            description: Where it is cloned from.
            type: str
            required: true
          path:
            description: Where to, absolute or beneath C(~/).
            type: str
            required: true
          version:
            description: The branch or tag that is checked out; empty for the one that the origin's HEAD names.
            type: str
            default: ""
          depth:
            description: How many commits of its history; 0 for all.
            type: int
            default: 0
          submodules:
            description: Whether its submodules are cloned too.
            type: bool
            default: false
  fetch:
    description:
      - Whether repositories that are there learn what their origin has. It moves no branch and no file, and counts as
        no change.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would be set and cloned. Whether an origin answers is not asked.
  diff_mode:
    support: full
    description: One line per identity and repository.
"""

EXAMPLES = r"""
- name: Bring the course's notebooks
  dlhost.host.git_projects:
    users:
      - name: ada
        identity: {user.name: Ada Lovelace, user.email: ada@example.org}
        repositories:
          - {url: "https://git.example.org/course.git", path: ~/notebooks/course, version: autumn}
"""

RETURN = r"""
missing_packages:
  description: Packages that are not installed, without which little is known.
  type: list
  elements: str
  returned: always
changed_paths:
  description: Repositories that were cloned.
  type: list
  elements: str
  returned: always
identities:
  description: What was set, one phrase each.
  type: list
  elements: str
  returned: always
own_identities:
  description: What users have set otherwise, which stays, one phrase each.
  type: list
  elements: str
  returned: always
due:
  description: Whether there is anything to do, a fetch too.
  type: bool
  returned: always
"""

import dataclasses
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import owned_files, projects_account
from ansible_collections.dlhost.host.plugins.module_utils.account_process import ask
from ansible_collections.dlhost.host.plugins.module_utils.service_host import AGAIN, Account, RefusedError, account

INTERPRETER = ["/usr/bin/python3", "-I"]


@dataclasses.dataclass(frozen=True)
class Projects:
    """What one user is to have, its paths absolute, and what projects_account.look saw of it."""

    user: Account
    identity: dict[str, str]
    repositories: list[dict]
    seen: dict

    @property
    def missing(self) -> list[str]:
        """Paths of repositories that are to be cloned."""
        pairs = zip(self.repositories, self.seen["repositories"], strict=True)
        return [each["path"] for each, there in pairs if there["missing"]]

    @property
    def is_due(self) -> bool:
        return bool(self.seen["unset"] or self.missing)


def main() -> None:
    repository = {
        "url": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "version": {"type": "str", "default": ""},
        "depth": {"type": "int", "default": 0},
        "submodules": {"type": "bool", "default": False},
    }
    user = {
        "name": {"type": "str", "required": True},
        "identity": {"type": "dict", "default": {}},
        "repositories": {"type": "list", "elements": "dict", "default": [], "options": repository},
    }
    module = AnsibleModule(
        argument_spec={
            "users": {"type": "list", "elements": "dict", "default": [], "options": user},
            "fetch": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        if os.geteuid() != 0:
            raise RefusedError(f"Only root may act for several users. Set ansible_become to true {AGAIN}")
        projects = [look(request) for request in module.params["users"]]
        packages = owned_files.missing_packages(["git"]) if projects else []
        if not module.check_mode:
            bring(projects, module.params["fetch"])
    except (RefusedError, owned_files.OwnedFilesError) as error:
        module.fail_json(msg=str(error))
    answer = result(projects, packages, module.params["fetch"])
    if answer["changed"] and not module.check_mode:
        for phrase in answer["own_identities"]:
            module.warn(f"{phrase}, and not as the inventory says; it stays.")
    module.exit_json(**answer)


def look(request: dict) -> Projects:
    """What there is of a user's projects.

    Raises:
        RefusedError: There is no such account, its configuration is broken, or something else is to be, or is, at the
            place of a repository.
    """
    user = account(request["name"], "projects_users")
    repositories = [{**each, "path": user.path(each["path"])} for each in request["repositories"]]
    paths = [each["path"] for each in repositories]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise RefusedError(f"Two repositories of {user.name} would be {twice}. Name another path for one {AGAIN}")
    seen = ask(user, INTERPRETER, projects_account, "look", request["identity"], repositories)
    if seen["unreadable"]:
        raise RefusedError(
            f"git cannot read the configuration of {user.name}: {seen['unreadable']}. Let {user.name} mend it {AGAIN}"
        )
    obstacles = [there["obstacle"] for there in seen["repositories"] if there["obstacle"]]
    if obstacles:
        raise RefusedError(
            f"{'; '.join(obstacles)}. Name another path in projects_users, or let {user.name} move it away {AGAIN}"
        )
    return Projects(user, request["identity"], repositories, seen)


def bring(projects: list[Projects], fetch: bool) -> None:
    """Bring what is missing, each user's without regard to the others'.

    Raises:
        RefusedError: Something could not be brought; the rest is there.
    """
    failures = []
    for each in projects:
        if each.is_due or (fetch and each.repositories):
            # A large repository takes its time; one that gives nothing ends by itself.
            asked = (each.identity, each.repositories, fetch)
            failed = ask(each.user, INTERPRETER, projects_account, "bring", *asked, timeout_s=None)
            failures += [f"{each.user.name}: {failure}".rstrip(".") for failure in failed]
    if failures:
        raise RefusedError(f"{'. '.join(failures)}. What else was missing is there now.")


def result(projects: list[Projects], packages: list[str], fetch: bool) -> dict[str, object]:
    """The module's result."""
    cloned = [path for each in projects for path in each.missing]
    identities = [f"{key} of {each.user.name}" for each in projects for key in each.seen["unset"]]
    own = [f"{each.user.name} has {key} as {text}" for each in projects for key, text in each.seen["own"].items()]
    lines = [f"package {name}: not installed\n" for name in packages]
    lines += [f"{name}: not set\n" for name in identities] + [f"{path}: not there\n" for path in cloned]
    return {
        "changed": bool(lines),
        "due": bool(lines) or (fetch and any(each.repositories for each in projects)),
        "missing_packages": packages,
        "changed_paths": cloned,
        "identities": identities,
        "own_identities": own,
        "diff": [{"prepared": line} for line in lines],
    }


if __name__ == "__main__":
    main()
