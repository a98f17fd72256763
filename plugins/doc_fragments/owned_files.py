# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that modules with files of a role have in common (module_utils/owned_files.py, FILES_ARGUMENT)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  role:
    description: The owner's name.
    type: str
    required: true
  files:
    description: The files, complete.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The whole text.
        type: str
        required: true
      mode:
        description: Octal mode.
        type: str
        default: "0644"
      owner:
        description: Owner's name.
        type: str
        default: root
      group:
        description: Group's name.
        type: str
        default: root
      validate:
        description: Command that must accept the staged file; C(%s) is its path. No shell runs it.
        type: str
      sensitive:
        description: Keep the content out of the diff.
        type: bool
        default: false
"""
