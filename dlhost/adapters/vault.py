"""ansible-vault: the password of an inventory's vault, and texts encrypted with it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlhost.adapters.ansible_env import VAULT_PASSWORD_FILE, isolate_this_process
from dlhost.adapters.xdg import config_directory
from dlhost.errors import InventoryError
from dlhost.values.inventory import Location

HEADER = "$ANSIBLE_VAULT;"
# Ours first. Who has Ansible's set for ansible-playbook needs nothing more for dlhost.
VARIABLES = (VAULT_PASSWORD_FILE, "ANSIBLE_VAULT_PASSWORD_FILE")


@dataclass(frozen=True, slots=True)
class VaultPassword:
    """The password, and the file or script it came from; None where the user typed it."""

    text: str = field(repr=False)
    source: Path | None = None


def password_file(location: Location) -> Path:
    """Where `dlhost init` puts the vault password of an inventory, unless the environment names a file."""
    return config_directory() / "vault-passwords" / location.key


def named_password_file() -> Path | None:
    """The file or script that the environment names."""
    named = next((Path(os.environ[name]) for name in VARIABLES if os.environ.get(name)), None)
    return named.expanduser().absolute() if named else None


def find_password(location: Location, ask: Callable[[str], str] | None) -> VaultPassword:
    """The vault password: of a file or script that the environment names, of dlhost's own file, or asked for.

    Raises:
        InventoryError: There is none, or others can read its file.
    """
    named = named_password_file()
    path = named or password_file(location)
    if named is not None or path.exists():
        return VaultPassword(_read_password(path), path)
    if ask is None:
        raise InventoryError(
            f"The vault of inventory {location.name} needs its password. Put it into {path} (mode 0600), "
            f"or name a file or script in {VARIABLES[0]}."
        )
    return VaultPassword(ask(f"Vault password of inventory {location.name}"))


def is_encrypted(text: str) -> bool:
    """Whether a whole file is an ansible-vault."""
    return text.startswith(HEADER)


def encrypt(text: str, password: VaultPassword) -> str:
    """The text as an ansible-vault file."""
    encrypted: bytes = _vault(password).encrypt(text.encode())
    return encrypted.decode()


def decrypt(text: str, password: VaultPassword, name: str) -> str:
    """The plain text of an ansible-vault, called name in the message.

    Raises:
        InventoryError: The password is wrong, or the text is damaged.
    """
    from ansible.errors import AnsibleError

    try:
        plain: bytes = _vault(password).decrypt(text.encode())
    except AnsibleError:
        where = f"in {password.source}" if password.source else "you gave"
        raise InventoryError(
            f"{name} cannot be decrypted: the vault password {where} is not the one it needs."
        ) from None
    return plain.decode()


def give_to_ansible(password: VaultPassword) -> list[tuple[str, Any]]:
    """The password as Ansible's loader takes it, and in the one place of this process where values tagged !vault
    look for it when they are used."""
    isolate_this_process()
    from ansible.parsing.vault import VaultSecretsContext

    secrets = _secrets(password)
    context = VaultSecretsContext.current(optional=True)
    if context is None:
        VaultSecretsContext.initialize(VaultSecretsContext(secrets))
    else:
        context.secrets = secrets
    return secrets


def _vault(password: VaultPassword):  # type: ignore[no-untyped-def]  # VaultLib, which is untyped
    isolate_this_process()
    from ansible.parsing.vault import VaultLib

    return VaultLib(_secrets(password))


def _secrets(password: VaultPassword) -> list[tuple[str, Any]]:
    from ansible.constants import DEFAULT_VAULT_IDENTITY
    from ansible.parsing.vault import VaultSecret

    return [(DEFAULT_VAULT_IDENTITY, VaultSecret(password.text.encode()))]


def _read_password(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & stat.S_IXUSR:
            return subprocess.run([str(path)], capture_output=True, text=True, check=True).stdout.strip()
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InventoryError(f"Others can read the vault password in {path}. Run: chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InventoryError(f"The vault password file {path} cannot be read: {error.strerror}.") from None
    except subprocess.CalledProcessError as error:
        raise InventoryError(f"The vault password script {path} failed with exit code {error.returncode}.") from None
