"""apt's troubles as sentences: a lock, an unknown name, lists out of date, an installation that was cut."""

from __future__ import annotations

import fcntl
import importlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path

NAME = "ansible_collections.dlhost.host.plugins.module_utils.debian_packages"

HELD = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)\n"
DPKG_HELD = "dpkg: error: dpkg frontend lock was locked by another process with pid 812\n"
UPDATE, INSTALL, CONFIGURE = "apt-get update", "apt-get install", "dpkg --configure"


class Apt:
    """Answers the commands of one host in the order given for each; the last answer stays. Keeps what was asked."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.asked: list[str] = []
        self.answers: dict[str, list[tuple[int, str, str]]] = {
            "apt-cache pkgnames": [(0, "curl\ntmux\n", "")],
            "apt-config dump": [(0, "7", "")],
        }

    def answer(self, command: str, *answers: tuple[int, str, str]) -> None:
        self.answers[command] = list(answers)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = " ".join(words[:2])
        self.asked.append(command)
        answers = self.answers.get(command, [(0, "", "")])
        return subprocess.CompletedProcess(words, *(answers.pop(0) if len(answers) > 1 else answers[0]))

    def count(self, command: str) -> int:
        return self.asked.count(command)

    def refusal(self, act: Callable[[], object]) -> str:
        with pytest.raises(self.module.PackagesError) as refused:
            act()
        return str(refused.value)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """A host with fresh package lists and nothing cut; a wait for a lock takes no time, a clock tick each."""
    monkeypatch.syspath_prepend(str(collections_path()))
    module: Any = importlib.import_module(NAME)
    made = Apt(module)
    ticks = iter(range(1000))
    monkeypatch.setattr(module, "INDEX", tmp_path / "srcpkgcache.bin")
    for name in ("SOURCES", "LISTS", "JOURNAL"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, name, tmp_path / name)
    (tmp_path / "LISTS" / "mirror_Packages").touch()
    for name in ("LOCK", "STATUS"):
        (tmp_path / name).touch()
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(module, "run", made.run)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr("time.monotonic", lambda: next(ticks))
    return made


def test_apt_asks_nobody_and_restarts_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(collections_path()))
    told = importlib.import_module(NAME).run("sh", "-c", 'echo "$DEBIAN_FRONTEND $NEEDRESTART_SUSPEND"').stdout

    assert told == "noninteractive 1\n"


def test_fresh_lists_are_used_as_they_are(apt: Apt) -> None:
    apt.module.install(["curl", "tmux"])
    assert (apt.count(UPDATE), apt.count(INSTALL)) == (0, 1)


def test_nothing_to_install_runs_nothing(apt: Apt) -> None:
    apt.module.install([])
    assert apt.count(UPDATE) + apt.count(INSTALL) + apt.count(CONFIGURE) == 0


@pytest.mark.parametrize("lists", ["none", "old"])
def test_stale_lists_are_refreshed_first(apt: Apt, lists: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lists == "none":
        (apt.module.LISTS / "mirror_Packages").unlink()
    else:
        monkeypatch.setattr(apt.module, "LISTS_VALID_S", -1)
    apt.module.install(["curl"])
    assert apt.asked.index(UPDATE) < apt.asked.index(INSTALL)


def test_a_name_that_only_new_lists_have_is_found(apt: Apt) -> None:
    apt.answer("apt-cache pkgnames", (0, "curl\n", ""), (0, "curl\nhtop\n", ""))
    apt.module.install(["htop"])
    assert (apt.count(UPDATE), apt.count(INSTALL)) == (1, 1)


@pytest.mark.parametrize("name", ["no-such-package", "curl-", "curl+", "python3.99"])
def test_an_unknown_name_never_reaches_apt_get_install(apt: Apt, name: str) -> None:
    """apt-get would take `curl-` for a removal and a dot for a pattern."""
    assert apt.refusal(lambda: apt.module.install(["curl", name])).startswith(f"apt knows no package called {name}. ")
    assert (apt.count(UPDATE), apt.count(INSTALL)) == (1, 0)


@pytest.mark.parametrize("words", ["E: Failed to fetch http://mirror/curl.deb  404", "has no installation candidate"])
def test_a_mirror_that_has_moved_on_is_asked_again(apt: Apt, words: str) -> None:
    apt.answer(INSTALL, (100, "", words), (0, "", ""))
    apt.module.install(["curl"])
    assert (apt.count(UPDATE), apt.count(INSTALL)) == (1, 2)


def test_another_failure_is_said_in_apts_words(apt: Apt) -> None:
    apt.answer(INSTALL, (100, "noise", "W: a warning\nE: Unmet dependencies.\nE: Broken packages\n"))
    assert apt.refusal(lambda: apt.module.install(["curl"])) == "apt failed: Unmet dependencies.; Broken packages"
    assert apt.count(INSTALL) == 1


def test_the_holder_of_the_lock_is_named(apt: Apt) -> None:
    apt.answer(INSTALL, (100, "", HELD))
    said = apt.refusal(lambda: apt.module.install(["curl"]))
    assert said == "apt waited 7 s for its lock, held by process 812 (unattended-upgr); run again when that has ended."


def test_a_holder_that_apt_named_while_it_waited_is_named(apt: Apt) -> None:
    waited = (
        "Waiting for cache lock: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 9 (python3)...\n"
    )
    last = "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?\n"
    apt.answer(INSTALL, (100, waited, last))
    assert "held by process 9 (python3);" in apt.refusal(lambda: apt.module.install(["curl"]))


def test_the_lock_of_the_lists_is_waited_for(apt: Apt) -> None:
    (apt.module.LISTS / "mirror_Packages").unlink()
    apt.answer(UPDATE, (100, "", HELD), (100, "", "E: Could not get lock /var/lib/apt/lists/lock\n"), (0, "", ""))
    apt.module.install(["curl"])
    assert apt.count(UPDATE) == 3

    apt.answer(UPDATE, (100, "", "E: Could not get lock /var/lib/apt/lists/lock\n"))
    assert "held by another program" in apt.refusal(lambda: apt.module.install(["curl"]))


def test_a_broken_source_is_no_lock(apt: Apt) -> None:
    (apt.module.LISTS / "mirror_Packages").unlink()
    apt.answer(UPDATE, (100, "", "E: The repository 'http://x' is not signed.\n"))
    said = apt.refusal(lambda: apt.module.install(["curl"]))
    assert said == "apt cannot refresh its package lists: The repository 'http://x' is not signed."
    assert apt.count(UPDATE) == 1


def test_a_cut_installation_is_finished_first(apt: Apt) -> None:
    (apt.module.JOURNAL / "0001").touch()
    assert apt.module.was_cut()
    apt.module.install(["curl"])
    assert apt.asked.index(CONFIGURE) < apt.asked.index(INSTALL)

    apt.answer(CONFIGURE, (1, "", "dpkg: error processing package curl (--configure):\n"))
    said = apt.refusal(lambda: apt.module.install([]))
    assert said.startswith("An installation was cut and dpkg cannot finish it: dpkg: error processing")


def test_a_cut_installation_waits_for_another_one(apt: Apt) -> None:
    (apt.module.JOURNAL / "0001").touch()
    apt.answer(CONFIGURE, (2, "", DPKG_HELD), (0, "", ""))
    apt.module.install([])
    assert apt.count(CONFIGURE) == 2

    apt.answer(CONFIGURE, (2, "", DPKG_HELD))
    assert "held by process with pid 812;" in apt.refusal(lambda: apt.module.install([]))


@pytest.fixture
def dpkg_at_work(apt: Apt) -> Iterator[None]:
    """Another process that holds dpkg's lock and keeps its journal."""
    (apt.module.JOURNAL / "0001").touch()
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    holder = subprocess.Popen(
        ["python3", "-c", code, apt.module.LOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    yield
    holder.communicate("\n")


@pytest.mark.usefixtures("dpkg_at_work")
def test_an_installation_at_work_was_not_cut(apt: Apt) -> None:
    assert not apt.module.was_cut()


def test_asking_for_the_lock_does_not_keep_it(apt: Apt) -> None:
    (apt.module.JOURNAL / "0001").touch()
    (apt.module.JOURNAL / "tmp.i").touch()
    assert apt.module.was_cut()
    with apt.module.LOCK.open("r+b") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("check", [False, True])
def test_only_what_is_kept_by_hand_is_handed_back(apt: Apt, check: bool) -> None:
    apt.answer("apt-mark showmanual", (0, "curl\nvim\n", ""))
    assert apt.module.hand_back(["curl", "tmux"], check=check) == ["curl"]
    assert apt.count("apt-mark auto") == (0 if check else 1)


def test_apt_mark_waits_too_and_its_failure_is_said(apt: Apt) -> None:
    apt.answer("apt-mark showmanual", (0, "curl\n", ""))
    apt.answer("apt-mark auto", (100, "", HELD), (0, "", ""))
    assert apt.module.hand_back(["curl"], check=False) == ["curl"]
    apt.answer("apt-mark showmanual", (100, "", "E: no cache\n"))
    assert apt.refusal(lambda: apt.module.hand_back(["curl"], check=False)) == "apt-mark failed: no cache"
    assert apt.module.hand_back([], check=False) == []


def test_apt_reads_what_it_kept_of_its_lists_in_a_copy(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[str] = []

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        found = {name: place for name, _equals, place in (word.partition("=") for word in words)}["--option"]
        places.append(found.removeprefix("Dir::Cache::srcpkgcache="))
        if places[-1]:
            copy = Path(places[-1])
            assert (copy.read_text(), copy.parent.stat().st_mode & 0o77) == ("kept", 0)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(apt.module, "run", run)
    apt.module.ask("apt-cache", "policy", "curl")
    apt.module.INDEX.write_text("kept")
    apt.module.ask("apt-cache", "policy", "curl")
    assert places[0] == ""
    assert places[1] != str(apt.module.INDEX)
    assert not Path(places[1]).exists()
