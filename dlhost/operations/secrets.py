"""The secrets of an inventory, kept in one ansible-vault file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dlhost.adapters import content, editor, inventory_source, inventory_writer, vault
from dlhost.errors import InventoryError, UsageError
from dlhost.operations.init import VAULT
from dlhost.operations.run import known_options, require_complete, require_valid, secret_texts
from dlhost.values.inventory import Inventory, Location
from dlhost.values.new_inventory import literal, vault_text
from dlhost.values.redaction import redaction, texts_in
from dlhost.values.schema import Option, did_you_mean, secrets_in, unknown
from dlhost.values.templates import is_template

Ask = Callable[[str], str] | None


def edit(name: str, ask: Ask) -> bool:
    """Let the user edit the vault's plain text, which lies in a private place meanwhile; returns whether it changed.

    Raises:
        UsageError: The editor failed, or what it left is not a mapping; the vault is as it was.
    """
    location, password, before = _open(name, ask)
    after = editor.edit(before, "vault.yml")
    if after == before:
        return False
    _parse(after)
    _save(location, password, after)
    return True


def set_secret(name: str, variable: str, value: str, ask: Ask) -> Path:
    """Set one variable of the vault to a text, which Ansible does not render; returns the vault's path.

    Raises:
        UsageError: The value is empty, or the name is none that a variable can have or a role knows.
    """
    if not variable.isidentifier():
        raise UsageError(f"{variable} is no name for a variable.")
    if slip := unknown(variable, content.role_schemas()):
        raise UsageError(f"Nothing was changed: {slip}")
    if not value:
        raise UsageError(f"{variable} would be empty; nothing was changed.")
    location, password, before = _open(name, ask)
    after = _with_secret(before, variable, value)
    _parse(after)
    return _save(location, password, after)


def generate(name: str, variable: str, ask: Ask) -> Path:
    """Set one variable of the vault to a new password; returns the vault's path."""
    return set_secret(name, variable, inventory_writer.new_password(), ask)


def show(name: str, variable: str, host: str, ask: Ask) -> str:
    """What a variable is set to, secret or not; `host` chooses where hosts differ.

    Raises:
        UsageError: The inventory does not set it, or sets it to several values.
    """
    location = inventory_source.find(name)
    password = inventory_source.vault_password(location, ask)
    inventory = inventory_source.load(location, password, (host,) if host else ())
    names = {setting.name for setting in inventory.settings}
    values = {
        host.name: _text(host.variables[variable])
        for host in inventory.hosts
        if variable in names and variable in host.variables
    }
    if not values:
        raise UsageError(f"Inventory {name} sets no {variable}{did_you_mean(variable, names) or '.'}")
    if len(set(values.values())) > 1:
        raise UsageError(f"Which host? {variable} is not the same for {', '.join(values)}; choose with --host.")
    return next(iter(values.values()))


def _text(value: Any) -> str:
    """A value to be read; its vaulted parts are texts only when asked for one."""
    structure = isinstance(value, (dict, list))
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) if structure else str(value)


def check(name: str, ask: Ask) -> list[str]:
    """What is well, one line each.

    Raises:
        InventoryError: The vault does not open, a secret is missing, or one stands in plain text.
    """
    location = inventory_source.find(name)
    path = location.directory / VAULT
    password = inventory_source.vault_password(location, ask)
    inventory = inventory_source.load(location, password)
    schemas = content.role_schemas()
    require_valid(inventory, schemas, redaction(secret_texts(inventory, {}, schemas)))
    require_complete(inventory, schemas, name)
    plain = list(_in_plain_text(inventory, known_options(schemas)))
    if plain:
        raise InventoryError("\n".join(plain))
    held = sum(setting.file == path for setting in inventory.settings)
    vaulted = f"{path} opens and holds {held} secrets." if path.exists() else f"There is no {path} yet."
    return [vaulted, "No secret lies in plain text."]


def _in_plain_text(inventory: Inventory, options: Mapping[str, Option]) -> Iterator[str]:
    """Settings that are secrets by their role's word or by Ansible's, or hold some, and stand readable in a file."""
    for setting in inventory.settings:
        option = options.get(setting.name)
        parts = secrets_in(option, setting.value) if option else ()
        if option and any(_readable(text, inventory) for part in parts for text in texts_in(part)):
            where = f"{setting.file}:{setting.line()}"
            if option.secret:
                move = f"dlhost secrets set -i {inventory.name} {setting.name}"
                yield f"{where}: {setting.name} is readable here; move it: {move}"
            else:
                move = f"dlhost secrets set -i {inventory.name} NAME"
                yield f'{where}: a secret in {setting.name} is readable here; write "{{{{ NAME }}}}", and {move}'


def _readable(text: str, inventory: Inventory) -> bool:
    return text not in inventory.secrets and not is_template(text)


def _with_secret(text: str, variable: str, value: str) -> str:
    """The vault's text with one variable set; everything else, comments too, stays as its owner wrote it."""
    _parse(text)
    line = f"{variable}: {literal(value)}\n"
    mapping = yaml.compose(text, Loader=inventory_source.LiteralLoader)
    for key, old in mapping.value if mapping is not None else ():
        if key.value == variable:
            rest = text[_last_leaf(old).end_mark.index :]
            return text[: key.start_mark.index] + line + rest.removeprefix("\n")
    return f"{text.rstrip()}\n{line}"


def _last_leaf(node: yaml.Node) -> yaml.Node:
    """Where a value's own text ends: a block's end mark lies behind the comments that follow it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _open(name: str, ask: Ask) -> tuple[Location, vault.VaultPassword, str]:
    location = inventory_source.find(name)
    path = location.directory / VAULT
    if path.exists():
        password = vault.find_password(location, ask)
        return location, password, vault.decrypt(path.read_text(encoding="utf-8"), password, str(path))
    _require_room(path.parent)
    return location, inventory_writer.new_vault_password(location), vault_text({})


def _require_room(directory: Path) -> None:
    """Beside the directory group_vars/all, Ansible does not read a file group_vars/all.yml any more.

    Raises:
        UsageError: There is such a file.
    """
    for suffix in ("", ".yml", ".yaml", ".json"):
        file = directory.with_name(f"{directory.name}{suffix}")
        if file.is_file() and not directory.is_dir():
            raise UsageError(
                f"{file} would no longer be read beside the vault. Make it {directory}/main.yml and run this again."
            )


def _parse(text: str) -> dict[str, str]:
    try:
        secrets = yaml.load(text, inventory_source.LiteralLoader) or {}  # noqa: S506  one of safe values.
    except (yaml.YAMLError, ValueError) as error:  # A ValueError of what looks like a date: 2026-02-30.
        raise UsageError(f"That is not valid YAML ({' '.join(str(error).split())}); the vault is as it was.") from None
    if not isinstance(secrets, dict):
        raise UsageError("The vault should be a mapping of names to values; it is as it was.")
    return secrets


def _save(location: Location, password: vault.VaultPassword, text: str) -> Path:
    path = location.directory / VAULT
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".writing")
    staged.write_text(vault.encrypt(text, password), encoding="utf-8")
    staged.replace(path)
    return path
