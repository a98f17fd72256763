"""Real hosts for the end-to-end tests: a container with systemd and sshd, reached over TCP as a user reaches a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import container as engine
from dlhost.errors import RefusedError

ROOT = Path(__file__).parents[2]
USER = "rig"


@dataclass
class Play:
    """A finished run of one playbook against one host."""

    code: int
    events: dict[str, Any]
    output: str

    @property
    def changed(self) -> int:
        return int(next(iter(self.events["stats"].values()))["changed"])

    @property
    def failed(self) -> bool:
        return self.code != 0

    def results(self) -> list[dict[str, Any]]:
        """Every task's result, in order."""
        return [
            result for play in self.events["plays"] for task in play["tasks"] for result in task["hosts"].values()
        ]

    def message(self) -> str:
        """What the failed task said."""
        return next(str(result.get("msg", "")) for result in self.results() if result.get("failed"))


@dataclass
class Host:
    """One host and everything needed to reach it: `directory` is an inventory with its key and known_hosts."""

    name: str
    container: Any
    directory: Path
    address: str
    port: int = 22
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def key_file(self) -> Path:
        return self.directory / "id_ed25519"

    def execute(self, script: str) -> str:
        """Run a shell script in the container as root, past sshd."""
        return engine.execute(self.container, script)

    def ssh(self, command: str = "true", *options: str, user: str = USER) -> subprocess.CompletedProcess[str]:
        """One new login with the key alone, unless options say otherwise."""
        arguments = [word for option in (*options, *self._ssh_options()) for word in ("-o", option)]
        return subprocess.run(
            ["ssh", "-F", "none", *arguments, f"{user}@{self.address}", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def restart(self) -> None:
        """Reboot, as far as a container can."""
        self.container.restart(timeout=20)
        engine._wait_for_boot(self.container)
        self.address = engine._address(self.container)
        self.write_inventory()

    def write_inventory(self) -> Path:
        """hosts.json, as `dlhost init` would write it."""
        variables = {
            "ansible_host": self.address,
            "ansible_port": self.port,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.key_file),
            "ansible_ssh_common_args": " ".join(f"-o {option}" for option in self._known_host()),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_become": True,
            **self.settings,
        }
        inventory = self.directory / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": {self.name: variables}}}))
        return inventory

    def command(self, tasks: list[dict[str, object]], *arguments: str) -> tuple[list[str], dict[str, str]]:
        """The ansible-playbook command line, and its environment, that runs the tasks on this host."""
        playbook = self.directory / "play.json"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.directory.parent / "collections"),
            "ANSIBLE_CONFIG": str(ROOT / "dlhost" / "adapters" / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            # A connection left open from one run must not carry the next one.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": f"/tmp/dlhost-{uuid.uuid4().hex[:8]}",  # noqa: S108
        }
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(self.write_inventory()), str(playbook), *arguments]
        return command, environment

    def play(self, tasks: list[dict[str, object]], *arguments: str) -> Play:
        """Run tasks on this host."""
        command, environment = self.command(tasks, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
        output = done.stdout + done.stderr
        start = done.stdout.find("{")
        return Play(done.returncode, json.loads(done.stdout[start:]) if start >= 0 else {}, output)

    def _known_host(self) -> list[str]:
        return [f"UserKnownHostsFile={self.directory / 'known_hosts'}", f"HostKeyAlias={self.name}"]

    def _ssh_options(self) -> list[str]:
        return [
            f"Port={self.port}",
            f"IdentityFile={self.key_file}",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "ConnectTimeout=10",
            *self._known_host(),
        ]


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection path that holds this checkout."""
    path = tmp_path_factory.mktemp("hosts") / "collections"
    namespace = path / "ansible_collections" / "dlhost"
    namespace.mkdir(parents=True)
    (namespace / "host").symlink_to(ROOT)
    return path


@pytest.fixture
def make_host(collections: Path) -> Iterator[Callable[..., Host]]:
    """A factory of hosts, each with an account that has a key and sudo without a password."""
    try:
        client = engine.engine()
    except RefusedError as error:
        pytest.skip(str(error))
    made: list[str] = []

    def make(release: str = "13") -> Host:
        name = f"dlhost-e2e-{uuid.uuid4().hex[:8]}"
        directory = collections.parent / name
        directory.mkdir()
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "id_ed25519"], check=True
        )
        made.append(name)
        public_key = (directory / "id_ed25519.pub").read_text().strip()
        started = engine.start(client, name, engine.image(client, release), USER, public_key, publish=False)
        (directory / "known_hosts").write_text("".join(f"{name} {key}\n" for key in started.host_keys))
        return Host(name, client.containers.get(name), directory, started.address)

    yield make
    for name in made:
        engine.remove(client, name)


@pytest.fixture
def host(make_host: Callable[..., Host], request: pytest.FixtureRequest) -> Host:
    """One host; `@pytest.mark.parametrize("host", ["12", "13"], indirect=True)` names its Debian releases."""
    return make_host(getattr(request, "param", "13"))
