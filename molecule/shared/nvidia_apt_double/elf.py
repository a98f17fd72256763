"""A shared library for x86-64 with one function that returns a number: what ctypes can ask, made without a compiler.

elf(5) and the System V ABI say what is in it: a dynamic section with a symbol, a hash table that finds it, and code.
"""

from __future__ import annotations

import struct

HEADER, SEGMENT, SYMBOL = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IBBHQQ"
DYN, X86_64 = 3, 62
LOAD, DYNAMIC, STACK = 1, 2, 0x6474E551
READ_WRITE, READ_WRITE_EXECUTE = 6, 7
HASH, STRTAB, SYMTAB, STRSZ, SYMENT = 4, 5, 6, 10, 11
GLOBAL_FUNCTION = 0x12
PAGE = 0x1000


def library(function: str, number: int) -> bytes:
    """The file; `number` has 32 bits."""
    code = b"\xb8" + struct.pack("<I", number) + b"\xc3"  # mov eax, number; ret
    names = b"\0" + function.encode() + b"\0"
    # One bucket, whose chain begins at symbol 1 and ends there.
    table = struct.pack("<6I", 1, 2, 1, 0, 0, 0)[: 4 * 5]
    start = struct.calcsize(HEADER) + 3 * struct.calcsize(SEGMENT)
    at: dict[str, int] = {}
    body = b""
    for part, content in (("code", code), ("names", names), ("hash", table)):
        at[part] = start + len(body)
        body += content + b"\0" * (-len(content) % 8)
    at["symbols"] = start + len(body)
    body += struct.pack(SYMBOL, 0, 0, 0, 0, 0, 0)
    body += struct.pack(SYMBOL, 1, GLOBAL_FUNCTION, 0, 1, at["code"], len(code))
    at["dynamic"] = start + len(body)
    entries = (
        (HASH, at["hash"]),
        (STRTAB, at["names"]),
        (SYMTAB, at["symbols"]),
        (STRSZ, len(names)),
        (SYMENT, struct.calcsize(SYMBOL)),
        (0, 0),
    )
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    body += dynamic
    size = start + len(body)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack(HEADER, identity, DYN, X86_64, 1, 0, struct.calcsize(HEADER), 0, 0, 64, 56, 3, 64, 0, 0)
    segments = (
        (LOAD, READ_WRITE_EXECUTE, 0, size, PAGE),
        (DYNAMIC, READ_WRITE, at["dynamic"], len(dynamic), 8),
        # Without it the whole process would have to have an executable stack, which glibc refuses.
        (STACK, READ_WRITE, 0, 0, 16),
    )
    for kind, flags, offset, length, alignment in segments:
        header += struct.pack(SEGMENT, kind, flags, offset, offset, offset, length, length, alignment)
    return header + body
