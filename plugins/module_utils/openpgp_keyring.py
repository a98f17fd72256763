"""Which keys a keyring of apt holds, without GnuPG, which most hosts have not. Packets are those of RFC 9580."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import re

ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----(?:\r?\n[^\r\n:]+:[^\r\n]*)*\r?\n\s*\r?\n"
    rb"(.*?)-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
# The checksum of older armour, on the last line.
CHECKSUM = re.compile(rb"\n=[A-Za-z0-9+/]{4}\s*\Z")
PRIMARY_KEY = 6


class KeyringError(Exception):
    """What is there is no keyring."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A primary key with its subkeys, names and signatures; `packets` is all of that as it stands."""

    fingerprint: str
    packets: bytes


def keys(keyring: bytes) -> list[Key]:
    """The keys of a keyring, armoured or not, in its order.

    Raises:
        KeyringError: It cannot be read.
    """
    found: list[Key] = []
    data = _binary(keyring)
    start = 0
    while start < len(data):
        tag, body, end = _packet(data, start)
        if tag == PRIMARY_KEY:
            found.append(Key(_fingerprint(body), b""))
        if not found:
            raise KeyringError("it does not begin with a key")
        found[-1] = dataclasses.replace(found[-1], packets=found[-1].packets + data[start:end])
        start = end
    return found


def armoured(packets: bytes) -> str:
    """Keys as text."""
    text = base64.encodebytes(packets).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{text}-----END PGP PUBLIC KEY BLOCK-----\n"


def _binary(keyring: bytes) -> bytes:
    blocks = ARMOUR.findall(keyring)
    if not blocks:
        return keyring
    try:
        return b"".join(base64.b64decode(CHECKSUM.sub(b"\n", block.rstrip())) for block in blocks)
    except binascii.Error as error:
        raise KeyringError(f"its armour is damaged: {error}") from None


def _packet(data: bytes, start: int) -> tuple[int, bytes, int]:
    """Tag, body and end of the packet that starts there; RFC 9580, 4.2."""
    try:
        head = data[start]
        if head & 0xC0 == 0xC0:
            tag, first = head & 0x3F, data[start + 1]
            if first < 192:
                length, begin = first, start + 2
            elif first < 224:
                length, begin = (first - 192 << 8) + data[start + 2] + 192, start + 3
            elif first == 255:
                length, begin = int.from_bytes(data[start + 2 : start + 6], "big"), start + 6
            else:
                raise KeyringError("a packet comes in parts, which keys never do")
        elif head & 0x80:
            octets = {0: 1, 1: 2, 2: 4}[head & 3]
            tag, begin = head >> 2 & 15, start + 1 + octets
            length = int.from_bytes(data[start + 1 : begin], "big")
        else:
            raise KeyringError("it is neither armoured nor binary")
    except (IndexError, KeyError):
        raise KeyringError("it breaks off") from None
    if begin + length > len(data):
        raise KeyringError("it breaks off")
    return tag, data[begin : begin + length], begin + length


def _fingerprint(body: bytes) -> str:
    """RFC 9580, 5.5.4; older keys than these no apt takes."""
    if body[:1] == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324
