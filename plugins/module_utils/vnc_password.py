# SPDX-License-Identifier: GPL-3.0-or-later
"""VNC's passwords: how a server keeps one, and how a client answers for it (RFC 6143, 7.2.2).

Both take DES, which Debian's Python has not. It hides nothing here: the key of a password file is known to everybody,
so its mode protects it, and SSH the way to the server. The tables are those of FIPS 46-3, which counts bits from 1 at
the left.
"""

from __future__ import annotations

# What follows in a password is of no effect.
LENGTH = 8
# The key of every password file of every VNC server.
_FILE_KEY = bytes((23, 82, 107, 6, 35, 78, 88, 7))

_FIRST = [row - column for row in (58, 60, 62, 64, 57, 59, 61, 63) for column in range(0, 64, 8)]
_LAST = [_FIRST.index(bit) + 1 for bit in range(1, 65)]
_EXPANSION = [(start + bit) % 32 + 1 for start in range(-1, 31, 4) for bit in range(6)]
_MIX = (16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10)
_MIX += (2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25)
# A box has four rows of sixteen entries of four bits.
_BOXES = [
    [[int(entry, 16) for entry in row] for row in box.split()]
    for box in (
        "e4d12fb83a6c5907 0f74e2d1a6cb9538 41e8d62bfc973a50 fc8249175b3ea06d",
        "f18e6b34972dc05a 3d47f28ec01a69b5 0e7ba4d158c6932f d8a13f42b67c05e9",
        "a09e63f51dc7b428 d709346a285ecbf1 d6498f30b12c5ae7 1ad069874fe3b52c",
        "7de3069a1285bc4f d8b56f03472c1ae9 a690cb7df13e5284 3f06a1d8945bc72e",
        "2c417ab6853fd0e9 eb2c47d150fa3986 421bad78f9c5630e b8c71e2d6f09a453",
        "c1af92680d34e75b af427c9561de0b38 9ef528c3704a1db6 432c95fabe17608d",
        "4b2ef08d3c975a61 d0b7491ae35c2f86 14bdc37eaf680592 6bd814a7950fe23c",
        "d2846fb1a93e50c7 1fd8a374c56b0e92 7b419ce206adf358 21e74a8dfc90356b",
    )
]
# The halves of the key, whose every eighth bit does not count, and the bits of both that a round takes.
_HALVES = (57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36)
_HALVES += (63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4)
_ROUND = (14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2)
_ROUND += (41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32)
_TURNS = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)


def kept(password: str) -> bytes:
    """What a server's password file holds: the same for the same password, always."""
    return _encrypt(_FILE_KEY, _cut(password))


def answer(password: str, challenge: bytes) -> bytes:
    """What a client who knows the password answers to a server's challenge."""
    return b"".join(_encrypt(_cut(password), challenge[start : start + 8]) for start in range(0, len(challenge), 8))


def _cut(password: str) -> bytes:
    return password.encode()[:LENGTH].ljust(LENGTH, b"\0")


def _encrypt(key: bytes, block: bytes) -> bytes:
    """One block of eight bytes. VNC takes every byte of a key the wrong way round."""
    halves = _take(_bits(bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)), _HALVES)
    bits = _take(_bits(block), _FIRST)
    left, right = bits[:32], bits[32:]
    turned = 0
    for turn in _TURNS:
        turned += turn
        keys = [half[turned % 28 :] + half[: turned % 28] for half in (halves[:28], halves[28:])]
        mixed = [a ^ b for a, b in zip(_take(right, _EXPANSION), _take(keys[0] + keys[1], _ROUND), strict=True)]
        found: list[int] = []
        for number, box in enumerate(_BOXES):
            first, *column, last = mixed[6 * number : 6 * number + 6]
            entry = box[2 * first + last][int("".join(map(str, column)), 2)]
            found += map(int, f"{entry:04b}")
        left, right = right, [a ^ b for a, b in zip(left, _take(found, _MIX), strict=True)]
    return int("".join(map(str, _take(right + left, _LAST))), 2).to_bytes(8, "big")


def _bits(data: bytes) -> list[int]:
    return [int(bit) for byte in data for bit in f"{byte:08b}"]


def _take(bits: list[int], places) -> list[int]:
    return [bits[place - 1] for place in places]
