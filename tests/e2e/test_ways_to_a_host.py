"""The user's own ways to a host, through its real sshd: tunnels that stay, copies, and what an editor is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlhost.adapters import network
from tests.e2e.conftest import USER, Host, Installed

pytestmark = pytest.mark.e2e

SERVICE = {"name": "pages", "user": USER, "port": 8899, "path": "/pages/"}


@pytest.fixture(scope="module")
def host(module_host: Callable[..., Host]) -> Host:
    """A host that offers a service to its user, and to nobody from outside."""
    host = module_host("13")
    services = json.dumps({"schema_version": 1, "services": [SERVICE]})
    host.execute(
        "mkdir -p /etc/dlhost/services.d /srv/www/pages; echo hello > /srv/www/pages/index.html;"
        f"echo '{services}' > /etc/dlhost/services.d/pages.json;"
        f"systemd-run --quiet python3 -m http.server --bind 127.0.0.1 --directory /srv/www {SERVICE['port']}"
    )
    return host


@pytest.fixture(scope="module")
def user(host: Host, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Whoever has the host in an inventory called rig; in a home with a short path, as homes are.

    Another, called away, has a host that is not there.
    """
    user = Installed(program, tmp_path_factory.mktemp("u"))
    user.begin("rig", host)
    away = user.inventories / "away"
    away.mkdir()
    (away / "hosts.yml").write_text(
        f"all: {{hosts: {{away: {{ansible_host: 127.0.0.1, ansible_port: {network.free_port()}}}}}}}"
    )
    yield user
    user.run("tunnel", "-i", "rig", "--stop")


def told(user: Installed, *arguments: str, code: int = 0, **variables: str) -> tuple[str, str]:
    done = user.run(*arguments, "-i", "rig", **variables)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return str(answer.read().decode())


def masters(user: Installed) -> list[str]:
    """The command lines of the ssh processes that keep this user's tunnels."""
    shown = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if line.startswith("ssh ") and str(user.home / ".local") in line]


def test_a_services_tunnel_stays_until_it_is_stopped(user: Installed, host: Host) -> None:
    url = told(user, "tunnel", "pages", "--background")[0].strip()
    assert page(url) == "hello\n"

    again, said = told(user, "tunnel", "pages", "--background")
    assert (again.strip(), ", as before;" in said) == (url, True)
    (command,) = masters(user)

    assert told(user, "tunnel", "--stop") == (f"Ended: pages ({USER}) on rig.\n", "")
    assert masters(user) == []
    assert list((user.home / ".local/state/dlhost/tunnels").iterdir()) == []
    assert str(host.key_file) in command


def test_a_tunnel_whose_host_went_away_is_made_anew(user: Installed, host: Host) -> None:
    url = told(user, "tunnel", "pages", "--background")[0].strip()
    host.execute("pkill -f '^sshd(-session)?: rig'")
    for _ in range(100):
        if not masters(user):
            break
        subprocess.run(["sleep", "0.1"], check=True)

    url = told(user, "tunnel", "pages", "--background")[0].strip()
    assert page(url) == "hello\n"
    assert len(masters(user)) == 1
    told(user, "tunnel", "pages", "--stop")


def test_any_ports_stay_forwarded_too(user: Installed) -> None:
    port = network.free_port()
    forward = f"127.0.0.1:{port}:127.0.0.1:{SERVICE['port']}"
    told(user, "tunnel", "-L", forward, "--background")
    assert page(f"http://127.0.0.1:{port}/pages/") == "hello\n"

    taken = f"127.0.0.1:{port}:127.0.0.1:22"
    _, said = told(user, "tunnel", "-L", taken, "--background", code=2)
    assert said == (
        f"The tunnel cannot begin at [127.0.0.1]:{port} of this machine: Address already in use. Choose another port.\n"
    )
    assert len(masters(user)) == 1
    told(user, "tunnel", "-L", forward, "--stop")
    assert masters(user) == []


def test_a_host_that_does_not_answer_leaves_no_tunnel(user: Installed) -> None:
    done = user.run("tunnel", "-i", "away", "-L", "127.0.0.1:0:localhost:22", "--background")
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1 and "cannot be reached at 127.0.0.1 port" in done.stderr
    assert list((user.home / ".local/state/dlhost/tunnels").iterdir()) == []


def test_files_and_directories_go_there_and_back(user: Installed, host: Host) -> None:
    data = user.home / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "a b.txt").write_text("first\n")
    (user.home / "c:d").write_text("second\n")

    told(user, "cp", "-r", "data", "./c:d", ":")
    assert (
        host.execute(f"cd /home/{USER} && cat 'data/deep/a b.txt' c:d && stat -c %U c:d") == f"first\nsecond\n{USER}\n"
    )
    host.execute(f"echo third > '/home/{USER}/data/deep/a b.txt'")
    told(user, "cp", "rig:data/deep/a b.txt", ":c:d", "data")
    assert [(data / name).read_text() for name in ("a b.txt", "c:d")] == ["third\n", "second\n"]


def test_a_copy_that_fails_says_how(user: Installed) -> None:
    assert "No such file" in told(user, "cp", ":missing", ".", code=1)[1]
    assert told(user, "cp", "missing", ":", code=2)[1] == "There is no missing here.\n"
    away = user.run("cp", "-i", "away", ":x", ".")
    assert away.returncode == 4, away.stderr


def test_an_editor_reaches_the_host_by_its_name_alone(user: Installed) -> None:
    config, ssh = user.home / ".ssh" / "config", user.home / "bin" / "ssh"
    for path in (config, ssh):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    config.write_text(f"Host other\n  Include {user.home}/.config/dlhost/ssh_config\n")
    # OpenSSH asks the user database for a home, not the environment.
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    ssh.chmod(0o755)
    search = f"{ssh.parent}:{user.environment['PATH']}"

    assert "ssh does not read it yet." in told(user, "connect", "vscode", "--write", code=6, PATH=search)[1]
    told(user, "connect", "vscode", "--write", "--yes", PATH=search)

    by_name = subprocess.run(
        ["ssh", "-F", config, "-o", "BatchMode=yes", "dlhost-rig", "id -un"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (by_name.returncode, by_name.stdout) == (0, f"{USER}\n"), by_name.stderr
    before = config.read_text()
    told(user, "connect", "vscode", "--write", PATH=search)
    assert config.read_text() == before
