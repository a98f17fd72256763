# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: one site of nginx in one transaction, tested with all others before it is in place."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nginx_config
short_description: Keep one HTTPS site of nginx, and prove that it is served
description:
  - Compares a role's files, the link that enables its site, the unit, and what the running nginx B(serves) (its
    certificate and its configuration, asked by a TLS handshake on the loopback address) with what is wanted.
  - A change is one transaction. nginx tests the whole configuration, other people's sites included, before anything is
    in place; then the files are swapped in and nginx is reloaded. Where the new workers do not answer with the new
    configuration, the old one is put back.
  - No file but the role's own is ever written. A site of somebody else that already serves a name is named.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  site:
    description:
      - The site's text, for nginx's http block, as the newest nginx has it. An older one gets C(http2) as a parameter
        of C(listen), and a host without IPv6 no C(listen [::]).
      - It answers C(/.dlhost/revision) on the loopback address with C(@revision@), which stands for a word that is new
        whenever the text is.
    type: str
    default: ""
  names:
    description: Names and addresses that the site is asked for.
    type: list
    elements: str
    default: []
  passwords:
    description:
      - Files that C(auth_basic_user_file) names. They hold hashes, which stay as they are while the passwords do.
      - A password itself travels on standard input only.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is kept, for root and nginx to read.
        type: path
        required: true
      users:
        description: Who may come in, each with a C(name) and a C(password).
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: What stands before the password.
            type: str
            required: true
          password:
            description: The password.
            type: str
            required: true
  certificate:
    description: PEM file with the certificate and what leads to its authority.
    type: path
  certificate_key:
    description: PEM file with its private key.
    type: path
  default_site:
    description: With V(disabled), the link that enables the distribution's own example goes.
    type: str
    choices: [keep, disabled]
    default: keep
  packages:
    description: Debian packages that the role wants; installed where missing.
    type: list
    elements: str
    default: []
  state:
    description: With V(absent), the role's files are removed. nginx and other sites stay.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing outside of C(/run).
  diff_mode:
    support: full
    description: One diff per file, unit, and thing that is not served.
"""

EXAMPLES = r"""
- name: Serve the front
  dlhost.host.nginx_config:
    role: nginx_proxy
    site: "{{ lookup('ansible.builtin.template', 'dlhost.conf.j2') }}"
    names: [rig.example.org]
    certificate: /etc/dlhost/tls/cert.pem
    certificate_key: /etc/dlhost/tls/key.pem
    packages: [nginx]
"""

RETURN = r"""
changed_paths:
  description: Files and links written or removed.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Packages that were not installed.
  type: list
  elements: str
  returned: always
unit_problems:
  description: How the unit differs from enabled and running.
  type: list
  elements: str
  returned: always
unserved:
  description: For each name, how what nginx serves differs from the files.
  type: list
  elements: str
  returned: always
"""

import dataclasses
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import (
    debian_packages,
    nginx_certificate,
    nginx_front,
    nginx_host,
    nginx_passwords,
    nginx_text,
    owned_files,
)
from ansible_collections.dlhost.host.plugins.module_utils.nginx_host import RefusedError

LOOPBACK = "127.0.0.1"
# In the site where it answers for an ACME directory, as templates/dlhost.conf.j2 has it.
CHALLENGES = "location ^~ /.well-known/acme-challenge/"
# nginx itself tries for 2.5 s to listen on a port that somebody else has.
PROOF_TIMEOUT_S = 10
PROOF_POLL_S = 0.05
NEWEST = (99,)
# Where a user has these from: the playbooks give the front the names of the certificate.
NAMES = "tls_names (nginx_proxy_server_names, where role nginx_proxy is used alone)"
# Whose workers nginx runs as, as Debian sets it.
READER = "www-data"
PASSWORDS_ARGUMENT = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "no_log": False,
    "options": {
        "path": {"type": "path", "required": True},
        "users": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "name": {"type": "str", "required": True},
                "password": {"type": "str", "required": True, "no_log": True},
            },
        },
    },
}
NO_BIND = re.compile(r"bind\(\) to \S*?:(\d+) failed \(98:")


@dataclasses.dataclass(frozen=True)
class Site:
    """The site as this host is to have it; an absent one has neither a text nor a certificate."""

    text: str = ""
    revision: str = ""
    names: tuple[str, ...] = ()
    chain: tuple[bytes, ...] = ()  # DER, in the order of the file; empty where a dry run finds none yet.
    in_place: bool = False

    @property
    def ports(self) -> list[int]:
        """The ports that it listens on, HTTPS first."""
        return sorted({port for server in nginx_text.servers(self.text) for port in server.ports}, reverse=True)


@dataclasses.dataclass(frozen=True)
class Plan:
    site: Site
    owned: owned_files.Plan
    unlink: list[Path]
    link: bool
    unit: nginx_host.Unit
    unserved: list[str]

    @property
    def paths(self) -> list[str]:
        return [*self.owned.paths, *map(str, self.unlink), *([str(nginx_text.LINK)] if self.link else [])]

    @property
    def due(self) -> bool:
        return bool(self.paths or self.unit.problems or self.unserved)

    def result(self) -> dict[str, object]:
        lines = [f"{path}: enables what is not to be served\n" for path in self.unlink]
        lines += [f"{nginx_text.LINK}: does not enable {nginx_text.SITE}\n"] if self.link else []
        lines += [f"{problem}\n" for problem in [*self.unit.problems, *self.unserved]]
        return {
            "changed": self.due,
            "changed_paths": self.paths,
            "unit_problems": list(self.unit.problems),
            "unserved": self.unserved,
            "diff": [*self.owned.diffs, *map(_prepared, lines)],
        }


@dataclasses.dataclass(frozen=True)
class Kept:
    """Paths as they were, to be put back: files, links by what they lead to, and None where nothing was.

    A directory, which nothing here replaces, is not among them.
    """

    paths: dict[Path, owned_files.OwnedFile | Path | None]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Kept:
        kept: dict[Path, owned_files.OwnedFile | Path | None] = {}
        for path in paths:
            found = owned_files.find(path)
            if found.content is not None:
                kept[path] = owned_files.OwnedFile(path, found.content, found.mode, found.owner, found.group)
            elif path.is_symlink() or not path.exists():
                kept[path] = path.readlink() if path.is_symlink() else None
        return cls(kept)

    def put_back(self) -> None:
        files = [was for was in self.paths.values() if isinstance(was, owned_files.OwnedFile)]
        owned_files.swap(owned_files.stage(files))
        for path, was in self.paths.items():
            if isinstance(was, Path):
                _link(path, was)
            elif was is None:
                path.unlink(missing_ok=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "files": owned_files.FILES_ARGUMENT,
            "site": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "default": []},
            "passwords": PASSWORDS_ARGUMENT,
            "certificate": {"type": "path"},
            "certificate_key": {"type": "path", "no_log": False},
            "default_site": {"type": "str", "choices": ["keep", "disabled"], "default": "keep"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["site", "names", "certificate", "certificate_key"])],
        supports_check_mode=True,
    )
    try:
        if os.geteuid() != 0:
            raise RefusedError("nginx's configuration is root's. Set ansible_become to true and run again.")
        result = converge(module.params, module.check_mode)
    except (
        RefusedError,
        owned_files.OwnedFilesError,
        debian_packages.PackagesError,
        nginx_passwords.PasswordError,
    ) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(**result)


def converge(request: dict, check: bool) -> dict[str, object]:
    """Make the host serve the site, or serve it no longer; returns the module's result.

    Raises:
        RefusedError: It cannot; the files are as they were.
    """
    present = request["state"] == "present"
    chain = read_chain(request, may_be_missing=check) if present else ()
    missing = owned_files.missing_packages(request["packages"]) if present else []
    if missing:
        refuse_other_listeners(make_site(request, chain))
    if missing and not check:
        owned_files.claim_packages(request["role"], request["packages"])
        with nginx_host.not_started():
            debian_packages.install(missing)
    plan = make_plan(request, chain)
    if plan.due and present:
        refuse_other_listeners(plan.site)
    if plan.due and not check:
        apply(plan)
    result = plan.result()
    result["changed"] = plan.due or bool(missing)
    result["missing_packages"] = missing
    result["diff"] = [*(_prepared(f"package {name}: not installed\n") for name in missing), *result["diff"]]
    absentee = "nginx" if not nginx_host.NGINX.exists() else "" if chain else "its certificate"
    if present and absentee:
        result["dlhost_undetermined"] = (
            f"whether nginx accepts and serves the site, because {absentee} is not there yet"
        )
    return result


def read_chain(request: dict, may_be_missing: bool) -> tuple[bytes, ...]:
    """The certificates of the file; none where one of the two files is missing and may be.

    Raises:
        RefusedError: nginx could not use them.
    """
    try:
        return nginx_certificate.read_pair(Path(request["certificate"]), Path(request["certificate_key"]))
    except nginx_certificate.CertificateError as error:
        # What another role brings, a dry run does not find.
        if may_be_missing and isinstance(error, nginx_certificate.MissingError):
            return ()
        raise RefusedError(f"{error}; nothing was changed.") from None


def make_site(request: dict, chain: tuple[bytes, ...]) -> Site:
    """The site as this host's nginx takes it; where there is none yet, as the newest does."""
    names = tuple(request["names"])
    if request["state"] == "absent":
        return Site(names=names)
    version = nginx_host.version() if nginx_host.NGINX.exists() else NEWEST
    text = nginx_text.written_for(request["site"], version, nginx_host.has_ipv6())
    found = (owned_files.find(nginx_text.SITE).content or b"").decode(errors="replace")
    present = nginx_text.revision_in(found, text)
    revision = present or os.urandom(16).hex()
    return Site(text.replace(nginx_text.REVISION, revision), revision, names, chain, in_place=bool(present))


def password_file(request: dict) -> owned_files.OwnedFile:
    """One element of the module's passwords, as it is to be on this host."""
    path = Path(request["path"])
    people = [(user["name"], user["password"]) for user in request["users"]]
    found = (owned_files.find(path).content or b"").decode(errors="replace")
    text = nginx_passwords.lines(people, found)
    return owned_files.OwnedFile(path, text.encode(), 0o640, "root", READER, sensitive=True)


def make_plan(request: dict, chain: tuple[bytes, ...]) -> Plan:
    """Compare everything with the host, and have nginx test what would be in place.

    Raises:
        RefusedError: nginx does not accept it, or somebody else serves one of the names.
    """
    site = make_site(request, chain)
    own = [owned_files.OwnedFile.from_argument(file) for file in request["files"]]
    own += map(password_file, request["passwords"] if site.text else [])
    own.append(owned_files.OwnedFile(nginx_text.SITE, site.text.encode()))
    owned = owned_files.plan(request["role"], own, request["packages"], absent=not site.text)
    linked = nginx_text.LINK.is_symlink() and nginx_text.LINK.readlink() == nginx_text.SITE
    unlink = [nginx_text.LINK] if linked and not site.text else []
    if site.text and request["default_site"] == "disabled" and nginx_text.DEFAULT_LINK.is_symlink():
        unlink.append(nginx_text.DEFAULT_LINK)
    unit = nginx_host.Unit((), active=False, masked=False)
    if nginx_host.NGINX.exists():
        unit = nginx_host.find_unit()
    if not site.text:
        unit = dataclasses.replace(unit, problems=())  # How it runs is no matter of ours then.
    # Without a certificate nginx takes nothing of it, and where nothing of it should be nobody need be asked.
    judged = nginx_host.NGINX.exists() and bool(chain if site.text else unit.active)
    plan = Plan(
        site=site,
        owned=owned,
        unlink=unlink,
        link=bool(site.text) and not linked,
        unit=unit,
        unserved=unserved(site) if judged else [],
    )
    if judged and (site.text or plan.due):
        refuse_untested(plan)
    return plan


def refuse_untested(plan: Plan) -> None:
    """Raises RefusedError where nginx does not accept the whole, or another site has one of the names."""
    enabled = {**dict.fromkeys(plan.unlink), nginx_text.LINK: plan.site.text or None}
    try:
        files = nginx_host.test(enabled)
    except RefusedError as error:
        why = str(error).rstrip(".")
        if "duplicate default server" in why:
            why = f"{why}; {_other_default()}"
        if "Address family not supported" in why:
            why = f"{why}; the host has no IPv6. nginx_proxy_default_site: disabled removes the example that wants it"
        raise RefusedError(f"nginx does not accept the configuration, so nothing was changed: {why}.") from None
    others = {path: text for path, text in files.items() if path != nginx_text.LINK}
    taken = nginx_text.taken_name(others, plan.site.names, plan.site.ports)
    if taken:
        path, name, port = taken
        # The answers to challenges are served there whatever becomes of the redirect.
        free = "set nginx_proxy_http_redirect to false"
        if CHALLENGES in plan.site.text:
            free = "have tls_acme_dns_hook prove the names"
        instead = "" if port == 443 else f", or {free}"
        raise RefusedError(
            f"{path} already serves {name} on port {port}. Take the name out of that file or out of {NAMES}{instead}, "
            "and run again; nothing was changed."
        )


def refuse_other_listeners(site: Site) -> None:
    """Raises RefusedError where another program has one of the site's ports."""
    listening = nginx_host.listening()
    for port in site.ports:
        others = [holder for holder in nginx_host.holders(port) if not holder.is_the_unit] if port in listening else []
        if others:
            raise RefusedError(
                f"Port {port} is held by {', '.join(map(str, others))}, so nginx cannot serve there. "
                "Stop that or move it to another port, and run again; nothing was changed."
            )


def unserved(site: Site) -> list[str]:
    """How what the running nginx serves differs from the site, name by name; an absent one is not to be served."""
    found = []
    for name in site.names:
        try:
            answer = nginx_front.ask(LOOPBACK, name, nginx_text.REVISION_PATH, nginx_front.trusting_anyone())
        except OSError as error:
            found += [f"https://{name}: nobody answers ({error})"] if site.text else []
            continue
        if not site.text:
            found += [f"https://{name}: is still served"] if nginx_text.IS_REVISION.fullmatch(answer.body) else []
        elif answer.chain != site.chain:
            found.append(f"https://{name}: another certificate is served than that in its file")
        elif site.in_place and answer.body != site.revision:
            found.append(f"https://{name}: another configuration is served than that in its file")
    return found


def apply(plan: Plan) -> None:
    """Swap the new state in and prove that it is served, or put the old one back."""
    paths = {*map(Path, plan.owned.paths), *plan.unlink, nginx_text.LINK, owned_files.MANIFEST}
    kept = Kept.of(paths)
    log = nginx_host.error_log() if nginx_host.NGINX.exists() else nginx_host.ERROR_LOG
    logged = log.stat().st_size if log.exists() else 0
    try:
        # nginx starts at any moment of this: no link leads to a file that is not there.
        for path in plan.unlink:
            path.unlink()
        owned_files.carry_out(plan.owned)
        if plan.link:
            _link(nginx_text.LINK, nginx_text.SITE)
        if plan.site.text or plan.unit.active:
            nginx_host.load(plan.unit)
            _prove(dataclasses.replace(plan.site, in_place=True))
    except BaseException as error:
        complaints = nginx_host.emergencies(log.read_bytes()[logged:].decode(errors="replace")) if log.exists() else ""
        kept.put_back()
        nginx_host.run("systemctl", "reload" if plan.unit.active else "stop", nginx_host.UNIT)
        if isinstance(error, Exception):
            raise RefusedError(f"{error} {_explained(complaints)}The files are as they were.") from None
        raise


def _prove(site: Site) -> None:
    """The reload is only a signal, and nginx goes on with what it has where it cannot follow it."""
    deadline = time.monotonic() + PROOF_TIMEOUT_S
    while left := unserved(site):
        if time.monotonic() > deadline:
            raise RefusedError(f"nginx did not take the configuration up within {PROOF_TIMEOUT_S} s ({left[0]}).")
        time.sleep(PROOF_POLL_S)


def _explained(complaints: str) -> str:
    """nginx's own complaints, and who has the port where that is one."""
    said = []
    for port in sorted({int(port) for port in NO_BIND.findall(complaints)}):
        holders = nginx_host.holders(port)
        said.append(f"port {port} is held by {', '.join(map(str, holders)) or 'nobody to be seen'}")
        if any(holder.is_the_unit for holder in holders):
            said.append(
                "that is nginx itself, for another site and one address alone; let that site listen on every address "
                "and restart nginx"
            )
    said += [complaints] if complaints else []
    return f"It says: {'; '.join(said)}. " if said else ""


def _other_default() -> str:
    """Who answers on port 443 whatever no site is named for."""
    files = nginx_host.test({nginx_text.LINK: None})
    named = [str(path) for path, text in files.items() if any(s.is_default_on(443) for s in nginx_text.servers(text))]
    return (
        f"a client that asks for an address gets the default site's certificate, and {', '.join(named)} is that. "
        f"Take default_server out there, or addresses out of {NAMES}"
    )


def _link(path: Path, target: Path) -> None:
    temporary = path.with_name(f".{path.name}.staged")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def _prepared(text: str) -> dict[str, str]:
    return {"prepared": text}


if __name__ == "__main__":
    main()
