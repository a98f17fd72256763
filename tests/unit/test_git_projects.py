"""A user's git identity and repositories, with real git: what is missing comes, and what is there stays as it is."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from plugins.module_utils import projects_account

IDENTITY = {"user.name": "Ada Lovelace", "user.email": "ada@example.org"}


@dataclass
class Home:
    """A user's home directory, and a repository elsewhere with the branches main and autumn and the tag v1."""

    path: Path
    origin: Path

    def git(self, *arguments: str, at: str = "") -> str:
        """What git says to the user."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path / at,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout.strip()

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.path), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def repository(self, name: str = "course", **more: Any) -> dict[str, Any]:
        asked = {"url": str(self.origin), "version": "", "depth": 0, "submodules": False}
        return {**asked, "path": str(self.path / name), **more}

    def ask(self, question: str, *arguments: object) -> Any:
        """The answer of a process that is the user, as the module has one."""
        text = Path(projects_account.__file__).read_text(encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-I", "-c", text],
            input=json.dumps([question, arguments]),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def look(self, *repositories: dict[str, Any], identity: dict[str, str] = IDENTITY) -> Any:
        return self.ask("look", identity, repositories)

    def bring(
        self, *repositories: dict[str, Any], identity: dict[str, str] | None = None, fetch: bool = False
    ) -> list[str]:
        found: list[str] = self.ask("bring", identity or {}, repositories, fetch)
        return found


def write(home: Home, at: str, name: str, text: str) -> None:
    (home.path / at / name).write_text(text)


def commit(home: Home, at: str, text: str) -> None:
    write(home, at, "lesson", text)
    home.git("add", "lesson", at=at)
    home.git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "--quiet", "-m", text, at=at)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "ada", tmp_path / "origin")
    home.path.mkdir()
    home.git("init", "--quiet", "--initial-branch=main", str(home.origin))
    at = str(home.origin)
    commit(home, at, "one")
    home.git("tag", "v1", at=at)
    home.git("switch", "--quiet", "-c", "autumn", at=at)
    commit(home, at, "two")
    home.git("switch", "--quiet", "main", at=at)
    return home


def test_what_is_missing_comes_once(home: Home) -> None:
    course = home.repository("notebooks/course")
    assert home.look(course) == {
        "unreadable": "",
        "unset": ["user.name", "user.email"],
        "own": {},
        "repositories": [{"missing": True, "obstacle": ""}],
    }

    assert home.bring(course, identity=IDENTITY) == []
    assert home.look(course) == {
        "unreadable": "",
        "unset": [],
        "own": {},
        "repositories": [{"missing": False, "obstacle": ""}],
    }
    assert home.git("config", "--global", "user.email") == "ada@example.org"
    assert home.git("branch", "--show-current", at="notebooks/course") == "main"
    assert sorted(path.name for path in (home.path / "notebooks").iterdir()) == ["course"]


@pytest.mark.parametrize(("version", "said"), [("autumn", "two"), ("v1", "one"), ("", "one")])
def test_a_branch_or_a_tag_is_checked_out(home: Home, version: str, said: str) -> None:
    assert home.bring(home.repository(version=version)) == []
    assert (home.path / "course" / "lesson").read_text() == said


def test_a_short_history_and_submodules_are_had_where_asked(home: Home) -> None:
    home.git("config", "--global", "protocol.file.allow", "always")
    commit(home, str(home.origin), "three")
    home.git("submodule", "--quiet", "add", str(home.origin), "lib", at=str(home.origin))
    commit(home, str(home.origin), "four")
    url = f"file://{home.origin}"

    assert home.bring(home.repository("short", url=url, depth=1), home.repository("deep", submodules=True)) == []
    assert home.git("rev-list", "--count", "HEAD", at="short") == "1"
    assert not (home.path / "short/lib/lesson").exists()
    assert (home.path / "deep/lib/lesson").exists()
    # The clone was made under another name; git still knows where its parts are.
    assert home.git("status", "--porcelain", at="deep") == home.git("status", "--porcelain", at="deep/lib") == ""


def test_a_users_own_identity_is_told_and_stays(home: Home) -> None:
    write(home, "", ".gitconfig", "[include]\n\tpath = .gitname\n")
    write(home, "", ".gitname", "[user]\n\tname = Ada B.\n")

    assert home.look()["own"] == {"user.name": "Ada B."}
    assert home.look()["unset"] == ["user.email"]
    assert home.bring(identity=IDENTITY) == []
    assert home.git("config", "--global", "--includes", "user.name") == "Ada B."
    assert home.git("config", "--global", "user.email") == "ada@example.org"
    assert home.git("config", "--file", ".gitconfig", "--get", "user.name") == ""


def test_work_in_a_repository_stays(home: Home) -> None:
    course = home.repository()
    home.bring(course)
    home.git("switch", "--quiet", "-c", "mine", at="course")
    write(home, "course", "lesson", "hers")
    write(home, "course", "unseen", "new")
    before = home.git("rev-parse", "HEAD", at="course")
    commit(home, str(home.origin), "later")

    assert home.bring({**course, "version": "autumn"}) == []
    assert "later" not in home.git("log", "--all", "--format=%s", at="course")
    assert home.bring(course, fetch=True) == []
    assert "later" in home.git("log", "--all", "--format=%s", at="course")
    assert home.git("status", "--porcelain", "--branch", at="course").splitlines()[1:] == [" M lesson", "?? unseen"]
    assert home.git("rev-parse", "HEAD", at="course") == before


@pytest.mark.parametrize(
    ("prepare", "obstacle"),
    [
        ("mkdir course && touch course/x", "course is there and is no repository"),
        ("touch course", "course is there and is no repository"),
        ("ln -s /nowhere course", "course is there and is no repository"),
        ("mkdir empty && ln -s empty course", "course is there and is no repository"),
        ("git init -q . && mkdir course && touch course/x", "course is there and is no repository"),
        ("git init -q course && touch course/x", "course is there and is no repository with a remote"),
        (
            "git init -q course && git -C course remote add origin https://ada:token@Example.org/x/y.git",
            "course is a repository of example.org/x/y",
        ),
    ],
)
def test_something_else_at_its_place_is_named_and_stays(home: Home, prepare: str, obstacle: str) -> None:
    subprocess.run(["sh", "-c", prepare], cwd=home.path, check=True)

    (seen,) = home.look(home.repository())["repositories"]
    assert not seen["missing"]
    assert seen["obstacle"].removeprefix(f"{home.path}/").startswith(obstacle)
    assert "token" not in seen["obstacle"]


def test_an_empty_directory_is_no_obstacle_and_one_that_is_closed_is(home: Home) -> None:
    (home.path / "course").mkdir()
    assert home.bring(home.repository()) == []
    assert (home.path / "course" / "lesson").exists()

    (seen,) = home.look(home.repository(f"{home.path}/course/lesson/below"))["repositories"]
    assert seen == {"missing": True, "obstacle": f"{home.path}/course/lesson cannot be written to"}


def test_a_place_that_the_user_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    may = os.geteuid()
    if may == 0:
        os.seteuid(65534)
    try:
        for path in (closed, closed / "x"):
            seen = projects_account._look_at(path, "")
            assert seen == {"missing": False, "obstacle": f"{path} cannot be reached"}
    finally:
        os.seteuid(may)


def test_what_cannot_be_cloned_leaves_nothing_and_keeps_nothing_back(home: Home) -> None:
    left = home.path / ".nowhere.being-cloned"
    left.mkdir()
    write(home, str(left), "half", "")
    nowhere, no_branch = home.repository("nowhere", url="/nowhere"), home.repository("winter", version="winter")

    first, second = home.bring(nowhere, no_branch, home.repository())
    assert first == f"{home.path}/nowhere cannot be cloned: fatal: repository '/nowhere' does not exist"
    assert "Remote branch winter not found" in second
    assert [path.name for path in home.path.iterdir() if path.name != ".gitconfig"] == ["course"]


def test_a_private_repository_is_the_users_to_clone(home: Home) -> None:
    (failure,) = home.bring(home.repository(url="nobody@127.0.0.1:x"))

    assert "cannot be cloned" in failure
    assert projects_account._why(RuntimeError("git@h: Permission denied (publickey).")).endswith(
        "; a private one is opened by the user's own key: clone it by hand once, and it stays"
    )


def test_the_users_own_ssh_asks_nobody_and_waits_for_no_silent_server(home: Home) -> None:
    write(home, "", "ssh", f'#!/bin/sh\necho "$@" > {home.path}/told\nexit 1\n')
    (home.path / "ssh").chmod(0o755)
    home.git("config", "--global", "core.sshCommand", f"{home.path}/ssh -i her-key")
    course = home.repository()
    home.bring(course)
    home.git("remote", "set-url", "origin", "git@h:x", at="course")
    home.git("config", "core.sshCommand", f"{home.path}/ssh -i course-key", at="course")

    asked = (home.repository("private", url="git@h:x"), False, "her"), (course, True, "course")
    for repository, fetch, key in asked:
        assert len(home.bring(repository, fetch=fetch)) == 1
        told = (home.path / "told").read_text()
        assert told.startswith(f"-i {key}-key -o BatchMode=yes -o ConnectTimeout="), told
        assert "ServerAliveInterval=" in told


def test_one_repository_has_many_addresses() -> None:
    same = projects_account.same_place
    for other in (
        "git@example.org:a/b.git",
        "ssh://git@example.org:22/a/b",
        "https://Example.org/a/b/",
        "http://x@example.org/a/b",
    ):
        assert same("https://example.org/a/b.git", other), other
    for other in ("https://example.org/a/c", "https://example.com/a/b", "/a/b", "https://example.org/A/b"):
        assert not same("https://example.org/a/b.git", other), other
    assert same("/srv/git/x.git", "file:///srv/git/x")


# What the module makes of it -----------------------------------------------------------------------------------------


@pytest.fixture
def module(home: Home, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, on a host whose accounts all live in one home; their processes are real."""
    monkeypatch.syspath_prepend(str(collections_path()))
    found = importlib.import_module("ansible_collections.dlhost.host.plugins.modules.git_projects")

    def account(name: str, _variable: str) -> Any:
        return found.Account(name, os.getuid(), os.getgid(), name, str(home.path))

    def ask(_user: Any, _interpreter: list[str], _module: Any, question: str, *arguments: object, **_more: Any) -> Any:
        return home.ask(question, *arguments)

    monkeypatch.setattr(found, "account", account)
    monkeypatch.setattr(found, "ask", ask)
    return found


def asked(home: Home, path: str, **more: Any) -> dict[str, Any]:
    """What the role gives to the module of one user."""
    return {"name": "ada", "identity": IDENTITY, "repositories": [home.repository(**more) | {"path": path}]}


def test_what_was_brought_is_told(home: Home, module: Any) -> None:
    projects = [module.look(asked(home, "~/course"))]
    module.bring(projects, fetch=False)

    told = module.result(projects, [], fetch=False)
    assert (told["changed"], told["changed_paths"]) == (True, [f"{home.path}/course"])
    assert told["identities"] == ["user.name of ada", "user.email of ada"]
    again = module.result([module.look(asked(home, "~/course"))], [], fetch=False)
    assert (again["changed"], again["due"], again["diff"]) == (False, False, [])
    fetching = module.result([module.look(asked(home, "~/course"))], [], fetch=True)
    assert (fetching["changed"], fetching["due"]) == (False, True)
    assert module.result([], ["git"], fetch=False)["changed"]


def test_a_configuration_that_git_cannot_read_is_said(home: Home, module: Any) -> None:
    write(home, "", ".gitconfig", "[user\n")

    assert home.look()["unreadable"].startswith("fatal: bad config line 1")
    with pytest.raises(
        module.RefusedError, match=r"^git cannot read the configuration of ada: fatal: .* Let ada mend it"
    ):
        module.look(asked(home, "~/course"))


def test_what_differs_is_told_with_its_owner(home: Home, module: Any) -> None:
    home.git("config", "--global", "user.name", "Ada B.")

    told = module.result([module.look(asked(home, "~/course"))], [], fetch=False)
    assert told["own_identities"] == ["ada has user.name as Ada B."]


def test_what_cannot_be_is_one_sentence(home: Home, module: Any) -> None:
    (home.path / "course").write_text("a file")

    with pytest.raises(module.RefusedError, match=r"course is there and is no repository\. Name another path in "):
        module.look(asked(home, "~/course"))
    twice = asked(home, "~/x")
    twice["repositories"].append(home.repository("x"))
    with pytest.raises(module.RefusedError, match=r"Two repositories of ada would be \S+/x\. Name another path"):
        module.look(twice)
    with pytest.raises(module.RefusedError, match=r"^ada: \S+/w cannot be cloned: .*\. What else was missing is there"):
        module.bring([module.look(asked(home, "~/w", version="winter"))], fetch=False)
    assert home.git("config", "--global", "user.name") == "Ada Lovelace"
