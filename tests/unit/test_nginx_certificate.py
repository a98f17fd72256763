"""Certificates and keys that nginx could not use, each for its own reason."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from plugins.module_utils import nginx_certificate

PLAIN = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
WEAK = ("-newkey", "rsa:1024", "-nodes")
ENCRYPTED = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-passout", "pass:secret")


def make_pair(directory: Path, name: str, kind: tuple[str, ...] = PLAIN) -> tuple[Path, Path]:
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", *kind, "-subj", f"/CN={name}", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def refusal(certificate: Path, key: Path) -> str:
    with pytest.raises(nginx_certificate.CertificateError) as raised:
        nginx_certificate.read_pair(certificate, key)
    return str(raised.value)


def test_a_pair_is_its_certificates_in_order(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path, "one")
    other, _key = make_pair(tmp_path, "two")
    certificate.write_text(f"a comment\n{certificate.read_text()}\n{other.read_text()}")

    chain = nginx_certificate.read_pair(certificate, key)
    assert chain[1:] == (ssl.PEM_cert_to_DER_cert(other.read_text()),)
    assert len(chain) == 2


def test_a_missing_file_is_a_case_of_its_own(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path, "one")
    for pair in ((tmp_path / "none", key), (certificate, tmp_path / "none")):
        with pytest.raises(nginx_certificate.MissingError, match="none is missing"):
            nginx_certificate.read_pair(*pair)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path, "one")
    other, _key = make_pair(tmp_path, "two")
    damaged, text = tmp_path / "damaged", certificate.read_text()
    damaged.write_text(text.replace(text.splitlines()[1], "AAAA"))

    assert "does not belong to the certificate" in refusal(other, key)
    assert "holds no certificate" in refusal(key, key)
    assert "holds no private key" in refusal(certificate, certificate)
    assert "cannot be read (Is a directory)" in refusal(certificate, tmp_path)
    assert "OpenSSL cannot use" in refusal(damaged, key)
    assert "is encrypted" in refusal(*make_pair(tmp_path, "three", ENCRYPTED))


def test_a_key_too_short_for_openssl_is_said_so(tmp_path: Path) -> None:
    assert "EE_KEY_TOO_SMALL" in refusal(*make_pair(tmp_path, "short", WEAK))
