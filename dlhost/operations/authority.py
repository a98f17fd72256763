"""The certificate authority of an inventory: made, shown, and trusted by the browsers of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from dlhost.adapters import authority, content, inventory_source, trust
from dlhost.errors import InventoryError, UsageError
from dlhost.operations.init import CA, CA_VALUE, CA_VARIABLE, new_ca
from dlhost.operations.secrets import set_secret
from dlhost.values.inventory import Location
from dlhost.values.new_inventory import quoted, variables_file

SETTINGS = "group_vars/all/tls.yml"


@dataclass(frozen=True, slots=True)
class Shown:
    """An authority's certificate, and per system or browser the command that makes it trusted there."""

    path: Path
    facts: authority.Facts
    ways: tuple[tuple[str, str], ...]


def create(name: str, ask: Callable[[str], str] | None) -> Shown:
    """Make an authority for an inventory that has none. The certificate comes last: without it, the next call goes on.

    Raises:
        UsageError: The inventory has one, or says itself which certificate counts.
        InventoryError: The vault does not open.
    """
    location = inventory_source.find(name)
    path = location.directory / CA
    if path.exists():
        raise UsageError(
            f"Inventory {location.name} has a certificate authority: {path}. To replace it, move that file away and "
            "run this again; then every browser has to trust the new one."
        )
    settings = _settings(location)
    made = new_ca(location.name)
    set_secret(name, "tls_ca_key", made.key, ask)
    _write(location.directory / SETTINGS, settings)
    _write(path, made.certificate)
    return show(name)


def show(name: str) -> Shown:
    """What there is to know of an inventory's authority.

    Raises:
        UsageError: It has none.
        InventoryError: Its certificate cannot be read.
    """
    location = inventory_source.find(name)
    path = location.directory / CA
    if not path.exists():
        raise UsageError(
            f"Inventory {location.name} has no certificate authority ({path}). "
            f"Make one: dlhost ca create -i {location.name}"
        )
    facts = _facts(path)
    if facts is None:
        raise InventoryError(f"{path} is not a certificate that can be read.")
    return Shown(path, facts, tuple(trust.ways(path, facts.subject)))


def export(name: str, target: Path) -> Path:
    """Copy the certificate to a file, or into a directory; returns its path there.

    Raises:
        UsageError: Another file is there, or it cannot be written.
    """
    shown = show(name)
    place = target / shown.path.name if target.is_dir() else target
    if place.exists() and place.read_bytes() != shown.path.read_bytes():
        raise UsageError(f"{place} is another file. Remove it, or choose another name.")
    try:
        shutil.copyfile(shown.path, place)
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}.") from None
    return place


def change_trust(name: str, *, remove: bool) -> list[trust.Step]:
    """Let the programs of this machine trust the authority, or no longer; what dlhost may not do is left.

    Raises:
        DlhostError: A command of the system failed.
    """
    shown = show(name)
    name = shown.facts.subject
    system = trust.change_system(shown.path, name, remove=remove)
    return [system, *trust.change_browsers(shown.path, name, remove=remove)]


def take_trust_back(location: Location) -> list[trust.Step]:
    """Let no store of this machine trust the authority of an inventory that is to go; what trusts it not is not named.

    Raises:
        DlhostError: A command of the system failed.
    """
    path = location.directory / CA
    facts = _facts(path)
    return trust.take_back(path, facts.subject) if facts else []


def _facts(path: Path) -> authority.Facts | None:
    """What a file's certificate says, or None where none can be read there."""
    try:
        return authority.facts(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return None


def _settings(location: Location) -> str:
    """The inventory's settings of role tls, with the certificate's among them.

    Raises:
        UsageError: They name another certificate, or are not a mapping that can be added to.
    """
    path = location.directory / SETTINGS
    if not path.exists():
        return variables_file("tls", content.defaults("tls"), {CA_VARIABLE: CA_VALUE})
    before = path.read_text(encoding="utf-8")
    present = _mapping(before, path).get(CA_VARIABLE)
    if present == CA_VALUE:
        return before
    if present is not None:
        raise UsageError(f"{path} says itself what {CA_VARIABLE} is. Take that out and run this again.")
    after = f"{before.rstrip()}\n{CA_VARIABLE}: {quoted(CA_VALUE)}\n"
    _mapping(after, path)
    return after


def _mapping(text: str, path: Path) -> dict[str, object]:
    try:
        read = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError):  # A ValueError of what looks like a date: 2026-02-30.
        read = None
    if not isinstance(read, dict):
        raise UsageError(f"{path} is not a mapping of names to values in YAML.")
    return read


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".writing")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)
