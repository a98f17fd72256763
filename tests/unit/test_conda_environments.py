"""Conda environments of a real channel, made by rattler and uv: what is there, what differs, and what fails."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.conda_host import (
    ANSWER,
    GREETER,
    LIBRARY,
    LONGEST_S,
    NEWER_LIBRARY,
    QUESTION,
    Channel,
    Host,
    break_channel,
    installer,
    make,
    proxy,
    serve,
)
from tests.unit.python_environments import ALPHA, BETA, NO_INDEX, Wheel, plugin
from tests.unit.python_environments import serve as serve_index
from tests.unit.tls_world import KEYS, certificate_pem, key_pem

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the channel is for Linux on x86-64"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("channel"))


@pytest.fixture
def channel(made: Path, tmp_path: Path) -> Iterator[Channel]:
    """The channel for one test, which may change it."""
    directory = tmp_path / "channel"
    shutil.copytree(made, directory, copy_function=os.link)
    with serve(directory) as served:
        yield served


@pytest.fixture
def bare(channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without any environment."""
    monkeypatch.setattr("os.sync", lambda: None)
    host = Host(tmp_path / "conda", channel, tmp_path / "locks", pip_options={"index_url": NO_INDEX})
    host.locks.mkdir()
    installer(host.prefix)
    monkeypatch.setattr(plugin("modules.conda_environments"), "_keep_installer", lambda *_: {"reasons": [], "diff": []})
    return host


def snapshot(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in directory.rglob("*")}


def test_python_packages_of_conda_and_of_pip_make_one_environment(bare: Host) -> None:
    with serve_index(ALPHA, BETA) as index:
        bare.pip_options = {"index_url": index.url, "trusted_host": ["127.0.0.1"]}
        mixed = bare.lock("mixed", "python", LIBRARY, ANSWER, GREETER, QUESTION, pip=ALPHA.pin() + BETA.pin())
        result = bare.converge(mixed)

    directory = Path(result["directories"]["mixed"])
    assert result["changed"]
    assert bare.links() == {"mixed": directory.name}
    # A command of a conda package, which loads the compiled one, and a command that pip brought.
    for command, said in (("answer", "41\n"), ("alpha", "1.0\n")):
        assert subprocess.run([directory / "bin" / command], capture_output=True, text=True, check=True).stdout == said
    # The directory itself was written into text and library; the post-link script ran.
    assert f"#!{directory}/bin/python" in (directory / "bin" / "answer").read_text()
    assert f"{directory}/share\0".encode() in (directory / "lib" / "libanswer.so").read_bytes()
    assert (directory / "greeted").read_text() == f"greeter was linked into {directory}\n"
    assert list(directory.glob("lib/python3*/site-packages/__pycache__/answer.*.pyc"))
    # Whoever's umask it was.
    assert directory.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in (directory / "conda-meta").glob("*.json")} == {0o644}

    bare.channel.gone = True
    before = snapshot(bare.prefix)
    assert not bare.converge(mixed)["changed"]
    assert snapshot(bare.prefix) == before

    (directory / "bin" / "pip-was-here").touch()
    site = next(directory.glob("lib/python3*/site-packages"))
    (site / "other-3.1.dist-info").mkdir()
    # An environment as a whole is not closed: programs keep files in it. Its distributions are.
    assert bare.converge(mixed, check=True)["reasons"] == [f"other 3.1 in {directory}: not of the lock"]


def test_a_second_environment_of_the_same_packages_downloads_nothing(bare: Host) -> None:
    first, second = bare.lock("first", LIBRARY, GREETER), bare.lock("second", LIBRARY, QUESTION)
    bare.converge(first)
    bare.channel.served.clear()
    bare.converge(first, second)

    assert bare.channel.served == [bare.channel.file(QUESTION).name]
    assert set(bare.links()) == {"first", "second"}


def test_another_lock_is_a_switch_and_so_is_the_way_back(bare: Host) -> None:
    old = bare.lock("work", LIBRARY, GREETER)
    bare.converge(old)
    before = bare.links()["work"]
    new = bare.lock("work", NEWER_LIBRARY)
    foreseen = bare.converge(new, check=True)
    result = bare.converge(new)

    assert result["reasons"] == foreseen["reasons"] == ["the lock of work has changed"]
    # What is only compared does not know the versions.
    assert not [diff for diff in foreseen["diff"] if "after" in diff]
    [shown] = [diff for diff in result["diff"] if "after" in diff]
    assert (shown["before"], shown["after"]) == ("greeter==1.0=0\nlibanswer==1.0=0\n", "libanswer==1.1=0\n")
    assert len(bare.links()["work"]) == len(before)
    assert bare.links()["work"] != before

    bare.channel.gone = True
    bare.converge(bare.lock("work", LIBRARY, GREETER))
    assert bare.links()["work"] == before


def test_what_no_environment_has_any_more_is_not_kept(bare: Host) -> None:
    for packages in ((LIBRARY, GREETER), (QUESTION,), (NEWER_LIBRARY,)):
        bare.converge(bare.lock("work", *packages))

    # The last one and the one before it.
    assert len(bare.beside()) == 3
    kept = {path.name for path in (bare.prefix / "packages" / "conda").iterdir() if path.is_dir()}
    assert kept == {"question-1.0-0", "libanswer-1.1-0"}


def test_wheels_come_back_after_they_were_not_kept(bare: Host) -> None:
    with serve_index(ALPHA) as index:
        bare.pip_options = {"index_url": index.url, "trusted_host": ["127.0.0.1"]}
        for _time in range(2):
            bare.converge(bare.lock("work", "python", pip=ALPHA.pin()))
            assert list(bare.prefix.glob("packages/pip/archive-*/*/alpha/data.txt"))
            for packages in (["python"], ["python", QUESTION]):
                bare.converge(bare.lock("work", *packages))
            assert not list(bare.prefix.glob("packages/pip/archive-*/*"))


@pytest.fixture
def wheel(bare: Host) -> Iterator[Path]:
    """A file of a wheel in environment work, where the index is there."""
    with serve_index(ALPHA) as index:
        bare.pip_options = {"index_url": index.url, "trusted_host": ["127.0.0.1"]}
        bare.converge(bare.lock("work", "python", QUESTION, pip=ALPHA.pin()))
        yield next(bare.environment("work").glob("lib/python3*/site-packages")) / "alpha" / "data.txt"


def edit(path: Path) -> None:
    """Damage that has to be looked for: neither size nor time tells."""
    seen = path.stat()
    path.write_text("edit\n" * (seen.st_size // 5))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def test_wheels_of_a_directory_do_without_an_index(bare: Host, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / ALPHA.file).write_bytes(ALPHA.content)
    with serve_index(ALPHA) as index:
        bare.pip_options = {"index_url": index.url, "find_links": [str(wheels)], "no_index": True}
        bare.converge(bare.lock("work", "python", pip=ALPHA.pin()))
        assert index.served == []


def test_an_edited_file_of_a_wheel_is_not_taken_from_what_was_kept(bare: Host, wheel: Path) -> None:
    wheel.write_text("edited\n")
    work = bare.lock("work", "python", QUESTION, pip=ALPHA.pin())
    damage = f"{wheel.resolve()}: content changed"
    assert bare.converge(work)["reasons"] == [damage]
    assert wheel.read_text().startswith("data\n")


def test_neither_is_one_whose_edit_does_not_show(bare: Host, wheel: Path) -> None:
    edit(wheel)
    bare.converge(bare.lock("other", "python", pip=ALPHA.pin()))
    [other] = bare.environment("other").glob("lib/python3*/site-packages/alpha/data.txt")
    assert other.read_text().startswith("data\n")


def test_neither_is_one_beneath_many_other_damages(bare: Host, wheel: Path) -> None:
    site = wheel.parents[1]
    for number in range(9):
        (site / f"other-{number}.dist-info").mkdir()
    wheel.chmod(0o600)
    bare.converge(bare.lock("work", "python", QUESTION, pip=ALPHA.pin()))
    assert wheel.stat().st_mode & 0o777 == 0o644


def test_a_wheel_whose_list_is_wrong_is_fetched_once_more_at_most(bare: Host) -> None:
    wrong = Wheel("alpha", "1.0", listed_right=False)
    with serve_index(wrong) as index:
        bare.pip_options = {"index_url": index.url, "trusted_host": ["127.0.0.1"]}
        work, other = (bare.lock(name, "python", pip=wrong.pin()) for name in ("work", "other"))
        for environments in ([work], [work, other]):
            bare.converge(*environments)
        assert not bare.converge(work, other, thorough=True)["changed"]
        assert index.served.count(wrong.file) == 2


@pytest.mark.parametrize("packages", [[QUESTION], [QUESTION, LIBRARY]], ids=["the same lock", "another lock"])
def test_changed_rights_are_not_taken_from_what_was_kept(bare: Host, packages: list[str]) -> None:
    bare.converge(bare.lock("work", QUESTION))
    file = bare.environment("work") / "share" / "question.txt"
    file.chmod(0o666)
    work = bare.lock("work", *packages)
    assert bare.converge(work)["changed"]
    assert file.stat().st_mode & 0o777 == 0o644
    assert not bare.converge(work, check=True)["changed"]


def test_nobody_but_the_owner_writes_to_what_a_package_brings(bare: Host) -> None:
    bare.converge(bare.lock("work", QUESTION))
    # As packages have it that were built with another umask.
    [kept] = bare.prefix.glob("packages/conda/question-*/share/question.txt")
    kept.chmod(0o666)
    shutil.rmtree(bare.environment("work").resolve())
    bare.converge(bare.lock("work", QUESTION))
    assert (bare.environment("work") / "share" / "question.txt").stat().st_mode & 0o777 == 0o644


def test_a_deleted_file_is_no_reason_to_fetch_anything(bare: Host) -> None:
    work = bare.lock("work", QUESTION, LIBRARY)
    bare.converge(work)
    (bare.environment("work") / "share" / "question.txt").unlink()
    bare.channel.gone = True
    assert bare.converge(work)["changed"]


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        pytest.param(
            lambda directory: (directory / "share" / "question.txt").unlink(),
            "/share/question.txt: missing",
            id="deleted file",
        ),
        pytest.param(
            lambda directory: (directory / "conda-meta" / "question-1.0-0.json").unlink(),
            "question 1.0-0 in ",
            id="removed package",
        ),
        pytest.param(
            lambda directory: (directory / "conda-meta" / "other-2.0-1.json").touch(),
            "other 2.0-1 in ",
            id="extra package",
        ),
        pytest.param(
            # The same file, on disk, as in the cache.
            lambda directory: (directory / "share" / "question.txt").write_text("What?\n"),
            "/share/question.txt: content changed",
            id="other content",
        ),
    ],
)
def test_a_damage_is_named_and_repaired(bare: Host, damage: Callable[[Path], object], seen: str) -> None:
    work = bare.lock("work", QUESTION, LIBRARY)
    bare.converge(work)
    damaged = bare.environment("work").resolve()
    damage(damaged)

    foreseen = bare.converge(work, check=True)
    assert len(foreseen["reasons"]) == 1
    assert seen in foreseen["reasons"][0]
    repaired = bare.converge(work)
    assert repaired["reasons"] == foreseen["reasons"]
    assert bare.links()["work"] == f"{damaged.name}-2"
    assert "six by nine" in (bare.environment("work") / "share" / "question.txt").read_text()
    assert not bare.converge(work, check=True, thorough=True)["changed"]


def test_what_a_mirror_serves_is_what_the_lock_names(bare: Host) -> None:
    bare.lock_url = "https://conda.example.org/forge"
    bare.mirrors = {bare.lock_url: bare.channel.url.replace("//", "//user:secret@")}
    bare.converge(bare.lock("work", QUESTION))

    assert bare.channel.served == [bare.channel.file(QUESTION).name]
    said = (bare.environment("work") / "conda-meta" / "question-1.0-0.json").read_text()
    assert bare.lock_url in said
    assert "secret" not in said


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "conda.pem"
    path.write_text(key_pem(KEYS["p256"]) + certificate_pem(KEYS["p256"], names=("conda.example.org",)))
    return path


def test_conda_packages_come_through_pips_proxy(bare: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.lock_url = "http://conda.example.org"
    (tmp_path / "pip.conf").write_text("[global]\nproxy = http://127.0.0.1:9\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert "conda.example.org" in bare.refuse(bare.lock("work", QUESTION))

    with proxy(bare.channel) as way:
        # The variables that are usual have no say where pip has one.
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        (tmp_path / "pip.conf").write_text(f"[global]\nproxy = {way.url}\n")
        bare.converge(bare.lock("work", QUESTION))

    assert way.asked == [f"GET {bare.lock_url}/{bare.channel.packages[QUESTION]['file']}"]


def test_conda_packages_come_through_the_hosts_proxy_but_for_hosts_that_it_names(
    bare: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "environment"
    monkeypatch.setattr(plugin("module_utils.host_proxies"), "FILE", file)
    bare.lock_url = "http://conda.example.org"
    with proxy(bare.channel) as way:
        file.write_text(f'# Said by hand.\nexport http_proxy="{way.url}"\nHTTPS_PROXY=\nLANG=de_DE.UTF-8\n')
        bare.converge(bare.lock("work", QUESTION))
        assert len(way.asked) == 1
        file.write_text(f"http_proxy={way.url}\nno_proxy=127.0.0.1,localhost\n")
        bare.lock_url = bare.channel.url
        bare.converge(bare.lock("work", GREETER))

    assert len(way.asked) == 1


def test_conda_packages_come_from_a_host_that_a_private_authority_speaks_for(bare: Host, certificate: Path) -> None:
    bare.lock_url = "https://conda.example.org"
    with proxy(bare.channel, certificate) as way:
        bare.pip_options["proxy"] = way.url
        work = bare.lock("work", QUESTION)
        assert "does not trust the certificate of https://conda.example.org/" in bare.refuse(work)
        bare.pip_options["cert"] = str(certificate)
        bare.converge(work)

    assert set(way.asked) == {"CONNECT conda.example.org:443"}


def test_an_option_of_pip_hides_no_part_of_a_directory_and_an_address_is_hidden(
    bare: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = bare.plan(bare.lock("work", QUESTION))["build"]
    proxy = "http://user:hunter2@proxy.example:3128"
    options = {"timeout": 6, "retries": "5", "trusted_host": [*"0123456789abcdef"], "proxy": proxy}
    # The invocation is part of the result, and here the installer's lock has the address too.
    given = {"prefix": str(bare.prefix), "environments": work, "installer": proxy, "pip_options": options}
    # The channel is on this machine.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
    monkeypatch.setattr("ansible.module_utils.basic._ANSIBLE_PROFILE", "legacy")
    with pytest.raises(SystemExit):
        plugin("modules.conda_environments").main()
    said = capsys.readouterr().out

    assert json.loads(said)["directories"] == {"work": str(bare.environment("work").resolve())}
    assert "hunter2" not in said


def test_a_channel_that_serves_something_else_is_refused(bare: Host) -> None:
    work = bare.lock("work", QUESTION, LIBRARY)
    break_channel(bare.channel, QUESTION)

    said = bare.refuse(work)
    assert said.startswith(
        f"Environment work: What is served as {bare.channel.url}/noarch/question-1.0-0.tar.bz2 is not"
    )
    assert said.endswith("find out which of the two is wrong.")
    assert bare.beside() == []


def test_a_channel_without_the_file_is_said(bare: Host) -> None:
    work = bare.lock("work", QUESTION)
    bare.channel.file(QUESTION).unlink()

    assert bare.refuse(work) == (
        f"Environment work: {bare.channel.url}/noarch/question-1.0-0.tar.bz2 cannot be fetched (404 File not found). "
        "The environment is as it was; if it is gone for good, make the lock anew with `dlhost env lock`, or name a "
        "mirror that has it."
    )


def test_an_index_with_another_file_is_refused_and_what_was_in_use_still_is(bare: Host) -> None:
    work = bare.lock("work", "python")
    bare.converge(work)
    with serve_index(ALPHA) as index:
        bare.pip_options = {"index_url": index.url, "trusted_host": ["127.0.0.1"]}
        wrong = bare.lock("work", "python", pip=ALPHA.pin("0" * 64))
        said = bare.refuse(wrong)
    assert said.startswith("Environment work: What is served as alpha==1.0 is not what the lock allows")
    assert len(bare.beside()) == 2


def test_an_optional_one_fails_alone(bare: Host) -> None:
    extra, work = bare.lock("extra", QUESTION, optional=True), bare.lock("work", LIBRARY)
    break_channel(bare.channel, QUESTION)
    result = bare.converge(extra, work)

    assert set(bare.links()) == {"work"}
    assert "is not what the lock allows" in result["environments"]["extra"]["error"]
    assert set(result["directories"]) == {"work"}
    assert result["environments"]["work"]["error"] == ""
    # It is tried again, and that is no change.
    assert not bare.converge(extra, work)["changed"]


def test_what_an_optional_one_differs_in_is_not_said_of_the_others(bare: Host) -> None:
    bare.converge(bare.lock("extra", QUESTION, optional=True), bare.lock("work", QUESTION))
    seen = bare.converge(bare.lock("extra", LIBRARY, optional=True), bare.lock("work", LIBRARY), check=True)
    assert seen["environments"]["extra"]["reasons"] == ["the lock of extra has changed"]
    assert seen["reasons"] == ["the lock of extra has changed", "the lock of work has changed"]


def test_what_is_in_use_is_told_beside_what_would_be(bare: Host) -> None:
    bare.converge(bare.lock("extra", QUESTION, optional=True))
    there = str(bare.environment("extra").resolve())
    extra, new = bare.lock("extra", LIBRARY, optional=True), bare.lock("new", GREETER, optional=True)
    break_channel(bare.channel, LIBRARY)
    break_channel(bare.channel, GREETER)
    bare.converge(extra, new)
    seen = bare.converge(extra, new, check=True)
    assert seen["in_use"] == {"extra": there}
    assert set(seen["directories"]) == {"extra", "new"}
    assert there not in seen["directories"].values()


def test_one_that_fails_keeps_no_other_from_being_kept_or_told(bare: Host) -> None:
    trouble = plugin("modules.conda_environments").SomeFailedError
    broken, work = bare.lock("broken", QUESTION), bare.lock("work", LIBRARY)
    bare.environment("mine").mkdir(parents=True)
    mine = bare.lock("mine", LIBRARY, optional=True)
    break_channel(bare.channel, QUESTION)
    with pytest.raises(trouble) as failed:
        bare.converge(broken, mine, work)
    assert str(failed.value).startswith("Environment broken: What is served as ")
    assert "is not dlhost's" in failed.value.result["environments"]["mine"]["error"]
    assert failed.value.result["in_use"] == {"work": str(bare.environment("work").resolve())}


def test_what_this_host_cannot_have_is_refused_before_anything_is_done(bare: Host) -> None:
    good = bare.plan(bare.lock("good", QUESTION))["build"]
    other = bare.plan(bare.lock("other", LIBRARY))["build"][0]
    trouble = plugin("module_utils.python_environment_trouble").PythonEnvironmentError
    for change, seen in (
        ({"platform": "linux-aarch64"}, "was locked for linux-aarch64, not for "),
        ({"virtual_packages": {"__glibc": "2.99"}}, "was locked for glibc 2.99, and here is "),
    ):
        with pytest.raises(trouble) as refused:
            bare.ask([*good, {**other, **change}])
        assert seen in str(refused.value)
        assert str(refused.value).endswith("lock it for this host too: `dlhost env lock -i rig other`.")
    assert bare.beside() == []
    assert bare.channel.served == []


def test_an_older_patch_of_the_kernel_is_no_other_host(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    work = bare.plan(bare.lock("work", QUESTION))["build"][0]
    work["virtual_packages"] = {"__linux": "6.12.48"}
    for release, refused in (("6.12.43+deb13-amd64", False), ("6.1.0-40-amd64", True)):
        here = os.uname()
        monkeypatch.setattr(
            "os.uname", lambda here=here, release=release: types.SimpleNamespace(machine=here.machine, release=release)
        )
        assert bool(plugin("modules.conda_environments")._refusal({**work, "state": "present"})) == refused


@pytest.mark.parametrize(("runs", "refused"), [("12.4", True), ("12.8", False), ("13.0", False), ("", False)])
def test_a_driver_that_is_older_than_the_lock_is_named_with_it(
    bare: Host, monkeypatch: pytest.MonkeyPatch, runs: str, refused: bool
) -> None:
    work = {**bare.plan(bare.lock("work", QUESTION))["build"][0], "virtual_packages": {"__cuda": "12.8"}}
    monkeypatch.setattr(plugin("modules.conda_environments"), "_cuda_of_driver", lambda: runs)
    said = plugin("modules.conda_environments")._refusal(work)
    assert (
        said.startswith("Environment work was locked for CUDA 12.8, and the driver here runs 12.4; ")
        if refused
        else said == ""
    )


def test_a_disk_without_room_is_told_before_anything_is_fetched(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = bare.lock("work", QUESTION)
    size = bare.plan(declared)["build"][0]["conda"][0]["size"]
    bare.converge(bare.lock("before", LIBRARY))
    fetched = list(bare.channel.served)
    free = types.SimpleNamespace(free=2 * size - 1)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _path: free)
        with pytest.raises(plugin("module_utils.python_environment_trouble").PythonEnvironmentError) as refused:
            bare.converge(declared)
        assert "Environment work: " in str(refused.value) and "0 MiB free. The environment is as it was" in str(
            refused.value
        )
        assert bare.channel.served == fetched
        free.free += 1
        bare.converge(declared)


def test_what_a_process_runs_from_is_told_after_a_removal(bare: Host) -> None:
    bare.converge(bare.lock("work", "python"))
    directory = bare.environment("work").resolve()
    with subprocess.Popen([directory / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert bare.ask([], state="absent")["busy"] == [str(directory)]
        assert bare.ask([], state="absent", check=True)["busy"] == [str(directory)]
        process.communicate(b"\n")
    shutil.rmtree(bare.prefix / "installer")
    assert bare.ask([], state="absent")["busy"] == []
    assert not bare.prefix.exists()


def test_a_removal_waits_for_a_run(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.converge(bare.lock("work", QUESTION))
    link = plugin("module_utils.environment_link")
    monkeypatch.setattr(link, "LOCK_TIMEOUT_S", 0)
    trouble = plugin("module_utils.python_environment_trouble").PythonEnvironmentError
    with link.only_run(bare.prefix), pytest.raises(trouble, match="Another run"):
        bare.ask([], state="absent")
    assert bare.links()


def test_a_run_that_is_killed_is_finished_by_the_next(bare: Host) -> None:
    work = bare.lock("work", *(f"filler-{number:03} 1.0" for number in range(3)), LIBRARY)
    bare.channel.kept_back = bare.channel.file(LIBRARY).name
    child = os.fork()
    if child == 0:
        bare.converge(work)
        os._exit(0)
    deadline = time.monotonic() + LONGEST_S
    while not list(bare.prefix.glob("envs/work-*/conda-meta/*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    bare.channel.let_go.set()
    assert bare.links() == {}
    [left] = bare.beside()

    # What the killed run started has to end first, which is what the lock is for.
    assert bare.converge(work)["reasons"][-1] == f"{bare.prefix}/envs/{left} was left by a run that was cut"
    assert bare.links() == {"work": left}
    assert not bare.converge(work, check=True, thorough=True)["changed"]


def test_removal_takes_the_environment_but_not_from_under_a_process(bare: Host) -> None:
    work, other = bare.lock("work", "python"), bare.lock("other", QUESTION)
    bare.converge(work, other)
    directory = bare.environment("work").resolve()
    with subprocess.Popen([directory / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE) as process:
        bare.converge({"name": "work", "state": "absent"}, other)
        assert bare.beside() == sorted(["other", bare.links()["other"], directory.name])
        process.communicate(b"\n")
    assert bare.converge({"name": "work", "state": "absent"}, other)["changed"]
    assert not bare.converge({"name": "work", "state": "absent"}, other)["changed"]
    assert bare.beside() == sorted(["other", bare.links()["other"]])


def test_removal_of_all_leaves_what_others_put_there(bare: Host) -> None:
    bare.converge(bare.lock("work", QUESTION), bare.lock("other", LIBRARY))
    shutil.rmtree(bare.prefix / "installer")
    (bare.prefix / "envs" / "mine").mkdir()

    assert bare.ask([], check=True, state="absent")["changed"]
    assert bare.links()
    assert bare.ask([], state="absent")["changed"]
    assert [path.name for path in bare.prefix.rglob("*")] == ["envs", "mine"]
    assert not bare.ask([], state="absent")["changed"]


def test_a_directory_that_is_not_dlhosts_is_refused(bare: Host) -> None:
    bare.environment("work").mkdir(parents=True)

    assert bare.refuse(bare.lock("work", QUESTION)) == (
        f"Environment work: {bare.environment('work')} is not dlhost's. Move it away and run again."
    )


def test_a_prefix_that_cannot_be_made_is_named(bare: Host, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bare.prefix = tmp_path / "file" / "conda"

    said = bare.refuse(bare.lock("work", QUESTION))
    assert said == f"{bare.prefix} cannot be made: Not a directory."


@pytest.mark.parametrize(
    ("file", "variables", "options", "seen"),
    [
        pytest.param("", {}, {}, {}, id="nothing"),
        pytest.param(
            "[global]\nindex-url = https://a.example/simple\n[install]\nextra-index-url =\n  https://b.example\n  https://c.example\n",
            {"PIP_TRUSTED_HOST": "a.example b.example"},
            {},
            {
                "UV_DEFAULT_INDEX": "https://a.example/simple",
                "UV_EXTRA_INDEX_URL": "https://b.example https://c.example",
                "UV_INSECURE_HOST": "a.example b.example",
            },
            id="what pip would do",
        ),
        pytest.param(
            "[global]\nindex-url = https://a.example/simple\ntimeout = 3\n",
            {},
            {
                "index_url": "https://b.example",
                "find_links": ["/srv/a", "/srv/b"],
                "no_index": True,
                "proxy": "http://p:1",
            },
            {
                "UV_DEFAULT_INDEX": "https://b.example",
                "UV_FIND_LINKS": "/srv/a,/srv/b",
                "HTTP_PROXY": "http://p:1",
                "HTTPS_PROXY": "http://p:1",
            },
            id="the options win",
        ),
    ],
)
def test_uv_goes_the_way_that_pip_would(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    variables: dict[str, str],
    options: dict[str, object],
    seen: dict[str, str],
) -> None:
    module = plugin("module_utils.conda_pip")
    (tmp_path / "pip.conf").write_text(file)
    monkeypatch.setattr(module, "FILES", [tmp_path / "pip.conf"])
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert module.variables(options, "") == seen
    more = module.variables(options, "https://wheels.example")["UV_EXTRA_INDEX_URL"]
    assert more == f"{seen.get('UV_EXTRA_INDEX_URL', '')} https://wheels.example".strip()


@pytest.mark.parametrize("content", [b"[global]\nproxy = a\nproxy = b\n", b"[global]\nproxy = \xff\n"])
def test_a_pip_conf_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    module = plugin("module_utils.conda_pip")
    (tmp_path / "pip.conf").write_bytes(content)
    monkeypatch.setattr(module, "FILES", [tmp_path / "pip.conf"])
    trouble = plugin("module_utils.python_environment_trouble").PythonEnvironmentError
    with pytest.raises(trouble, match=re.escape(f"{tmp_path}/pip.conf cannot be read")):
        module.variables({}, "")


def test_passwords_of_addresses_are_not_told() -> None:
    said = "x\nCaused by: error sending request for url (https://me:secret@a.example/b)\nCaused by: timed out"
    assert str(plugin("module_utils.conda_trouble").explain(said)) == (
        "https://a.example/b cannot be reached (timed out). The environment is as it was, and what was fetched is "
        "kept; run again when it can."
    )
