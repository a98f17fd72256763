# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's certificate comes from: an issuer per mode, on the controller, and what each asks of a certificate."""

from __future__ import annotations

import abc
import dataclasses
import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.dlhost.host.plugins.plugin_utils.tls_x509 import (
    TlsError,
    authority_identifier,
    covers,
    days_left,
    described,
    facts,
    first_certificate,
    general_name,
    is_signed_by,
    is_wildcard,
    key_kind,
    listed,
    may_sign,
    names_in,
    pem,
    public_pem,
    read_certificates,
    read_key,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

# Apple's limit, and until March 2026 that of the CA/Browser Forum, is 398 days.
LONGEST_DAYS = 397
# The clock of a host or a browser may be behind the controller's.
BACKDATED = timedelta(hours=1)
LONGEST_COMMON_NAME = 64  # RFC 5280, appendix A.1: ub-common-name.

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
CONSUMER = re.compile(r"[a-z0-9][a-z0-9_-]*")

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
URL = re.compile(r"https://[^\s/@]+(/[^\s]*)?")
EMAIL = re.compile(r"[^@\s,]+@[^@\s,]+")
# As certbot reads them in a file of settings; the second is base64url.
EAB_KID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/@+=-]*")
EAB_KEY = re.compile(r"[A-Za-z0-9_-]+=*")
PROFILE = re.compile(r"[A-Za-z0-9_-]*")
PROGRAM = re.compile(r"((/[A-Za-z0-9._@+-]+)+)?")

NONE = "there is no certificate"
UNREADABLE = "the certificate cannot be read"

# Each follows from the keys, so no two certificates have them alike.
KEY_IDENTIFIERS = {x509.OID_SUBJECT_KEY_IDENTIFIER, x509.OID_AUTHORITY_KEY_IDENTIFIER}
Extensions = list[tuple[x509.ExtensionType, bool]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The role's settings, under their names without the prefix."""

    mode: str
    names: Sequence[str]
    key_type: str
    valid_days: int
    renew_days: int
    consumers: Sequence[Mapping[str, str]]
    ca_certificate: str
    ca_key: str = dataclasses.field(repr=False)
    certificate: str
    certificate_key: str = dataclasses.field(repr=False)
    acme_email: str = ""
    acme_directory: str = ""
    acme_staging: bool = False
    acme_ca: str = ""
    acme_profile: str = ""
    acme_dns_hook: str = ""
    acme_certbot: str = ""
    acme_eab_kid: str = ""
    acme_eab_hmac_key: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a host has: the text of its certificate file, whether there is a key, and whether that is its key.

    `issued` are the certificates that ACME directories gave it, that for the present settings first: "" for none.
    """

    certificate: str
    has_key: bool
    is_pair: bool
    issued: Sequence[str] = ("",)


@dataclasses.dataclass(frozen=True)
class Given:
    """A certificate that only the user can renew, the variable that holds it, and how it is renewed."""

    certificate: x509.Certificate
    variable: str
    renewal: str


@dataclasses.dataclass(frozen=True)
class Issuer(abc.ABC):
    """Gives a host its certificate."""

    settings: Settings
    now: datetime

    @classmethod
    @abc.abstractmethod
    def read(cls, settings: Settings, now: datetime) -> Issuer:
        """The issuer that the settings describe.

        Raises:
            TlsError: A value is not what it should be.
        """

    @abc.abstractmethod
    def client(self) -> dict[str, Any]:
        """Whom a client trusts, and what it calls the host: an argument of the module's phase prove."""

    @abc.abstractmethod
    def hostnames(self) -> list[str]:
        """What a browser may call the host without being warned, best first; a wildcard is nobody's name."""

    @property
    @abc.abstractmethod
    def key_type(self) -> str:
        """Of the key that the host makes itself; empty where the key is given too."""

    @property
    def given(self) -> Given | None:
        """What the user has to renew in time."""
        return None

    @abc.abstractmethod
    def reasons(self, found: Found) -> list[str]:
        """Why what a host has must be made anew; empty where it stays."""

    @abc.abstractmethod
    def keeps_key(self, found: Found) -> bool:
        """Whether a new certificate is for the key that the host has."""

    def acme_order(self) -> dict[str, Any]:
        """What the host itself asks an ACME directory for; empty where it asks none."""
        return {}

    def takes_issued(self, found: Found) -> bool:
        """Whether the host has the pair already that is to be installed: what it was given when it asked."""
        del found
        return False

    @abc.abstractmethod
    def order(self, public_key: str) -> dict[str, Any]:
        """What the host has to install for its public key: arguments of the module's phase install."""

    @abc.abstractmethod
    def foreseen(self, found: Found) -> dict[str, str]:
        """What a certificate made now would say of itself, in the shape of described()."""

    def expired(self) -> str:
        """A sentence, where what the user gave can no longer be used."""
        given = self.given
        if given is None or given.certificate.not_valid_after_utc > self.now:
            return ""
        return f"{given.variable} expired on {given.certificate.not_valid_after_utc:%Y-%m-%d}. {given.renewal}"

    def attention(self) -> str:
        """A sentence, where that will soon be so."""
        given = self.given
        left = days_left(given.certificate, self.now) if given else 0
        if given is None or left >= self.settings.renew_days:
            return ""
        day = f"{given.certificate.not_valid_after_utc:%Y-%m-%d}"
        return f"{given.variable} expires on {day}, in {left} days. {given.renewal}"


@dataclasses.dataclass(frozen=True)
class _Made(Issuer):
    """What is common to certificates that dlhost makes: the host's own key, the inventory's names and dates."""

    names: list[x509.GeneralName]

    @property
    def key_type(self) -> str:
        return self.settings.key_type

    @property
    @abc.abstractmethod
    def signer(self) -> str:
        """Who signs, as described() puts it."""

    def until(self) -> datetime:
        return self.now - BACKDATED + timedelta(days=self.settings.valid_days)

    @property
    def common_name(self) -> str:
        return str(self.names[0].value)[:LONGEST_COMMON_NAME]

    @property
    def subject(self) -> str:
        return f"CN={self.common_name}"

    @property
    def _texts(self) -> list[str]:
        return [str(name.value) for name in self.names]

    def hostnames(self) -> list[str]:
        return [name for name in self._texts if not is_wildcard(name)]

    def extensions(self) -> Extensions:
        """What the certificate says besides names and dates, whoever signs it."""
        usage = dict.fromkeys(
            (
                "content_commitment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        # TLS 1.2 may still encrypt with an RSA key.
        encrypts = self.key_type.startswith("rsa_")
        return [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.KeyUsage(digital_signature=True, key_encipherment=encrypts, **usage), True),
            (x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.SubjectAlternativeName(self.names), False),
        ]

    @abc.abstractmethod
    def stranger(self, certificate: x509.Certificate) -> str:
        """Why it is not this issuer's; empty where it is."""

    def reasons(self, found: Found) -> list[str]:
        certificate = first_certificate(found.certificate)
        if certificate is None:
            return [UNREADABLE if found.certificate else NONE]
        return [reason for reason in self._reasons(found, certificate) if reason]

    def _reasons(self, found: Found, certificate: x509.Certificate) -> list[str]:
        subject = certificate.subject.rfc4514_string()
        names, kind = names_in(certificate), key_kind(certificate.public_key())
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        left = days_left(certificate, self.now)
        renewable = self.until() - certificate.not_valid_after_utc > timedelta(days=1)
        begin = certificate.not_valid_before_utc
        return [
            _key_reason(found),
            self.stranger(certificate),
            "" if subject == self.subject else f"it is for {subject} instead of {self.subject}",
            "" if names == self.names else f"its names are {listed(names)} instead of {listed(self.names)}",
            "" if kind == self.key_type else f"its key is {kind} instead of {self.key_type}",
            "" if self._has_our_extensions(certificate) else "its extensions are not those of this role",
            "" if found.certificate == pem(certificate) else "its file holds more than one certificate",
            f"it is valid for {life.days} days instead of {self.settings.valid_days}"
            if life > timedelta(days=self.settings.valid_days)
            else "",
            f"it is valid from {begin:%Y-%m-%d %H:%M} UTC on" if begin > self.now else "",
            _days(certificate, left) if left < self.settings.renew_days and renewable else "",
        ]

    def _has_our_extensions(self, certificate: x509.Certificate) -> bool:
        """Besides the names, which have a reason of their own."""
        here = {
            extension.oid: (extension.value, extension.critical)
            for extension in certificate.extensions
            if extension.oid not in KEY_IDENTIFIERS | {x509.OID_SUBJECT_ALTERNATIVE_NAME}
        }
        ours = {value.oid: (value, critical) for value, critical in self.extensions()[:-1]}
        return here == ours

    def keeps_key(self, found: Found) -> bool:
        """Only where the pair is this issuer's own: nobody knows who made the key of a stranger's certificate."""
        certificate = first_certificate(found.certificate)
        if certificate is None or not found.is_pair or self.stranger(certificate):
            return False
        return key_kind(certificate.public_key()) == self.key_type

    def foreseen(self, found: Found) -> dict[str, str]:
        del found
        return {
            "subject": self.subject,
            "names": listed(self.names),
            "key": self.key_type,
            "issuer": self.signer,
            "valid until": f"{self.until():%Y-%m-%d}",
        }


@dataclasses.dataclass(frozen=True)
class LocalCa(_Made):
    """Signs with the inventory's own authority, whose key stays here."""

    certificate: x509.Certificate
    key: PrivateKey = dataclasses.field(repr=False)

    @classmethod
    def read(cls, settings: Settings, now: datetime) -> LocalCa:
        names = names_wanted(settings)
        for variable in ("ca_certificate", "ca_key"):
            if not getattr(settings, variable).strip():
                raise TlsError(
                    f"tls_mode is {settings.mode} and tls_{variable} is empty: `dlhost ca create` makes the authority "
                    "of an inventory, and the description of tls_ca_key says how openssl does."
                )
        certificates = read_certificates(settings.ca_certificate, "tls_ca_certificate")
        if len(certificates) != 1:
            raise TlsError(f"tls_ca_certificate holds {len(certificates)} certificates; give the authority's alone.")
        key = read_key(settings.ca_key, "tls_ca_key")
        if public_pem(key.public_key()) != public_pem(certificates[0].public_key()):
            raise TlsError("tls_ca_key is not the key of tls_ca_certificate.")
        if not may_sign(certificates[0]):
            raise TlsError("tls_ca_certificate is not the certificate of an authority (CA:TRUE, keyCertSign).")
        return cls(settings, now, names, certificates[0], key)

    def client(self) -> dict[str, Any]:
        return {"anchors": pem(self.certificate), "names": self._texts}

    @property
    def signer(self) -> str:
        return self.certificate.subject.rfc4514_string()

    @property
    def given(self) -> Given:
        renewal = "Make a new authority: move .tls/ca.crt of the inventory away, then `dlhost ca create`."
        return Given(self.certificate, "tls_ca_certificate", renewal)

    def until(self) -> datetime:
        return min(super().until(), self.certificate.not_valid_after_utc)

    def stranger(self, certificate: x509.Certificate) -> str:
        return "" if is_signed_by(certificate, self.certificate) else "it was not signed by tls_ca_certificate"

    def order(self, public_key: str) -> dict[str, Any]:
        public: Any = serialization.load_pem_public_key(public_key.encode())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.common_name)])
        builder = x509.CertificateBuilder(
            self.certificate.subject, subject, public, x509.random_serial_number(), self.now - BACKDATED, self.until()
        )
        identifiers: Extensions = [
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (authority_identifier(self.certificate), False),
        ]
        for value, critical in [*self.extensions(), *identifiers]:
            builder = builder.add_extension(value, critical)
        return {"certificate": pem(builder.sign(self.key, hashes.SHA256()))}


@dataclasses.dataclass(frozen=True)
class SelfSigned(_Made):
    """Lets the host sign its certificate itself, with the key that never leaves it."""

    @classmethod
    def read(cls, settings: Settings, now: datetime) -> SelfSigned:
        return cls(settings, now, names_wanted(settings))

    def client(self) -> dict[str, Any]:
        return {"anchors": "", "names": self._texts}

    @property
    def signer(self) -> str:
        return "itself"

    def stranger(self, certificate: x509.Certificate) -> str:
        return "" if is_signed_by(certificate, certificate) else "it did not sign itself"

    def order(self, public_key: str) -> dict[str, Any]:
        del public_key
        usage = "digitalSignature" + (", keyEncipherment" if self.key_type.startswith("rsa_") else "")
        names = ", ".join(f"{'IP' if isinstance(name, x509.IPAddress) else 'DNS'}:{name.value}" for name in self.names)
        lines = [
            "[req]",
            "prompt = no",
            "distinguished_name = subject",
            "x509_extensions = extensions",
            "[subject]",
            f"CN = {self.common_name}",
            "[extensions]",
            "basicConstraints = critical, CA:FALSE",
            f"keyUsage = critical, {usage}",
            "extendedKeyUsage = serverAuth",
            f"subjectAltName = {names}",
            "subjectKeyIdentifier = hash",
        ]
        return {"request": "\n".join([*lines, ""]), "valid_days": self.settings.valid_days}


@dataclasses.dataclass(frozen=True)
class Provided(Issuer):
    """Passes on what the settings hold."""

    chain: list[x509.Certificate]
    key: PrivateKey = dataclasses.field(repr=False)

    @classmethod
    def read(cls, settings: Settings, now: datetime) -> Provided:
        for variable in ("certificate", "certificate_key"):
            if not getattr(settings, variable).strip():
                raise TlsError(f"tls_mode is provided and tls_{variable} is empty; give it in PEM form.")
        chain = read_certificates(settings.certificate, "tls_certificate")
        key = read_key(settings.certificate_key, "tls_certificate_key")
        if public_pem(key.public_key()) != public_pem(chain[0].public_key()):
            raise TlsError("tls_certificate_key is not the key of the first certificate in tls_certificate.")
        if not names_in(chain[0]):
            raise TlsError("tls_certificate names no host in its subjectAltName, so every browser refuses it.")
        return cls(settings, now, chain, key)

    def client(self) -> dict[str, Any]:
        # Who trusts it is not known here; that it serves the names in it is.
        return {"anchors": "", "names": self._texts}

    def hostnames(self) -> list[str]:
        # Under a wildcard there are names that only the inventory knows.
        wanted = [name for name in self.settings.names if covers(self.chain[0], name)]
        plain = [name for name in self._texts if not is_wildcard(name)]
        return list(dict.fromkeys(name.lower() for name in [*wanted, *plain]))

    @property
    def _texts(self) -> list[str]:
        names: list[str] = facts(self.text, self.now)["names"]
        return names

    @property
    def key_type(self) -> str:
        return ""

    @property
    def given(self) -> Given:
        return Given(self.chain[0], "tls_certificate", "Give a new one.")

    @property
    def text(self) -> str:
        return "".join(map(pem, self.chain))

    def reasons(self, found: Found) -> list[str]:
        certificate = first_certificate(found.certificate)
        if certificate is None:
            return [UNREADABLE if found.certificate else NONE]
        differs = "" if found.certificate == self.text else "it is not tls_certificate"
        return [reason for reason in (_key_reason(found), differs) if reason]

    def keeps_key(self, found: Found) -> bool:
        certificate = first_certificate(found.certificate)
        same = certificate is not None and public_pem(certificate.public_key()) == public_pem(self.key.public_key())
        return same and found.is_pair

    def order(self, public_key: str) -> dict[str, Any]:
        del public_key
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"certificate": self.text, "key": key.decode()}

    def foreseen(self, found: Found) -> dict[str, str]:
        del found
        return described(self.text)


@dataclasses.dataclass(frozen=True)
class Acme(LocalCa):
    """Leaves it to the host to ask a directory; until that gives a certificate, it has one of the inventory's own."""

    @classmethod
    def read(cls, settings: Settings, now: datetime) -> Acme:
        wanted = dataclasses.replace(settings, names=[name for name in settings.names if not is_loopback(name)])
        refuse_order(wanted)
        return super().read(wanted, now)

    def client(self) -> dict[str, Any]:
        # With a private directory it is known whom a client has to trust, whichever certificate is there now.
        anchors = pem(self.certificate) + self.settings.acme_ca if self.settings.acme_ca else ""
        return {"anchors": anchors, "names": self._texts}

    def acme_order(self) -> dict[str, Any]:
        """What the host asks for, and of whom: module_utils/acme_host.py, Order."""
        return {
            "directory": directory_of(self.settings),
            "email": self.settings.acme_email,
            "names": self._texts,
            "key_type": self.key_type,
            "profile": self.settings.acme_profile,
            "dns_hook": self.settings.acme_dns_hook,
            "certbot": self.settings.acme_certbot,
            "has_ca": bool(self.settings.acme_ca.strip()),
            "has_eab": bool(self.settings.acme_eab_kid),
            "renew_days": self.settings.renew_days,
            "consumers": [dict(consumer) for consumer in self.settings.consumers],
        }

    def takes_issued(self, found: Found) -> bool:
        return self._is_valid(found.issued[0])

    def reasons(self, found: Found) -> list[str]:
        if self.takes_issued(found):
            differs = "" if found.certificate == found.issued[0] else f"it is not the one that {self._directory} gave"
            return [reason for reason in (_key_reason(found), differs) if reason]
        # Of other names or another directory, and better than one that no browser knows, as long as it is valid.
        if found.is_pair and found.certificate in found.issued and self._is_valid(found.certificate):
            return []
        return super().reasons(found)

    def keeps_key(self, found: Found) -> bool:
        certificate, given = first_certificate(found.certificate), first_certificate(found.issued[0])
        if certificate is None or given is None or not self.takes_issued(found):
            return super().keeps_key(found)
        return found.is_pair and public_pem(certificate.public_key()) == public_pem(given.public_key())

    def foreseen(self, found: Found) -> dict[str, str]:
        return described(found.issued[0]) if self.takes_issued(found) else super().foreseen(found)

    @property
    def _directory(self) -> str:
        return directory_of(self.settings)

    def _is_valid(self, text: str) -> bool:
        certificate = first_certificate(text)
        return (
            certificate is not None and certificate.not_valid_before_utc <= self.now < certificate.not_valid_after_utc
        )


# One line for each mode.
ISSUERS: dict[str, type[Issuer]] = {
    "local_ca": LocalCa,
    "self_signed": SelfSigned,
    "provided": Provided,
    "acme": Acme,
}


def directory_of(settings: Settings) -> str:
    return STAGING if settings.acme_staging else settings.acme_directory


def is_loopback(name: str) -> bool:
    """Whether it is a name by which only the host itself is reached, so that no directory can look there."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"


def refuse_order(settings: Settings) -> None:
    """Raises TlsError for what no ACME directory gives a certificate for."""
    names = [general_name(name) for name in settings.names]
    addresses = [name.value for name in names if isinstance(name, x509.IPAddress)]
    if not EMAIL.fullmatch(settings.acme_email):
        given = f"{settings.acme_email!r} is none" if settings.acme_email else "tls_acme_email is empty"
        raise TlsError(f"tls_mode is acme, which takes an e-mail address for the account, and {given}.")
    if not names:
        raise TlsError(
            "tls_mode is acme, and tls_names names nothing but the host itself; name what the internet calls it."
        )
    if not URL.fullmatch(settings.acme_directory):
        raise TlsError(f"tls_acme_directory is {settings.acme_directory!r}; it is the https:// URL of a directory.")
    if settings.acme_staging and settings.acme_directory != LETS_ENCRYPT:
        raise TlsError("tls_acme_staging is Let's Encrypt's, and tls_acme_directory is another; give one of the two.")
    if settings.acme_ca.strip():
        read_certificates(settings.acme_ca, "tls_acme_ca")
    refuse_account(settings)
    if not PROFILE.fullmatch(settings.acme_profile):
        raise TlsError(f"tls_acme_profile is {settings.acme_profile!r}; such names are of letters, digits, - and _.")
    for name in ("acme_dns_hook", "acme_certbot"):
        value = getattr(settings, name)
        if not PROGRAM.fullmatch(value):
            raise TlsError(
                f"tls_{name} is {value!r}; it is the absolute path of a program on the host, without blanks."
            )
    if any(is_wildcard(str(name.value)) for name in names) and not settings.acme_dns_hook:
        raise TlsError("tls_names has a wildcard, which ACME proves in the DNS only; tls_acme_dns_hook does that.")
    if addresses and settings.acme_dns_hook:
        raise TlsError(f"tls_names has {addresses[0]}, and tls_acme_dns_hook proves names, not addresses.")
    if settings.acme_directory == LETS_ENCRYPT:
        refuse_private(names)


def refuse_account(settings: Settings) -> None:
    """Raises TlsError for what no directory told a customer about the account (RFC 8555, 7.3.4)."""
    kid, key = settings.acme_eab_kid, settings.acme_eab_hmac_key
    if bool(kid) != bool(key):
        missing = "tls_acme_eab_hmac_key" if kid else "tls_acme_eab_kid"
        raise TlsError(f"{missing} is empty; a directory that has customers tells them tls_acme_eab_kid and that.")
    if kid and not EAB_KID.fullmatch(kid):
        raise TlsError(f"tls_acme_eab_kid is {kid!r}; directories give a word there, without blanks.")
    if key and not EAB_KEY.fullmatch(key):
        raise TlsError("tls_acme_eab_hmac_key is no key; directories give letters, digits, - and _ there (base64url).")


def refuse_private(names: Sequence[x509.GeneralName]) -> None:
    """Raises TlsError for what a public directory does not certify, however it is asked."""
    for name in names:
        private = not name.value.is_global if isinstance(name, x509.IPAddress) else "." not in str(name.value)
        if private:
            raise TlsError(
                f"tls_names has {name.value}, which Let's Encrypt certifies for nobody; name what the whole internet "
                "calls the host, or give a private tls_acme_directory."
            )


def issuer(settings: Settings, now: datetime | None = None) -> Issuer:
    """The issuer that the settings ask for.

    Raises:
        TlsError: A value is one that no host can have.
    """
    consumers = [consumer["name"] for consumer in settings.consumers]
    for name in consumers:
        if not CONSUMER.fullmatch(name):
            raise TlsError(f"tls_consumers: {name!r} cannot name a directory; use a-z, 0-9, - and _.")
    if len(set(consumers)) != len(consumers):
        raise TlsError(f"tls_consumers has a name twice ({', '.join(consumers)}).")
    return ISSUERS[settings.mode].read(settings, now or datetime.now(UTC).replace(microsecond=0))


def names_wanted(settings: Settings) -> list[x509.GeneralName]:
    """The names for a certificate that dlhost makes, each once.

    Raises:
        TlsError: One is no name, there is none, or the dates of the certificate cannot be.
    """
    names = [general_name(name) for name in settings.names]
    if not names:
        raise TlsError("tls_names is empty; name at least one name or address that the host is reached by.")
    if not 1 <= settings.valid_days <= LONGEST_DAYS:
        raise TlsError(
            f"tls_valid_days is {settings.valid_days}; allowed are 1 to {LONGEST_DAYS}, since browsers refuse more."
        )
    if not 0 <= settings.renew_days < settings.valid_days:
        raise TlsError(f"tls_renew_days is {settings.renew_days}; it has to be between 0 and tls_valid_days.")
    return list(dict.fromkeys(names))


def _key_reason(found: Found) -> str:
    if found.is_pair:
        return ""
    return "the key is not the certificate's" if found.has_key else "there is no key"


def _days(certificate: x509.Certificate, left: int) -> str:
    day = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    return f"it expires on {day}, in {left} days" if left >= 0 else f"it expired on {day}"
