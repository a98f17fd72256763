"""A new inventory on disk: written aside in full, then renamed into its place."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dlhost.adapters import vault
from dlhost.errors import UsageError
from dlhost.values.inventory import Location

# 32 bytes of the system's randomness, as URL-safe text.
SECRET_BYTES = 32
# Douglas Crockford's 32 characters, none of which is taken for another: 100 bits in four groups of five.
TYPEABLE = "0123456789abcdefghjkmnpqrstvwxyz"


def write(location: Location, files: Mapping[str, str]) -> None:
    """Write the files, relative path to text, as a new inventory; those in .ssh are for the user alone.

    Raises:
        UsageError: There is something in its place already, or the place cannot be written.
    """
    if location.path.exists():
        raise UsageError(
            f"Inventory {location.name} is already there: {location.path}. Choose another name, or edit it."
        )
    try:
        location.path.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{location.name}-", dir=location.path.parent))
        try:
            for name, text in files.items():
                path = staged / name
                private = name.startswith(".ssh/")
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o755)
                path.touch(mode=0o600 if private else 0o644)
                path.write_text(text, encoding="utf-8")
            staged.chmod(0o755)
            staged.rename(location.path)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(f"{location.path} cannot be written: {error.strerror}.") from None


def new_vault_password(location: Location) -> vault.VaultPassword:
    """The vault password of a new inventory, where `dlhost` and the user find it; one that is there is kept."""
    path = vault.password_file(location)
    if vault.named_password_file() is None and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whole or not at all: an empty file would be taken for the password.
        staged = path.with_name(f".{path.name}.writing")
        staged.unlink(missing_ok=True)
        staged.touch(mode=0o600)
        staged.write_text(new_secret() + "\n", encoding="utf-8")
        staged.replace(path)
    return vault.find_password(location, None)


def new_secret() -> str:
    """A text nobody can guess."""
    return secrets.token_urlsafe(SECRET_BYTES)


def new_password() -> str:
    """The same for a person to type."""
    return "-".join("".join(secrets.choice(TYPEABLE) for _ in range(5)) for _ in range(4))
