"""The state that dlhost's roles bring a host to, read from a provisioned host, and given to every contender."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dlhost.adapters.container import execute

if TYPE_CHECKING:
    from docker.models.containers import Container

# What the roles ensure beside the files and packages of their manifest.
BOOTSTRAP = ("ca-certificates", "python3", "sudo")
ENABLED = ("apt-daily.timer", "apt-daily-upgrade.timer", "ssh.service", "systemd-timesyncd.service")
# systemd-timesyncd does not start in a container.
STARTED = ("apt-daily.timer", "apt-daily-upgrade.timer", "ssh.service")
TIMEZONE = "Europe/Berlin"
GROUP = "dlusers"

# What each file is for, by a part of its path: a contender's tasks name files by these words.
PURPOSES = {
    "apt": "/etc/apt/apt.conf.d/",
    "needrestart": "/etc/needrestart/",
    "clock": "/etc/systemd/timesyncd.conf.d/",
    "certificate": "/usr/local/share/ca-certificates/",
    "sshd": "/etc/ssh/sshd_config.d/00-",
    "sshd_match": "/etc/ssh/sshd_config.d/01-",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of root's; mode is octal."""

    path: str
    content: str
    mode: str


@dataclass(frozen=True, slots=True)
class EndState:
    """Everything that a contender must bring about; `files` are by purpose."""

    files: dict[str, File]
    packages: Sequence[str]
    bootstrap: Sequence[str] = BOOTSTRAP
    enabled: Sequence[str] = ENABLED
    started: Sequence[str] = STARTED
    timezone: str = TIMEZONE
    group: str = GROUP

    def document(self) -> str:
        """As JSON, for contenders that are processes of their own."""
        return json.dumps({"end_state": asdict(self)}, indent=1)

    def differences(self, container: Container) -> list[str]:
        """What of it a host lacks."""
        script = 'exec /usr/bin/python3 -c "$1" "$2"'
        return execute(container, script, _DIFFERENCES, self.document()).splitlines()

    def shell_script(self) -> str:
        """The least that brings a bare host here: one apt transaction, every file written once, no questions asked."""
        lines = ["set -eu", "export DEBIAN_FRONTEND=noninteractive"]
        for file in self.files.values():
            lines += [
                f"install -D -m {file.mode} /dev/stdin {shlex.quote(file.path)} <<'END-OF-FILE'",
                file.content.removesuffix("\n"),
                "END-OF-FILE",
            ]
        packages = sorted({*self.bootstrap, *self.packages})
        return "\n".join(
            [
                *lines,
                "apt-get -q update",
                f"apt-get -q -y install --no-install-recommends {' '.join(packages)}",
                "update-ca-certificates",
                f"getent group {self.group} || groupadd --system {self.group}",
                f"timedatectl set-timezone {self.timezone}",
                f"systemctl enable {' '.join(self.enabled)}",
                f"systemctl start {' '.join(self.started)}",
                "sshd -t",
                "systemctl reload ssh",
                "",
            ]
        )


def capture(container: Container) -> EndState:
    """Read it from a host that dlhost provisioned.

    Raises:
        RuntimeError: The roles own a file that no contender would write.
    """
    found = json.loads(execute(container, 'exec /usr/bin/python3 -c "$1"', _CAPTURE))
    files: dict[str, File] = {}
    for path, content, mode in found["files"]:
        purposes = [purpose for purpose, part in PURPOSES.items() if part in path]
        if len(purposes) != 1 or purposes[0] in files:
            raise RuntimeError(f"{path} has no purpose of its own in benchmarks/end_state.py.")
        files[purposes[0]] = File(path, content, mode)
    if missing := PURPOSES.keys() - files.keys():
        raise RuntimeError(f"The roles wrote no file for {', '.join(sorted(missing))}.")
    return EndState(files, found["packages"])


_CAPTURE = """
import json, os, pathlib, stat
roles = json.loads(pathlib.Path("/etc/dlhost/managed.json").read_text())["roles"].values()
paths = sorted({path for role in roles for path in role["files"]})
files = [(path, open(path).read(), "%04o" % stat.S_IMODE(os.stat(path).st_mode)) for path in paths]
print(json.dumps({"files": files, "packages": sorted({name for role in roles for name in role["packages"]})}))
"""

_DIFFERENCES = r"""
import grp, json, os, pathlib, stat, subprocess, sys
wanted = json.loads(sys.argv[1])["end_state"]
for file in wanted["files"].values():
    path = pathlib.Path(file["path"])
    if not path.exists() or path.read_text() != file["content"]:
        print("content of", path)
    elif "%04o" % stat.S_IMODE(path.stat().st_mode) != file["mode"]:
        print("mode of", path)
for name in {*wanted["packages"], *wanted["bootstrap"]}:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
    if subprocess.run(query, capture_output=True, text=True).stdout != "installed":
        print("package", name)
for question, units in (("is-enabled", wanted["enabled"]), ("is-active", wanted["started"])):
    for unit in units:
        if subprocess.run(["systemctl", "--quiet", question, unit]).returncode:
            print("not", question, unit)
pem = "".join(wanted["files"]["certificate"]["content"].split())
if pem not in "".join(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text().split()):
    print("certificate in the bundle")
if not os.readlink("/etc/localtime").endswith(wanted["timezone"]):
    print("time zone")
if wanted["group"] not in {group.gr_name for group in grp.getgrall()}:
    print("group", wanted["group"])
"""
