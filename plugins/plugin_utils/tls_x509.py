# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates, keys and names of TLS servers on the controller: read, judged, and put into words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SMALLEST_RSA_BITS = 2048  # OpenSSL's security level 2, Debian's default, loads no smaller key.
CURVES = {"secp256r1": "ecdsa_p256", "secp384r1": "ecdsa_p384"}

# RFC 1123, with the wildcard of RFC 6125; a last label of digits alone is read as a part of an address.
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"(\*\.(?=.*\.))?({LABEL}\.)*(?![0-9]+\Z){LABEL}")
LONGEST_HOST_NAME = 253
# What a damaged certificate, or one that breaks RFC 5280, makes of itself when it is read.
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class TlsError(Exception):
    """One sentence for the user: which value cannot be, and what to do."""


def general_name(name: str) -> x509.GeneralName:
    """A name or address as it stands in a certificate.

    Raises:
        TlsError: It is neither.
    """
    lower = str(name).lower()
    try:
        # With a zone (fe80::1%eth0) an address is one on this machine only.
        return x509.IPAddress(ipaddress.ip_address(lower if "%" not in lower else ""))
    except ValueError:
        pass
    if not HOST_NAME.fullmatch(lower) or len(lower) > LONGEST_HOST_NAME:
        raise TlsError(
            f"tls_names: {name!r} is neither a host name (letters, digits, hyphens, dots) nor an IP address."
        )
    return x509.DNSName(lower)


def listed(names: Sequence[x509.GeneralName]) -> str:
    return ", ".join(str(name.value) for name in names) or "none"


def names_in(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """The names and addresses in a certificate, in its order."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def is_wildcard(name: str) -> bool:
    return name.startswith("*.")


def covers(certificate: x509.Certificate, name: str) -> bool:
    """Whether a browser takes the certificate for that of a host of this name."""
    try:
        asked = general_name(name)
    except TlsError:
        return False
    # RFC 6125: a wildcard stands for one label.
    above = x509.DNSName(f"*.{asked.value.partition('.')[2]}") if isinstance(asked, x509.DNSName) else asked
    named = {
        x509.DNSName(each.value.lower()) if isinstance(each, x509.DNSName) else each for each in names_in(certificate)
    }
    return not is_wildcard(name) and bool(named & {asked, above})


def read_certificates(text: str, variable: str) -> list[x509.Certificate]:
    """The certificates in a PEM text.

    Raises:
        TlsError: There is none, or one cannot be read.
    """
    try:
        certificates = x509.load_pem_x509_certificates(text.encode())
        for certificate in certificates:
            names_in(certificate)
            key_kind(certificate.public_key())
    except UNREADABLE:
        raise TlsError(f"{variable} is not a certificate in PEM form (-----BEGIN CERTIFICATE-----).") from None
    return certificates


def first_certificate(text: str) -> x509.Certificate | None:
    """The first certificate in a PEM text; None where none can be read."""
    try:
        return read_certificates(text, "")[0]
    except TlsError:
        return None


def read_key(text: str, variable: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """A private key in PEM form that browsers and OpenSSL take.

    Raises:
        TlsError: It cannot be read, or is of another kind or too small.
    """
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except TypeError:
        raise TlsError(f"{variable} is encrypted; give it without a passphrase, in the vault.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise TlsError(f"{variable} is not a private key in PEM form (-----BEGIN PRIVATE KEY-----).") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SMALLEST_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return key
    raise TlsError(
        f"{variable} is {key_kind(key.public_key())}; browsers take ECDSA on P-256 and P-384, and RSA from "
        f"{SMALLEST_RSA_BITS} bits on."
    )


def key_kind(public_key: Any) -> str:
    """A key's type in the words of tls_key_type, or near them."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return CURVES.get(public_key.curve.name, f"ECDSA on {public_key.curve.name}")
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"rsa_{public_key.key_size}"
    return type(public_key).__name__.removesuffix("PublicKey").strip("_")


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether it is the certificate of an authority."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return constraints.ca
    return constraints.ca and usage.key_cert_sign


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def authority_identifier(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """What a certificate says of the key that signed it: the identifier in the authority's own certificate."""
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def days_left(certificate: x509.Certificate, now: datetime) -> int:
    """Whole days; negative once it has expired."""
    return (certificate.not_valid_after_utc - now).days


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def public_pem(public_key: Any) -> str:
    text: bytes = public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def public_key_of(text: str) -> str:
    """The public key of the first certificate in a PEM text, in PEM form."""
    return public_pem(x509.load_pem_x509_certificate(text.encode()).public_key())


def described(text: str) -> dict[str, str]:
    """What the first certificate in a PEM text says of itself; empty where there is none to be read."""
    certificate = first_certificate(text)
    if certificate is None:
        return {}
    same = certificate.issuer == certificate.subject
    return {
        "subject": certificate.subject.rfc4514_string(),
        "names": listed(names_in(certificate)),
        "key": key_kind(certificate.public_key()),
        "issuer": "itself" if same else certificate.issuer.rfc4514_string(),
        "valid until": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
    }


def facts(text: str, now: datetime) -> dict[str, Any]:
    """What programs want to know of it: names, SHA-256 fingerprint, last day (ISO 8601), days left; empty for none."""
    certificate = first_certificate(text)
    if certificate is None:
        return {}
    servers = [name for name in names_in(certificate) if isinstance(name, (x509.DNSName, x509.IPAddress))]
    return {
        "names": [str(name.value) for name in servers],
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
        "valid_until": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        "days_left": days_left(certificate, now),
    }
