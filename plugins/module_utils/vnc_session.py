# SPDX-License-Identifier: GPL-3.0-or-later
"""A viewer's session with a VNC server: a password, and the picture of the screen (RFC 6143, version 3.8).

On the standard library alone, so that the host itself can look. Only what dlhost's own servers speak: VncAuth, and a
picture without compression.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
import uuid

from ansible_collections.dlhost.host.plugins.module_utils.vnc_password import answer

TIMEOUT_S = 20
VERSION = b"RFB 003.008\n"
VNC_AUTH = 2
# Four bytes a pixel: blue, green, red and one of no meaning.
PIXELS = struct.pack("!BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
UPDATE, COLOURS, BELL, CLIPBOARD = 0, 1, 2, 3


class SessionError(Exception):
    """One sentence: what the server did instead."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A screen: `pixels` are rows of four bytes each, blue, green, red and nothing."""

    width: int
    height: int
    pixels: bytes

    @property
    def colours(self) -> int:
        """How many different ones there are; the screen of a server without a desktop has one."""
        return len({self.pixels[place : place + 3] for place in range(0, len(self.pixels), 4)})


def try_out(address: str, port: int, password: str) -> dict[str, object]:
    """What the server gives to who has a wrong password, and the right one.

    `error` says what it did instead of refusing, letting in and showing a desktop; empty where it did all that.
    """
    seen: dict[str, object] = {"guarded": False, "shows": False, "size": "", "error": ""}
    try:
        with contextlib.closing(Session(address, port)) as stranger:
            if stranger.offered != [VNC_AUTH]:
                raise SessionError(f"it offers the security types {stranger.offered} in place of VncAuth alone")
            if stranger.log_in(uuid.uuid4().hex):
                raise SessionError("it takes a wrong password")
        seen["guarded"] = True
        with contextlib.closing(Session(address, port)) as session:
            if not session.log_in(password):
                raise SessionError("it refuses the password")
            picture = session.picture()
        seen["size"] = f"{picture.width}x{picture.height}"
        seen["shows"] = picture.colours > 1
        if not seen["shows"]:
            raise SessionError("its screen is empty")
    except SessionError as error:
        seen["error"] = f"{address} port {port}: {error}"
    return seen


class Session:
    """A connection to a server, which has said by what it lets anybody in."""

    def __init__(self, address: str, port: int) -> None:
        try:
            self._stream = socket.create_connection((address, port), TIMEOUT_S)
        except OSError as error:
            raise SessionError(f"it does not answer ({error})") from None
        self._reader = self._stream.makefile("rb")
        try:
            self.offered = self._greet()
        except SessionError:
            self.close()
            raise

    def close(self) -> None:
        """Go away without a word."""
        self._reader.close()
        self._stream.close()

    def log_in(self, password: str) -> bool:
        """Whether the server takes the password; it may be asked once.

        Raises:
            SessionError: It asks for something else, or goes away.
        """
        self._send(bytes([VNC_AUTH]))
        self._send(answer(password, self._read(16)))
        return self._number(4) == 0

    def picture(self) -> Picture:
        """The screen as it is, beside whoever else looks at it.

        Raises:
            SessionError: It does not come.
        """
        self._send(b"\1")
        width, height = self._number(2), self._number(2)
        self._read(16)
        self._read(self._number(4))
        self._send(b"\0\0\0\0" + PIXELS)
        self._send(struct.pack("!BxHi", 2, 1, 0))
        self._send(struct.pack("!BBHHHH", 3, 0, 0, 0, width, height))
        pixels = bytearray(4 * width * height)
        missing = width * height
        while missing > 0:
            kind = self._number(1)
            if kind == UPDATE:
                self._read(1)
                missing -= sum(self._rectangle(pixels, width) for _ in range(self._number(2)))
            elif kind == COLOURS:
                self._read(3)
                self._read(6 * self._number(2))
            elif kind == CLIPBOARD:
                self._read(3)
                self._read(self._number(4))
            elif kind != BELL:
                raise SessionError(f"it says something unknown (message {kind})")
        return Picture(width, height, bytes(pixels))

    def _greet(self) -> list[int]:
        """Agree on a version; returns the kinds of login that the server offers."""
        version = self._read(len(VERSION))
        if not version.startswith(b"RFB 003."):
            raise SessionError("what answers there is no VNC server")
        self._send(VERSION)
        offered = list(self._read(self._number(1)))
        if not offered:
            # It says why.
            raise SessionError(self._read(self._number(4)).decode("utf-8", "replace"))
        return offered

    def _rectangle(self, pixels: bytearray, width: int) -> int:
        """Take one part of the screen; returns how many pixels it has."""
        left, top, columns, rows, _encoding = struct.unpack("!HHHHi", self._read(12))
        for row in range(top, top + rows):
            start = 4 * (row * width + left)
            pixels[start : start + 4 * columns] = self._read(4 * columns)
        return columns * rows

    def _number(self, size: int) -> int:
        return int.from_bytes(self._read(size), "big")

    def _read(self, size: int) -> bytes:
        try:
            data = self._reader.read(size)
        except OSError as error:
            raise SessionError(f"it says nothing more ({error})") from None
        if len(data) < size:
            raise SessionError("it closed the connection")
        return data

    def _send(self, data: bytes) -> None:
        try:
            self._stream.sendall(data)
        except OSError as error:
            raise SessionError(f"the connection broke off ({error})") from None
