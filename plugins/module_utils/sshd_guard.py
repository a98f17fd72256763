"""The way back of one change of sshd: armed before the change, disarmed by the login that proves it.

Whoever renames the kept files has the word: the timer's script and the confirming run cannot both win.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import owned_files
from ansible_collections.dlhost.host.plugins.module_utils.sshd_host import (
    SOCKET_DROP_IN,
    RefusedError,
    Unit,
    must,
    run,
)

STATE = Path("/var/lib/dlhost/ssh_hardening")
PENDING, REVERTING, CONFIRMED = STATE / "pending", STATE / "reverting", STATE / "confirmed"
SCRIPT = STATE / "revert.sh"
# Two units: the one that a boot starts before sshd could not wait for sshd's reload.
TIMER = "dlhost-sshd-revert.timer"
BOOT_UNIT = "dlhost-sshd-revert-at-boot.service"
BOOT_UNIT_FILE = Path("/etc/systemd/system", BOOT_UNIT)

BOOT_UNIT_TEXT = f"""\
# Written by dlhost, role ssh_hardening, while a change of sshd's configuration waits for the login that proves it.
[Unit]
Description=Put sshd's configuration back unless a login has proved the new one
DefaultDependencies=no
After=local-fs.target
Before={{unit}} ssh.socket

[Service]
Type=oneshot
ExecStart=/bin/sh {SCRIPT}

[Install]
WantedBy=multi-user.target
"""


def is_armed() -> bool:
    """Whether a change waits for its proof, or its taking back was cut off."""
    return PENDING.exists() or REVERTING.exists()


def arm(paths: list[Path], unit: Unit, timeout_s: int) -> None:
    """Keep what is at `paths` and write the way back; after timeout_s, or at a boot, the host takes it. 0: never.

    Raises:
        RefusedError: systemd does not do its part.
    """
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=STATE) as made:
        backup = Path(made, "backup")
        backup.mkdir()
        kept = {path for path in paths if path.is_file()}
        for index, path in enumerate(paths):
            if path in kept:
                shutil.copy2(path, backup / str(index))
                status = path.stat()
                os.chown(backup / str(index), status.st_uid, status.st_gid)
        SCRIPT.write_text(revert_script(paths, kept, unit))
        os.sync()
        backup.rename(PENDING)
    if timeout_s:
        BOOT_UNIT_FILE.write_text(BOOT_UNIT_TEXT.format(unit=unit.name))
        must("systemctl", "daemon-reload")
        must("systemctl", "enable", "--quiet", BOOT_UNIT)
        must(
            "systemd-run",
            "--quiet",
            "--collect",
            f"--on-active={timeout_s}s",
            "--timer-property=AccuracySec=1s",
            f"--unit={TIMER}",
            "/bin/sh",
            str(SCRIPT),
        )


def disarm() -> None:
    """The change stays. What is left of the way back is removed by its own last lines."""
    try:
        PENDING.rename(CONFIRMED)
    except FileNotFoundError:
        raise RefusedError(
            "The host has just taken the change back. Raise ssh_hardening_guard_timeout_s and run again."
        ) from None
    run("/bin/sh", str(SCRIPT))


def take_back() -> None:
    """Put everything back now.

    Raises:
        RefusedError: That failed; what was kept stays for the next boot or run.
    """
    answer = run("/bin/sh", str(SCRIPT))
    if is_armed():
        raise RefusedError(f"The old sshd configuration could not be put back: {' '.join(answer.stderr.split())}")


def revert_script(paths: list[Path], kept: set[Path], unit: Unit) -> str:
    """A plain sh script that puts `paths` back: from REVERTING/N where kept, else by removing what is there now."""
    restore = []
    for index, path in enumerate(paths):
        place, beside = shlex.quote(str(path)), shlex.quote(f"{path}.dlhost-revert")
        if path in kept:
            restore.append(f"cp -p {REVERTING}/{index} {beside} && mv -f {beside} {place} || left=yes")
        else:
            restore.append(f"rm -f {place} || left=yes")
    if unit.socket:
        load = f"systemctl stop {unit.name}; systemctl restart ssh.socket"
    else:
        load = f"systemctl reload {unit.name} || systemctl restart {unit.name}"
    serving = "ssh.socket" if unit.socket else unit.name
    return "\n".join(
        [
            "#!/bin/sh",
            "# Written by dlhost, role ssh_hardening: puts sshd back as it was before a change that no login proved.",
            # A rename is atomic: this script or the confirming run has the word, never both.
            f"[ -d {REVERTING} ] || mv -T {PENDING} {REVERTING} 2>/dev/null",
            f"if [ -d {REVERTING} ]; then",
            "    left=",
            *(f"    {command}" for command in restore),
            "    systemctl daemon-reload",
            # While the host boots, sshd has not been started yet and reads the restored files by itself.
            f"    if systemctl is-active --quiet {serving}; then {load}",
            '    else case "$(systemctl is-system-running)" in',
            f"        initializing|starting) ;; *) systemctl start {serving};; esac",
            "    fi",
            # On a full disk, say, the kept files are for the next boot or run.
            '    [ -z "$left" ] || exit 1',
            f"    rm -rf {REVERTING}",
            "    echo 'sshd is as it was: the change was not proved by a login.'",
            "fi",
            f"rm -f {BOOT_UNIT_FILE} /etc/systemd/system/multi-user.target.wants/{BOOT_UNIT}",
            f"systemctl stop {TIMER} 2>/dev/null",
            "systemctl daemon-reload",
            f"rm -rf {STATE}",
            f"rmdir {STATE.parent} {owned_files.MANIFEST.parent} {SOCKET_DROP_IN.parent} 2>/dev/null || true",
            "",
        ]
    )
