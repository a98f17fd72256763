"""Whether accounts could log in with a key, found out before anything changes."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import sshd
from ansible_collections.dlhost.host.plugins.module_utils.service_host import AGAIN, RefusedError
from ansible_collections.dlhost.host.plugins.module_utils.sshd_host import account, fingerprints

SHADOW = Path("/etc/shadow")
SUDOERS = Path("/etc/sudoers")
# What Debian, Ubuntu and others give root's rights by.
ADMIN_GROUPS = {"sudo", "admin", "wheel"}
FIRST_USER = 1000  # Below are the system's own accounts, but for root.
NO_SHELLS = {"nologin", "false"}


def require_key_login(user: str, effective: sshd.Effective, key_comes: bool) -> None:
    """Refuse while the account could not log in with a key. `key_comes`: this run brings it one.

    Raises:
        RefusedError: One reason and its remedy.
    """
    entry = account(user)
    closed_by = sshd.may_log_in(user, _groups(entry), effective)
    if closed_by:
        raise RefusedError(f"{closed_by} would shut out {user}, the account of this very connection. Let it in {AGAIN}")
    _require_open_account(user, effective)
    if _keys_come_from_a_program(effective):
        return  # The login probe is the proof.
    paths = sshd.key_files(effective, user, entry.pw_dir, entry.pw_uid)
    found = _with_keys(paths)
    if not found and not key_comes:
        where = " or ".join(map(str, paths)) or "no file at all"
        raise RefusedError(
            f"{user} has no authorized key ({where}), so key-only login would lock this connection's account out. "
            f"Run ssh-copy-id {user}@HOST or set ssh_hardening_authorized_keys, {AGAIN}"
        )
    if effective.get("strictmodes") == ["yes"]:
        for path in found or paths[:1]:
            _require_strict_modes(path, entry)


def require_admins_keys(
    with_key: set[str], before: Callable[[str], sshd.Effective], after: Callable[[str], sshd.Effective]
) -> None:
    """Refuse where an administrator who comes in by password today would not come in any more.

    `before` and `after` say what sshd makes of each account now and then; `with_key` are those known to have one.

    Raises:
        RefusedError: It names them all, and the remedy.
    """
    keyless = []
    for entry in admins():
        user = entry.pw_name
        if user in with_key or not sshd.accepts_passwords(before(user)):
            continue
        effective = after(user)
        # An account that the inventory shuts out, or lets in by password, is its own decision.
        if sshd.accepts_passwords(effective) or sshd.may_log_in(user, _groups(entry), effective):
            continue
        paths = sshd.key_files(effective, user, entry.pw_dir, entry.pw_uid)
        if not _keys_come_from_a_program(effective) and not _with_keys(paths):
            keyless.append(user)
    if keyless:
        raise RefusedError(
            f"{', '.join(keyless)} may use sudo here and log in by password, without any authorized key, so key-only "
            "login would lock them out. Run ssh-copy-id for them, set ssh_hardening_authorized_keys, or allow it by "
            f"ssh_hardening_allow_keyless_admins: true {AGAIN}"
        )


def admins() -> list[pwd.struct_passwd]:
    """Accounts besides root that sudo makes root, with a shell and a password of their own."""
    users, groups = sudoers(path.read_text(errors="replace") for path in _sudoers_files())
    groups |= ADMIN_GROUPS
    passwords = {row[0]: row[1] for row in _shadow()}
    return [
        entry
        for entry in pwd.getpwall()
        if entry.pw_uid >= FIRST_USER
        and (entry.pw_name in users or groups.intersection(_groups(entry)))
        and Path(entry.pw_shell).name not in NO_SHELLS
        # An empty one, or one that no input gives, opens no login.
        and passwords.get(entry.pw_name, "")[:1] not in ("", "!", "*")
    ]


def sudoers(texts: Iterator[str]) -> tuple[set[str], set[str]]:
    """Users and groups of the plain lines of sudoers(5), such as `alice ALL=(ALL) ALL`."""
    found = [match for text in texts for match in re.findall(r"(?m)^\s*(%?)([\w][\w.-]*)\s+ALL\s*=", text)]
    return {name for mark, name in found if not mark}, {name for mark, name in found if mark}


def _sudoers_files() -> list[Path]:
    """As sudo reads its directory: no name with a dot or a tilde at its end."""
    more = [path for path in sorted(SUDOERS.with_name("sudoers.d").glob("*")) if not re.search(r"\.|~$", path.name)]
    return [path for path in [SUDOERS, *more] if path.is_file()]


def _groups(entry: pwd.struct_passwd) -> list[str]:
    """The names of the account's groups; a group without a name is in no list."""
    names = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return names


def _keys_come_from_a_program(effective: sshd.Effective) -> bool:
    return effective.get("authorizedkeyscommand", ["none"]) != ["none"]


def _with_keys(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and fingerprints(path.read_text(errors="replace"))]


def _shadow() -> list[list[str]]:
    """The rows of shadow(5) that name an account; NIS marks (+) and damaged rows name none."""
    rows = [row.split(":") for row in SHADOW.read_text(errors="replace").splitlines()]
    return [row for row in rows if len(row) >= 8 and not row[0].startswith(("+", "-"))]


def _require_open_account(user: str, effective: sshd.Effective) -> None:
    """shadow(5): fields 3 (last change), 8 (expiry), in days since 1970."""
    for name, password, changed, _minimum, _maximum, _warn, _inactive, expires, *_rest in _shadow():
        if name != user:
            continue
        if expires.isdigit() and int(expires) <= time.time() // 86400:
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
