"""Certificates of every kind, and a host under a temporary directory that the module of role tls works on."""

from __future__ import annotations

import dataclasses
import grp
import importlib
import json
import os
import pwd
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dlhost.adapters import authority
from dlhost.adapters.ansible_env import collections_path

PLUGINS = "ansible_collections.dlhost.host.plugins"
ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name
CA = authority.new_authority("dlhost CA of rig")
OTHER_CA = authority.new_authority("dlhost CA of rig")
SETTINGS: dict[str, Any] = {
    "mode": "local_ca",
    "names": ["rig", "192.0.2.20"],
    "key_type": "ecdsa_p256",
    "valid_days": 397,
    "renew_days": 30,
    "consumers": [{"name": "front", "group": MY_GROUP}],
    "ca_certificate": CA.certificate,
    "ca_key": CA.key,
    "certificate": "",
    "certificate_key": "",
    "acme_email": "ada@example.org",
    "acme_directory": "https://acme.example/dir",
    "acme_staging": False,
    "acme_ca": "",
    "acme_profile": "",
    "acme_dns_hook": "",
    "acme_certbot": "",
    "acme_eab_kid": "",
    "acme_eab_hmac_key": "",
}
KEYS: dict[str, Any] = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "other": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa_1024": rsa.generate_private_key(65537, 1024),  # noqa: S505  what is to be refused
    "rsa_2048": rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def plugin(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """One of the collection's Python files, under the name by which Ansible imports it."""
    monkeypatch.syspath_prepend(str(collections_path()))
    return importlib.import_module(f"{PLUGINS}.{name}")


def key_pem(key: Any, passphrase: bytes = b"") -> str:
    encryption: Any = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    text: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return text.decode()


def certificate_pem(
    key: Any, days: float = 100, names: tuple[str, ...] = ("rig",), ca: bool = False, usage: bool = True
) -> str:
    """A certificate that its own key signed; negative days have passed since it expired."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rig")])
    until = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), until - timedelta(days=200), until
    ).add_extension(x509.BasicConstraints(ca, None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
    if not usage:
        builder = builder.add_extension(
            x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True
        )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


class Host:
    """A host on which role tls runs: the action plugin and the module are real, and so is openssl."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.action = plugin(monkeypatch, "action.tls_certificate")
        self.module = plugin(monkeypatch, "modules.tls_certificate")
        self.directory = root / "etc" / "dlhost" / "tls"
        self.staging = root / "run"
        self.acme = plugin(monkeypatch, "module_utils.acme_host")
        monkeypatch.setattr(self.acme, "STATE", root / "acme")
        monkeypatch.setattr(self.acme, "OWN", root / "acme" / "certbot")
        self.calls: list[dict[str, Any]] = []
        self.cut_before = ""
        owned = self.module.owned_files
        manifest_file = owned.manifest_file
        for name, value in {
            "DIRECTORY": self.directory,
            "STAGING": self.staging,
            "OWNER": ME,
            "GROUP": MY_GROUP,
            "RIGHTS": f"[mode 0755, owner {ME}:{MY_GROUP}]\n",
        }.items():
            monkeypatch.setattr(self.module, name, value)
        monkeypatch.setattr(self.action, "DIRECTORY", str(self.directory))
        monkeypatch.setattr(owned, "MANIFEST", self.directory.parent / "managed.json")
        monkeypatch.setattr(
            owned, "manifest_file", lambda roles: dataclasses.replace(manifest_file(roles), owner=ME, group=MY_GROUP)
        )
        monkeypatch.setattr(owned, "missing_packages", lambda _names: [])

    def run(self, **more: Any) -> dict[str, Any]:
        """What the task says: check, state and prove are the task's, everything else replaces one of SETTINGS."""
        self.calls = []
        check = more.pop("check", False)
        own = {"state": more.pop("state", "present"), "prove": more.pop("prove", False)}
        common = {
            "role": "tls",
            "packages": more.pop("packages", ["openssl"]),
            "files": more.pop("files", []),
            "timer": "dlhost-tls-renew.timer",
        }
        arguments = {**common, "settings": {**SETTINGS, **more}, **own}
        task = SimpleNamespace(args=arguments, check_mode=check, async_val=0)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="none"))
        action = self.action.ActionModule(task, connection, None, None, None, None)
        action._execute_module = self._execute
        result: dict[str, Any] = action.run(task_vars={})
        return result

    def _execute(self, name: str, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        del task_vars
        assert name == "dlhost.host.tls_certificate"
        from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

        self.calls.append(arguments)
        phase = arguments["phase"]
        if self.cut_before == phase:
            raise KeyboardInterrupt
        validated = ArgumentSpecValidator(self.module.ARGUMENTS).validate(json.loads(json.dumps(arguments)))
        assert not validated.error_messages
        act = {
            "plan": self.module.foresee,
            "prove": self.module.prove,
            "key": self.module.make_key,
            "install": self.module.install,
        }[phase]
        try:
            result: dict[str, Any] = act(validated.validated_parameters)
        except (self.module.tls_host.TlsHostError, self.module.owned_files.OwnedFilesError) as error:
            return {"failed": True, "msg": str(error)}
        return result

    @property
    def phases(self) -> list[str]:
        """What the last run asked of the host, in order."""
        return [call["phase"] for call in self.calls]

    def files(self) -> dict[str, bytes]:
        """Every file below, by its path there."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.directory / "cert.pem").read_bytes())
