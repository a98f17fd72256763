"""The state that dlhost's roles bring a host to, read from a provisioned host, and given to every contender."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlhost.adapters.ansible_env import content_root
from dlhost.adapters.container import execute

if TYPE_CHECKING:
    from docker.models.containers import Container

ON_HOST = Path(__file__).with_name("on_host.py")
USER = "rig"
# What the roles ensure beside the files and packages of their manifest.
BOOTSTRAP = ("ca-certificates", "python3", "sudo")
JUPYTER = f"dlhost-jupyter@{USER}.service"
# systemd-timesyncd does not start in a container.
STARTED = ("apt-daily.timer", "apt-daily-upgrade.timer", "ssh.service", "nginx.service", JUPYTER)
ENABLED = (*STARTED, "systemd-timesyncd.service")
TIMEZONE = "Europe/Berlin"
GROUP = "dlusers"
# As every host of the benchmark is called, wherever it is reached: relays and copies would change its certificate.
NAMES = ("rig.example.org", "localhost", "127.0.0.1")
FRONT = f"https://127.0.0.1/jupyter/{USER}/login"
ENVIRONMENT = "/opt/dlhost/jupyter"
NOTEBOOKS = f"/home/{USER}/notebooks"
FRONT_TIMEOUT_S = 60
TLS_KEY, TLS_CERTIFICATE = "/etc/dlhost/tls/key.pem", "/etc/dlhost/tls/cert.pem"

# The pip of a new environment knows its own authorities only, not those that the host trusts besides.
PIP_TRUST = "PIP_CERT=/etc/ssl/certs/ca-certificates.crt"

# Made on each host, so not the same on any two, and what only dlhost itself reads.
OWN = (TLS_KEY, TLS_CERTIFICATE, "/etc/dlhost/services.d/")
# What dlhost makes up anew on each host, within its files: the password's hash, and the word for an answer of nginx.
MADE_UP = r"argon2:\S+|\b[0-9a-f]{32}\b"
# What each file is for, by a part of its path: a contender's tasks name files by these words.
PURPOSES = {
    "apt": "/etc/apt/apt.conf.d/",
    "needrestart": "/etc/needrestart/",
    "clock": "/etc/systemd/timesyncd.conf.d/",
    "certificate": "/usr/local/share/ca-certificates/",
    "sshd": "/etc/ssh/sshd_config.d/00-",
    "sshd_match": "/etc/ssh/sshd_config.d/01-",
    "jupyter_unit": "/etc/systemd/system/dlhost-jupyter@",
    "gpu_unit": "/etc/systemd/system/dlhost-jupyter-gpu",
    "jupyter_config": f"/etc/dlhost/jupyter/{USER}/jupyter_server_config.py",
    "jupyter_password": f"/etc/dlhost/jupyter/{USER}/password",
    "site": "/etc/nginx/sites-available/",
    "index_page": "/etc/dlhost/nginx_proxy/index",
    "unavailable_page": "/etc/dlhost/nginx_proxy/unavailable",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A file or directory; mode is octal."""

    path: str
    mode: str
    owner: str
    group: str
    content: str = ""


@dataclass(frozen=True, slots=True)
class EndState:
    """Everything that a contender must bring about.

    `files` are by purpose, `links` are path to target, `distributions` what the Python environment holds, name to
    version, and `lock` the pip requirements it comes from.
    """

    files: Mapping[str, Place]
    directories: Sequence[Place]
    links: Mapping[str, str]
    packages: Sequence[str]
    distributions: Mapping[str, str]
    lock: str
    bootstrap: Sequence[str] = BOOTSTRAP
    enabled: Sequence[str] = ENABLED
    started: Sequence[str] = STARTED
    timezone: str = TIMEZONE
    group: str = GROUP
    jupyter: str = JUPYTER
    environment: str = ENVIRONMENT
    tls_key: str = TLS_KEY
    tls_certificate: str = TLS_CERTIFICATE
    names: Sequence[str] = NAMES

    def document(self) -> str:
        """As JSON, for contenders that are processes of their own."""
        return json.dumps({"end_state": {**asdict(self), "self_sign": self.self_sign()}}, indent=1)

    def await_front(self, container: Container) -> None:
        """Wait until Jupyter's login page comes through the proxy.

        Raises:
            RuntimeError: It does not.
        """
        if failure := _ask(container, "await_front", FRONT, FRONT_TIMEOUT_S):
            raise RuntimeError(failure)

    def require(self, container: Container, name: str) -> None:
        """Raises RuntimeError where a contender of that name did not bring the host here."""
        self.await_front(container)
        if lacking := _ask(container, "differences", asdict(self), MADE_UP):
            raise RuntimeError(f"{name} left the host without {', '.join(lacking)}.")

    def self_sign(self) -> str:
        """A shell line that makes the host's key, and a certificate that it signs itself."""
        names = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in self.names)
        key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
        name = f"-subj /CN={self.names[0]} -addext subjectAltName={names}"
        return f"openssl req -x509 -days 397 {key} {name} -keyout {self.tls_key} -out {self.tls_certificate}"

    def shell_script(self) -> str:
        """The least that brings a bare host here: one apt transaction, every file written once, no questions asked."""
        lines = ["set -eu", "export DEBIAN_FRONTEND=noninteractive"]
        lines += [f"install -d {_rights(place)} {shlex.quote(place.path)}" for place in self.directories]
        for file in self.files.values():
            lines += [f"install -D {_rights(file)} /dev/stdin {shlex.quote(file.path)} <<'END-OF-FILE'"]
            lines += [file.content.removesuffix("\n"), "END-OF-FILE"]
        packages = sorted({*self.bootstrap, *self.packages})
        lines += [
            "apt-get -q update",
            f"apt-get -q -y install --no-install-recommends {' '.join(packages)}",
            "update-ca-certificates",
            f"getent group {self.group} || groupadd --system {self.group}",
            f"timedatectl set-timezone {self.timezone}",
            f"mkdir -p $(dirname {self.tls_key})",
            self.self_sign(),
            f"python3 -m venv {self.environment}",
            f"export {PIP_TRUST}",
            f"{self.environment}/bin/pip -q install --no-deps --require-hashes -r /dev/stdin <<'END-OF-FILE'",
            self.lock.removesuffix("\n"),
            "END-OF-FILE",
            *(f"ln -s {target} {path}" for path, target in self.links.items()),
            "systemctl daemon-reload",
            f"systemctl enable {' '.join(self.enabled)}",
            f"systemctl start {' '.join(self.started)}",
            "sshd -t",
            "systemctl reload ssh nginx",
            "",
        ]
        return "\n".join(lines)


def capture(container: Container) -> EndState:
    """Read it from a host that dlhost provisioned.

    Raises:
        RuntimeError: The roles own a file that no contender would write.
    """
    found = _ask(container, "capture", ENVIRONMENT, NOTEBOOKS)
    files: dict[str, Place] = {}
    for place in (Place(**fields) for fields in found["files"]):
        purposes = [purpose for purpose, part in PURPOSES.items() if part in place.path]
        if place.path.startswith(OWN):
            continue
        if len(purposes) != 1 or purposes[0] in files:
            raise RuntimeError(f"{place.path} has no purpose of its own in benchmarks/end_state.py.")
        files[purposes[0]] = place
    if missing := PURPOSES.keys() - files.keys():
        raise RuntimeError(f"The roles wrote no file for {', '.join(sorted(missing))}.")
    return EndState(
        files=files,
        directories=[Place(**fields) for fields in found["directories"]],
        # The distribution's own example site is not of the roles.
        links={path: target for path, target in found["links"].items() if target == files["site"].path},
        packages=found["packages"],
        distributions=found["distributions"],
        lock=(content_root() / "roles" / "jupyter" / "files" / "jupyter.txt").read_text(),
    )


def _rights(place: Place) -> str:
    return f"-m {place.mode} -o {place.owner} -g {place.group}"


def _ask(container: Container, question: str, *arguments: object) -> Any:
    """What a function of on_host.py answers there."""
    script = 'exec /usr/bin/python3 -c "$1" "$2"'
    return json.loads(execute(container, script, ON_HOST.read_text(), json.dumps([question, arguments])))
