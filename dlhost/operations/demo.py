"""A disposable host to try dlhost on: made, provisioned over real SSH, verified, and removed again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from dlhost.adapters import container, content, inventory_source, openssh, trust, vault
from dlhost.errors import ExitCode, RefusedError
from dlhost.operations.authority import take_trust_back
from dlhost.operations.init import write
from dlhost.operations.provision import Provisioned, provision
from dlhost.operations.run import Judged, Outside, Request
from dlhost.operations.verify import verify
from dlhost.values.inventory import Location
from dlhost.values.new_inventory import DEMO, NewInventory, Profile

if TYPE_CHECKING:
    from docker import DockerClient

USER = "demo"
KEY = ".ssh/id_ed25519"
# Only a directory with this file in it is ever removed.
MARK = ".made-by-dlhost-demo"


@dataclass(frozen=True, slots=True)
class Demo:
    """How the demo host came out; `verified` is None where it could not be provisioned."""

    location: Location
    provisioned: Provisioned
    verified: Judged | None


@dataclass(frozen=True, slots=True)
class Destroyed:
    """Whether there was anything of the demo, and the stores of this machine that trusted its authority."""

    was_there: bool
    trusted: tuple[trust.Step, ...] = ()


def demo(outside: Outside, say: Callable[[str], None], arguments: tuple[str, ...]) -> Demo:
    """Make the host unless it is there already, provision it, verify it.

    Raises:
        RefusedError: There is no container engine, no image can be had, or the demo's name is taken.
    """
    location = _own_location()
    client = container.engine()
    if location.path.exists() and client.containers.list(
        filters={"label": f"{container.LABEL}={container_name(location)}"}
    ):
        say(f"The demo host is there already; provisioning it again. Inventory: {location.path}")
    else:
        for step in destroy().trusted:
            if step.left:
                say(f"{step.store} trusts the authority of an earlier demo. To take that back: {step.left}")
        say("Making a host: a container with systemd and sshd. The first time, its image is made too (about a minute).")
        _make(client, location, say)
    request = Request("provision", DEMO, content.SITE, arguments=arguments)
    provisioned = provision(request, outside)
    if provisioned.exit_code not in {ExitCode.DONE, ExitCode.USER_MUST_ACT}:
        return Demo(location, provisioned, None)
    return Demo(location, provisioned, verify(Request("verify", DEMO, content.VERIFY, arguments=arguments), outside))


def destroy() -> Destroyed:
    """Remove the demo's container, inventory and vault password, and the trust in its authority.

    Raises:
        RefusedError: There is no container engine, or an inventory of the user's own has the demo's name.
        DlhostError: A command of the system failed that takes trust back; the demo is still there.
    """
    location = _own_location()
    client = container.engine()
    # The certificate goes with the inventory, and tells which trust is its.
    trusted = take_trust_back(location)
    removed = container.remove(client, container_name(location))
    if location.path.exists():
        vault.password_file(location).unlink(missing_ok=True)
        shutil.rmtree(location.path)
        removed = True
    return Destroyed(removed, tuple(trusted))


def container_name(location: Location) -> str:
    """The name of the demo's container; an engine may serve several people, each with a demo."""
    return f"dlhost-demo-{sha256(str(location.path).encode()).hexdigest()[:6]}"


def _own_location() -> Location:
    """The demo's inventory, whatever the working directory.

    Raises:
        RefusedError: An inventory of the user's own has its name, and would be taken for it.
    """
    own = inventory_source.own_location(DEMO)
    for location in inventory_source.locations():
        if location.name == DEMO and location.path != own.path:
            raise RefusedError(f"You have an inventory called {DEMO} in {location.path}. Rename it, or go elsewhere.")
    if own.path.exists() and not (own.path / MARK).exists():
        raise RefusedError(f"{own.path} was not made by `dlhost demo`. Rename it.")
    return own


def _make(client: DockerClient, location: Location, say: Callable[[str], None]) -> None:
    image = container.image(client)
    with tempfile.TemporaryDirectory() as directory:
        private, public = openssh.new_key(Path(directory) / "key", comment="dlhost demo")
    host = container.start(client, container_name(location), image, USER, public, publish=True)
    certificates, skipped = container.trusted_by_this_machine()
    for path in skipped:
        say(f"{path} holds no certificate in PEM form; the demo host does without it.")
    new = NewInventory(
        name=DEMO,
        address=host.address,
        user=USER,
        port=host.port,
        profile=Profile.CPU_ONLY,
        key_file=str(location.path / KEY),
        settings={"system_ca_certificates": certificates} if certificates else {},
        front=host.front,
    )
    try:
        write(location, new, host.host_keys, {KEY: private, f"{KEY}.pub": public, MARK: ""})
    except BaseException:
        container.remove(client, container_name(location))
        raise
