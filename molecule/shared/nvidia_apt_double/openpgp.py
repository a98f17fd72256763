"""Just enough OpenPGP (RFC 4880) to sign an apt repository where no GnuPG is: an RSA key, and cleartext signatures.

The keys are made from a seed, so that their fingerprints are known beforehand. They protect nothing.
"""

from __future__ import annotations

import base64
import hashlib
import math
import random
import struct
from collections.abc import Callable

BITS = 2048
EXPONENT = 65537
CREATED = 1735689600  # 2025-01-01, so that nobody's clock is before it.
RSA, SHA256 = 1, 8
BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
# Their product: most candidates share a factor with it, which is soon seen.
SMALL_PRIMES = math.prod(number for number in range(3, 2000) if all(number % below for below in range(2, number)))
CLEARTEXT, CERTIFICATION = 0x01, 0x13
# EMSA-PKCS1-v1_5: how a SHA-256 digest begins when it is signed (RFC 8017, 9.2).
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


class Key:
    """A signing key with one user id."""

    def __init__(self, seed: str) -> None:
        numbers = random.Random(seed)  # noqa: S311
        first, second = _prime(numbers), _prime(numbers)
        self.modulus = first * second
        self._private = pow(EXPONENT, -1, (first - 1) * (second - 1))
        self.user_id = f"{seed} <double@example.org>".encode()
        self._body = struct.pack(">BIB", 4, CREATED, RSA) + _mpi(self.modulus) + _mpi(EXPONENT)
        self._framed = b"\x99" + struct.pack(">H", len(self._body)) + self._body
        self.fingerprint = hashlib.sha1(self._framed).hexdigest().upper()  # noqa: S324

    def public(self) -> str:
        """The key as others get it, armoured."""
        certified = self._framed + b"\xb4" + struct.pack(">I", len(self.user_id)) + self.user_id
        # The primary user id, a key that certifies and signs.
        proof = self._signature(CERTIFICATION, certified, [b"\x1b\x03", b"\x19\x01"])
        return _armour("PUBLIC KEY BLOCK", _packet(6, self._body) + _packet(13, self.user_id) + proof)

    def sign(self, text: str) -> str:
        """The text within its signature, as InRelease is."""
        lines = [line.rstrip() for line in text.splitlines()]
        signature = self._signature(CLEARTEXT, "\r\n".join(lines).encode(), [])
        shown = "\n".join(f"- {line}" if line.startswith("-") else line for line in lines)
        return f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{shown}\n{_armour('SIGNATURE', signature)}"

    def _signature(self, kind: int, signed: bytes, subpackets: list[bytes]) -> bytes:
        made = struct.pack(">BI", 2, CREATED + 60)
        issuer = b"\x21\x04" + bytes.fromhex(self.fingerprint)
        hashed = b"".join(bytes([len(part)]) + part for part in [made, issuer, *subpackets])
        head = struct.pack(">BBBBH", 4, kind, RSA, SHA256, len(hashed)) + hashed
        digest = hashlib.sha256(signed + head + b"\x04\xff" + struct.pack(">I", len(head))).digest()
        padding = b"\xff" * (BITS // 8 - 3 - len(DIGEST_INFO) - len(digest))
        padded = int.from_bytes(b"\x00\x01" + padding + b"\x00" + DIGEST_INFO + digest, "big")
        unhashed = b"\x09\x10" + bytes.fromhex(self.fingerprint)[-8:]
        number = _mpi(pow(padded, self._private, self.modulus))
        return _packet(2, head + struct.pack(">H", len(unhashed)) + unhashed + digest[:2] + number)


def _prime(numbers: random.Random) -> int:
    while True:
        # Both upper bits set: the product of two has its full length.
        candidate = numbers.getrandbits(BITS // 2) | 3 << BITS // 2 - 2 | 1
        if candidate % EXPONENT != 1 and math.gcd(candidate, SMALL_PRIMES) == 1 and all(map(_passes(candidate), BASES)):
            return candidate


def _passes(candidate: int) -> Callable[[int], bool]:
    """Miller and Rabin's test of a candidate, with a base."""
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1

    def with_base(base: int) -> bool:
        power = pow(base, odd, candidate)
        return power == 1 or candidate - 1 in (pow(power, 2**exponent, candidate) for exponent in range(twos))

    return with_base


def _mpi(number: int) -> bytes:
    return struct.pack(">H", number.bit_length()) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + struct.pack(">I", len(body)) + body


def _armour(what: str, binary: bytes) -> str:
    crc = 0xB704CE
    for byte in binary:
        crc ^= byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    text = base64.encodebytes(binary).decode()
    check = base64.b64encode(crc.to_bytes(3, "big")).decode()
    return f"-----BEGIN PGP {what}-----\n\n{text}={check}\n-----END PGP {what}-----\n"
