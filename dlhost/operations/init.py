"""Begin an inventory: one host, its trusted key, the roles' variables to choose from, generated secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlhost.adapters import authority, content, inventory_source, inventory_writer, openssh, vault
from dlhost.errors import RefusedError, UsageError
from dlhost.values.inventory import Connection, Location
from dlhost.values.new_inventory import DEMO, NAME, TAKEN, NewInventory, hosts_file, variables_file, vault_text
from dlhost.values.schema import RoleSchema

VAULT = "group_vars/all/vault.yml"
# The inventory's certificate authority: its certificate is for everybody, its key lies in the vault as tls_ca_key.
# What ssh can be handed among its own words.
WORD = re.compile(r"[^\s-]\S*")
CA = ".tls/ca.crt"
CA_VARIABLE = "tls_ca_certificate"
CA_VALUE = f'{{{{ lookup("ansible.builtin.file", inventory_dir ~ "/{CA}") }}}}'
# What is asked about where a host offers several, best first.
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the new inventory is, where its vault's password lives, and what the user should do next."""

    location: Location
    vault_password: Path
    secrets: tuple[str, ...]
    next_steps: tuple[str, ...]


def init(new: NewInventory, fingerprints: Sequence[str], confirm: Callable[[str], bool] | None) -> Begun:
    """Write the inventory once its host's key is trusted; only keys that were proved are.

    `fingerprints` are those the user knows from elsewhere, such as the cloud's console; without any, `confirm` asks.

    Raises:
        UsageError: The name cannot be used, or the address or user is none.
        UnreachableError: The host does not answer as an SSH server.
        RefusedError: The host's key is not trusted; nothing was written.
    """
    location = require_free(new.name)
    for option, value in (("--host", new.address), ("--user", new.user)):
        if not WORD.fullmatch(value):
            raise UsageError(f"{option} {value!r} has blanks, or begins with a hyphen as options of ssh do.")
    keys = _trusted(new, openssh.scan_host_keys(new.address, new.port, fingerprints), fingerprints, confirm)
    begun = write(location, new, [key.key for key in keys])
    failure = openssh.can_log_in(_connection(new, begun.location))
    return Begun(begun.location, begun.vault_password, begun.secrets, _next_steps(new, failure))


def require_free(name: str) -> Location:
    """The place for a new inventory.

    Raises:
        UsageError: The name is no name, or taken.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name} is no name for an inventory: use letters, digits, - and _.")
    if name in TAKEN:
        raise UsageError(f"{name} means something else to Ansible. Choose another name for the inventory.")
    if name == DEMO:
        raise UsageError(f"{name} is the name of the inventory that `dlhost demo` makes. Choose another.")
    taken = {location.name: location for location in inventory_source.locations()}
    if name in taken:
        raise UsageError(f"Inventory {name} is already there: {taken[name].path}. Choose another name, or edit it.")
    return inventory_source.new_location(name)


def write(
    location: Location, new: NewInventory, host_keys: Sequence[str], extra_files: Mapping[str, str] | None = None
) -> Begun:
    """Write the inventory's files; the host keys are trusted."""
    password = inventory_writer.new_vault_password(location)
    schemas = content.role_schemas()
    secrets = {name: inventory_writer.new_password() for name in secret_names(schemas)}
    ca = new_ca(new.name) if any(schema.role == "tls" for schema in schemas) else None
    if ca:
        secrets["tls_ca_key"] = ca.key
    files = {
        "hosts.yml": hosts_file(new),
        ".ssh/known_hosts": "".join(f"{new.name} {key}\n" for key in host_keys),
        **{
            f"group_vars/all/{schema.role}.yml": variables_file(
                schema.role, content.defaults(schema.role), {CA_VARIABLE: CA_VALUE, **new.settings}, schema.given
            )
            for schema in schemas
        },
        **({CA: ca.certificate} if ca else {}),
        VAULT: vault.encrypt(vault_text(secrets), password),
        **(extra_files or {}),
    }
    inventory_writer.write(location, files)
    return Begun(location, password.source or vault.password_file(location), tuple(secrets), ())


def new_ca(inventory: str) -> authority.Authority:
    """A certificate authority for an inventory of this name."""
    return authority.new_authority(f"dlhost CA of {inventory}")


def secret_names(schemas: Sequence[RoleSchema]) -> list[str]:
    """The variables that a role cannot do without and that nobody need choose: required, a text, kept from logs."""
    return [
        option.name
        for schema in schemas
        for option in schema.options.values()
        if option.secret and option.required and option.type == "str"
    ]


def _trusted(
    new: NewInventory,
    keys: Sequence[openssh.HostKey],
    fingerprints: Sequence[str],
    confirm: Callable[[str], bool] | None,
) -> Sequence[openssh.HostKey]:
    """The keys that may be written down: whoever stands in between can pass on a genuine key beside one of his own."""
    if fingerprints:
        shown = "\n".join(f"  {key.key.split()[0]}  {key.fingerprint}" for key in keys)
        offered = {key.fingerprint for key in keys}
        for fingerprint in fingerprints:
            if fingerprint not in offered:
                raise RefusedError(f"{new.address} has no host key with fingerprint {fingerprint}. It has:\n{shown}")
        return [key for key in keys if key.fingerprint in fingerprints]
    # One key is all that ssh needs, and all that a person should have to compare.
    one = min(keys, key=lambda key: [*KEY_TYPES, key.key.split()[0]].index(key.key.split()[0]))
    question = (
        f"{new.address} shows this host key:\n  {one.key.split()[0]}  {one.fingerprint}\n"
        "Is it the one you know from its console? Trust it?"
    )
    if confirm is None:
        raise RefusedError(f"{question}\nNobody is here to answer; give the one you know with --fingerprint.")
    if not confirm(question):
        raise RefusedError("The host key was not trusted; nothing was written.")
    return [one]


def _connection(new: NewInventory, location: Location) -> Connection:
    known_hosts = location.path / ".ssh" / "known_hosts"
    return Connection(
        address=new.address,
        port=new.port,
        user=new.user,
        key_file=new.key_file or None,
        ssh_args=("-o", f'UserKnownHostsFile="{known_hosts}"', "-o", f"HostKeyAlias={new.name}"),
    )


def _next_steps(new: NewInventory, login_failure: str) -> tuple[str, ...]:
    steps = [f"dlhost provision -i {new.name}"]
    if login_failure:
        port = f" -p {new.port}" if new.port != 22 else ""
        copy = f"ssh-copy-id{port} {new.user}@{new.address}   authorises your key; now: {login_failure}"
        steps.insert(0, copy)
    return tuple(steps)
