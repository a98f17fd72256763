"""Zabbix's own package repository as a source of the agent's packages, in the terms of module apt_source."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import openpgp_keyring, owned_files

OS_RELEASE = Path("/etc/os-release")
APT = Path("/etc/apt")
# Whose record in the manifest has the files: role zabbix_agent's own are another module's.
OWNER = "zabbix_agent_source"
SERVER = "https://repo.zabbix.com"
# Signs the repositories of 7.2 and later; the file may have keys of older ones beside it.
KEY_URL = f"{SERVER}/zabbix-official-repo.key"
FINGERPRINT = "4C3D6F2CC75F5146754FC374D913219AB5333005"
# Whom Zabbix has packages for, as os-release names them and its directories are called.
DISTRIBUTIONS = ("debian", "ubuntu")
HEADER = "# Written by dlhost, role zabbix_agent; change zabbix_agent_release and its other variables.\n"
# A name counts before the record for all the rest, of which nothing is to come from there.
PREFERENCES = """Package: zabbix-agent2 zabbix-agent2-plugin-*
Pin: release o=Zabbix
Pin-Priority: 600

Package: *
Pin: release o=Zabbix
Pin-Priority: -1
"""


class SourceError(Exception):
    """One sentence for the user: why the repository cannot be used."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The files and the key of module apt_source, and which of them differ; without a release, only what is to go."""

    release: str = ""
    files: tuple[owned_files.OwnedFile, ...] = ()
    key: dict[str, object] = dataclasses.field(default_factory=dict)
    paths: tuple[str, ...] = ()

    def wish(self, package: str) -> str:
        """The package in a version of the release, as apt-get takes it."""
        return f"{package}=1:{self.release}.*" if self.release else package

    def arguments(self, has: list[str]) -> dict[str, object]:
        """Of module apt_source."""
        files = [{"path": str(file.path), "content": file.content.decode()} for file in self.files]
        return {"files": files, "key": self.key, "has": has if self.release else []}


def plan(release: str = "", url: str = "", key: str = "") -> Source:
    """What the host needs for packages of a release, such as 7.4, or no longer needs.

    Raises:
        SourceError: The host cannot have it.
        OwnedFilesError: The record of what dlhost owns is damaged.
    """
    if not release:
        is_there = OWNER in owned_files.read_manifest()
        return Source(paths=tuple(owned_files.plan(OWNER, [], []).paths) if is_there else ())
    system = _system()
    if not url and system["ID"] not in DISTRIBUTIONS:
        raise SourceError(
            f"Zabbix has no packages for {system['ID']}, so zabbix_agent_release cannot be had; leave it empty."
        )
    where = (url or f"{SERVER}/zabbix/{release}/stable/{system['ID']}").rstrip("/")
    _refuse_rivals(where)
    key_path = APT / "keyrings/dlhost-zabbix.asc"
    stanza = (
        f"Types: deb\nURIs: {where}\nSuites: {system['VERSION_CODENAME']}\nComponents: main\nSigned-By: {key_path}\n"
    )
    files = (
        owned_files.OwnedFile(_source_path(), f"{HEADER}{stanza}".encode()),
        owned_files.OwnedFile(APT / "preferences.d/dlhost-zabbix", f"{HEADER}{PREFERENCES}".encode()),
    )
    fingerprints = [_fingerprint(key)] if key else [FINGERPRINT]
    in_place = owned_files.find(key_path).content or b""
    kept = in_place if _fingerprints(in_place) == fingerprints else b"to be fetched"
    wanted = owned_files.OwnedFile(key_path, f"{key.strip()}\n".encode() if key else kept)
    return Source(
        release,
        files,
        {"path": str(key_path), "text": key, "urls": [KEY_URL], "fingerprints": fingerprints},
        tuple(owned_files.plan(OWNER, [*files, wanted], []).paths),
    )


def _source_path() -> Path:
    return APT / "sources.list.d/dlhost-zabbix.sources"


def _system() -> dict[str, str]:
    """os-release(5)."""
    found = dict(re.findall(r"""(?m)^([A-Z_]+)=["']?(.*?)["']?$""", OS_RELEASE.read_text()))
    return {"ID": "linux", "VERSION_CODENAME": "stable", **found}


def _refuse_rivals(where: str) -> None:
    """apt reads none of its sources where two files sign one of them differently."""
    named = re.compile(rf"(?m)^[^#\n]*(?:{re.escape(where.partition('://')[2])}\b|//repo\.zabbix\.com/zabbix/)")
    for path in (APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))):
        others = path.suffix in (".list", ".sources") and path != _source_path() and path.is_file()
        if others and named.search(path.read_text(errors="replace")):
            raise SourceError(
                f"{path} has Zabbix's repository as well, and apt takes no source that two files sign differently. "
                "Take it out there, or leave zabbix_agent_release empty, and run again; nothing was changed."
            )


def _fingerprint(key: str) -> str:
    """Of the key that the inventory gives."""
    try:
        found = [each.fingerprint for each in openpgp_keyring.keys(key.encode())]
    except openpgp_keyring.KeyringError as error:
        raise SourceError(f"zabbix_agent_repo_key is no armoured OpenPGP key: {error}.") from None
    if len(found) != 1:
        raise SourceError(f"zabbix_agent_repo_key has {len(found)} keys; give the one that signs the repository.")
    return found[0]


def _fingerprints(keyring: bytes) -> list[str]:
    try:
        return [each.fingerprint for each in openpgp_keyring.keys(keyring)]
    except openpgp_keyring.KeyringError:
        return []
