"""What modules of guarded changes have in common: their arguments and phases, in the order in which they come.

plan says what would change and whether it may, install brings packages, apply changes with the way back armed, confirm
comes over the new login, and revert takes the change back at once. plugin_utils/guarded_change.py calls them. What an
earlier run left unproved is taken back before anything changes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import debian_packages, owned_files
from ansible_collections.dlhost.host.plugins.module_utils.service_host import AGAIN, RefusedError
from ansible_collections.dlhost.host.plugins.module_utils.way_back import WayBack, settle

TEXTS = {"type": "list", "elements": "str", "default": []}
# doc_fragments/guarded_change.py and owned_files.py say what they are.
ARGUMENTS = {
    "role": {"type": "str", "required": True},
    "files": owned_files.FILES_ARGUMENT,
    "packages": TEXTS,
    "guard": {"type": "bool", "default": True},
    "guard_timeout_s": {"type": "int", "default": 120},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "phase": {"type": "str", "choices": ["plan", "install", "apply", "confirm", "revert"], "default": "plan"},
}
Phase = Callable[[dict], dict[str, object]]


def serve(
    arguments: dict[str, object],
    way_back: WayBack,
    *,
    plan: Phase,
    apply: Phase,
    confirm: Phase,
    around: contextlib.AbstractContextManager | None = None,
) -> None:
    """Run the phase that the action plugin asks for, `around` it; in check mode that is plan."""

    def install(request: dict) -> dict[str, object]:
        owned_files.claim_packages(request["role"], request["packages"])
        debian_packages.install(owned_files.missing_packages(request["packages"]))
        return plan(request)

    def revert(_request: dict) -> dict[str, object]:
        way_back.take_back()
        return {"changed": True}

    module = AnsibleModule(argument_spec={**arguments, **ARGUMENTS}, supports_check_mode=True)
    phases = {"plan": plan, "install": install, "apply": apply, "confirm": confirm, "revert": revert}
    phase = "plan" if module.check_mode else module.params["phase"]
    try:
        if os.geteuid() != 0:
            raise RefusedError(f"Only root can change this. Set ansible_become to true {AGAIN}")
        with around or contextlib.nullcontext():
            if phase in ("install", "apply"):
                settle()
            result = phases[phase](module.params)
    except (RefusedError, owned_files.OwnedFilesError, debian_packages.PackagesError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(**result)
