"""A certificate and its private key in PEM files, as nginx would read them."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class CertificateError(Exception):
    """Why nginx could not use the pair, as a sentence without a full stop."""


class MissingError(CertificateError):
    """One of the two files is not there."""


def read_pair(certificate: Path, key: Path) -> tuple[bytes, ...]:
    """The certificates of the file (DER, in its order) once it is proved that the key belongs to the first.

    Raises:
        CertificateError: A file is missing, cannot be read or used, or they do not belong together.
    """
    texts = [_read(certificate, "certificate"), _read(key, "private key")]
    blocks = _BLOCK.findall(texts[0])
    if not blocks:
        raise CertificateError(f"{certificate} holds no certificate in PEM form")
    if "PRIVATE KEY-----" not in texts[1]:
        raise CertificateError(f"{key} holds no private key in PEM form")

    def refuse_encrypted() -> str:
        raise CertificateError(f"The private key {key} is encrypted, and nginx starts without anybody to ask")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, refuse_encrypted)
        return tuple(ssl.PEM_cert_to_DER_cert(block) for block in blocks)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"The private key {key} does not belong to the certificate {certificate}") from None
        raise CertificateError(f"OpenSSL cannot use {certificate} with {key} ({error.reason or error})") from None
    except ValueError as error:
        raise CertificateError(f"{certificate} is damaged ({error})") from None


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        raise MissingError(f"The {what} {path} is missing") from None
    except OSError as error:
        raise CertificateError(f"The {what} {path} cannot be read ({error.strerror})") from None
