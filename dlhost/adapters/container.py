"""Disposable hosts in containers: systemd and a real sshd on Debian, by Docker's SDK.

The image is built on an official one where a registry answers, and from the distribution's own packages where none
does. Used by `dlhost demo` and by the tests.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlhost.adapters.network import LOOPBACK, free_port, unanswered
from dlhost.errors import RefusedError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

# Debian's version to its code name.
RELEASES = {"12": "bookworm", "13": "trixie"}
PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)
LABEL = "dlhost.host"
TRUSTED = Path("/usr/local/share/ca-certificates")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/=]+\n)+-----END CERTIFICATE-----")
BOOT_TIMEOUT_S = 60
INSTALL_ENGINE = "sudo apt-get install --no-install-recommends docker.io   (or https://docs.docker.com/engine/install)"


SSH, HTTPS = 22, 443


@dataclass(frozen=True, slots=True)
class ContainerHost:
    """A running container as a host: where its sshd answers, and its public host keys.

    `front` is where its HTTPS port answers, where that is not at the same address.
    """

    name: str
    address: str
    port: int
    host_keys: tuple[str, ...]
    front: str = ""


def engine() -> DockerClient:
    """The container engine.

    Raises:
        RefusedError: None answers; the message says how to get one.
    """
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env()
        client.ping()
    except DockerException:
        if shutil.which("dockerd") or shutil.which("docker"):
            fix = "Start it (sudo systemctl start docker), and let your user use it (sudo usermod -aG docker $USER)."
        else:
            fix = f"Install one: {INSTALL_ENGINE}"
        raise RefusedError(f"No container engine answers. {fix}") from None
    return client


def image(client: DockerClient, release: str = "13") -> str:
    """The name of an image of Debian with systemd and sshd, made on first use.

    Raises:
        RefusedError: It can be made neither on an official image nor from packages.
    """
    from docker.errors import ImageNotFound

    name = f"dlhost/debian:{release}"
    try:
        client.images.get(name)
    except ImageNotFound:
        failure = _build_on_official(client, release, name)
        if failure:
            _build_from_packages(client, release, name, failure)
    return name


def start(client: DockerClient, name: str, image_name: str, user: str, public_key: str, publish: bool) -> ContainerHost:
    """Start a host whose `user` may log in with the key and use sudo without a password.

    With `publish`, sshd and HTTPS have ports of this machine's loopback address too, which count where the container
    has no address that can be reached from here (Docker Desktop).

    Raises:
        RefusedError: The engine cannot run it, in the engine's own words.
    """
    from docker.errors import DockerException

    published = {port: free_port() for port in (SSH, HTTPS) if publish}
    try:
        container = _run(client, name, image_name, published)
        wait_for_boot(container)
        execute(container, ACCOUNT, user, public_key)
        lines = execute(container, "cat /etc/ssh/ssh_host_*_key.pub").splitlines()
        keys = tuple(" ".join(line.split()[:2]) for line in lines)
        address = address_of(container)
    except DockerException as error:
        raise RefusedError(f"The container engine cannot run {name}: {_said(error)}") from None
    if published and unanswered(address, SSH):
        return ContainerHost(name, LOOPBACK, published[SSH], keys, f"https://{LOOPBACK}:{published[HTTPS]}")
    return ContainerHost(name, address, SSH, keys)


def _run(client: DockerClient, name: str, image_name: str, published: Mapping[int, int]) -> Container:
    """Start it; `published` maps its ports to ports of this machine."""
    return client.containers.run(
        image_name,
        name=name,
        hostname=name,
        detach=True,
        labels={LABEL: name},
        cap_add=["SYS_ADMIN", "NET_ADMIN"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        # systemd keeps to the container's own subtree, which it finds only through the host's name space.
        cgroupns="host",
        volumes={cgroup_mount(client): {"bind": "/sys/fs/cgroup", "mode": "rw"}},
        tmpfs={"/run": "", "/tmp": "exec"},  # noqa: S108  a mount point in the container
        environment={"container": "docker"},
        stop_signal="SIGRTMIN+3",
        ports={f"{port}/tcp": (LOOPBACK, own) for port, own in published.items()},
    )


def _said(error: Exception) -> str:
    return " ".join(str(getattr(error, "explanation", None) or error).split())


def execute(container: Container, script: str, *arguments: str) -> str:
    """Run a shell script in the container as root; returns what it printed.

    Raises:
        RefusedError: It failed.
    """
    code, output = container.exec_run(["sh", "-euc", script, "sh", *arguments])
    text = str(output.decode("utf-8", "replace"))
    if code != 0:
        raise RefusedError(f"Setting up container {container.name} failed: {text.strip()}")
    return text


def remove(client: DockerClient, name: str) -> bool:
    """Remove a host that dlhost started; returns whether there was one.

    Raises:
        RefusedError: The engine cannot, in its own words.
    """
    from docker.errors import DockerException

    try:
        found = client.containers.list(all=True, filters={"label": f"{LABEL}={name}"})
        for container in found:
            container.remove(force=True, v=True)
    except DockerException as error:
        raise RefusedError(f"The container engine cannot remove {name}: {_said(error)}") from None
    return bool(found)


# Keys of its own: those in the image are everybody's.
ACCOUNT = """
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -A
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
echo "$1 ALL=(ALL) NOPASSWD: ALL" > /etc/sudoers.d/90-host-user
home=$(getent passwd "$1" | cut -d: -f6)
install -d -m 0700 -o "$1" -g "$1" "$home/.ssh"
printf '%s\\n' "$2" > "$home/.ssh/authorized_keys"
chown "$1:$1" "$home/.ssh/authorized_keys"
chmod 0600 "$home/.ssh/authorized_keys"
systemctl restart ssh
"""


def _build_on_official(client: DockerClient, release: str, name: str) -> str:
    """Build on Debian's official image; returns why it could not be done, or nothing."""
    from docker.errors import APIError, BuildError

    recipe = (
        f"FROM debian:{release}\n"
        "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "
        f"{' '.join(PACKAGES)} && rm -rf /var/lib/apt/lists/*\n"
        'CMD ["/lib/systemd/systemd"]\n'
    )
    try:
        client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True, forcerm=True)
    except (APIError, BuildError) as error:
        return " ".join(str(error).split())
    return ""


def _build_from_packages(client: DockerClient, release: str, name: str, failure: str) -> None:
    if shutil.which("mmdebstrap") is None:
        raise RefusedError(
            f"Debian's official image cannot be had ({failure}). "
            "To build one from packages instead: sudo apt-get install mmdebstrap"
        )
    if os.geteuid() != 0:
        raise RefusedError(f"Debian's official image cannot be had ({failure}), and building one needs root: use sudo.")
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "image.tar"
        command = [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            RELEASES[release],
            str(archive),
        ]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            last = (built.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RefusedError(f"mmdebstrap could not build Debian {release}: {last}")
        repository, tag = name.split(":")
        client.api.import_image(str(archive), repository=repository, tag=tag, changes=['CMD ["/lib/systemd/systemd"]'])


def cgroup_mount(client: DockerClient) -> str:
    """The engine's cgroup v2 tree, which on a machine of both versions lies beside the first's."""
    unified = "/sys/fs/cgroup/unified"
    return "/sys/fs/cgroup" if client.info().get("CgroupVersion") == "2" else unified


def wait_for_boot(container: Container) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    said = ""
    while time.monotonic() < deadline:
        _, output = container.exec_run(["systemctl", "is-active", "ssh", "ssh.socket"])
        said = output.decode("utf-8", "replace")
        if "active" in said.split():
            return
        time.sleep(0.2)
    raise RefusedError(f"Container {container.name} did not start its sshd within {BOOT_TIMEOUT_S} s: {said.strip()}")


def address_of(container: Container) -> str:
    container.reload()
    networks: dict[str, Any] = container.attrs["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def trusted_by_this_machine(directory: Path = TRUSTED) -> tuple[list[dict[str, str]], list[Path]]:
    """Certificates this machine's owner added to its trust, as system_ca_certificates, and the files that hold none.

    Where the network signs its own, a host needs them too.
    """
    found: dict[str, str] = {}
    skipped = []
    for path in sorted(directory.rglob("*.crt")):
        try:
            certificates = CERTIFICATE.findall(path.read_text(encoding="ascii", errors="replace"))
        except OSError:
            certificates = []
        if not certificates:
            skipped.append(path)
        # The role takes one certificate for each name, and names in lower case.
        name = re.sub(r"[^a-z0-9_.-]+", "-", path.stem.lower()).lstrip("_.-") or "ca"
        for certificate in certificates:
            names = (name, *(f"{name}-{number}" for number in range(2, len(found) + 3)))
            found[next(free for free in names if free not in found)] = f"{certificate}\n"
    return [{"name": name, "pem": pem} for name, pem in found.items()], skipped
