# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a package source of somebody else's, with its key, that apt accepts before it is in place."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apt_source
short_description: Keep a package source, its key and its preferences as declared
description:
  - Fetches the key where it is not there yet, and takes none but that of the fingerprint. Then apt tries the sources
    aside, in directories of its own; a repository that does not answer, is not signed with the key or lacks a package
    is refused, and nothing has changed. Then all files are put in place at once and the lists of these sources are
    fetched.
  - Files and record are those of M(dlhost.host.owned_files). No GnuPG is needed on the host.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  key:
    description: The key by which the repository is signed; empty where no source needs one of its own.
    type: dict
    default: {}
    suboptions:
      path:
        description: Where apt finds it.
        type: path
      text:
        description: The key, armoured. Left out, it is fetched.
        type: str
        default: ""
      urls:
        description: Where it may be had; the first that exists counts.
        type: list
        elements: str
        default: []
      fingerprints:
        description: It has to be one of these.
        type: list
        elements: str
        default: []
  supersedes:
    description: Files of others that stand for the same repository, and are removed.
    type: list
    elements: path
    default: []
  has:
    description: Packages that the sources must have, as NAME or as NAME=VERSION with a shell pattern.
    type: list
    elements: str
    default: []
  retired:
    description: Fingerprints of keys that apt is to trust no more, for any source.
    type: list
    elements: str
    default: []
  prove:
    description: Try the sources although nothing changes, and tell what is wrong with it instead of failing.
    type: bool
    default: false
  priorities_of:
    description: Packages of which O(prove) tells the versions' priorities.
    type: list
    elements: str
    default: []
  state:
    description: With V(absent), every file of the role is removed, the key too.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Fetches and tries as a real run does, in a temporary directory, and changes nothing.
  diff_mode:
    support: full
    description: One diff per file.
"""

EXAMPLES = r"""
- name: Use NVIDIA's repository
  dlhost.host.apt_source:
    role: nvidia_repo
    files:
      - path: /etc/apt/sources.list.d/dlhost-nvidia.sources
        content: |
          Types: deb
          URIs: https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/
          Suites: /
          Signed-By: /etc/apt/keyrings/dlhost-nvidia.asc
    key:
      path: /etc/apt/keyrings/dlhost-nvidia.asc
      urls: ["https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/3bf863cc.pub"]
      fingerprints: [EB693B3035CD5710E231E123A4B469963BF863CC]
"""

RETURN = r"""
changed_paths:
  description: Files written or removed.
  type: list
  elements: str
  returned: always
trouble:
  description: Why apt does not get on with the source; fails the module, unless with O(prove) or in a dry run.
  type: str
  returned: always
retired:
  description: Keyrings that had a retired key.
  type: list
  elements: str
  returned: always
priorities:
  description: With O(prove), package to its versions with their priorities.
  type: dict
  returned: always
"""

import dataclasses
import re
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import debian_packages, openpgp_keyring, owned_files
from ansible_collections.dlhost.host.plugins.module_utils.debian_transaction import Wish, listed

APT_HELPER = "/usr/lib/apt/apt-helper"
# Every key in these counts for every source that names no key of its own.
TRUSTED = Path("/etc/apt")
ABSENT = re.compile(r"\b404\b|File not found")
UNSIGNED = re.compile(r"NO_PUBKEY|Missing key|is not signed|not bound|BADSIG")
CHANGED = re.compile(r"unexpected size|Hash Sum mismatch")
# How a sentence about the server begins, which a dry run on a bare host cannot blame on anybody.
UNREACHABLE = re.compile(r"\S+ cannot be had: |There is no key at ")
ADDRESS = re.compile(r"\b(?:https?|file):[^\s']*[^\s'/]")
# A line of `apt-cache policy` with one version.
VERSION = re.compile(r"^ (?:\*\*\*|   ) (\S+) (-?\d+)$", re.MULTILINE)


class RefusedError(Exception):
    """One sentence for the user: why the source is not used."""


class _UnreachedError(RefusedError):
    """The server has no key to give just now."""


def main() -> None:
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "files": owned_files.FILES_ARGUMENT,
            "key": {
                "type": "dict",
                "default": {},
                "no_log": False,
                "options": {
                    "path": {"type": "path"},
                    "text": {"type": "str", "default": "", "no_log": False},
                    "urls": texts,
                    "fingerprints": texts,
                },
            },
            "supersedes": {"type": "list", "elements": "path", "default": []},
            "has": texts,
            "retired": texts,
            "prove": {"type": "bool", "default": False},
            "priorities_of": texts,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = converge(module.params, module.check_mode)
    except (RefusedError, owned_files.OwnedFilesError, debian_packages.PackagesError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def converge(request: dict, check: bool) -> dict[str, object]:
    """Make it so; returns the module's result.

    Raises:
        RefusedError: The key is another, or apt does not get on with the source; nothing has changed.
        OwnedFilesError: A file is refused or cannot be written; the host is as it was.
        PackagesError: The package lists cannot be refreshed; a later installation tries it again.
    """
    absent = request["state"] == "absent"
    files = [owned_files.OwnedFile.from_argument(file) for file in request["files"]]
    has_key = bool(request["key"].get("path")) and not absent
    key, trouble = _key(request["key"], check=check) if has_key else (None, "")
    plan = owned_files.plan(request["role"], [*files, *([key] if key else [])], [], absent)
    superseded = [path for path in map(Path, request["supersedes"]) if path.exists()]
    retiring = _retiring(set(request["retired"]))
    changed_paths = [*plan.paths, *map(str, superseded), *map(str, retiring)]
    sources = [file for file in files if file.path.suffix == ".sources"]
    if sources and not trouble and (plan.paths or request["prove"]):
        trouble = _trouble(sources, key, request["has"])
    if trouble and not request["prove"] and not (check and UNREACHABLE.search(trouble)):
        raise RefusedError(trouble)
    if changed_paths and not check:
        owned_files.carry_out(dataclasses.replace(plan, remove=[*plan.remove, *superseded]))
        for path, rest in retiring.items():
            _rewrite(path, rest)
        if sources:
            debian_packages.refresh([file.path for file in sources])
    diffs = [owned_files.difference(owned_files.find(path), None, path) for path in superseded]
    diffs += [{"prepared": f"{path}: has a key that its owner has retired\n"} for path in retiring]
    result: dict[str, object] = {
        "changed": bool(changed_paths),
        "changed_paths": changed_paths,
        "diff": [*plan.diffs, *diffs],
        "trouble": trouble,
        "retired": [str(path) for path in retiring],
        "priorities": {name: _priorities(name) for name in request["priorities_of"]} if request["prove"] else {},
    }
    if trouble and not request["prove"]:
        result["dlhost_undetermined"] = f"whether apt gets on with the source: {trouble}"
    return result


def _key(asked: dict, *, check: bool) -> tuple[owned_files.OwnedFile | None, str]:
    """The key as given, else the one in place, else fetched; or why a dry run has none.

    Raises:
        RefusedError: It is another one than the fingerprint says, or it cannot be had.
    """
    wanted = {fingerprint.upper() for fingerprint in asked["fingerprints"]}
    in_place = (owned_files.find(Path(asked["path"])).content or b"").decode(errors="replace")
    text = asked["text"] or in_place
    if not asked["text"] and not _is_one_of(in_place, wanted):
        try:
            text = _alone(_fetched(asked["urls"]), wanted)
        except _UnreachedError as error:
            if check:
                return None, str(error)
            raise
    if not _is_one_of(text, wanted):
        raise RefusedError(
            f"The repository's key should have the fingerprint {' or '.join(sorted(wanted))}, and has "
            f"{_fingerprints(text)}; compare with what the repository's owner publishes before you trust it."
        )
    return owned_files.OwnedFile(Path(asked["path"]), f"{text.strip()}\n".encode()), ""


def _is_one_of(text: str, wanted: set[str]) -> bool:
    """Whether it is one key, and a wanted one: apt would trust every key in the file."""
    return _fingerprints(text) in wanted


def _alone(text: str, wanted: set[str]) -> str:
    """A wanted key without the others of its owner's that are in the same file; else the text as it is."""
    try:
        found = [key.packets for key in openpgp_keyring.keys(text.encode()) if key.fingerprint in wanted]
    except openpgp_keyring.KeyringError:
        return text
    return text if _is_one_of(text, wanted) or not found else openpgp_keyring.armoured(found[0])


def _fingerprints(text: str) -> str:
    try:
        found = [key.fingerprint for key in openpgp_keyring.keys(text.encode())]
    except openpgp_keyring.KeyringError as error:
        return f"none, since {error}"
    return " and ".join(found) or "none, since it is empty"


def _fetched(urls: list[str]) -> str:
    """The first key that is there, by apt's own means: with its proxy and its trust."""
    for url in urls:
        with tempfile.TemporaryDirectory(prefix="dlhost-key-") as directory:
            target = Path(directory) / "key"
            done = debian_packages.run(APT_HELPER, "download-file", url, str(target))
            if done.returncode == 0:
                return target.read_text(errors="replace")
        if not ABSENT.search(done.stderr):
            raise _UnreachedError(_does_not_answer(url, done.stderr))
    raise _UnreachedError(f"There is no key at {' or '.join(urls)}; check the address, or give the key itself.")


def _trouble(sources: list[owned_files.OwnedFile], key: owned_files.OwnedFile | None, has: list[str]) -> str:
    """Why apt does not get on with sources, which it tries with directories of its own; empty where it does."""
    with tempfile.TemporaryDirectory(prefix="dlhost-sources-") as name:
        directory = Path(name)
        for below in ("lists/partial", "sources"):
            (directory / below).mkdir(parents=True)
        tried_key = directory / "key.asc"
        tried_key.write_bytes(key.content if key else b"")
        for source in sources:
            place = str(key.path).encode() if key else b"no key"
            content = source.content.replace(place, str(tried_key).encode())
            (directory / "sources" / source.path.name).write_bytes(content)
        # apt checks signatures as a user of its own.
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        aside = (
            "--option=Dir::Etc::SourceList=/dev/null",
            f"--option=Dir::Etc::SourceParts={directory / 'sources'}",
            f"--option=Dir::State::Lists={directory / 'lists'}",
            *debian_packages.IN_MEMORY,
        )
        done = debian_packages.run("apt-get", "update", "--quiet", "--error-on=any", *aside)
        if done.returncode == 0:
            return next(filter(None, (_lack(Wish.from_text(text), sources, aside) for text in has)), "")
    found = ADDRESS.search(_errors(done.stderr)[0])
    address = found[0] if found else "The server"
    if UNSIGNED.search(done.stderr):
        with_key = [file for file in sources if key and str(key.path).encode() in file.content]
        is_ours = any(address.encode() in file.content for file in with_key)
        signer = f"its key {_fingerprints(key.content.decode())}" if key and is_ours else "a key that this host trusts"
        return f"The repository {address} is not signed by {signer}; it is not used."
    if CHANGED.search(done.stderr):
        return f"The repository {address} has lists that differ from those that it signed; run again later."
    return _does_not_answer(address, done.stderr)


def _lack(wish: Wish, sources: list[owned_files.OwnedFile], aside: tuple[str, ...]) -> str:
    """That the sources, which apt has read aside, do not have a package; empty where they do."""
    rows = debian_packages.run("apt-cache", "madison", wish.name, *aside).stdout.splitlines()
    there = list(dict.fromkeys(row.split("|")[1].strip() for row in rows))
    if any(map(wish.is_met_by, there)):
        return ""
    where = " and ".join(address for file in sources for address in ADDRESS.findall(file.content.decode()))
    of_it = f"it has {listed(there)}" if there else "it has none of that name for this host"
    return f"The repository {where} has no {wish}: {of_it}; it is not used."


def _errors(said: str) -> list[str]:
    """What apt says, its errors first."""
    lines = said.splitlines()
    return [line[3:] for start in ("E: ", "W: ") for line in lines if line.startswith(start)] or [said]


def _does_not_answer(address: str, said: str) -> str:
    why = " ".join(_errors(said)[0].replace(address, "").split())
    why = re.sub(r"^(?:Failed to fetch +)?(?:In)?Release +", "", why).rstrip(" .:")
    if "does not have a Release file" in why:
        suite = re.search(r"' ?(\S+) Release'", why)
        why = f"there is no repository for {suite[1]}" if suite else "there is no repository"
    return f"{address} cannot be had: {why}; check the address, and the host's network and proxy."


def _retiring(fingerprints: set[str]) -> dict[Path, bytes]:
    """Keyrings that apt trusts for everything and that have such a key, and what else is in them."""
    found = {}
    for path in [TRUSTED / "trusted.gpg", *sorted((TRUSTED / "trusted.gpg.d").glob("*"))]:
        try:
            keys = openpgp_keyring.keys(owned_files.find(path).content or b"")
        except openpgp_keyring.KeyringError:
            continue  # apt does not trust it either.
        if any(key.fingerprint in fingerprints for key in keys):
            found[path] = b"".join(key.packets for key in keys if key.fingerprint not in fingerprints)
    return found


def _rewrite(path: Path, keyring: bytes) -> None:
    if not keyring:
        path.unlink()
    elif path.suffix == ".asc":
        path.write_text(openpgp_keyring.armoured(keyring))
    else:
        path.write_bytes(keyring)


def _priorities(name: str) -> dict[str, int]:
    """Version to apt's priority of it."""
    said = debian_packages.ask("apt-cache", "policy", name).stdout
    return {version: int(priority) for version, priority in VERSION.findall(said)}


if __name__ == "__main__":
    main()
