"""One look at what a host is doing, by its sh over OpenSSH."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from dlhost.adapters import openssh
from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact
from dlhost.values.status import Status, status_from

SCRIPT = Path(__file__).with_name("status.sh")
# Longer than the script waits for nvidia-smi.
TIMEOUT_S = 20


def look(host: Host, control_path_dir: Path, units: Sequence[str], ask_gpus: bool) -> Status:
    """Look at one host, whose status says so where it cannot be reached."""
    head = f"units={shlex.quote(' '.join(units))} ask_gpus={'yes' if ask_gpus else 'no'}\n"
    answer = openssh.ask(host, control_path_dir, head + SCRIPT.read_text(encoding="utf-8"), TIMEOUT_S)
    if answer.contact is not Contact.REACHED:
        return Status(host.name, error=answer.why)
    return status_from(host.name, answer.printed)
