"""Password files as nginx reads them: a hash for each name, made by the host's crypt(3), which nginx itself asks.

Python has had no crypt of its own since 3.13. SHA-512 it is, not the slower yescrypt: nginx hashes the password of
every single request anew, and answers nobody else meanwhile.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

METHOD = "$6$"
LIBRARY = "libcrypt.so.1"


class PasswordError(Exception):
    """One sentence for the user."""


def lines(people: Iterable[tuple[str, str]], found: str) -> str:
    """The file's text for names and their passwords; a line that is `found` stays while it is of this password."""
    kept = dict(line.split(":", 1) for line in found.splitlines() if ":" in line)
    try:
        library = ctypes.CDLL(LIBRARY)
        library.crypt.restype = library.crypt_gensalt.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        raise PasswordError(f"The host cannot hash passwords as nginx does ({error}). Install libcrypt1.") from None

    def hashed(password: str, salt: str) -> str:
        return (library.crypt(password.encode(), salt.encode()) or b"*").decode()

    text = ""
    for name, password in people:
        before = kept.get(name, "")
        if not before.startswith(METHOD) or hashed(password, before) != before:
            before = hashed(password, library.crypt_gensalt(METHOD.encode(), 0, None, 0).decode())
        if not before.startswith(METHOD):
            raise PasswordError(f"The host cannot hash the password of {name}. Choose a shorter one and run again.")
        text += f"{name}:{before}\n"
    return text
