"""The end state as a deploy of pyinfra's, in its own operations."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

from pyinfra.context import config
from pyinfra.operations import apt, files, server, systemd

config.SUDO = True


def deploy(end_state: dict[str, Any]) -> None:
    """Declare everything, as one would in a deploy file."""
    written = {
        purpose: files.put(
            name=f"Write {file['path']}", src=io.StringIO(file["content"]), dest=file["path"], mode=file["mode"][-3:]
        )
        for purpose, file in end_state["files"].items()
    }
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
    for unit in end_state["enabled"]:
        systemd.service(name=f"Enable {unit}", service=unit, enabled=True, running=unit in end_state["started"] or None)
    systemd.service(
        name="Reload the SSH server",
        service="ssh.service",
        reloaded=True,
        _if=[written["sshd"].did_change, written["sshd_match"].did_change],
    )


deploy(json.loads(Path(os.environ["DLHOST_END_STATE"]).read_text())["end_state"])
