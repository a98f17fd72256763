# SPDX-License-Identifier: GPL-3.0-or-later
"""Zabbix's protocol as an agent and a server speak it, in clear or with a pre-shared key, by the host's own OpenSSL.

Python knows pre-shared keys from 3.13 on, later than the releases of Debian and Ubuntu that are served here. The
library is the one that the agent itself depends on.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import socket
import struct
import zlib

HEADER = b"ZBXD"
# Flags of a message: there is one, its text is compressed, its lengths have eight bytes.
PLAIN, COMPRESSED, LARGE = 1, 2, 4
# Lengths of a header: sign, flags, and the text's length now and before it was compressed.
SHORT, LONG = 13, 21
LIBRARY = "libssl.so.3"
SERVER_PORT = 10051
# Of openssl/ssl.h and openssl/tls1.h. With TLS 1.3 a key would have to be offered in another form.
SET_MAX_PROTO_VERSION, TLS_1_2 = 124, 0x0303
CIPHERS = b"PSK"
READ_BYTES = 16384


class WireError(Exception):
    """Why there is no answer, in a few words."""


def place(server: str) -> tuple[str, int]:
    """Where a server is, as agents are told it: HOST, HOST:PORT, and an address of IPv6 in brackets."""
    name, _colon, port = re.fullmatch(r"\[?(.*?)\]?(:(?=\d+$)(\d+))?", server).group(1, 2, 3)
    return name, int(port or SERVER_PORT)


def ask(address: str, port: int, request: str, timeout_s: float, key: tuple[str, str] | None = None) -> str:
    """What whoever listens there answers; `key` is an identity with its pre-shared key in hexadecimal digits.

    Raises:
        WireError: It does not answer, or not to this key.
    """
    body = request.encode()
    message = HEADER + bytes([PLAIN]) + struct.pack("<II", len(body), 0) + body
    try:
        with socket.create_connection((address, port), timeout_s) as connection:
            # OpenSSL takes the socket itself, with which Python's own time limits have nothing to do.
            connection.setblocking(True)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(timeout_s), 0))
            reply = _exchange(connection, message) if key is None else _exchange_by_key(connection, message, *key)
    except OSError as error:
        raise WireError(error.strerror or str(error)) from None
    return _text(reply)


def _exchange(connection: socket.socket, message: bytes) -> bytes:
    connection.sendall(message)
    return _whole(lambda: connection.recv(READ_BYTES))


def _whole(read) -> bytes:
    """A message as far as its header says that it goes, or the connection."""
    reply = b""
    while (len(reply) < SHORT or len(reply) < _begin(reply) + _length(reply)) and (chunk := read()):
        reply += chunk
    return reply


def _begin(message: bytes) -> int:
    return LONG if message[4] & LARGE else SHORT


def _length(message: bytes) -> int:
    return struct.unpack("<Q" if message[4] & LARGE else "<I", message[5 : 13 if message[4] & LARGE else 9])[0]


def _exchange_by_key(connection: socket.socket, message: bytes, identity: str, key: str) -> bytes:
    library = _library()
    secret = bytes.fromhex(key)

    @_CALLBACK
    def give(_ssl, _hint, identity_at, identity_room, key_at, key_room):
        name = identity.encode() + b"\0"
        if len(name) > identity_room or len(secret) > key_room:
            return 0
        ctypes.memmove(identity_at, name, len(name))
        ctypes.memmove(key_at, secret, len(secret))
        return len(secret)

    with contextlib.ExitStack() as freed:
        context = library.SSL_CTX_new(library.TLS_client_method())
        freed.callback(library.SSL_CTX_free, context)
        library.SSL_CTX_ctrl(context, SET_MAX_PROTO_VERSION, TLS_1_2, None)
        library.SSL_CTX_set_cipher_list(context, CIPHERS)
        library.SSL_CTX_set_psk_client_callback(context, give)
        ssl = library.SSL_new(context)
        freed.callback(library.SSL_free, ssl)
        library.SSL_set_fd(ssl, connection.fileno())
        if library.SSL_connect(ssl) != 1:
            raise WireError("it does not take this pre-shared key")
        library.SSL_write(ssl, message, len(message))
        room = ctypes.create_string_buffer(READ_BYTES)

        def read() -> bytes:
            count = library.SSL_read(ssl, room, READ_BYTES)
            return room.raw[: max(0, count)]

        return _whole(read)


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_uint,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_void_p,
    ctypes.c_uint,
)


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise WireError(f"{LIBRARY} is not on this host") from None
    pointer, number = ctypes.c_void_p, ctypes.c_int
    shapes = {
        "TLS_client_method": (pointer, []),
        "SSL_CTX_new": (pointer, [pointer]),
        "SSL_CTX_free": (None, [pointer]),
        "SSL_CTX_ctrl": (ctypes.c_long, [pointer, number, ctypes.c_long, pointer]),
        "SSL_CTX_set_cipher_list": (number, [pointer, ctypes.c_char_p]),
        "SSL_CTX_set_psk_client_callback": (None, [pointer, _CALLBACK]),
        "SSL_new": (pointer, [pointer]),
        "SSL_free": (None, [pointer]),
        "SSL_set_fd": (number, [pointer, number]),
        "SSL_connect": (number, [pointer]),
        "SSL_write": (number, [pointer, ctypes.c_char_p, number]),
        "SSL_read": (number, [pointer, ctypes.c_char_p, number]),
    }
    for name, (result, arguments) in shapes.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _text(reply: bytes) -> str:
    if not reply:
        raise WireError("it ended the connection without an answer")
    if not reply.startswith(HEADER) or len(reply) < SHORT:
        raise WireError("what it answers is not Zabbix's protocol")
    body = reply[_begin(reply) :]
    if len(body) < _length(reply):
        raise WireError("its answer was cut off")
    return (zlib.decompress(body) if reply[4] & COMPRESSED else body).decode("utf-8", "replace")
