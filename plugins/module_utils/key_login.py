"""Whether an account could log in with a key, found out before anything changes."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import sshd
from ansible_collections.dlhost.host.plugins.module_utils.sshd_host import RefusedError, account, fingerprints

AGAIN = "and run again; nothing was changed."


def require_key_login(user: str, effective: sshd.Effective, key_comes: bool) -> None:
    """Refuse while the account could not log in with a key. `key_comes`: this run brings it one.

    Raises:
        RefusedError: One reason and its remedy.
    """
    entry = account(user)
    groups = [grp.getgrgid(gid).gr_name for gid in os.getgrouplist(user, entry.pw_gid)]
    closed_by = sshd.may_log_in(user, groups, effective)
    if closed_by:
        raise RefusedError(f"{closed_by} would shut out {user}, the account of this very connection. Let it in {AGAIN}")
    _require_open_account(user, effective)
    if effective.get("authorizedkeyscommand", ["none"]) != ["none"]:
        return  # Keys come from a program: the login probe is the proof.
    paths = sshd.key_files(effective, user, entry.pw_dir, entry.pw_uid)
    found = [path for path in paths if path.is_file() and fingerprints(path.read_text(errors="replace"))]
    if not found and not key_comes:
        where = " or ".join(map(str, paths)) or "no file at all"
        raise RefusedError(
            f"{user} has no authorized key ({where}), so key-only login would lock this connection's account out. "
            f"Run ssh-copy-id {user}@HOST or set ssh_hardening_authorized_keys, {AGAIN}"
        )
    if effective.get("strictmodes") == ["yes"]:
        for path in found or paths[:1]:
            _require_strict_modes(path, entry)


def _require_open_account(user: str, effective: sshd.Effective) -> None:
    """shadow(5): fields 3 (last change), 8 (expiry), in days since 1970."""
    rows = [row.split(":") for row in Path("/etc/shadow").read_text().splitlines()]
    for name, password, changed, _minimum, _maximum, _warn, _inactive, expires, *_rest in rows:
        if name != user:
            continue
        if expires and int(expires) <= time.time() // 86400:
            raise RefusedError(f"The account {user} has expired. Run chage -E -1 {user} on the host {AGAIN}")
        if changed == "0":
            raise RefusedError(f"{user} must change the password at the next login. Do so {AGAIN}")
        if password.startswith("!") and effective.get("usepam") == ["no"]:
            raise RefusedError(
                f"The account {user} is locked, which sshd refuses without PAM. "
                f"Run usermod -p '*' {user} on the host {AGAIN}"
            )


def _require_strict_modes(path: Path, entry: pwd.struct_passwd) -> None:
    """What sshd's StrictModes asks of a key file and each directory from it up to the home."""
    home = Path(entry.pw_dir)
    up = [path, *path.parents]
    for part in up[: up.index(home) + 1] if home in up else up:
        if not part.exists():
            continue
        status = part.stat()
        if status.st_uid not in (0, entry.pw_uid) or stat.S_IMODE(status.st_mode) & 0o022:
            raise RefusedError(
                f"sshd would not trust the keys of {entry.pw_name}, because {part} can be written by others. "
                f"Run chown {entry.pw_name} {part} && chmod go-w {part} on the host {AGAIN}"
            )
