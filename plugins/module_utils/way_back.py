"""The way back of a change that could cost the login: armed before the change, disarmed by the login that proves it.

Whoever renames the kept files has the word: the timer's script and the confirming run cannot both win.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import owned_files, way_back_record
from ansible_collections.dlhost.host.plugins.module_utils.service_host import UNIT_DIRECTORY, RefusedError, must, run

STATE = Path("/var/lib/dlhost")

BOOT_UNIT_TEXT = """\
# Written by dlhost, role {role}, while a change waits for the login that proves it.
[Unit]
Description=Put back {subject} unless a login has proved the new one
DefaultDependencies=no
After=local-fs.target
Before={before}

[Service]
Type=oneshot
ExecStart=/bin/sh {script}

[Install]
WantedBy=multi-user.target
"""


@dataclasses.dataclass(frozen=True)
class PutBack:
    """What has the host use the files that are back: lines of sh, which say left=yes where one must be tried again.

    A boot comes to the files `before` these units read them. `directories` go where nothing is left in them.
    """

    lines: list[str]
    before: str
    directories: list[Path] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class WayBack:
    """The one way back of a role; `name` is in its units' names, `subject` is what it puts back."""

    role: str
    name: str
    subject: str

    @property
    def state(self) -> Path:
        return Path(STATE, self.role)

    @property
    def pending(self) -> Path:
        return self.state / "pending"

    @property
    def reverting(self) -> Path:
        return self.state / "reverting"

    @property
    def script(self) -> Path:
        return self.state / "revert.sh"

    # Two units: the one that a boot starts before its service could not wait for the service's reload.
    @property
    def timer(self) -> str:
        return f"dlhost-{self.name}-revert.timer"

    @property
    def boot_unit(self) -> str:
        return f"dlhost-{self.name}-revert-at-boot.service"

    def is_armed(self) -> bool:
        """Whether a change waits for its proof, or its taking back was cut off."""
        return self.pending.exists() or self.reverting.exists()

    @contextlib.contextmanager
    def change(self, staged: dict[Path, Path], goes: list[Path], put_back: PutBack, timeout_s: int) -> Iterator[None]:
        """Swap files in and others away with the way back armed; whatever fails from then on has it taken.

        After timeout_s, or at a boot, the host takes it by itself unless the change is confirmed; 0: it stays.

        Raises:
            RefusedError: Something failed; the host is as it was.
        """
        try:
            self._arm([*staged, *goes], put_back, timeout_s)
            owned_files.swap(staged)
            for path in goes:
                path.unlink()
            yield
        except BaseException as error:
            owned_files.discard(staged)
            self.take_back()
            if isinstance(error, Exception):
                raise RefusedError(f"{error} The host is as it was.") from None
            raise
        if not timeout_s:
            self.disarm()

    def require_armed(self, timeout_s: int) -> None:
        """Raises RefusedError where the host has taken the change back before its login came."""
        if not self.is_armed():
            raise RefusedError(
                "The new login works, but it came after the host had taken the change back "
                f"({timeout_s} s). Raise {self.role}_guard_timeout_s and run again."
            )

    def disarm(self) -> None:
        """The change stays. What is left of the way back is removed by its own last lines."""
        try:
            self.pending.rename(self.state / "confirmed")
        except FileNotFoundError:
            raise RefusedError(
                f"The host has just taken the change back. Raise {self.role}_guard_timeout_s and run again."
            ) from None
        run("/bin/sh", str(self.script))

    def take_back(self) -> None:
        """Put everything back now.

        Raises:
            RefusedError: That failed; what was kept stays for the next boot or run.
        """
        answer = run("/bin/sh", str(self.script))
        # The timer's script, where it waited meanwhile: its last lines would remove the way back of the next change.
        run("systemctl", "stop", f"{self.timer.removesuffix('.timer')}.service")
        if self.is_armed():
            raise RefusedError(f"The host could not put back {self.subject}: {' '.join(answer.stderr.split())}")

    def _arm(self, paths: list[Path], put_back: PutBack, timeout_s: int) -> None:
        """Keep what is at `paths`, and write the way back."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="new-", dir=self.state) as made:
            backup = Path(made, "backup")
            backup.mkdir()
            # Other roles may record what they own while this change waits.
            owned = {role: entry for role, entry in owned_files.read_manifest().items() if role == self.role}
            Path(backup, "record.json").write_bytes(owned_files.manifest_file(owned).content)
            Path(backup, "record.py").write_text(inspect.getsource(way_back_record))
            paths = [path for path in paths if path != owned_files.MANIFEST]
            kept = {path for path in paths if path.is_file()}
            for index, path in enumerate(paths):
                if path in kept:
                    shutil.copy2(path, backup / str(index))
                    status = path.stat()
                    os.chown(backup / str(index), status.st_uid, status.st_gid)
            # It gets its name once it is whole: what fails from now on runs what has that name.
            script = Path(made, self.script.name)
            script.write_text(self.revert_script(paths, kept, put_back))
            os.sync()
            script.rename(self.script)
            backup.rename(self.pending)
        if timeout_s:
            Path(UNIT_DIRECTORY, self.boot_unit).write_text(
                BOOT_UNIT_TEXT.format(role=self.role, subject=self.subject, before=put_back.before, script=self.script)
            )
            must("systemctl", "daemon-reload")
            must("systemctl", "enable", "--quiet", self.boot_unit)
            must(
                "systemd-run",
                "--quiet",
                "--collect",
                f"--on-active={timeout_s}s",
                "--timer-property=AccuracySec=1s",
                f"--unit={self.timer}",
                "/bin/sh",
                str(self.script),
            )

    def revert_script(self, paths: list[Path], kept: set[Path], put_back: PutBack) -> str:
        """A plain sh script that puts `paths` back: from reverting/N where kept, else by removing what is there now."""
        restore = []
        for index, path in enumerate(paths):
            place, beside = shlex.quote(str(path)), shlex.quote(f"{path}.dlhost-revert")
            if path in kept:
                restore.append(f"cp -p {self.reverting}/{index} {beside} && mv -f {beside} {place} || left=yes")
            else:
                restore.append(f"rm -f {place} || left=yes")
        record = shlex.join([sys.executable, "-I", f"{self.reverting}/record.py", str(owned_files.MANIFEST), self.role])
        restore.append(f"{record} {self.reverting}/record.json || left=yes")
        emptied = [self.state.parent, owned_files.MANIFEST.parent, *put_back.directories]
        return "\n".join(
            [
                "#!/bin/sh",
                f"# Written by dlhost, role {self.role}: takes back a change that no login proved.",
                # Of a part of a function the shell runs nothing.
                "take_back() {",
                # The timer's script and a run's come one after the other.
                f"exec 9<{self.state.parent} && flock 9",
                # A rename is atomic: this script or the confirming run has the word, never both.
                f"[ -d {self.reverting} ] || mv -T {self.pending} {self.reverting} 2>/dev/null",
                f"if [ -d {self.reverting} ]; then",
                "    left=",
                *(f"    {command}" for command in restore),
                "    systemctl daemon-reload",
                *put_back.lines,
                # On a full disk, say, the kept files are for the next boot or run.
                '    [ -z "$left" ] || exit 1',
                f"    rm -rf {self.reverting}",
                f'    echo "{self.subject} is back, since no login proved the change."',
                "fi",
                f"rm -f {UNIT_DIRECTORY}/{self.boot_unit} {UNIT_DIRECTORY}/multi-user.target.wants/{self.boot_unit}",
                f"systemctl stop {self.timer} 2>/dev/null",
                "systemctl daemon-reload",
                f"rm -rf {self.state}",
                f"rmdir {' '.join(map(str, emptied))} 2>/dev/null || true",
                "}",
                "take_back",
                "",
            ]
        )


SSHD_WAY_BACK = WayBack("ssh_hardening", "sshd", "the old sshd configuration")
FIREWALL_WAY_BACK = WayBack("firewall", "firewall", "the old firewall")


def is_any_armed() -> bool:
    """Whether any role's change waits for its proof."""
    return SSHD_WAY_BACK.is_armed() or FIREWALL_WAY_BACK.is_armed()


def settle() -> None:
    """Take back what no login has proved, of whichever role: it would put back a firewall that shuts a later sshd out.

    Raises:
        RefusedError: That failed.
    """
    for way_back in (SSHD_WAY_BACK, FIREWALL_WAY_BACK):
        if way_back.is_armed():
            way_back.take_back()
