"""Hosts to measure on: containers with systemd and a real sshd, with an inventory for each contender."""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.end_state import NAMES, TIMEZONE, USER
from dlhost.adapters import container as engine
from dlhost.adapters import content, inventory_source, inventory_writer, openssh
from dlhost.operations.init import CA, new_ca, secret_names, write
from dlhost.operations.secrets import set_secret
from dlhost.values.new_inventory import GROUPS, NewInventory, Profile

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

PREFIX = "dlhost-bench"
PROFILE = Profile.CPU_ONLY
# Official images come without package lists; those of an image made here may be of any age. Unlike a machine's, their
# apt throws packages away once they are installed.
# Directories that every contender would have to make are there, so that no peer needs a task more for them.
BARE = """
rm -f /etc/apt/apt.conf.d/docker-clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/lib/apt/periodic/*
mkdir -p /etc/needrestart/conf.d /etc/systemd/timesyncd.conf.d
"""
# Where this machine's network signs for others, an index is reached with its authorities only; no contender's work.
TRUST = """
for certificate in "$@"; do
    number=$((${number:-0} + 1))
    printf %s "$certificate" > /usr/local/share/ca-certificates/machine-$number.crt
done
update-ca-certificates
"""


@dataclass(frozen=True, slots=True)
class Host:
    """A container, and how it is reached."""

    name: str
    address: str
    port: int
    host_keys: tuple[str, ...]
    container: Container


@dataclass(frozen=True, slots=True)
class Inventory:
    """The same hosts as dlhost, plain Ansible and pyinfra read them."""

    name: str
    hosts: tuple[Host, ...]
    directory: Path
    vault_password_file: Path
    plain: Path
    pyinfra: Path
    known_hosts: Path


class Estate:
    """Containers and files that go when the measurement ends."""

    def __init__(self, client: DockerClient, directory: Path, image: str) -> None:
        self.directory = directory
        self.key_file = directory / "key"
        self._client = client
        self._image = image
        self._settings = _settings()
        # A copied host keeps its certificate and passwords, so they are every inventory's.
        self.authority = new_ca(PREFIX)
        self.secrets = {name: inventory_writer.new_password() for name in secret_names(content.role_schemas())}
        self.secrets["tls_ca_key"] = self.authority.key
        self.password = self.secrets["jupyter_password"]
        self._public = ""
        self._numbers = count(1)
        self._started: list[str] = []
        self._images: list[str] = []

    def make_key(self) -> None:
        """The key that opens every host."""
        _, self._public = openssh.new_key(self.key_file, comment="dlhost benchmark")

    def host(self, snapshot: str = "") -> Host:
        """A new host, bare or like the one that the snapshot was taken of."""
        name = f"{PREFIX}-{os.getpid()}-{next(self._numbers)}"
        self._started.append(name)
        started = engine.start(self._client, name, snapshot or self._image, USER, self._public, publish=False)
        container = self._client.containers.get(name)
        if not snapshot:
            engine.execute(container, BARE)
            engine.execute(container, TRUST, *(each["pem"] for each in engine.trusted_by_this_machine()[0]))
        return Host(name, started.address, started.port, started.host_keys, container)

    def snapshot(self, host: Host) -> str:
        """An image of the host as it is now."""
        image = host.container.commit(repository=PREFIX, tag=host.name)
        self._images.append(str(image.id))
        return str(image.id)

    def inventory(
        self, *hosts: Host, settings: Mapping[str, object] | None = None, groups: Sequence[str] = GROUPS[PROFILE]
    ) -> Inventory:
        """An inventory begun as `dlhost init` does, then given all hosts; and the same for the peers.

        `settings` are variables on top of the benchmark's own.
        """
        name = f"bench{next(self._numbers)}"
        first = hosts[0]
        chosen = self._settings | dict(settings or {})
        new = NewInventory(name, first.address, USER, profile=PROFILE, settings=chosen)
        location = inventory_source.own_location(name)
        begun = write(location, new, first.host_keys, {CA: self.authority.certificate})
        for variable, secret in self.secrets.items():
            set_secret(name, variable, secret, None)
        own_keys = location.path / ".ssh" / "known_hosts"
        own_keys.write_text(_known_hosts((host.name, host) for host in hosts))
        _write_hosts(
            location.path / "hosts.yml", {host.name: self._variables(host, own_keys) for host in hosts}, groups
        )

        peers = self.directory / f"{name}-peers"
        peers.mkdir()
        known_hosts = peers / "known_hosts"
        # Paramiko knows a host by its address alone.
        known_hosts.write_text(
            _known_hosts((alias, host) for host in hosts for alias in (host.name, _as_known(host.address, host.port)))
        )
        # Finding the interpreter would cost the peer one more round trip.
        interpreter = {"ansible_python_interpreter": "/usr/bin/python3"}
        plain = {host.name: self._variables(host, known_hosts) | interpreter for host in hosts}
        _write_hosts(peers / "hosts.yml", plain, groups)
        listed = [(host.name, self._pyinfra_data(host, known_hosts)) for host in hosts]
        (peers / "inventory.py").write_text(f"hosts = {listed!r}\n")
        return Inventory(
            name=name,
            hosts=hosts,
            directory=location.path,
            vault_password_file=begun.vault_password,
            plain=peers / "hosts.yml",
            pyinfra=peers / "inventory.py",
            known_hosts=known_hosts,
        )

    def discard(self, *hosts: Host) -> None:
        """Remove hosts that are not needed any more."""
        for host in hosts:
            engine.remove(self._client, host.name)
            self._started.remove(host.name)

    def close(self) -> None:
        """Remove everything."""
        for name in self._started:
            engine.remove(self._client, name)
        for image in self._images:
            self._client.images.remove(image, force=True)

    def _variables(self, host: Host, known_hosts: Path) -> dict[str, Any]:
        return {
            "ansible_host": host.address,
            "ansible_port": host.port,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.key_file),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts} -o HostKeyAlias={host.name}",
        }

    def _pyinfra_data(self, host: Host, known_hosts: Path) -> dict[str, Any]:
        return {
            "ssh_hostname": host.address,
            "ssh_port": host.port,
            "ssh_user": USER,
            "ssh_key": str(self.key_file),
            "ssh_known_hosts_file": str(known_hosts),
            "ssh_strict_host_key_checking": "yes",
        }


@contextlib.contextmanager
def open_estate(release: str) -> Iterator[Estate]:
    """An estate in a directory of its own, with dlhost's own directories in it too.

    Raises:
        RefusedError: There is no container engine, or no image can be had.
    """
    client = engine.engine()
    image = engine.image(client, release)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-") as temporary:
        directory = Path(temporary)
        for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            os.environ[variable] = str(directory / variable.lower())
        estate = Estate(client, directory, image)
        estate.make_key()
        try:
            yield estate
        finally:
            estate.close()


def _settings() -> dict[str, object]:
    """Role variables that make every role do all of its work."""
    return {
        "system_ca_certificates": [{"name": "benchmark", "pem": _certificate()}],
        "system_ntp_servers": ["ntp.example.org"],
        "system_timezone": TIMEZONE,
        "ssh_hardening_match_users": [{"name": USER, "x11": True, "tcp_forwarding": "yes"}],
        # pyinfra's SSH library knows no post-quantum key exchange.
        "ssh_hardening_crypto": "compatible",
        "tls_names": [*NAMES],
    }


def _certificate() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dlhost benchmark")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _known_hosts(aliases: Iterable[tuple[str, Host]]) -> str:
    return "".join(f"{alias} {key}\n" for alias, host in aliases for key in host.host_keys)


def _as_known(address: str, port: int) -> str:
    return address if port == 22 else f"[{address}]:{port}"


def _write_hosts(path: Path, hosts: dict[str, dict[str, Any]], groups: Sequence[str]) -> None:
    children = {group: {"hosts": dict.fromkeys(hosts)} for group in groups}
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": children}}))
