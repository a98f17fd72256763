"""Files that a role owns on a host: planned in full, staged, then swapped in; remembered in one manifest.

The manifest, /etc/dlhost/managed.json, is what makes removal clean: a file that a role once wrote and no longer
declares is removed, one that it never wrote is never touched.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import grp
import json
import os
import pwd
import shlex
import stat
import tempfile
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import commands

MANIFEST = Path("/etc/dlhost/managed.json")
SCHEMA_VERSION = 1
# How the name of a file begins and ends that is not in place yet; *.conf and *.crt do not find it.
STAGED = (".dlhost-", ".staged")
# What no diff shows, whatever became of the mode of its file.
PRIVATE_KEY = b"PRIVATE KEY-----"

# What a role owns that owns nothing.
NOTHING: dict[str, list[str]] = {"files": [], "packages": [], "installed": []}


class OwnedFilesError(Exception):
    """One sentence for the user: what could not be done, to which file, and what to do."""


@dataclasses.dataclass(frozen=True)
class OwnedFile:
    """One regular file as it should be; `validate` is a command line with %s for the staged file's path."""

    path: Path
    content: bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    validate: str = ""
    sensitive: bool = False

    @classmethod
    def from_argument(cls, argument: dict) -> OwnedFile:
        """One element of a module's `files` argument.

        Raises:
            OwnedFilesError: The path is not absolute, or the mode not octal.
        """
        path = Path(argument["path"])
        if not path.is_absolute():
            raise OwnedFilesError(f"{path} is not an absolute path.")
        try:
            mode = int(argument["mode"], 8)
        except ValueError:
            raise OwnedFilesError(f"{path}: mode {argument['mode']!r} is not octal, like '0644'.") from None
        return cls(
            path=path,
            content=argument["content"].encode(),
            mode=mode,
            owner=argument["owner"],
            group=argument["group"],
            validate=argument["validate"] or "",
            sensitive=argument["sensitive"],
        )


# The argument_spec of a module's `files` option.
FILES_ARGUMENT = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "validate": {"type": "str"},
        "sensitive": {"type": "bool", "default": False},
    },
}


def request_of(arguments: dict) -> dict:
    """A copy of a module's arguments. In the module's own, which Ansible adds to its result, no secret is left."""
    request = copy.deepcopy(arguments)
    for file in arguments["files"]:
        if file["sensitive"]:
            file["content"] = "hidden"
    return request


@dataclasses.dataclass(frozen=True)
class Found:
    """A path as it is: `content` is None where there is no regular file of its own there."""

    content: bytes | None
    mode: int = 0
    owner: str = ""
    group: str = ""


def find(path: Path) -> Found:
    """What is at path now; a symbolic link counts as no file of its own."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Found(None)
    if not stat.S_ISREG(status.st_mode):
        return Found(None)
    return Found(
        content=path.read_bytes(),
        mode=stat.S_IMODE(status.st_mode),
        owner=name_of(pwd.getpwuid, status.st_uid),
        group=name_of(grp.getgrgid, status.st_gid),
    )


def is_as_wanted(found: Found, wanted: OwnedFile) -> bool:
    """Whether content, mode, owner and group are all as wanted."""
    return (found.content, found.mode, found.owner, found.group) == (
        wanted.content,
        wanted.mode,
        wanted.owner,
        wanted.group,
    )


def difference(found: Found, wanted: OwnedFile | None, path: Path) -> dict[str, str]:
    """Ansible's diff of one file; `wanted` is None where it goes away."""
    # Of a file that goes away nobody knows any more whether it was sensitive; its mode tells who might read it.
    hidden = wanted.sensitive if wanted else not found.mode & stat.S_IROTH or PRIVATE_KEY in (found.content or b"")
    same = wanted is not None and found.content == wanted.content
    if hidden and not same:
        return {"header": str(path), "prepared": f"{path}: content not shown\n"}
    before = _shown(found.content, found.mode, found.owner, found.group, wanted)
    after = _shown(wanted.content, wanted.mode, wanted.owner, wanted.group, found) if wanted else ""
    if hidden:  # Another mode or owner can be shown without it.
        before, after = (text.splitlines(keepends=True)[0] for text in (before, after))
    return {"before_header": str(path), "after_header": str(path), "before": before, "after": after}


def stage(files: list[OwnedFile]) -> dict[Path, Path]:
    """Write each file beside its place and validate it; returns place to staged path. Nothing is in place yet.

    Raises:
        OwnedFilesError: A file cannot be written or its validation fails; nothing staged is left behind.
    """
    staged: dict[Path, Path] = {}
    try:
        for wanted in files:
            staged[wanted.path] = _write_beside(wanted)
            _validate(wanted, staged[wanted.path])
    except BaseException:
        discard(staged)
        raise
    return staged


def swap(staged: dict[Path, Path]) -> None:
    """Rename every staged file into its place.

    Raises:
        OwnedFilesError: A rename failed; what was not in place yet is discarded.
    """
    try:
        for path, temporary in staged.items():
            temporary.replace(path)
    except OSError as error:
        discard(staged)
        raise OwnedFilesError(f"{path} cannot be put in place: {error.strerror}.") from None


def discard(staged: dict[Path, Path]) -> None:
    """Remove what was staged and not swapped in."""
    for temporary in staged.values():
        temporary.unlink(missing_ok=True)


def read_manifest() -> dict[str, dict[str, list[str]]]:
    """Role name to what it owns: files, packages (all it wants) and installed (those it brought to the host).

    Raises:
        OwnedFilesError: The manifest is not what dlhost writes.
    """
    try:
        roles = json.loads(MANIFEST.read_bytes())["roles"]
        return {role: {key: list(owned[key]) for key in NOTHING} for role, owned in roles.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OwnedFilesError(f"{MANIFEST} is damaged. Move it away and run again; dlhost writes it anew.") from None


def manifest_file(roles: dict[str, dict[str, list[str]]]) -> OwnedFile:
    """The manifest as a file; roles that own nothing are left out."""
    owning = {role: owned for role, owned in roles.items() if any(owned.values())}
    text = json.dumps({"schema_version": SCHEMA_VERSION, "roles": owning}, indent=2, sort_keys=True)
    return OwnedFile(path=MANIFEST, content=f"{text}\n".encode())


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one role's declaration changes on this host; `write` ends with the manifest where that differs.

    `claim` is the manifest for the time in between: it has the files that go and those that come.
    """

    write: list[OwnedFile]
    remove: list[Path]
    diffs: list[dict[str, str]]
    claim: list[OwnedFile]

    @property
    def paths(self) -> list[str]:
        """Every file to be written or removed."""
        return [str(path) for path in [*(file.path for file in self.write), *self.remove]]


def plan(role: str, wanted: list[OwnedFile], packages: list[str], absent: bool = False) -> Plan:
    """Compare the role's declaration with the host and with what the role owns so far.

    Raises:
        OwnedFilesError: The manifest is damaged.
    """
    roles = read_manifest()
    owned = roles.get(role, NOTHING)
    claim = []
    if absent:
        wanted = []
        roles.pop(role, None)
    else:
        roles[role] = {
            "files": sorted(str(file.path) for file in wanted),
            "packages": sorted(packages),
            "installed": sorted({*owned["installed"], *missing_packages(packages)} & set(packages)),
        }
        both = sorted({*owned["files"], *roles[role]["files"]})
        if both != owned["files"]:
            claim = [manifest_file({**roles, role: {**roles[role], "files": both}})]
    # A host that owns nothing of dlhost has no manifest either.
    manifest = [manifest_file(roles)] if any(any(what.values()) for what in roles.values()) else []
    write, diffs = [], []
    for file in [*wanted, *manifest]:
        found = find(file.path)
        if not is_as_wanted(found, file):
            write.append(file)
            diffs.append(difference(found, file, file.path))
    kept = {file.path for file in wanted}
    remove = [path for path in map(Path, owned["files"]) if path not in kept and os.path.lexists(path)]
    if not manifest and MANIFEST.exists():
        remove.append(MANIFEST)
    remove += _leftovers({MANIFEST, *kept, *map(Path, owned["files"])})
    diffs += [difference(find(path), None, path) for path in remove]
    return Plan(write, remove, diffs, claim)


def _leftovers(paths: set[Path]) -> list[Path]:
    """What runs that were cut had staged beside these files; it may be a secret."""
    directories = sorted({path.parent for path in paths})
    return [left for directory in directories for left in sorted(directory.glob(f"{STAGED[0]}*{STAGED[1]}"))]


def carry_out(plan: Plan) -> None:
    """Make it so. The manifest names new files before they are there and old ones until they are gone.

    So the run after one that was cut knows every file that is the role's.

    Raises:
        OwnedFilesError: A file is refused or cannot be written or removed.
    """
    staged = stage(plan.write)
    manifest = {path: staged.pop(path) for path in list(staged) if path == MANIFEST}
    try:
        swap(stage(plan.claim))
        swap(staged)
        for path in plan.remove:
            _remove(path)
            _remove_emptied(path.parent)
        swap(manifest)
    finally:
        discard({**staged, **manifest})


def claim_packages(role: str, packages: list[str]) -> None:
    """Remember, before they are installed, which of the packages the role brings to the host.

    Raises:
        OwnedFilesError: The manifest is damaged or cannot be written.
    """
    roles = read_manifest()
    owned = roles.setdefault(role, {**NOTHING})
    owned["packages"] = sorted({*owned["packages"], *packages})
    owned["installed"] = sorted({*owned["installed"], *missing_packages(packages)})
    swap(stage([manifest_file(roles)]))


def brought_packages(role: str) -> list[str]:
    """The packages that this role brought to the host and that no other role wants.

    Raises:
        OwnedFilesError: The manifest is damaged.
    """
    roles = read_manifest()
    installed = roles.get(role, NOTHING)["installed"]
    wanted = {name for other, owned in roles.items() if other != role for name in owned["packages"]}
    return [name for name in installed if name not in wanted]


def missing_packages(names: list[str]) -> list[str]:
    """Those of the Debian packages that are not installed."""
    if not names:
        return []
    # A name that dpkg has never seen makes it exit 1.
    query = commands.run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names)
    rows = [line.split() for line in query.stdout.splitlines()]
    installed = {row[0] for row in rows if row[1:] == ["installed"]}
    return [name for name in names if name not in installed]


def name_of(look_up, number: int) -> str:
    """What an account or group is called; one without a name, by its number."""
    try:
        return look_up(number)[0]
    except KeyError:
        return str(number)


def _number(look_up, name: str) -> int:
    """The other way round."""
    return int(name) if name.isdigit() else look_up(name)[2]


def _shown(content, mode: int, owner: str, group: str, other) -> str:
    if content is None:
        return ""
    text = content.decode("utf-8", "replace")
    if other is None or other.content is None or (other.mode, other.owner, other.group) == (mode, owner, group):
        return text
    return f"[mode {mode:04o}, owner {owner}:{group}]\n{text}"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OwnedFilesError(f"{path} cannot be removed: {error.strerror}.") from None


def _remove_emptied(directory: Path) -> None:
    """Remove a directory of dlhost's own, by its place or name, and those that it lay in, where nothing is left."""
    with contextlib.suppress(OSError):
        while directory.is_relative_to(MANIFEST.parent) or directory.name.startswith("dlhost-"):
            directory.rmdir()
            directory = directory.parent


def _make_directories(path: Path) -> None:
    """Make path and what it lies in, readable for everybody whatever the umask is."""
    if not path.is_dir():
        _make_directories(path.parent)
        path.mkdir()
        path.chmod(0o755)


def _write_beside(wanted: OwnedFile) -> Path:
    try:
        uid, gid = _number(pwd.getpwnam, wanted.owner), _number(grp.getgrnam, wanted.group)
    except KeyError as error:
        raise OwnedFilesError(f"{wanted.path}: {error.args[0]}.") from None
    if wanted.path.is_dir() and not wanted.path.is_symlink():
        raise OwnedFilesError(f"{wanted.path} is a directory; dlhost needs a file there. Move it away and run again.")
    temporary = ""
    try:
        _make_directories(wanted.path.parent)
        descriptor, temporary = tempfile.mkstemp(dir=wanted.path.parent, prefix=STAGED[0], suffix=STAGED[1])
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, wanted.mode)
            os.fchown(descriptor, uid, gid)
            stream.write(wanted.content)
            stream.flush()
            _keep_time(descriptor, wanted)
            os.fsync(descriptor)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OwnedFilesError(f"{wanted.path} cannot be written: {error.strerror}.") from None
    return Path(temporary)


def _keep_time(descriptor: int, wanted: OwnedFile) -> None:
    """A file whose text stays keeps its time: what reads it need not be restarted for a changed mode."""
    if find(wanted.path).content == wanted.content:
        seen = wanted.path.stat()
        os.utime(descriptor, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _validate(wanted: OwnedFile, staged: Path) -> None:
    if not wanted.validate:
        return
    command = [part.replace("%s", str(staged)) for part in shlex.split(wanted.validate)]
    result = commands.run(*command)
    if result.returncode != 0:
        said = " ".join((result.stderr or result.stdout).replace(str(staged), str(wanted.path)).split())
        raise OwnedFilesError(f"{wanted.path} is refused by {command[0]}: {said}")
