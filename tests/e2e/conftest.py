"""Real hosts for the end-to-end tests: containers with systemd and sshd, reached as a user reaches a machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from playwright.sync_api import Playwright, sync_playwright

from dlhost.adapters import container as engine

ROOT = Path(__file__).parents[2]
USER = "rig"
# The second user of a workspace.
OTHER = "ada"


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
        return [result for play in self.events["plays"] for task in play["tasks"] for result in task["hosts"].values()]

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

    def ssh(
        self, command: str = "true", *options: str, user: str = USER, display: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """One new login with the key alone, unless options say otherwise."""
        return self._run_ssh([command], *options, user=user, display=display)

    def tunnel(self, user: str = USER) -> subprocess.CompletedProcess[str]:
        """What the host's own sshd says through a local forwarding."""
        return self._run_ssh([], user=user, forward=f"127.0.0.1:{self.port}")

    def _run_ssh(
        self, command: list[str], *options: str, user: str, display: str = "", forward: str = ""
    ) -> subprocess.CompletedProcess[str]:
        arguments = [word for option in (*options, *self._ssh_options()) for word in ("-o", option)]
        if forward:
            arguments += ["-W", forward]
        return subprocess.run(
            ["ssh", "-F", "none", *arguments, f"{user}@{self.address}", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "DISPLAY": display},
        )

    def files(self) -> str:
        """Every file of the host that a run could have a reason to change, with its rights and times."""
        return self.execute(
            "find /etc /usr /opt /root /home /var/lib /srv -xdev -type f -newer /etc/hostname "
            "! -path '/var/lib/systemd/*' ! -path '*/.ansible/*' -printf '%p %m %u %T@\\n' | sort;"
            "find /root /home -name '.ansible*' | sort"
        )

    def restart(self) -> None:
        """Reboot, as far as a container can."""
        self.container.restart(timeout=20)
        engine.wait_for_boot(self.container)
        self.address = engine.address_of(self.container)
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

    def play(self, tasks: list[dict[str, object]], *arguments: str, timeout_s: float = 300) -> Play:
        """Run tasks on this host."""
        command, environment = self.command(tasks, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)
        output = done.stdout + done.stderr
        start = done.stdout.find("{")
        return Play(done.returncode, json.loads(done.stdout[start:]) if start >= 0 else {}, output)

    def cut_off(self, tasks: list[dict[str, object]], seen: str) -> None:
        """Begin to run tasks on this host, and kill that with -9 once test(1) finds there what is to be `seen`."""
        command, environment = self.command(tasks)
        run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.execute(f"timeout 60 sh -c 'until [ {seen} ]; do sleep 0.02; done'")
        # Ansible's workers and ssh's masters are sessions of their own; what they all have is this run's environment.
        mark = environment["ANSIBLE_SSH_CONTROL_PATH_DIR"].encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        run.wait()

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
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of all processes that these tests run in."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextlib.contextmanager
def alone(shared: Path) -> Iterator[None]:
    """While what all processes use is made, the others wait for it."""
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection path that holds this checkout."""
    path = tmp_path_factory.mktemp("hosts") / "collections"
    namespace = path / "ansible_collections" / "dlhost"
    namespace.mkdir(parents=True)
    (namespace / "host").symlink_to(ROOT)
    return path


@pytest.fixture
def make_host(collections: Path, shared: Path) -> Iterator[Callable[..., Host]]:
    """A factory of hosts, each with an account that has a key and sudo without a password."""
    yield from _factory(collections, shared)


@pytest.fixture(scope="module")
def module_host(collections: Path, shared: Path) -> Iterator[Callable[..., Host]]:
    """The same for a host that the tests of a module share."""
    yield from _factory(collections, shared)


@pytest.fixture(scope="session")
def session_host(collections: Path, shared: Path) -> Iterator[Callable[..., Host]]:
    """The same for a host that all tests share."""
    yield from _factory(collections, shared)


def _factory(collections: Path, shared: Path) -> Iterator[Callable[..., Host]]:
    client = engine.engine()
    made: list[str] = []

    def make(release: str = "13", image: str = "") -> Host:
        made.append(f"dlhost-e2e-{uuid.uuid4().hex[:8]}")
        with alone(shared):
            base = image or engine.image(client, release)
        return _start(client, collections, made[-1], base)

    yield make
    for name in made:
        engine.remove(client, name)


def _start(client: Any, collections: Path, name: str, image: str) -> Host:
    directory = collections.parent / name
    directory.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "id_ed25519"], check=True)
    public_key = (directory / "id_ed25519.pub").read_text().strip()
    started = engine.start(client, name, image, USER, public_key, publish=False)
    (directory / "known_hosts").write_text("".join(f"{name} {key}\n" for key in started.host_keys))
    return Host(name, client.containers.get(name), directory, started.address)


@pytest.fixture
def host(make_host: Callable[..., Host], request: pytest.FixtureRequest) -> Host:
    """One host; `@pytest.mark.parametrize("host", ["12", "13"], indirect=True)` names its Debian releases."""
    return make_host(getattr(request, "param", "13"))


@dataclass(frozen=True)
class Installed:
    """dlhost as a user has it: the wheel in an environment of its own, with an own home, away from the checkout."""

    program: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "XDG_", "DLHOST_"))
        }
        return {**kept, "HOME": str(self.home), "COLUMNS": "200"}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One command to its end, with nobody at the terminal."""
        return subprocess.run(
            [self.program, *arguments],
            cwd=self.home,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """One command in the background."""
        return subprocess.Popen(
            [self.program, *arguments],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def document(self, *arguments: str) -> dict[str, Any]:
        """The JSON document that a command prints."""
        done = self.run(*arguments, "--json")
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    @property
    def inventories(self) -> Path:
        return self.home / ".config" / "dlhost" / "inventories"

    @property
    def runs(self) -> Path:
        return self.home / ".local" / "state" / "dlhost" / "runs"

    def begin(self, name: str, host: Host, *, workspace: bool = False) -> Path:
        """An inventory for a host, by `dlhost init`; returns its directory.

        Without a workspace the host is in no group: the roles of every host are enough for most tests, and fast.
        """
        fingerprint = host.execute("ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        where = ("--host", host.address, "--port", str(host.port), "--user", USER, "--key", str(host.key_file))
        done = self.run("init", name, *where, "--fingerprint", fingerprint)
        assert done.returncode == 0, done.stderr
        directory = self.inventories / name
        if not workspace:
            hosts = directory / "hosts.yml"
            hosts.write_text(hosts.read_text().partition("  # Groups say")[0])
        return directory


@pytest.fixture(scope="session")
def wheel(shared: Path) -> Path:
    """The wheel, built from this checkout."""
    directory = shared / "dist"
    with alone(shared):
        if not directory.exists():
            command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(directory), str(ROOT)]
            subprocess.run(command, check=True, capture_output=True)
    return next(directory.glob("*.whl"))


@pytest.fixture(scope="session")
def program(wheel: Path, shared: Path) -> Path:
    """The dlhost that `pipx install` of the wheel alone gives."""
    directory = shared / "pipx"
    places = {
        "PIPX_HOME": str(directory / "home"),
        "PIPX_BIN_DIR": str(directory / "bin"),
        "PIPX_MAN_DIR": str(directory),
    }
    installed = directory / "bin" / "dlhost"
    with alone(shared):
        if not installed.exists():
            command = [sys.executable, "-m", "pipx", "install", "--python", sys.executable, str(wheel)]
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, **places}, cwd=shared)
    return installed


@pytest.fixture
def dlhost(program: Path, tmp_path: Path) -> Installed:
    """A user's dlhost; every test is a user of its own."""
    home = tmp_path / "home"
    home.mkdir()
    return Installed(program, home)


@pytest.fixture(scope="session")
def provisioned_image(collections: Path, program: Path, shared: Path) -> Iterator[str]:
    """An image of a host that was provisioned with the defaults: saves the packages' download in every further test."""
    name = f"dlhost/test:{uuid.uuid5(uuid.NAMESPACE_URL, str(shared)).hex[:8]}"
    users = shared / "image"
    own_mark = users / str(os.getpid())
    with alone(shared):
        users.mkdir(exist_ok=True)
        if not any(users.iterdir()):
            _make_image(collections, program, name)
        own_mark.touch()
    yield name
    with alone(shared):
        own_mark.unlink()
        if not any(users.iterdir()):
            engine.engine().images.remove(name, force=True)


def _make_image(collections: Path, program: Path, image: str) -> None:
    client = engine.engine()
    name = f"dlhost-e2e-{uuid.uuid4().hex[:8]}"
    home = collections.parent / "home-of-the-image"
    home.mkdir(exist_ok=True)
    try:
        host = _start(client, collections, name, engine.image(client))
        user = Installed(program, home)
        user.begin("rig", host)
        done = user.run("provision", "-i", "rig", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        repository, tag = image.split(":")
        host.container.commit(repository=repository, tag=tag)
    finally:
        engine.remove(client, name)


@dataclass(frozen=True)
class Workspace:
    """A provisioned host with two users, and what its owner knows of it."""

    host: Host
    dlhost: Installed
    authority: Path
    password: str

    inventory: ClassVar[str] = "rig"

    def set(self, **variables: object) -> None:
        """What the inventory says besides what every test wants."""
        certificates, _ = engine.trusted_by_this_machine()
        common = {"jupyter_users": [{"name": USER}, {"name": OTHER}], "system_ca_certificates": certificates}
        directory = self.dlhost.inventories / self.inventory / "group_vars" / "all"
        (directory / "test.yml").write_text(json.dumps({**common, **variables}))

    def url(self, user: str) -> str:
        """Where the user's Jupyter is, as `dlhost open` says."""
        done = self.dlhost.run("open", "jupyter", "-i", self.inventory, "--user", user, "--print")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def checks(self, *command: str, code: int) -> dict[str, str]:
        """The result of every check, by role.id."""
        document = self.dlhost.document(*command, "-i", self.inventory)
        assert document["exit_code"] == code, document
        return {check["id"]: check["result"] for check in document["hosts"][0]["checks"]}

    def require(self, code: int, *command: str) -> str:
        """What a command says about the inventory, and that it ends with this exit code."""
        done = self.dlhost.run(*command, "-i", self.inventory)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="session")
def workspace(program: Path, session_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One for all tests: what one of them does to it, it undoes."""
    dlhost = Installed(program, tmp_path_factory.mktemp("owner"))
    host = session_host("13")
    host.execute(f"useradd --create-home --shell /bin/bash {OTHER}")
    dlhost.begin(Workspace.inventory, host, workspace=True)
    authority = dlhost.home / "ca.crt"
    password = dlhost.run("secrets", "show", "-i", Workspace.inventory, "jupyter_password").stdout.strip()
    workspace = Workspace(host, dlhost, authority, password)
    workspace.require(0, "ca", "export", str(authority))
    workspace.set()
    workspace.require(0, "provision", "--yes")
    return workspace


@pytest.fixture
def chosen(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace whose owner chooses something that the other tests do not."""
    yield workspace
    workspace.set()
    workspace.require(0, "provision")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """What starts browsers. Not for longer than a module's tests, since as long as it runs nothing else loops."""
    with sync_playwright() as started:
        yield started
