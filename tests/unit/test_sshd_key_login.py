"""Who would be locked out, from the host's own tables of accounts."""

from __future__ import annotations

import importlib
import pwd
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

NAME = "ansible_collections.dlhost.host.plugins.module_utils.key_login"
PASSWORDS: dict[str, list[str]] = {"passwordauthentication": ["yes"]}
KEYS: dict[str, list[str]] = {"authorizedkeysfile": [".ssh/authorized_keys"]}


def entry(name: str, uid: int, shell: str = "/bin/bash") -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", f"/home/{name}", shell))


@pytest.fixture
def key_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module on a host whose tables lie under tmp_path; only `staff` (50) and `sudo` (27) are named groups."""
    monkeypatch.syspath_prepend(str(collections_path()))
    module = importlib.import_module(NAME)
    accounts = [entry("root", 0), entry("olga", 1000), entry("ivan", 1001), entry("robot", 1002, "/usr/sbin/nologin")]
    groups = {27: "sudo", 50: "staff"}
    members = {"olga": [1000, 27], "robot": [27]}

    def group(gid: int) -> Any:
        return type("Group", (), {"gr_name": groups[gid]})

    monkeypatch.setattr(module.pwd, "getpwall", lambda: accounts)
    monkeypatch.setattr(module.grp, "getgrgid", group)
    monkeypatch.setattr(module.os, "getgrouplist", lambda name, gid: members.get(name, [gid]))
    monkeypatch.setattr(module, "SHADOW", tmp_path / "shadow")
    monkeypatch.setattr(module, "SUDOERS", tmp_path / "sudoers")
    rows = [f"{name}:$y$hash:20000:0:99999:7:::" for name in ("root", "olga", "ivan", "robot")]
    module.SHADOW.write_text("\n".join(["+", "+::::::::", "short:row", *rows, ""]))
    module.SUDOERS.write_text("# %staff ALL=(ALL) ALL\nroot ALL=(ALL) ALL\n")
    (tmp_path / "sudoers.d").mkdir()
    return module


def names(module: Any) -> list[str]:
    return [admin.pw_name for admin in module.admins()]


def test_an_administrator_has_a_group_a_shell_and_a_password(key_login: Any) -> None:
    assert names(key_login) == ["olga"]
    key_login.SHADOW.write_text("olga:!$y$hash:20000:0:99999:7:::\n")
    assert names(key_login) == []


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("90-ivan", "ivan ALL=(ALL:ALL) NOPASSWD: ALL\n", True),
        ("90-ivan", "\tivan\tALL = (ALL) ALL", True),
        ("90-ivan.bak", "ivan ALL=(ALL) ALL\n", False),
        ("90-ivan~", "ivan ALL=(ALL) ALL\n", False),
        ("90-ivan", "#ivan ALL=(ALL) ALL\n", False),
    ],
)
def test_sudoers_is_read_as_sudo_reads_it(key_login: Any, file: str, text: str, found: bool) -> None:
    key_login.SUDOERS.with_name("sudoers.d").joinpath(file).write_text(text)
    assert ("ivan" in names(key_login)) is found


def test_groups_of_sudoers_count(key_login: Any) -> None:
    assert key_login.sudoers(iter(["%staff ALL=(ALL) ALL\n"])) == (set(), {"staff"})


@pytest.mark.parametrize(
    ("before", "after", "with_key", "refused"),
    [
        (PASSWORDS, KEYS, set(), True),
        ({"kbdinteractiveauthentication": ["yes"], "usepam": ["yes"]}, KEYS, set(), True),
        (PASSWORDS, KEYS, {"olga"}, False),
        (PASSWORDS, PASSWORDS, set(), False),
        (KEYS, KEYS, set(), False),
        (PASSWORDS, {**KEYS, "allowusers": ["ivan"]}, set(), False),
        (PASSWORDS, {**KEYS, "authorizedkeyscommand": ["/usr/bin/keys"]}, set(), False),
    ],
)
def test_only_who_loses_the_login_is_named(
    key_login: Any, before: dict[str, list[str]], after: dict[str, list[str]], with_key: set[str], refused: bool
) -> None:
    def require() -> None:
        key_login.require_admins_keys(with_key, lambda _user: before, lambda _user: after)

    if refused:
        with pytest.raises(key_login.RefusedError, match=r"^olga may use sudo .*allow_keyless_admins"):
            require()
    else:
        require()


def test_odd_rows_of_shadow_are_passed_over(key_login: Any) -> None:
    key_login.SHADOW.write_text("+\nolga:$y$hash:20000:0:99999:7::never:\nivan:x\n")
    key_login._require_open_account("olga", {})
    key_login.SHADOW.write_text("+\nolga:$y$hash:20000:0:99999:7::1:\n")
    with pytest.raises(key_login.RefusedError, match="olga has expired"):
        key_login._require_open_account("olga", {})
