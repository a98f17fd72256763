"""Texts of strangers, such as a host's name for itself, made harmless to a terminal."""

from __future__ import annotations

# Control characters as their pictures, one for one; those that end a line or indent it are wanted.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def plain(text: str) -> str:
    """The text without anything that steers a terminal, as long as it was."""
    return text.translate(_PICTURES)
