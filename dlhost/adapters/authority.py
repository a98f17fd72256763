"""X.509 certificate authorities: a new one with its key, and what a certificate says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

VALID_DAYS = 3650
# Clocks differ, and a host that has just booted may not know the time yet.
BACKDATED_DAYS = 1
LONGEST_COMMON_NAME = 64  # RFC 5280, appendix A.1: ub-common-name.


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate and its private key, as PEM texts."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a person compares: the name, the SHA-256 fingerprint in hex pairs, the last day (ISO 8601)."""

    subject: str
    fingerprint: str
    valid_until: str


def new_authority(name: str) -> Authority:
    """An authority called name that may sign certificates of servers, and no further authorities."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:LONGEST_COMMON_NAME])])
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(days=BACKDATED_DAYS)
    certificate = (
        x509.CertificateBuilder(subject, subject, public, x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode())


def facts(certificate: str) -> Facts | None:
    """What a certificate says, or None where the text is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        read = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return None
    names = read.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Facts(
        str(names[0].value) if names else read.subject.rfc4514_string(),
        read.fingerprint(hashes.SHA256()).hex(":").upper(),
        f"{read.not_valid_after_utc:%Y-%m-%d}",
    )
