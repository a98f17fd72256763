"""The commands that are measured, each from a cold start: no connection is left open from the run before."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.end_state import USER, EndState
from benchmarks.estate import Host, Inventory
from dlhost.adapters.ansible_env import isolated_environment
from dlhost.adapters.content import SITE

PEER = Path(__file__).with_name("peer")
BIN = Path(sys.executable).parent
# What the wrapper gives ansible-playbook, and peer/ansible.cfg the peer.
FORKS = "20"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a contender's run ended."""

    changed: bool
    output: str


@dataclass(frozen=True, slots=True)
class Peers:
    """The other ways to bring an inventory's hosts to the end state."""

    inventory: Inventory
    end_state: Path

    @classmethod
    def of(cls, inventory: Inventory, state: EndState) -> Peers:
        """They read the end state from a file beside their inventories."""
        path = inventory.plain.with_name("end_state.json")
        path.write_text(state.document())
        return cls(inventory, path)

    def tasks(self, *options: str, expect: Sequence[int] = (0,)) -> Ran:
        """Plain Ansible with pipelining, and tasks of the number and kinds of the public roles for the same ground."""
        extra = ["--extra-vars", f"@{self.end_state}", *options]
        with _connections() as sockets:
            playbook = ["-i", str(self.inventory.plain), str(PEER / "site.yml"), *extra]
            return _playbook(playbook, _plain_settings(sockets), expect)

    def pyinfra(self) -> Ran:
        """pyinfra with the same operations."""
        command = [str(BIN / "pyinfra"), "-y", str(self.inventory.pyinfra), str(PEER / "deploy.py")]
        environment = {**os.environ, "DLHOST_END_STATE": str(self.end_state)}
        output = run(command, environment, directory=self.end_state.parent).stderr
        total = re.search(r"Grand total +\d+ +(\S+)", _plain(output))
        return Ran(total is None or total[1] != "-", output)


def dlhost(operation: str, inventory: Inventory, expect: Sequence[int] = (0,)) -> Ran:
    """`dlhost OPERATION -i INVENTORY`; the output is its JSON document."""
    consent = ["--yes"] if operation == "provision" else []
    done = run([str(BIN / "dlhost"), operation, "-i", inventory.name, "--json", *consent], os.environ, expect)
    changed = any(host["changed"] for host in json.loads(done.stdout)["hosts"])
    return Ran(changed, done.stdout)


def site(inventory: Inventory, playbook: str = SITE) -> Ran:
    """The same playbook by ansible-playbook alone, with dlhost's own settings for it; or a smaller one."""
    arguments = ["-i", str(inventory.directory), playbook, "--vault-password-file", str(inventory.vault_password_file)]
    with _connections() as sockets:
        return _playbook([*arguments, "--forks", FORKS], isolated_environment(sockets))


def shell_script(host: Host, inventory: Inventory, script: str) -> None:
    """The script as root over one new connection."""
    run([*ssh(host, inventory), "sudo sh -s"], os.environ, text=script)


def round_trip(host: Host, inventory: Inventory) -> None:
    """One new connection that does nothing."""
    run([*ssh(host, inventory), "true"], os.environ)


def ssh(host: Host, inventory: Inventory) -> list[str]:
    """ssh to the host, with a connection of its own."""
    options = {
        "BatchMode": "yes",
        "ControlPath": "none",
        "HostKeyAlias": host.name,
        "IdentityFile": inventory.plain.parents[1] / "key",
        "Port": host.port,
        "UserKnownHostsFile": inventory.known_hosts,
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", *words, f"{USER}@{host.address}"]


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    expect: Sequence[int] = (0,),
    text: str = "",
    directory: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Raises:
        RuntimeError: Its exit code is none of those expected.
    """
    done = subprocess.run(
        command, env=dict(environment), input=text, capture_output=True, text=True, check=False, cwd=directory
    )
    if done.returncode not in expect:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


@contextlib.contextmanager
def _connections() -> Iterator[Path]:
    """A directory for the sockets of multiplexed connections, which are closed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="dlb-"))
    try:
        yield directory
    finally:
        for socket in directory.iterdir():
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "-"], capture_output=True, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _plain_settings(control_path_dir: Path) -> dict[str, str]:
    """The peer's own settings, whatever ANSIBLE_* variables lie about."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(PEER / "ansible.cfg"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_path_dir),
    }


def _playbook(arguments: Sequence[str], environment: Mapping[str, str], expect: Sequence[int] = (0,)) -> Ran:
    done = run([str(BIN / "ansible-playbook"), *arguments], environment, expect)
    changed = any(int(number) for number in re.findall(r"\bchanged=(\d+)", _plain(done.stdout)))
    return Ran(changed, done.stdout)


def _plain(output: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", output)
