"""Inventories on disk: found by name, read by Ansible's own loader, with the file and line of every variable."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from dlhost.adapters import vault
from dlhost.adapters.ansible_env import isolate_this_process
from dlhost.adapters.xdg import config_directory
from dlhost.errors import InventoryError, UsageError
from dlhost.values import monitoring as monitored
from dlhost.values.inventory import Connection, Host, Inventory, Location, Setting
from dlhost.values.redaction import texts_in
from dlhost.values.schema import did_you_mean
from dlhost.values.templates import Literal, is_template

# A misspelt file of a group is only called one when it is this close to a group (difflib's ratio).
ALMOST_A_GROUP = 0.8
YAML_SUFFIXES = {"", ".yml", ".yaml", ".json"}
# A section, or a host with a variable.
INI = re.compile(r"^(?:\[[\w.:-]+\]|\w[\w.-]*[ \t]+ansible_\w+=)", re.MULTILINE)
Decrypt = Callable[[str, str], str]


def locations() -> list[Location]:
    """Every inventory that has a name; one in ./inventories hides its namesake in the user's configuration."""
    found: dict[str, Location] = {}
    for root in _roots():
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            if path.is_dir() and not path.name.startswith("."):
                found.setdefault(path.name, _location(path.name, path))
    return list(found.values())


def find(name: str) -> Location:
    """An inventory by name, or by path where the text is one.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    named = {location.name: location for location in locations()}
    if name in named:
        return named[name]
    path = Path(name)
    if path.exists() and ("/" in name or path.is_file()):
        path = path.resolve()
        if path.is_dir():
            return _location(path.name, path)
        if path.stem == "hosts":  # Its directory's name and records, so that both are one inventory.
            return replace(_location(path.parent.name, path.parent), path=path)
        return _location(path.stem, path)
    have = f" You have: {', '.join(named)}." if named else " You have none yet; `dlhost init` makes one."
    raise UsageError(f"There is no inventory {name}{did_you_mean(name, named) or '.'}{have}")


def new_location(name: str) -> Location:
    """Where a new inventory of this name goes: ./inventories where that directory exists, else the user's own."""
    local, own = _roots()
    return _location(name, (local if local.is_dir() else own) / name)


def own_location(name: str) -> Location:
    """The same among the user's own, wherever the command is given."""
    return _location(name, _roots()[1] / name)


def needs_vault_password(location: Location) -> bool:
    """Whether any file of the inventory is, or holds, an ansible-vault."""
    return any(vault.HEADER in _text(path) for path in _files(location))


def vault_password(location: Location, ask: Callable[[str], str] | None) -> vault.VaultPassword | None:
    """The password that reading the inventory takes; None where nothing of it is encrypted.

    Raises:
        InventoryError: One is needed, and there is none.
    """
    return vault.find_password(location, ask) if needs_vault_password(location) else None


def load(
    location: Location,
    password: vault.VaultPassword | None,
    limit: tuple[str, ...] = (),
    extra_vars: Mapping[str, Any] = MappingProxyType({}),
) -> Inventory:
    """The inventory, restricted to the hosts that `limit` names in Ansible's pattern language.

    `extra_vars` win over the inventory's own, as they do in Ansible: they may say how a host is reached.

    Raises:
        InventoryError: A file is not valid YAML, or a vault cannot be opened; the message names file and line.
        UsageError: `limit` names no host.
    """
    if location.path.is_dir() and not any(path.is_file() for path in location.path.iterdir() if path.name[0] != "."):
        raise InventoryError(
            f"Inventory {location.name} in {location.path} has no hosts.yml, so it has no hosts. "
            "Write one that names them under all.hosts, or move the directory away and run `dlhost init`."
        )
    secrets: set[str] = set()
    settings = list(_settings(location, _decrypter(password), secrets))
    isolate_this_process()
    from ansible.errors import AnsibleError

    try:
        hosts = _hosts(location, password, limit, extra_vars)
    except AnsibleError as error:
        raise InventoryError(" ".join(str(error).split())) from None
    return Inventory(location, hosts, tuple(settings), frozenset(secrets))


def _location(name: str, path: Path) -> Location:
    resolved = path.resolve()
    own = resolved == (_roots()[1] / name).resolve()
    return Location(name, path, "" if own else sha256(str(resolved).encode()).hexdigest()[:8])


def _roots() -> tuple[Path, Path]:
    return Path("inventories").absolute(), config_directory() / "inventories"


def _decrypter(password: vault.VaultPassword | None) -> Decrypt:
    def decrypt(text: str, name: str) -> str:
        if password is None:
            raise InventoryError(f"{name} is encrypted, and no vault password was given.")
        return vault.decrypt(text, password, name)

    return decrypt


def _hosts(
    location: Location, password: vault.VaultPassword | None, limit: tuple[str, ...], extra_vars: Mapping[str, Any]
) -> tuple[Host, ...]:
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar
    from ansible.vars.manager import VariableManager

    loader = DataLoader()
    if password is not None:
        loader.set_vault_secrets(vault.give_to_ansible(password))
    manager = InventoryManager(loader=loader, sources=[str(location.path)])
    variables = VariableManager(loader=loader, inventory=manager)
    every = manager.get_hosts()
    if not every:
        raise InventoryError(
            f"Inventory {location.name} in {location.path} has no hosts. Add one under all.hosts in hosts.yml."
        )
    _require_known(limit, [host.name for host in every], list(manager.groups))
    _require_read(location, list(manager.groups))
    chosen = manager.get_hosts(",".join(limit)) if limit else every
    if not chosen:
        raise UsageError(f"--limit {','.join(limit)} leaves no host of inventory {location.name}.")

    def host_value(host: Any) -> Host:
        own = variables.get_vars(host=host)
        merged = {**own, **extra_vars}
        template = Templar(loader=loader, variables=merged).template
        # Ansible tags its texts with their origin; the values leave that behind.
        groups = tuple(str(group.name) for group in host.get_groups())
        for name in monitored.SETTINGS:
            if is_template(merged.get(name)):
                with suppress(AnsibleError):  # It may stand on what only a run knows.
                    merged[name] = Literal(template(merged[name]))
        try:
            connection = _connection(host.name, merged, template)
            return Host(str(host.name), groups, connection, {**merged, **_literals(own), **extra_vars})
        except AnsibleError as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise InventoryError(f"Host {host.name}: a variable of its connection cannot be read: {why}.") from None

    return tuple(host_value(host) for host in chosen)


def _literals(variables: Mapping[str, Any]) -> dict[str, Literal]:
    """Those of the variables that look like templates and that Ansible does not render."""
    from ansible.template import is_trusted_as_template

    suspects = {name: value for name, value in variables.items() if is_template(value)}
    return {name: Literal(value) for name, value in suspects.items() if not is_trusted_as_template(value)}


def _require_known(limit: tuple[str, ...], hosts: list[str], groups: list[str]) -> None:
    """Ansible only warns of a name in --limit that it does not know; here it is an error."""
    for name in limit:
        plain = name.lstrip("!&")
        if not any(character in plain for character in "*?[~:") and plain not in {*hosts, *groups}:
            raise UsageError(f"There is no host or group {plain}{did_you_mean(plain, [*hosts, *groups]) or '.'}")


def _require_read(location: Location, groups: list[str]) -> None:
    """Ansible passes over a file of a group that there is not; one called almost like a group is an error here."""
    for path in _files(location):
        parts = path.relative_to(location.directory).with_suffix("").parts
        name = parts[1] if len(parts) > 1 else ""
        meant = did_you_mean(name, groups, cutoff=ALMOST_A_GROUP)
        if parts[0] == "group_vars" and name not in groups and meant:
            raise InventoryError(f"{path} is of no group, and nobody reads it{meant}")


def _connection(name: str, variables: Mapping[str, Any], template: Callable[[Any], Any]) -> Connection:
    """The connection variables that Ansible's ssh plugin reads, by its names and in its order."""

    def value(*names: str) -> Any:
        found = next((variables[key] for key in names if variables.get(key) is not None), None)
        return None if found is None else template(found)

    def words(key: str) -> list[str]:
        try:
            return shlex.split(str(value(key) or ""))
        except ValueError as error:
            raise InventoryError(f"Host {name}: {key} cannot be split into words: {error}.") from None

    port = value("ansible_port", "ansible_ssh_port")
    if port is not None and not str(port).isdigit():
        raise InventoryError(f"Host {name}: ansible_port should be a number, not {str(port)!r}.")
    key_file = value("ansible_private_key_file", "ansible_ssh_private_key_file")
    become_password = value("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
    return Connection(
        transport=str(value("ansible_connection") or "ssh").rpartition(".")[2],
        address=str(value("ansible_host", "ansible_ssh_host") or name),
        port=int(port) if port is not None else None,
        user=str(user) if (user := value("ansible_user", "ansible_ssh_user")) is not None else None,
        key_file=str(Path(str(key_file)).expanduser()) if key_file else None,
        early_ssh_args=tuple(words("ansible_ssh_args")),
        ssh_args=(*words("ansible_ssh_common_args"), *words("ansible_ssh_extra_args")),
        scp_args=(*words("ansible_ssh_common_args"), *words("ansible_scp_extra_args")),
        become_password=str(become_password) if become_password is not None else None,
    )


# Reading files with their lines -----------------------------------------------------------------------------------


class LiteralLoader(yaml.SafeLoader):
    """YAML in which a text may be tagged as no template."""


LiteralLoader.add_constructor("!unsafe", lambda _loader, node: Literal(node.value))


class _Loader(LiteralLoader):
    """YAML as Ansible writes it; `decrypt` opens values tagged !vault, which are noted in `secrets`."""

    decrypt: Decrypt
    file: Path
    secrets: set[str]


def _vaulted(loader: _Loader, node: yaml.ScalarNode) -> str:
    plain = loader.decrypt(node.value, f"{loader.file}:{node.start_mark.line + 1}")
    loader.secrets.add(plain)
    return plain


_Loader.add_constructor("!vault", _vaulted)
_Loader.add_constructor("!vault-encrypted", _vaulted)


def _files(location: Location) -> Iterator[Path]:
    """The YAML files that Ansible reads of this inventory; a single file has variables only of its own."""
    if location.path.is_file():
        yield location.path
        roots = [location.path.parent / kind for kind in ("group_vars", "host_vars")]
    else:
        roots = [location.path]
    for root in roots:
        for path in sorted(root.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(location.directory).parts)
            # Ansible reads an INI file too; here it is met in order to be named.
            read = path.suffix in YAML_SUFFIXES or (path.suffix == ".ini" and root == location.path == path.parent)
            if not read or hidden:
                continue
            if path.is_symlink() and not path.exists():
                raise InventoryError(f"{path} is a link to {path.readlink()}, which is not there.")
            if path.is_file():
                yield path


def _settings(location: Location, decrypt: Decrypt, secrets: set[str]) -> Iterator[Setting]:
    """Every variable of every file; the texts of encrypted ones are added to `secrets`."""
    for path in _files(location):
        text = _text(path)
        encrypted = vault.is_encrypted(text)
        of_variables = path.relative_to(location.directory).parts[0] in {"group_vars", "host_vars"}
        try:
            node, loader = _compose(decrypt(text, str(path)) if encrypted else text, path)
        except InventoryError:
            if of_variables or encrypted or not INI.search(text):
                raise
            raise InventoryError(
                f"{path} is an INI inventory; dlhost reads YAML inventories only. "
                f"Convert it: ansible-inventory -i {shlex.quote(str(path))} --list --yaml --output hosts.yml"
            ) from None
        loader.decrypt, loader.file, loader.secrets = decrypt, path, secrets
        if node is None:
            continue
        read = _variables if of_variables else _inventory_variables
        for setting in read(node, loader, path):
            if encrypted:
                secrets.update(texts_in(setting.value))
            yield setting


def _compose(text: str, path: Path) -> tuple[yaml.MappingNode | None, _Loader]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InventoryError(f"{path}:{line}: this is not valid YAML: {error.problem or error.context}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InventoryError(f"{path}:{line}: this is not valid YAML: {error.reason}.") from None
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None, loader
    if not isinstance(node, yaml.MappingNode):
        raise InventoryError(f"{path}:{node.start_mark.line + 1}: this should be a mapping of names to values.")
    return node, loader


def _inventory_variables(node: yaml.MappingNode, loader: _Loader, path: Path) -> Iterator[Setting]:
    """The variables of a hosts file: group → vars, group → hosts → host, group → children → group."""
    for _, group in _items(node, loader, path):
        for key, section in _items(group, loader, path):
            if key.value == "vars":
                yield from _variables(section, loader, path)
            elif key.value == "hosts":
                for _, host in _items(section, loader, path):
                    yield from _variables(host, loader, path)
            elif key.value == "children" and isinstance(section, yaml.MappingNode):
                yield from _inventory_variables(section, loader, path)


def _variables(node: yaml.Node, loader: _Loader, path: Path) -> Iterator[Setting]:
    for key, value in _items(node, loader, path):
        lines: dict[tuple[str | int, ...], int] = {(): key.start_mark.line + 1}
        yield Setting(str(key.value), _value(value, loader, path, (), lines), path, lines)


def _items(node: yaml.Node, loader: _Loader, path: Path) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """A mapping's pairs, merge keys resolved; an empty value has none."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InventoryError(
                f"{path}:{key.start_mark.line + 1}: a name cannot be a mapping or a list; "
                "if a template stands there, quote the {{ }}."
            )
        if key.value in seen:
            raise InventoryError(
                f"{path}:{key.start_mark.line + 1}: {key.value} is already set in line {seen[key.value]}."
            )
        if key.tag != "tag:yaml.org,2002:merge":
            seen[key.value] = key.start_mark.line + 1
    loader.flatten_mapping(node)
    yield from node.value


def _value(
    node: yaml.Node,
    loader: _Loader,
    path: Path,
    at: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
) -> Any:
    """A node as Python values, its lines noted by path."""
    if isinstance(node, yaml.MappingNode):
        values = {}
        for key, item in _items(node, loader, path):
            name = _scalar(key, loader, path)
            lines[*at, name] = key.start_mark.line + 1
            values[name] = _value(item, loader, path, (*at, name), lines)
        return values
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            lines[*at, index] = item.start_mark.line + 1
            items.append(_value(item, loader, path, (*at, index), lines))
        return items
    return _scalar(node, loader, path)


def _scalar(node: yaml.Node, loader: _Loader, path: Path) -> Any:
    try:
        return loader.construct_object(node)
    except yaml.MarkedYAMLError as error:
        raise InventoryError(f"{path}:{node.start_mark.line + 1}: {error.problem}.") from None
    except ValueError as error:  # It looks like a date or a number, and is none: 2026-02-30.
        raise InventoryError(
            f"{path}:{node.start_mark.line + 1}: {node.value} cannot be read: {error}. If it is a text, quote it."
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{path} cannot be read: {error}.") from None
