"""The end state as a deploy of pyinfra's, in its own operations."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

from pyinfra.api.operation import OperationMeta
from pyinfra.context import config, host
from pyinfra.facts.pip import PipPackages
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd
from pyinfra.operations.util import any_changed

config.SUDO = True
LOCK = "/opt/jupyter-requirements.txt"


def deploy(end_state: dict[str, Any]) -> None:
    """Declare everything, as one would in a deploy file."""
    written = {purpose: _write(file) for purpose, file in end_state["files"].items()}
    apt.packages(
        name="Install the packages",
        packages=sorted({*end_state["bootstrap"], *end_state["packages"]}),
        no_recommends=True,
        update=True,
        cache_time=3600,
    )
    server.shell(
        name="Renew the bundle of trusted certificates",
        commands="update-ca-certificates",
        _if=written["certificate"].did_change,
    )
    server.timezone(name="Set the time zone", timezone=end_state["timezone"])
    server.group(name="Create the group", group=end_state["group"], system=True)
    jupyter = [written[purpose] for purpose in ("jupyter_unit", "gpu_unit", "jupyter_config", "jupyter_password")]
    jupyter += _environment(end_state)
    for place in end_state["directories"]:
        path, mode = place["path"], place["mode"][-3:]
        files.directory(name=f"Create {path}", path=path, mode=mode, user=place["owner"], group=place["group"])
    front = [written["site"], *_certificate(end_state)]
    front += [files.link(name=f"Link {path}", path=path, target=target) for path, target in end_state["links"].items()]
    systemd.daemon_reload(name="Have systemd read its units", _if=any_changed(*jupyter))
    for unit in end_state["enabled"]:
        systemd.service(name=f"Enable {unit}", service=unit, enabled=True, running=unit in end_state["started"] or None)
    # A server of notebooks cannot reload.
    systemd.service(name="Restart Jupyter", service=end_state["jupyter"], restarted=True, _if=any_changed(*jupyter))
    systemd.service(name="Reload nginx", service="nginx.service", reloaded=True, _if=any_changed(*front))
    ssh = any_changed(written["sshd"], written["sshd_match"])
    systemd.service(name="Reload the SSH server", service="ssh.service", reloaded=True, _if=ssh)


def _write(file: dict[str, str]) -> OperationMeta:
    path, text, mode = file["path"], io.StringIO(file["content"]), file["mode"][-3:]
    return files.put(name=f"Write {path}", src=text, dest=path, mode=mode, user=file["owner"], group=file["group"])


def _environment(end_state: dict[str, Any]) -> list[OperationMeta]:
    """pyinfra's own pip operations check no hashes, so its fact says what is missing and pip itself installs."""
    pip = f"{end_state['environment']}/bin/pip"
    lock = files.put(name="Write the requirements", src=io.StringIO(end_state["lock"]), dest=LOCK)
    present = {_canonical(name): versions for name, versions in host.get_fact(PipPackages, pip=pip).items()}
    if all(present.get(_canonical(name)) == {version} for name, version in end_state["distributions"].items()):
        return [lock]
    commands = [
        f"test -x {pip} || python3 -m venv {end_state['environment']}",
        f"PIP_CERT=/etc/ssl/certs/ca-certificates.crt {pip} install --quiet --no-deps --require-hashes -r {LOCK}",
    ]
    return [lock, server.shell(name="Install Jupyter", commands=commands)]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _certificate(end_state: dict[str, Any]) -> list[OperationMeta]:
    """The key and the certificate, made where they are missing, do not belong together, or expire within 30 days."""
    key, certificate = end_state["tls_key"], end_state["tls_certificate"]
    look = (
        f'test "$(openssl pkey -in {key} -pubout 2>&1)" = "$(openssl x509 -in {certificate} -noout -pubkey 2>&1)" && '
        f"openssl x509 -in {certificate} -noout -checkend 2592000 || true"
    )
    if host.get_fact(Command, look):
        return []
    directory = files.directory(name="Create the directory of the certificate", path=str(Path(key).parent))
    return [directory, server.shell(name="Make a certificate", commands=end_state["self_sign"])]


deploy(json.loads(Path(os.environ["DLHOST_END_STATE"]).read_text())["end_state"])
