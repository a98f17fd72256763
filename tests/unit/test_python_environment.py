"""One path, the environments beside it, and the switch from one to the next; what pip does is another test's."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.python_environments import ALPHA, ALPHA_2, BETA, LOCK, NEWER_LOCK, Host, plugin, without_pip


@pytest.fixture(autouse=True)
def _no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin("module_utils.python_environment"), "build", without_pip)
    monkeypatch.setattr("os.sync", lambda: None)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with an environment of LOCK."""
    made = Host(tmp_path / "opt" / "server")
    made.converge()
    return made


def snapshot(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in directory.rglob("*")}


def break_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, whatever needs a build fails."""
    monkeypatch.setattr(plugin("module_utils.python_environment"), "build", None)


def test_the_path_is_a_link_to_what_is_named_after_its_content(tmp_path: Path) -> None:
    host = Host(tmp_path / "opt" / "server")
    result = host.converge()

    assert result["changed"]
    assert result["reasons"] == [f"{host.path} is not there yet"]
    assert host.in_use() == f"server-{result['digest'][:12]}"
    assert host.beside() == ["server", host.in_use()]
    # The name of the real directory: a running server's own does not change under it.
    assert result["python"] == f"{host.path.parent}/{host.in_use()}/bin/python"


def test_a_second_run_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(host.path.parent)
    break_builds(monkeypatch)

    assert not host.converge()["changed"]
    # Comments and the order of lines say nothing.
    assert not host.converge(f"# resolved anew\n{BETA.pin()}{ALPHA.pin()}")["changed"]
    assert snapshot(host.path.parent) == before


def uninstall(host: Host) -> None:
    shutil.rmtree(host.site / "beta")
    shutil.rmtree(host.site / "beta-1.0.dist-info")


def install(host: Host) -> None:
    (host.site / "other").mkdir()
    (host.site / "other-3.1.dist-info").mkdir()


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        pytest.param(
            lambda host: (host.site / "alpha/data.txt").unlink(),
            ["/site-packages/alpha/data.txt: missing"],
            id="deleted",
        ),
        pytest.param(
            lambda host: (host.site / "alpha/data.txt").write_text("other\n"),
            ["/site-packages/alpha/data.txt: content changed"],
            id="other size",
        ),
        pytest.param(
            lambda host: (host.site / "alpha/data.txt").write_text("atad\n" * 1000),
            ["/site-packages/alpha/data.txt: content changed"],
            id="other content",
        ),
        pytest.param(
            lambda host: (host.site / "alpha").chmod(0o700),
            ["/site-packages/alpha: mode or owner changed"],
            id="a directory's mode",
        ),
        pytest.param(uninstall, ["beta 1.0 in ", "/site-packages/beta: missing"], id="pip uninstall"),
        pytest.param(install, ["other 3.1 in ", "/site-packages/other: not of the lock"], id="pip install"),
        pytest.param(lambda host: (host.path / "bin/python").unlink(), ["/bin/python: missing"], id="python link"),
        pytest.param(
            lambda host: (host.path / "dlhost-environment.json").write_text("{"),
            ["has no record of what it holds"],
            id="record",
        ),
    ],
)
def test_a_damage_is_named_and_repaired(host: Host, damage: Callable[[Host], object], seen: list[str]) -> None:
    damage(host)
    damaged, before = host.path.resolve(), snapshot(host.path.resolve())

    foreseen = host.converge(check=True)
    assert len(foreseen["reasons"]) == len(seen)
    assert [any(part in reason for reason in foreseen["reasons"]) for part in seen] == [True] * len(seen)

    repaired = host.converge()
    assert repaired["reasons"] == foreseen["reasons"]
    assert repaired["python"] == foreseen["python"] == f"{damaged}-2/bin/python"
    # A server may run from it.
    assert snapshot(damaged) == before
    assert host.holds() == ["alpha-1.0", "beta-1.0"]
    assert not host.converge()["changed"]


def test_a_removal_waits_for_a_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    link = plugin("module_utils.environment_link")
    monkeypatch.setattr(link, "LOCK_TIMEOUT_S", 0)
    trouble = plugin("module_utils.python_environment_trouble").PythonEnvironmentError
    with link.only_run(host.path.parent), pytest.raises(trouble, match="Another run"):
        host.remove()
    assert host.in_use()


def test_of_many_damages_some_are_named(host: Host) -> None:
    for number in range(20):
        (host.site / f"other{number}").mkdir()

    assert host.converge(check=True)["reasons"][-1] == f"12 more in {host.path.resolve()}"


def test_a_touched_file_is_no_damage(host: Host) -> None:
    (host.site / "alpha/data.txt").touch()

    assert not host.converge()["changed"]


def test_only_a_thorough_look_finds_what_hides_its_time(host: Host) -> None:
    hidden = host.site.resolve() / "alpha/data.txt"
    times = hidden.stat()
    hidden.write_text("atad\n" * 1000)
    os.utime(hidden, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert not host.converge()["changed"]
    assert host.converge(check=True, thorough=True)["reasons"] == [f"{hidden}: content changed"]


def test_a_lock_that_changed_is_said_by_distribution(host: Host) -> None:
    result = host.converge(NEWER_LOCK, check=True)

    assert result["reasons"] == [f"the lock of {host.path.name} has changed"]
    assert [(diff["before"], diff["after"]) for diff in result["diff"]] == [
        ("alpha==1.0\nbeta==1.0\n", "alpha==2.0\nbeta==1.0\n")
    ]


def test_the_previous_one_is_kept_and_going_back_is_a_switch(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    first = host.in_use()
    host.converge(NEWER_LOCK)
    second = host.in_use()
    assert host.beside() == sorted(["server", first, second])

    with monkeypatch.context() as offline:
        break_builds(offline)
        host.converge()
    assert host.in_use() == first

    host.converge(ALPHA.pin())
    assert host.beside() == sorted(["server", first, host.in_use()])


def test_one_that_a_process_runs_from_is_kept(host: Host) -> None:
    first, python = host.in_use(), host.path.resolve() / "bin" / "python"
    with subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE) as server:
        host.converge(NEWER_LOCK)
        host.converge(ALPHA.pin())
        assert first in host.beside()
        server.communicate(b"\n")
    host.converge(ALPHA_2.pin())

    assert first not in host.beside()
    assert len(host.beside()) == 3


def test_another_python_is_another_environment_and_an_update_is_not(host: Host) -> None:
    environment, lock = plugin("module_utils.python_environment"), plugin("module_utils.python_lock").parse(LOCK)
    here = plugin("module_utils.python_environment_build").find_interpreter(Path(sys.executable))
    upgraded = dataclasses.replace(here, markers={**here.markers, "python_version": "3.99"})
    elsewhere = dataclasses.replace(here, executable=Path("/opt/python/bin/python3"))
    updated = dataclasses.replace(here, markers={**here.markers, "python_full_version": "3.11.99"})

    for other in (upgraded, elsewhere):
        plan = environment.Environment(host.path, other, lock).plan(thorough=False)
        assert plan.reasons == [f"Python of {host.path.name} is {other.identity} now and was {here.identity}"]
        assert plan.build
    assert environment.Environment(host.path, updated, lock).plan(thorough=False).reasons == []


@pytest.mark.parametrize("lock", [LOCK, NEWER_LOCK])
def test_a_dry_run_writes_nothing_and_knows_what_comes(host: Host, tmp_path: Path, lock: str) -> None:
    bare = Host(tmp_path / "bare" / "server")
    before = snapshot(tmp_path)

    foreseen = host.converge(lock, check=True)
    promised = bare.converge(lock, check=True)

    assert snapshot(tmp_path) == before
    assert foreseen["changed"] == (lock != LOCK)
    assert promised["python"] == f"{bare.path}-{foreseen['digest'][:12]}/bin/python"


def test_a_dry_run_with_a_python_that_comes_later_says_so(host: Host) -> None:
    result = host.converge(check=True, python="/usr/bin/python3.99")

    assert result["changed"]
    assert result["dlhost_undetermined"] == f"{host.path}, because /usr/bin/python3.99 does not run yet"
    assert host.refuse(python="/usr/bin/python3.99").startswith("/usr/bin/python3.99 is no Python that runs here.")


def test_what_a_killed_run_left_is_removed_by_the_next(host: Host) -> None:
    (host.path.with_name(f"server-{'0' * 12}") / "bin").mkdir(parents=True)
    host.path.with_name(".server-downloads").mkdir()

    assert host.converge(check=True)["changed"]
    assert host.converge()["reasons"] == [
        f"{host.path}-{'0' * 12} was left by a run that was cut",
        f"{host.path.parent}/.server-downloads was left by a run that was cut",
    ]
    assert host.beside() == ["server", host.in_use()]


def test_what_another_run_is_building_just_now_is_no_leftover(host: Host) -> None:
    python = host.path.with_name(f"server-{'0' * 12}") / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    with subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE) as pip:
        assert not host.converge(check=True)["changed"]
        pip.communicate(b"\n")
    assert host.converge(check=True)["changed"]


@pytest.mark.parametrize("cut", ["python_environment.build", "environment_link._switch"])
def test_a_run_that_is_cut_leaves_the_present_one_and_the_next_finishes(
    host: Host, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    first = host.in_use()

    def power_cut(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        module, name = cut.split(".")
        interrupted.setattr(plugin(f"module_utils.{module}"), name, power_cut)
        host.converge(NEWER_LOCK)
    assert host.in_use() == first

    host.converge(NEWER_LOCK)
    assert host.holds() == ["alpha-2.0", "beta-1.0"]
    assert host.beside() == sorted(["server", first, host.in_use()])


def test_a_full_disk_leaves_the_present_one_and_frees_what_was_taken(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = host.beside()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", str(host.path.parent))

    monkeypatch.setattr(plugin("module_utils.python_environment_record"), "write", full)
    assert host.refuse(NEWER_LOCK) == (
        f"{host.path.parent}: No space left on device. What was in use still is; run again."
    )
    assert host.beside() == before


@pytest.mark.parametrize("target", ["nowhere", "/usr"])
def test_a_link_that_points_elsewhere_is_repaired(host: Host, target: str) -> None:
    right = host.in_use()
    host.path.unlink()
    host.path.symlink_to(target)

    assert host.converge()["reasons"] == [f"{host.path} points to no environment"]
    assert host.in_use() == right


def test_a_directory_that_is_not_dlhosts_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path / "server")
    host.path.mkdir()

    assert host.refuse() == f"{host.path} is not dlhost's. Move it away and run again."


def test_a_second_run_at_once_waits_and_then_gives_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin("module_utils.environment_link"), "LOCK_TIMEOUT_S", 0)
    held = os.open(host.path.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert host.refuse() == (
            f"Another run has been at work in {host.path.parent} for 0 s. Run again when it has ended."
        )
    finally:
        os.close(held)


def test_removal_takes_all_of_it_and_nothing_else(host: Host) -> None:
    (host.path.parent / "server-of-others").mkdir()
    host.path.with_name(".server-downloads").mkdir()

    assert host.remove(check=True)
    assert len(host.beside()) == 4
    assert host.remove()
    assert host.beside() == ["server-of-others"]
    assert not host.remove()


def test_removal_of_the_last_one_removes_the_directory(host: Host) -> None:
    host.remove()

    assert not host.path.parent.exists()
