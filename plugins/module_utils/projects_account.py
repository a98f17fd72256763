# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's git identity and repositories, seen and brought with the user's own rights, configuration and keys.

This text is given to `python -c` of a process that is that user (module_utils/account_process.py). What is there
stays as it is: an identity is only written where there is none, a repository only cloned where nothing is, and a
fetch moves no branch and no file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Nobody can be asked; a transfer that gives nothing for a minute has ended.
SILENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
}
# The same for ssh, which would wait for ever on a server that takes the connection and says nothing.
SSH_ENDS = "-o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
CLOSED = re.compile(r"could not read Username|Authentication failed|Permission denied|Host key verification|not found")


class _GitError(Exception):
    """What git said, as one line."""


def look(identity: dict[str, str], repositories: list[dict]) -> dict[str, object]:
    """What of an identity is unset, what of it the user has set otherwise, and what there is of each repository.

    `unreadable` is why git cannot say, where the user's configuration is broken.
    """
    found, unreadable = dict.fromkeys(identity, ""), ""
    if shutil.which("git"):
        try:
            found = {key: _own(key) for key in identity}
        except _GitError as error:
            unreadable = str(error)
    return {
        "unreadable": unreadable,
        "unset": [key for key, value in found.items() if not value],
        "own": {key: value for key, value in found.items() if value and value != identity[key]},
        "repositories": [_look_at(Path(each["path"]), each["url"]) for each in repositories],
    }


def bring(identity: dict[str, str], repositories: list[dict], fetch: bool) -> list[str]:
    """Set what is unset, clone what is missing, and fetch the others where asked; returns what could not be done."""
    seen = look(identity, repositories)
    failures = []
    for key in seen["unset"]:
        try:
            _git("config", "--global", key, identity[key])
        except _GitError as error:
            failures.append(f"{key} cannot be set: {error}")
    for each, there in zip(repositories, seen["repositories"], strict=True):
        try:
            if there["missing"]:
                _clone(each)
            elif fetch:
                _git("-C", each["path"], "fetch", "--quiet", **_ssh("-C", each["path"]))
        except (_GitError, OSError) as error:
            failures.append(f"{each['path']} cannot be {'cloned' if there['missing'] else 'fetched'}: {_why(error)}")
    return failures


def same_place(one: str, other: str) -> bool:
    """Whether two addresses are of one repository, however it is reached: by HTTPS or by SSH, with .git or without."""
    return _place(one) == _place(other)


def _own(key: str) -> str:
    """What the user's own configuration says, with what it includes."""
    try:
        return _git("config", "--includes", "--get", key, GIT_CONFIG_NOSYSTEM="1").rstrip("\n")
    except _GitError as error:
        if str(error):
            raise
        return ""


def _look_at(path: Path, url: str) -> dict[str, object]:
    """Whether nothing is there yet, and otherwise, or where nothing can be, what stands in the way."""
    try:
        # Nothing takes the place of a link, empty as its directory may be.
        if not os.path.lexists(path) or (path.is_dir() and not path.is_symlink() and not any(path.iterdir())):
            above = next(place for place in [path, *path.parents] if place.exists())
            writable = above.is_dir() and os.access(above, os.W_OK | os.X_OK)
            return {"missing": True, "obstacle": "" if writable else f"{above} cannot be written to"}
        return {"missing": False, "obstacle": _strangeness(path, url) if shutil.which("git") else ""}
    except OSError:
        return {"missing": False, "obstacle": f"{path} cannot be reached"}


def _strangeness(path: Path, url: str) -> str:
    """Why what is there is not the repository; empty where it is."""
    try:
        # Within another repository git would answer for that one.
        if not path.is_dir() or _git("-C", str(path), "rev-parse", "--show-cdup").strip():
            return f"{path} is there and is no repository"
        remotes = _git("-C", str(path), "config", "--get-regexp", r"^remote\..*\.url$").splitlines()
    except _GitError as error:
        return f"{path} is there and is no repository" + (f" ({error})" if str(error) else " with a remote")
    # An address may hold a token of the user's: only where it leads is told.
    places = [line.partition(" ")[2] for line in remotes]
    if any(same_place(each, url) for each in places):
        return ""
    return f"{path} is a repository of {', '.join('/'.join(filter(None, _place(each))) for each in places)}"


def _place(url: str) -> tuple[str, str]:
    """Host and path."""
    found = re.fullmatch(r"(?:\w[\w+.-]*://)?(?:[^/]*@)?([^:/]*)(?::\d+(?=/))?[:/]+(.*?)(?:\.git)?/*", url)
    return (found[1].lower(), found[2]) if found else ("", url)


def _clone(repository: dict) -> None:
    path = Path(repository["path"])
    # Whole or not at all; what a run that was cut has left goes first.
    staged = path.with_name(f".{path.name}.being-cloned")
    shutil.rmtree(staged, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [f"--branch={repository['version']}"] if repository["version"] else []
    options += [f"--depth={repository['depth']}"] if repository["depth"] else []
    options += ["--recurse-submodules"] if repository["submodules"] else []
    options += ["--shallow-submodules"] if repository["submodules"] and repository["depth"] else []
    try:
        _git("clone", "--quiet", *options, "--", repository["url"], str(staged), **_ssh())
        staged.rename(path)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _ssh(*where: str) -> dict[str, str]:
    """The user's own ssh command, or git's, so that it ends by itself."""
    try:
        own = _git(*where, "config", "--get", "core.sshCommand").rstrip("\n")
    except _GitError:
        own = ""
    return {"GIT_SSH_COMMAND": f"{own or 'ssh'} {SSH_ENDS}"}


def _git(*arguments: str, **variables: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
        # No terminal: ssh would ask there.
        start_new_session=True,
        env={**os.environ, **SILENT, **variables},
    )
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        words = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))] or lines[-1:]
        # The last says that access rights are to be made sure of; the one before it says which.
        raise _GitError(" ".join(" ".join(dict.fromkeys([*lines[:1], *words])).split()))
    return done.stdout


def _why(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else str(error)
    if CLOSED.search(said):
        return f"{said}; a private one is opened by the user's own key: clone it by hand once, and it stays"
    return said


if __name__ == "__main__":
    question, arguments = json.load(sys.stdin)
    json.dump({"look": look, "bring": bring}[question](*arguments), sys.stdout)
