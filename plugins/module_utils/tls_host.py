"""A TLS server's key and certificate on the host that owns them: made by openssl, tried in a handshake."""

from __future__ import annotations

import contextlib
import re
import ssl
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils.owned_files import OwnedFile

# Arguments of openssl-genpkey(1).
KEY_TYPES = {
    "ecdsa_p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ecdsa_p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "rsa_2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "rsa_3072": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
    "rsa_4096": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
}
# What a pair's files are called, in every place.
KEY_FILE, CERTIFICATE_FILE = "key.pem", "cert.pem"
# Nothing but the key: whatever else stands in its file was put there by somebody else.
KEY = re.compile(rb"-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END PRIVATE KEY-----\n")
NOBODY = 65534
# Client and server have spoken twice each when both are content.
ROUNDS = 10


class TlsHostError(Exception):
    """One sentence for the user: what could not be done."""


def placed(
    directory: Path,
    consumers: Iterable[tuple[str, str]],
    key: bytes,
    certificate: bytes,
    owner: str = "root",
    owners_group: str = "root",
) -> list[OwnedFile]:
    """The files of a pair: the owner's in the directory, and for each consumer (name, group) a copy below."""
    places = [(directory, owners_group, 0o600)]
    places += [(directory / name, group, 0o640) for name, group in consumers]
    wanted = []
    for place, group, mode in places:
        wanted += [
            OwnedFile(place / KEY_FILE, key, mode, owner, group, sensitive=True),
            OwnedFile(place / CERTIFICATE_FILE, certificate, 0o644, owner, owners_group),
        ]
    return wanted


def is_pair(key: Path, certificate: Path) -> bool:
    """Whether a server can start with them: both are there, can be read, and belong together."""
    try:
        if not KEY.fullmatch(key.read_bytes()):
            return False
        _server(key, certificate)
    except (OSError, ssl.SSLError):  # An SSLError is an OSError as well, of another kind.
        return False
    return True


def new_key(key_type: str) -> bytes:
    """A new private key in PEM form.

    Raises:
        TlsHostError: openssl failed.
    """
    return _openssl(["genpkey", *KEY_TYPES[key_type]])


def public_half(key: bytes) -> str:
    """The public key of a private one, both in PEM form.

    Raises:
        TlsHostError: openssl failed.
    """
    return _openssl(["pkey", "-pubout"], key).decode()


def sign_itself(key: Path, request: str, valid_days: int) -> bytes:
    """A certificate of the key, signed by it; the request is a configuration as openssl-req(1) reads it.

    Raises:
        TlsHostError: openssl failed.
    """
    options = ["-key", str(key), "-config", "/dev/stdin", "-days", str(valid_days)]
    return _openssl(["req", "-x509", "-new", "-sha256", *options], request.encode())


def refusal(key: Path, certificate: Path, anchors: str, name: str, *, strict: bool) -> str:
    """Why a client that trusts nothing but the anchors would not speak to this server under this name.

    `strict` holds the chain to RFC 5280, as Python does from 3.13 on; otherwise any certificate may be an anchor.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT if strict else ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=anchors)
        ends = (
            # A wildcard stands for any one label.
            client.wrap_bio(to_client, to_server, server_hostname=re.sub(r"^\*", "any", name)),
            _server(key, certificate).wrap_bio(to_server, to_client, server_side=True),
        )
        for _round in range(ROUNDS):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return f"{name}: {error.verify_message}"
    except OSError as error:
        return f"{name}: {getattr(error, 'reason', None) or error.strerror}"
    return ""


def may_read(gid: int, paths: list[Path]) -> bool:
    """Whether a process of this group, with no other right, gets at the files."""
    command = ["cat", *map(str, paths)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, user=NOBODY, group=gid, extra_groups=[], check=False, **quiet).returncode == 0


def _server(key: Path, certificate: Path) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Without a password here, OpenSSL would ask for one.
    server.load_cert_chain(certificate, key, password="")
    return server


def _openssl(arguments: list[str], given: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise TlsHostError(f"openssl {arguments[0]} failed: {said}")
    return done.stdout
