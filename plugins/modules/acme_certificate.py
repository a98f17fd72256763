# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a certificate from an ACME directory, which a host asks for when it is time and no more often."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: acme_certificate
short_description: Have a host get its certificate from an ACME directory, and serve it
description:
  - Asks with certbot where there is no certificate for the order, or where it is time to renew it. What is given takes
    its place in C(/etc/dlhost/tls), and nginx is reloaded; where nginx cannot, all is as it was.
  - Where the directory gives none the module says why, and what to do, and does not fail; the host goes on with what it
    has. It asks three times an hour at most, and where a directory says from when on it may be asked again, not before.
  - The timer of role tls has the host do the same by itself.
author: dlhost maintainers (@dlhost)
options:
  order:
    description: What is asked for and of whom, as filter P(dlhost.host.tls_acme_order#filter) has it.
    type: dict
    required: true
  prove:
    description: Also try whether it could be renewed now, once a day at most, and three times an hour while that fails.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would be asked for, and asks nobody. With O(prove) it has certbot try a renewal all the same.
  diff_mode:
    support: full
    description: One line for what is asked for.
"""

EXAMPLES = r"""
- name: Ask for the certificate
  dlhost.host.acme_certificate:
    order: "{{ __tls_settings | dlhost.host.tls_acme_order }}"
"""

RETURN = r"""
reason:
  description: Why there is no certificate, or no newer one; empty where all is well.
  type: str
  returned: always
is_installed:
  description: Whether the directory's certificate is the one in place.
  type: bool
  returned: always
days_left:
  description: How many days it is valid; negative once it has expired, 0 without one.
  type: int
  returned: always
is_overdue:
  description: Whether it should have been renewed days ago.
  type: bool
  returned: always
renewal:
  description: With O(prove), why it could not be renewed now; empty where it could.
  type: str
  returned: with prove
"""

import contextlib
import json
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import acme_host, owned_files
from ansible_collections.dlhost.host.plugins.module_utils.acme_host import AcmeError, Order, Standing, Tries

# In memory: a proof that is older than the boot is none.
PROOF = Path("/run/dlhost-tls-renewal.json")
PROOF_LASTS_S = 86400
DAY_S = 86400


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "order": {"type": "dict", "required": True},
            "prove": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    order = Order(**module.params["order"])
    try:
        if module.params["prove"]:
            result = {**judge(acme_host.standing(order, time.time())), "renewal": renewal(order), "changed": False}
        else:
            result = converge(order, module.check_mode)
    except owned_files.OwnedFilesError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(**result)


def converge(order: Order, check: bool) -> dict[str, object]:
    """Ask where it is time; returns the module's result."""
    now = time.time()
    before, had = acme_host.standing(order, now), acme_host.issued(order)
    asks = before.due and now >= before.next_try
    if check:
        result: dict[str, object] = {"changed": asks or (not before.due and not before.installed)}
        if asks:
            result["dlhost_undetermined"] = f"whether {order.host} gives a certificate for {', '.join(order.names)}"
            result["diff"] = {"prepared": f"{order.host} is asked for a certificate for {', '.join(order.names)}\n"}
        return {**judge(before), **result}
    said = ""
    try:
        acme_host.attend(order, now)
    except AcmeError as error:
        said = sentence(order, str(error), now)
    after, is_new = acme_host.standing(order, time.time()), acme_host.issued(order) != had
    result = {**judge(after), "changed": is_new or after.installed != before.installed}
    if said:
        result["dlhost_action_needed"] = said
    return result


def judge(stands: Standing) -> dict[str, object]:
    """How it stands, in the words of the result."""
    now, life = time.time(), stands.life
    reason = stands.reason if stands.due or not stands.installed else ""
    if not reason and not stands.installed:
        reason = "it is not in its place" if life else "it was never asked for"
    # A quarter of the time for the renewal has passed, and with it some turns of the timer.
    overdue = bool(life) and now > stands.renew_at + (life.end - stands.renew_at) / 4
    return {
        "reason": reason,
        "is_installed": stands.installed,
        "days_left": int((life.end - now) // DAY_S) if life else 0,
        "is_overdue": overdue,
    }


def sentence(order: Order, reason: str, now: float) -> str:
    """What the user reads of a certificate that was not given."""
    stands = acme_host.standing(order, now)
    keeps = "goes on with the one it has" if stands.installed else "has one of the inventory's own authority meanwhile"
    again = "the next run tries again"
    if stands.next_try > now:
        again = f"it is tried again after {time.strftime('%Y-%m-%d %H:%M', time.gmtime(stands.next_try))} UTC"
    return f"No certificate from {order.host}: {reason}. The host {keeps}; {again}."


def renewal(order: Order) -> str:
    """Why the certificate could not be renewed now. What was found holds for a while: each trial costs an order."""
    now = time.time()
    stands = acme_host.standing(order, now)
    if not acme_host.issued(order) or now < stands.next_try:
        return stands.reason
    proved, tries = trials(order)
    if now - PROOF_LASTS_S < proved <= now:
        return ""
    if now < tries.next(now):
        return tries.reason
    proof = {"lineage": order.lineage, "proved": now, "times": [], "reason": ""}
    try:
        acme_host.refuse_impossible(order)
        acme_host.ask(order, dry_run=True)
    except AcmeError as error:
        times = [*tries.times, now][-acme_host.TRIES :]
        proof |= {"proved": 0, "times": times, "reason": str(error), "not_before": error.not_before}
    text = json.dumps(proof)
    owned_files.swap(owned_files.stage([owned_files.OwnedFile(PROOF, f"{text}\n".encode())]))
    return str(proof["reason"])


def trials(order: Order) -> tuple[float, Tries]:
    """When it was proved that this order could be renewed, and what was tried in vain since."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        told = json.loads(PROOF.read_text())
        proved, tries = float(told.pop("proved")), Tries.told(told)
        if tries.lineage == order.lineage:
            return proved, tries
    return 0, Tries()


if __name__ == "__main__":
    main()
