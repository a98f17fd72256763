# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module, host side: a server's key and certificate, for itself and its consumers. The action plugin signs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: tls_certificate
short_description: Keep a host's TLS key and certificate valid, and in the hands of those who use them
description:
  - Holds C(/etc/dlhost/tls/key.pem) and C(cert.pem), and a copy of both for each consumer, readable by its group.
  - The private key is made on the host and stays there. The certificate is signed on the controller, whose authority's
    key stays there too; only the public halves travel. It is made anew when it no longer is what the settings ask for.
  - A run that finds everything in order is one look at the host.
  - Key and certificate are written beside their places, tried as a pair, and renamed. A run that is cut in between
    leaves a pair that does not fit, which the next one makes anew.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  timer:
    description:
      - What renews the certificate on the host itself, by its unit's name. Where its file is among O(files) it is
        enabled and started, and stopped before that goes.
    type: str
  settings:
    description: The settings of role tls, under their names without the prefix; its reference explains them.
    type: dict
    required: true
  packages:
    description: Debian packages that the role wants. Installed where missing.
    type: list
    elements: str
    default: []
  state:
    description: With V(absent), the role's files are removed.
    type: str
    choices: [present, absent]
    default: present
  prove:
    description: Also shake hands as a client would, and read as each consumer would. For check mode.
    type: bool
    default: false
  phase:
    description: Set by the action plugin.
    type: str
    choices: [plan, prove, key, install]
    default: plan
  consumers:
    description: Set by the action plugin from the settings.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The directory below C(/etc/dlhost/tls).
        type: str
        required: true
      group:
        description: The group that may read the key there.
        type: str
        required: true
  acme:
    description: Set by the action plugin to what is asked of an ACME directory; empty where none is asked.
    type: dict
    default: {}
  takes_issued:
    description: Set by it where what that gave is to be installed.
    type: bool
    default: false
  key_type:
    description: Set by the action plugin to the type of the key that is to be made.
    type: str
  client:
    description: Set by the action plugin to what a client trusts and asks for.
    type: dict
    suboptions:
      anchors:
        description: Certificates in PEM form; the host's own where empty.
        type: str
        required: true
      names:
        description: Names and addresses under which it speaks to the host.
        type: list
        elements: str
        required: true
  certificate:
    description: Set by the action plugin to the chain that is to be installed, in PEM form.
    type: str
  request:
    description: Set by it instead to a configuration of C(openssl req), for a certificate that its own key signs.
    type: str
  valid_days:
    description: Set by it to the days that such a certificate is valid.
    type: int
  key:
    description: Set by it to the private key in PEM form, where that is not made on the host.
    type: str
  is_new_key:
    description: Set by it where the key is the one that phase V(key) has made, and not the present one.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would change and why, and writes nothing.
  diff_mode:
    support: full
    description: What the certificates before and after say of themselves, and a diff per file; never a key.
"""

EXAMPLES = r"""
- name: Keep the certificate valid
  dlhost.host.tls_certificate:
    role: tls
    settings: "{{ __tls_settings }}"
    packages: [openssl]
"""

RETURN = r"""
reasons:
  description: Why the certificate is made anew; empty where it stays.
  type: list
  elements: str
  returned: when present
changed_paths:
  description: Files written or removed.
  type: list
  elements: str
  returned: always
misplaced_paths:
  description: Those that were found to differ whatever becomes of the certificate, such as a consumer's copy or a mode.
  type: list
  elements: str
  returned: always
timer_problems:
  description: How the timer that renews the certificate differs from enabled and running.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Packages that are not installed.
  type: list
  elements: str
  returned: always
is_pair:
  description: Whether key and certificate were found to belong together.
  type: bool
  returned: always
certificate:
  description: What the host's certificate says - names, fingerprint, valid_until and days_left; empty without one.
  type: dict
  returned: when present
refusals:
  description: Why a client would not speak to the host, per name.
  type: list
  elements: str
  returned: with prove
shut_out:
  description: Consumers that cannot read their copy.
  type: list
  elements: str
  returned: with prove
"""

import grp
import pwd
import shutil
import stat
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import (
    acme_host,
    debian_packages,
    owned_files,
    service_host,
    tls_host,
)
from ansible_collections.dlhost.host.plugins.module_utils.service_host import UNIT_DIRECTORY

DIRECTORY = Path("/etc/dlhost/tls")
KEY, CERTIFICATE = tls_host.KEY_FILE, tls_host.CERTIFICATE_FILE
DIRECTORY_MODE = 0o755
# In memory. What a run that was cut leaves there, the next one removes.
STAGING = Path("/run/dlhost-tls")
OWNER = GROUP = "root"
RIGHTS = f"[mode {DIRECTORY_MODE:04o}, owner {OWNER}:{GROUP}]\n"

ARGUMENTS = {
    "role": {"type": "str", "required": True},
    "packages": {"type": "list", "elements": "str", "default": []},
    "files": owned_files.FILES_ARGUMENT,
    "timer": {"type": "str"},
    "acme": {"type": "dict", "default": {}},
    "takes_issued": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "phase": {"type": "str", "choices": ["plan", "prove", "key", "install"], "default": "plan"},
    "consumers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "group": {"type": "str", "required": True}},
    },
    "key_type": {"type": "str", "no_log": False},
    "client": {
        "type": "dict",
        "options": {
            "anchors": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
        },
    },
    "certificate": {"type": "str"},
    "request": {"type": "str"},
    "valid_days": {"type": "int"},
    # At the top: within a dict, Ansible would not recognise a text of several lines and log it.
    "key": {"type": "str", "no_log": True},
    "is_new_key": {"type": "bool", "default": False, "no_log": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    phases = {"plan": foresee, "prove": prove, "key": make_key, "install": install}
    try:
        result = phases[module.params["phase"]](owned_files.request_of(module.params))
    except (
        tls_host.TlsHostError,
        owned_files.OwnedFilesError,
        debian_packages.PackagesError,
        service_host.RefusedError,
    ) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(**result)


def foresee(request: dict) -> dict[str, object]:
    """Phase plan: what there is, and what would change if key and certificate stayed as they are."""
    absent = request["state"] == "absent"
    directories = [] if absent else wrong_directories(request)
    missing = [] if absent else owned_files.missing_packages(request["packages"])
    plan = make_plan(request, _content(DIRECTORY / KEY), _content(DIRECTORY / CERTIFICATE))
    problems = timer_problems(request, plan)
    left = [str(acme_host.STATE)] if absent and acme_host.STATE.exists() else []
    diffs = [{"prepared": f"package {name}: not installed\n"} for name in missing]
    diffs += [{"prepared": f"package {name}: kept at nobody's wish\n"} for name in left_packages(request)]
    diffs += [_difference(directory) for directory in directories]
    diffs += [{"prepared": f"{problem}\n"} for problem in problems]
    diffs += [{"prepared": f"{path}: goes, with what ACME directories gave\n"} for path in left]
    return {
        "changed": bool(plan.paths or directories or missing or problems or left),
        "changed_paths": [*map(str, directories), *plan.paths, *left],
        "timer_problems": problems,
        "issued": acme_host.all_issued(acme_host.Order(**request["acme"])) if request["acme"] else [""],
        "missing_packages": missing,
        "unknown_groups": sorted({group for _name, group in _consumers(request) if not _has_group(group)}),
        "certificate_text": _content(DIRECTORY / CERTIFICATE).decode(errors="replace"),
        "has_key": bool(_content(DIRECTORY / KEY)),
        "is_pair": tls_host.is_pair(DIRECTORY / KEY, DIRECTORY / CERTIFICATE),
        "diff": [*diffs, *plan.diffs],
    }


def prove(request: dict) -> dict[str, object]:
    """Phase prove: the same, and who would be refused or shut out."""
    result = foresee(request)
    pair = DIRECTORY / KEY, DIRECTORY / CERTIFICATE
    client = request["client"]
    anchors = client["anchors"] or str(result["certificate_text"])
    names = client["names"] if result["is_pair"] else []
    refusals = [tls_host.refusal(*pair, anchors, name, strict=bool(client["anchors"])) for name in names]
    shut_out = [name for name, group in _consumers(request) if not _may_read(name, group)]
    return {**result, "refusals": [reason for reason in refusals if reason], "shut_out": shut_out}


def make_key(request: dict) -> dict[str, object]:
    """Phase key: a new private key beside the present one, for which the controller now gets a certificate."""
    bring_packages(request)
    _make_staging()
    key = tls_host.new_key(request["key_type"])
    (STAGING / KEY).write_bytes(key)
    return {"changed": True, "public_key": tls_host.public_half(key)}


def install(request: dict) -> dict[str, object]:
    """Phase install: everything in its place, and with a certificate or a request another pair there."""
    is_new = bool(request["certificate"] or request["request"] or request["takes_issued"])
    try:
        if is_new:
            stage_pair(request)
        here = STAGING if is_new else DIRECTORY
        plan = make_plan(request, _content(here / KEY), _content(here / CERTIFICATE))
        directories = [] if request["state"] == "absent" else wrong_directories(request)
        if request["state"] == "present":
            bring_packages(request)
        for directory in directories:
            shutil.chown(directory, OWNER, GROUP)
            directory.chmod(DIRECTORY_MODE)
        problems = timer_problems(request, plan)
        if request["timer"] and UNIT_DIRECTORY / request["timer"] in plan.remove:
            service_host.must("systemctl", "disable", "--quiet", "--now", request["timer"])
        # The manifest, which tells what the role brought, forgets them then.
        debian_packages.hand_back(left_packages(request), check=False)
        owned_files.carry_out(plan)
        keep_timer(request, plan, problems)
        if request["state"] == "absent":
            shutil.rmtree(acme_host.STATE, ignore_errors=True)
    finally:
        shutil.rmtree(STAGING, ignore_errors=True)
    return {
        "changed": True,
        "changed_paths": [*map(str, directories), *plan.paths],
        "certificate_text": _content(DIRECTORY / CERTIFICATE).decode(),
    }


def stage_pair(request: dict) -> None:
    """Put key and certificate together where nobody looks, and try them.

    Raises:
        TlsHostError: No server could start with them; nothing has changed.
    """
    key, certificate = (request["key"] or "").encode(), (request["certificate"] or "").encode()
    if request["takes_issued"]:
        order = acme_host.Order(**request["acme"])
        key, certificate = _content(order.live / "privkey.pem"), acme_host.issued(order)
    if not request["is_new_key"]:
        _make_staging()
        (STAGING / KEY).write_bytes(key or _content(DIRECTORY / KEY))
    if request["request"]:
        certificate = tls_host.sign_itself(STAGING / KEY, request["request"], request["valid_days"])
    (STAGING / CERTIFICATE).write_bytes(certificate)
    if not tls_host.is_pair(STAGING / KEY, STAGING / CERTIFICATE):
        raise tls_host.TlsHostError("The new certificate is not that of the key. Nothing was changed; run again.")


def make_plan(request: dict, key: bytes, certificate: bytes) -> owned_files.Plan:
    """What it takes to have this pair in every place, and nothing elsewhere."""
    wanted = tls_host.placed(DIRECTORY, _consumers(request), key, certificate, OWNER, GROUP)
    wanted += [owned_files.OwnedFile.from_argument(file) for file in request["files"]]
    return owned_files.plan(request["role"], wanted, request["packages"], request["state"] == "absent")


def timer_problems(request: dict, plan: owned_files.Plan) -> list[str]:
    """How the timer of the role differs from enabled and running, or from going; empty where the role has none."""
    timer = request["timer"]
    if not timer or UNIT_DIRECTORY / timer not in {Path(file["path"]) for file in request["files"]}:
        return []
    unit = service_host.find_units([timer])[timer]
    written = [file.path for file in plan.write if file.path.parent == UNIT_DIRECTORY]
    return [
        problem
        for problem, is_so in (
            (f"{timer} is {unit.masked}", bool(unit.masked)),
            (f"{timer} is not enabled", not unit.enabled),
            (f"{timer} does not run", not unit.active),
            (f"{timer} is to be read again", unit.reload_due or bool(written)),
        )
        if is_so
    ]


def keep_timer(request: dict, plan: owned_files.Plan, problems: list[str]) -> None:
    """Have systemd read the units that were written or removed, and run the timer."""
    if problems or UNIT_DIRECTORY in {path.parent for path in plan.remove}:
        service_host.must("systemctl", "daemon-reload")
    if problems:
        service_host.make_startable(service_host.find_units([request["timer"]]))
        service_host.must("systemctl", "restart", request["timer"])


def bring_packages(request: dict) -> None:
    """Install what is missing, remembering that the role brought it."""
    missing = owned_files.missing_packages(request["packages"])
    if missing:
        owned_files.claim_packages(request["role"], request["packages"])
        debian_packages.install(missing)


def left_packages(request: dict) -> list[str]:
    """What the role brought for another mode. A role that goes has had them all handed back before."""
    if request["state"] == "absent":
        return []
    return [name for name in owned_files.brought_packages(request["role"]) if name not in request["packages"]]


def wrong_directories(request: dict) -> list[Path]:
    """Those in which others could replace the files, or consumers could not reach theirs.

    Raises:
        TlsHostError: Something else is in the place of one.
    """
    wrong = []
    for directory in [DIRECTORY.parent, DIRECTORY, *(DIRECTORY / name for name, _group in _consumers(request))]:
        try:
            status = directory.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise tls_host.TlsHostError(
                f"{directory} is no directory; dlhost needs one there. Move it away and run again."
            )
        if _rights(directory) != RIGHTS:
            wrong.append(directory)
    return wrong


def _make_staging() -> None:
    shutil.rmtree(STAGING, ignore_errors=True)
    STAGING.mkdir(mode=0o700)


def _consumers(request: dict) -> list[tuple[str, str]]:
    return [(consumer["name"], consumer["group"]) for consumer in request["consumers"]]


def _has_group(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _may_read(name: str, group: str) -> bool:
    paths = [DIRECTORY / name / KEY, DIRECTORY / name / CERTIFICATE]
    return _has_group(group) and tls_host.may_read(grp.getgrnam(group).gr_gid, paths)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _difference(directory: Path) -> dict[str, str]:
    path = str(directory)
    return {"before_header": path, "after_header": path, "before": _rights(directory), "after": RIGHTS}


def _rights(directory: Path) -> str:
    status = directory.lstat()
    owner = owned_files.name_of(pwd.getpwuid, status.st_uid)
    group = owned_files.name_of(grp.getgrgid, status.st_gid)
    return f"[mode {stat.S_IMODE(status.st_mode):04o}, owner {owner}:{group}]\n"


if __name__ == "__main__":
    main()
