"""The files of a role on a host: all or none of them are put in place, and what is forgotten is removed."""

from __future__ import annotations

import dataclasses
import grp
import importlib.util
import json
import os
import pwd
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "plugins" / "module_utils" / "owned_files.py"
ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with its manifest under tmp_path and as the user who runs the tests."""
    specification = importlib.util.spec_from_file_location("owned_files", SOURCE)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "owned_files", module)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "MANIFEST", tmp_path / "dlhost" / "managed.json")
    manifest_file = module.manifest_file
    monkeypatch.setattr(
        module,
        "manifest_file",
        lambda roles: dataclasses.replace(manifest_file(roles), owner=ME, group=MY_GROUP),
    )
    return module


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow over 4 KiB: what a full disk does, without filling one.

    No fixture, whose limit would also hold for the log that the test run itself may be written to.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def wanted(owned: Any, path: Path, text: str = "new\n", **more: Any) -> Any:
    return owned.OwnedFile(path=path, content=text.encode(), owner=ME, group=MY_GROUP, **more)


def apply(owned: Any, files: list[Any], role: str = "system", **more: Any) -> Any:
    """Plan and carry out, as the module does; returns the plan."""
    plan = owned.plan(role, files, more.pop("packages", []), **more)
    owned.carry_out(plan)
    return plan


def everything(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


def test_a_file_is_written_with_its_mode_and_the_second_time_nothing(owned: Any, tmp_path: Path) -> None:
    file = wanted(owned, tmp_path / "etc" / "a.conf", mode=0o640)

    assert apply(owned, [file]).paths == [str(file.path), str(owned.MANIFEST)]
    assert file.path.read_text() == "new\n"
    assert file.path.stat().st_mode & 0o7777 == 0o640
    assert apply(owned, [file]).paths == []


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_directories_are_readable_whatever_the_umask(owned: Any, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        apply(owned, [wanted(owned, tmp_path / "etc" / "a.conf.d" / "a.conf")])
    finally:
        os.umask(before)

    assert (tmp_path / "etc" / "a.conf.d").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "etc" / "a.conf.d" / "a.conf").stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.chmod(0o600), id="mode"),
        pytest.param(lambda path: path.write_text("other\n"), id="content"),
        pytest.param(lambda path: path.unlink(), id="gone"),
    ],
)
def test_drift_is_seen_and_repaired(owned: Any, tmp_path: Path, damage: Any) -> None:
    file = wanted(owned, tmp_path / "a.conf")
    apply(owned, [file])
    damage(file.path)

    assert apply(owned, [file]).paths == [str(file.path)]
    assert owned.is_as_wanted(owned.find(file.path), file)


@pytest.mark.parametrize(("text", "keeps"), [("new\n", True), ("old\n", False)])
def test_only_a_file_whose_text_stays_keeps_its_time(owned: Any, tmp_path: Path, text: str, keeps: bool) -> None:
    file = wanted(owned, tmp_path / "a.conf", mode=0o600)
    file.path.write_text(text)
    os.utime(file.path, ns=(1_000, 2_000))

    apply(owned, [file])

    assert (file.path.stat().st_mtime_ns == 2_000) is keeps
    assert file.path.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("text", ["precious\n", "new\n"])
def test_a_symbolic_link_is_replaced_and_what_it_points_to_is_left(owned: Any, tmp_path: Path, text: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(text)
    elsewhere.chmod(0o644)
    file = wanted(owned, tmp_path / "a.conf")
    file.path.symlink_to(elsewhere)

    apply(owned, [file])

    assert not file.path.is_symlink()
    assert file.path.read_text() == "new\n"
    assert elsewhere.read_text() == text


def test_a_directory_in_the_way_is_refused_in_one_sentence(owned: Any, tmp_path: Path) -> None:
    (tmp_path / "b.conf").mkdir()

    with pytest.raises(owned.OwnedFilesError, match=r"b\.conf is a directory; .* Move it away"):
        apply(owned, [wanted(owned, tmp_path / "a.conf"), wanted(owned, tmp_path / "b.conf")])
    assert everything(tmp_path) == set()


def test_a_refused_file_leaves_the_host_as_it_was(owned: Any, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("old\n")
    files = [
        wanted(owned, tmp_path / "a.conf", validate="grep -q new %s"),
        wanted(owned, tmp_path / "b.conf", text="bad\n", validate="sh -c 'echo no good: $0 >&2; exit 1' %s"),
    ]

    with pytest.raises(owned.OwnedFilesError) as refusal:
        apply(owned, files)

    assert str(refusal.value) == f"{tmp_path}/b.conf is refused by sh: no good: {tmp_path}/b.conf"
    assert (tmp_path / "a.conf").read_text() == "old\n"
    assert everything(tmp_path) == {"a.conf"}


def test_a_full_disk_leaves_the_host_as_it_was(owned: Any, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("old\n")

    full = r"b\.conf cannot be written: File too large"
    with small_files(), pytest.raises(owned.OwnedFilesError, match=full):
        apply(owned, [wanted(owned, tmp_path / "a.conf"), wanted(owned, tmp_path / "b.conf", text="x" * 5000)])

    assert (tmp_path / "a.conf").read_text() == "old\n"
    assert everything(tmp_path) == {"a.conf"}


def test_nothing_is_in_place_before_everything_is_staged(owned: Any, tmp_path: Path) -> None:
    staged = owned.stage([wanted(owned, tmp_path / "a.conf"), wanted(owned, tmp_path / "b.conf")])

    assert not (tmp_path / "a.conf").exists()
    # A glob such as *.conf must not pick up what is not in place yet.
    assert not list(tmp_path.glob("*.conf"))
    owned.discard(staged)
    assert everything(tmp_path) == set()


def test_an_unknown_owner_is_named(owned: Any, tmp_path: Path) -> None:
    file = dataclasses.replace(wanted(owned, tmp_path / "a.conf"), owner="nobody-has-this-name")

    with pytest.raises(owned.OwnedFilesError, match=r"a\.conf: .*nobody-has-this-name"):
        owned.stage([file])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"path": "etc/a.conf"}, "etc/a.conf is not an absolute path."),
        ({"mode": "rw"}, "/etc/a.conf: mode 'rw' is not octal, like '0644'."),
    ],
)
def test_a_malformed_argument_is_refused(owned: Any, more: dict[str, str], message: str) -> None:
    argument = {"path": "/etc/a.conf", "content": "", "mode": "0644", "owner": ME, "group": MY_GROUP}

    with pytest.raises(owned.OwnedFilesError) as refusal:
        owned.OwnedFile.from_argument({**argument, "validate": None, "sensitive": False, **more})
    assert str(refusal.value) == message


def test_what_a_role_no_longer_declares_is_removed_and_nothing_else(owned: Any, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.conf"
    foreign.write_text("kept\n")
    first, second = wanted(owned, tmp_path / "a.conf"), wanted(owned, tmp_path / "b.conf")
    apply(owned, [first, second])
    apply(owned, [wanted(owned, tmp_path / "c.conf")], role="vnc")

    assert apply(owned, [second]).remove == [first.path]
    assert everything(tmp_path) == {"b.conf", "c.conf", "foreign.conf", "dlhost/managed.json"}


def test_a_run_cut_before_the_removal_is_finished_by_the_next(
    owned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = wanted(owned, tmp_path / "a.conf"), wanted(owned, tmp_path / "b.conf")
    apply(owned, [first])

    def power_cut(path: Path) -> None:
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(owned, "_remove", power_cut)
        apply(owned, [second])
    apply(owned, [second])

    assert everything(tmp_path) == {"b.conf", "dlhost/managed.json"}


def test_a_run_cut_between_two_files_orphans_none(owned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, first, second = (wanted(owned, tmp_path / name) for name in ("old.conf", "a.conf", "b.conf"))
    apply(owned, [old])
    swap = owned.swap

    def power_cut(staged: dict[Path, Path]) -> None:
        if second.path in staged:
            staged.pop(second.path).unlink()
            swap(staged)
            raise KeyboardInterrupt
        swap(staged)

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(owned, "swap", power_cut)
        apply(owned, [first, second])
    assert everything(tmp_path) == {"old.conf", "a.conf", "dlhost/managed.json"}

    apply(owned, [second])
    assert everything(tmp_path) == {"b.conf", "dlhost/managed.json"}


@pytest.mark.parametrize("renames", range(3))
def test_what_a_killed_run_had_staged_goes_with_the_next(
    owned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    files = [wanted(owned, tmp_path / "a.conf"), wanted(owned, tmp_path / "key", mode=0o600, sensitive=True)]
    replace, done = Path.replace, list[Path]()

    def kill(source: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return replace(source, target)

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(Path, "replace", kill)
        cut.setattr(Path, "unlink", lambda *_arguments, **_more: None)  # Nothing is tidied up after a kill.
        apply(owned, files)
    assert [name for name in everything(tmp_path) if name.endswith(".staged")]

    plan = apply(owned, files)

    assert "new" not in repr([diff for diff in plan.diffs if "key" in diff.get("header", "")])
    assert everything(tmp_path) == {"a.conf", "key", "dlhost/managed.json"}
    assert apply(owned, files).paths == []


def test_an_owner_without_a_name_is_kept_by_number(owned: Any, tmp_path: Path) -> None:
    file = dataclasses.replace(wanted(owned, tmp_path / "a.conf"), owner=str(os.getuid()), group=str(os.getgid()))
    apply(owned, [file])
    assert file.path.read_text() == "new\n"


def test_directories_of_dlhosts_own_go_with_the_last_file_in_them(owned: Any, tmp_path: Path) -> None:
    below = owned.MANIFEST.parent / "tls"
    kernel = tmp_path / "kernels" / "dlhost-lab"
    others = (below / "b" / "key", tmp_path / "nginx" / "conf", kernel / "kernel.json")
    mine = [wanted(owned, path) for path in (below / "a" / "key", *others)]
    apply(owned, mine)
    (below / "b" / "yours").touch()

    apply(owned, mine[:1])
    assert (below / "a").is_dir()
    apply(owned, [], absent=True)

    assert everything(tmp_path) == {"dlhost/tls/b/yours"}
    assert not (below / "a").exists()
    assert (tmp_path / "nginx").is_dir()
    # By its name.
    assert not kernel.exists()
    assert kernel.parent.is_dir()


def test_an_absent_role_leaves_nothing_and_the_last_one_no_manifest(owned: Any, tmp_path: Path) -> None:
    apply(owned, [wanted(owned, tmp_path / "a.conf")])
    apply(owned, [wanted(owned, tmp_path / "b.conf")], role="vnc")

    apply(owned, [], absent=True)
    assert everything(tmp_path) == {"b.conf", "dlhost/managed.json"}
    apply(owned, [], role="vnc", absent=True)
    assert list(tmp_path.glob("dlhost")) == []
    assert apply(owned, [], role="vnc", absent=True).paths == []


def test_only_packages_that_nobody_else_wants_are_removable(
    owned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del tmp_path
    monkeypatch.setattr(owned, "missing_packages", lambda names: [name for name in names if name != "curl"])
    apply(owned, [], packages=["curl", "tmux", "xauth"])
    apply(owned, [], role="vnc", packages=["xauth"])
    # By now they are all there; who brought them is remembered.
    monkeypatch.setattr(owned, "missing_packages", lambda _names: [])
    assert apply(owned, [], packages=["curl", "tmux", "xauth"]).paths == []

    assert owned.brought_packages("system") == ["tmux"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"roles": []}', '{"roles": {"system": {}}}', "\udcff"])
def test_a_damaged_manifest_is_said_and_not_overwritten(owned: Any, text: str) -> None:
    owned.MANIFEST.parent.mkdir()
    owned.MANIFEST.write_text(text, errors="surrogateescape")

    with pytest.raises(owned.OwnedFilesError, match=r"managed\.json is damaged\. Move it away"):
        owned.plan("system", [], [])


def test_the_manifest_names_roles_files_and_packages(
    owned: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "missing_packages", lambda _names: ["tmux"])
    apply(owned, [wanted(owned, tmp_path / "a.conf")], packages=["tmux", "curl"])

    assert json.loads(owned.MANIFEST.read_text()) == {
        "schema_version": 1,
        "roles": {
            "system": {"files": [f"{tmp_path}/a.conf"], "packages": ["curl", "tmux"], "installed": ["tmux"]},
        },
    }


def test_the_diff_shows_content_and_mode(owned: Any, tmp_path: Path) -> None:
    file = wanted(owned, tmp_path / "a.conf")
    file.path.write_text("old\n")
    file.path.chmod(0o600)

    [diff, _manifest] = owned.plan("system", [file], []).diffs

    assert diff["before"] == f"[mode 0600, owner {ME}:{MY_GROUP}]\nold\n"
    assert diff["after"] == f"[mode 0644, owner {ME}:{MY_GROUP}]\nnew\n"


@pytest.mark.parametrize("absent", [False, True])
def test_a_secret_is_in_no_diff(owned: Any, tmp_path: Path, absent: bool) -> None:
    apply(owned, [wanted(owned, tmp_path / "key", text="hunter2\n", mode=0o600, sensitive=True)])
    file = wanted(owned, tmp_path / "key", text="hunter3\n", mode=0o600, sensitive=True)

    assert "hunter" not in repr(owned.plan("system", [file], [], absent=absent).diffs)


def test_a_secret_with_another_mode_is_shown_by_its_mode(owned: Any, tmp_path: Path) -> None:
    file = wanted(owned, tmp_path / "key", text="hunter2\n", mode=0o600, sensitive=True)
    apply(owned, [file])
    file.path.chmod(0o644)

    (diff,) = owned.plan("system", [file], []).diffs

    assert (diff["before"], diff["after"]) == (
        f"[mode 0644, owner {ME}:{MY_GROUP}]\n",
        f"[mode 0600, owner {ME}:{MY_GROUP}]\n",
    )


def test_a_private_key_that_goes_away_is_in_no_diff_whoever_may_read_it(owned: Any, tmp_path: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"
    apply(owned, [wanted(owned, tmp_path / "key", text=key, mode=0o600, sensitive=True)])
    (tmp_path / "key").chmod(0o644)

    assert "hunter" not in repr(owned.plan("system", [], [], absent=True).diffs)
