"""What sshd would read and what an account needs to log in with a key, as functions over texts.

sshd itself stays the judge of values: `Configuration.shadow` writes a copy of the whole configuration that
`sshd -T -f` evaluates exactly as it would the real one, before a single file is in place.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

MAIN = Path("/etc/ssh/sshd_config")
DEFAULT_PORT = 22
DROP_INS = "/etc/ssh/sshd_config.d/*.conf"
INCLUDE_DEPTH = 16  # SERVCONF_MAX_DEPTH in OpenSSH's servconf.c.

# What sshd -T prints under another name than the one it was set by; "listenport" is our own, see `parse_effective`.
CAUSES = {
    "listenport": {"port", "listenaddress"},
    "kbdinteractiveauthentication": {"kbdinteractiveauthentication", "challengeresponseauthentication"},
    "pubkeyacceptedalgorithms": {"pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"},
}

# Where "no" is the strictest value there is.
FORBIDDEN_BY_NO = {
    "allowtcpforwarding",
    "kbdinteractiveauthentication",
    "passwordauthentication",
    "permitemptypasswords",
    "permitrootlogin",
    "permituserenvironment",
    "x11forwarding",
}

Effective = dict[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Line:
    """One setting: `keyword` in lower case, `value` as written, `match` what the Match lines around it ask for."""

    path: Path
    number: int
    keyword: str
    value: str
    match: str = ""

    @property
    def place(self) -> str:
        return f"{self.path} line {self.number}"


@dataclasses.dataclass(frozen=True)
class Conflict:
    """For `user`, sshd would use `value` (set at `place`) instead of the wanted one."""

    user: str
    keyword: str
    value: str
    wanted: str
    place: str

    def __str__(self) -> str:
        return f"{self.keyword} {self.value or '(unset)'} for {self.user} comes from {self.place}"


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The texts of sshd_config and of every file that its Include lines reach."""

    texts: Mapping[Path, str]

    @classmethod
    def read(cls, overlay: Mapping[Path, str | None]) -> Configuration:
        """The host's configuration as if the overlay's files were in place; None is a file that is gone.

        Raises:
            OSError: A file cannot be read.
        """
        texts: dict[Path, str] = {}
        waiting = [MAIN]
        while waiting:
            path = waiting.pop()
            if path in texts:
                continue
            text = overlay[path] if path in overlay else path.read_text(encoding="utf-8", errors="replace")
            if text is None:
                continue
            texts[path] = text
            for _number, keyword, value in settings(text):
                if keyword == "include":
                    for pattern in include_patterns(value):
                        waiting += [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207  an absolute pattern
                        waiting += [path for path in overlay if path.match(pattern)]
        return cls(texts)

    def lines(self) -> Iterator[Line]:
        """Every setting in the order in which sshd reads it."""
        return self._lines(MAIN, 0, "")

    def without(self, lines: Iterable[Line]) -> Configuration:
        """The same with these lines emptied; the numbers of the others stay."""
        texts = dict(self.texts)
        for line in lines:
            rows = texts[line.path].splitlines()
            rows[line.number - 1] = ""
            texts[line.path] = "\n".join(rows) + "\n"
        return Configuration(texts)

    def shadow(self, directory: Path) -> dict[Path, Path]:
        """Write a copy whose Include lines point to copies; returns original to copy. Line numbers are the same."""
        copies = {path: directory / f"{index:04d}" for index, path in enumerate(self.texts)}
        for path, text in self.texts.items():
            rows = text.splitlines()
            for number, keyword, value in settings(text):
                if keyword == "include":
                    included = [str(copies[name]) for name in self._included(value)]
                    rows[number - 1] = " ".join(["Include", *included]) if included else ""
            copies[path].write_text("\n".join(rows) + "\n", encoding="utf-8")
        return copies

    def reads_drop_ins(self) -> bool:
        """Whether the main file includes the drop-in directory for every connection."""
        for _number, keyword, value in settings(self.texts[MAIN]):
            if keyword == "match":
                return False
            if keyword == "include" and DROP_INS in include_patterns(value):
                return True
        return False

    def _lines(self, path: Path, depth: int, around: str) -> Iterator[Line]:
        """A Match block ends with its file; a file that is included in one is all part of it."""
        if depth > INCLUDE_DEPTH:
            return
        match = around
        for number, keyword, value in settings(self.texts.get(path, "")):
            if keyword == "include":
                for name in self._included(value):
                    yield from self._lines(name, depth + 1, match)
                continue
            if keyword == "match":
                match = f"{around} {value}".strip()
            yield Line(path, number, keyword, value, match)

    def _included(self, value: str) -> list[Path]:
        """sshd expands each pattern by itself and reads its files in the order of their names."""
        return [
            path
            for pattern in include_patterns(value)
            for path in sorted(self.texts)
            if path.match(pattern) and not path.name.startswith(".")
        ]


def settings(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, keyword in lower case and value of each setting in one file."""
    for number, row in enumerate(text.splitlines(), start=1):
        match = re.match(r"\s*([A-Za-z][A-Za-z0-9]*)(?:\s+|\s*=\s*)(.*?)\s*$", row)
        if match:
            yield number, match[1].lower(), match[2]


def include_patterns(value: str) -> list[str]:
    """The patterns of one Include line; a relative one is under /etc/ssh."""
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        return []  # sshd refuses the line itself.
    return [word if word.startswith("/") else f"/etc/ssh/{word}" for word in words]


def parse_effective(output: str) -> Effective:
    """`sshd -T` as keyword to values. Adds "listenport": Port only counts where ListenAddress names none."""
    effective: Effective = {}
    for row in output.splitlines():
        keyword, _space, value = row.partition(" ")
        effective.setdefault(keyword, []).append(value)
    effective["listenport"] = sorted({value.rpartition(":")[2] for value in effective.get("listenaddress", [])})
    return effective


def stream_ports(texts: Iterable[str]) -> list[int]:
    """Ports of a socket unit and its drop-ins in systemd's order: an empty ListenStream forgets the earlier ones."""
    ports: set[int] = set()
    for text in texts:
        for value in re.findall(r"(?m)^ListenStream=(.*)$", text):
            port = value.strip().rpartition(":")[2]
            if not port:
                ports.clear()
            elif port.isdigit():
                ports.add(int(port))
    return sorted(ports)


def promised_keywords(texts: Iterable[str], user: str) -> set[str]:
    """The keywords that these files set for the user, by their Match User blocks or for everyone."""
    promised = set()
    for text in texts:
        for_user = True
        for _number, keyword, value in settings(text):
            if keyword == "match":
                for_user = value.split() == ["User", user]
            elif for_user:
                promised.add(keyword)
    return promised


def promises(alone: Effective, default: Effective, keywords: set[str]) -> Effective:
    """What our own files, read alone, make sshd do: what they name, and what differs from sshd's defaults."""
    indirect = {"port", "listenaddress"} - (keywords - {"port"})
    return {
        keyword: values
        for keyword, values in alone.items()
        if keyword not in indirect and (keyword in keywords or default.get(keyword) != values)
    }


def find_conflicts(
    user: str,
    wanted: Effective,
    configuration: Configuration,
    own: Iterable[Path],
    evaluate: Callable[[Configuration], Effective],
) -> list[Conflict]:
    """Where the whole configuration gives the user something else than wanted, and the line that does it.

    sshd keeps the first value it reads, so the lines that set a keyword are emptied one after the other until
    the value changes: the last one emptied is the one to remove.
    """
    own = set(own)
    effective = evaluate(configuration)
    conflicts = []
    for keyword, values in sorted(wanted.items()):
        found = effective.get(keyword, [])
        if found == values:
            continue
        causes = CAUSES.get(keyword, {keyword})
        candidates = [line for line in configuration.lines() if line.keyword in causes and line.path not in own]
        place, shown = "sshd's own default", keyword
        for count, line in enumerate(candidates, start=1):
            if evaluate(configuration.without(candidates[:count])).get(keyword, []) != found:
                place, shown = line.place, line.keyword
                break
        conflicts.append(Conflict(user, shown, " ".join(found), " ".join(values), place))
    return conflicts


def find_exceptions(
    configuration: Configuration,
    own: Mapping[Path, str],
    default: Effective,
    evaluate: Callable[[Configuration], Effective],
) -> list[Conflict]:
    """Where a Match block of another file sets for some what ours want otherwise for everyone.

    Whom the block means cannot be listed (an address, a group), so its lines are judged as if they were for all.
    Accounts named literally are left to `find_conflicts`, which asks sshd about each.
    """
    own = {path: re.split(r"(?im)^\s*match\b", text)[0] for path, text in own.items()}
    ours = f"Include {' '.join(map(str, own))}\n"
    lines = [line for line in configuration.lines() if line.match and line.keyword != "match" and line.path not in own]
    lines = [line for line in lines if not literal_users(line.match)]
    wanted = {}
    if own and lines:
        alone = evaluate(Configuration({MAIN: ours, **own}))
        wanted = promises(alone, default, promised_keywords(own.values(), ""))
    conflicts = []
    for line in lines:
        for keyword, values in wanted.items():
            if line.keyword in CAUSES.get(keyword, {keyword}):
                block = f"Match all\n{line.keyword} {line.value}\n"
                found = evaluate(Configuration({MAIN: ours + block, **own})).get(keyword, [])
                # To forbid somebody more than everybody breaks no promise.
                if found != values and not (found == ["no"] and keyword in FORBIDDEN_BY_NO):
                    who = f"those of Match {line.match}"
                    conflicts.append(Conflict(who, line.keyword, " ".join(found), " ".join(values), line.place))
    return conflicts


def literal_users(match: str) -> list[str]:
    """The accounts that a Match line means, where it names them and asks for nothing else; else none."""
    words = match.split()
    if len(words) != 2 or words[0].lower() != "user" or set(words[1]) & set("*?!"):
        return []
    return words[1].split(",")


def matched_users(configuration: Configuration) -> set[str]:
    """Accounts that some Match line names literally: for them sshd's answer can differ from everyone's."""
    users = set()
    for line in configuration.lines():
        if line.keyword == "match":
            words = line.value.split()
            for criterion, value in zip(words[::2], words[1::2]):  # noqa: B905  Python 3.9 has no strict
                if criterion.lower() == "user":
                    users |= {name for name in value.split(",") if not set(name) & set("*?!")}
    return users


def may_log_in(user: str, groups: Iterable[str], effective: Effective) -> str:
    """Why sshd's allow and deny lists shut the user out, or an empty string. Order as in sshd_config(5)."""
    groups = list(groups)
    for keyword, names, denies in (
        ("DenyUsers", [user], True),
        ("AllowUsers", [user], False),
        ("DenyGroups", groups, True),
        ("AllowGroups", groups, False),
    ):
        patterns = effective.get(keyword.lower(), [])
        if not patterns:
            continue
        # USER@HOST patterns: whether the host part fits is for the login probe to show.
        listed = any(fnmatch.fnmatchcase(name, pattern.partition("@")[0]) for pattern in patterns for name in names)
        if listed == denies:
            return f"{keyword} {' '.join(patterns)}"
    if user == "root" and effective.get("permitrootlogin") in (["no"], ["forced-commands-only"]):
        return f"PermitRootLogin {effective['permitrootlogin'][0]}"
    if effective.get("pubkeyauthentication") == ["no"]:
        return "PubkeyAuthentication no"
    return ""


def accepts_passwords(effective: Effective) -> bool:
    """Whether a password opens a login, asked for by sshd itself or through PAM."""
    through_pam = effective.get("kbdinteractiveauthentication") == ["yes"] and effective.get("usepam") == ["yes"]
    return effective.get("passwordauthentication") == ["yes"] or through_pam


def key_files(effective: Effective, user: str, home: str, uid: int) -> list[Path]:
    """The files in which sshd looks for the user's keys."""
    tokens = {"%%": "%", "%h": home, "%u": user, "%U": str(uid)}
    names = " ".join(effective.get("authorizedkeysfile", [])).split()
    return [Path(home, re.sub("%[%huU]", lambda found: tokens[found[0]], name)) for name in names if name != "none"]


def key_identity(line: str) -> tuple[str, str] | None:
    """Type and body of an authorized_keys line, which is what makes two lines the same key; None: not a key line."""
    match = re.search(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[\w.@-]+)\s+(AAAA[0-9A-Za-z+/=]+)", line)
    return (match[1], match[2]) if match and not line.lstrip().startswith("#") else None


def merge_keys(text: str, keys: list[str], exclusive: bool) -> str:
    """The text of an authorized_keys file that holds the keys, and with `exclusive` no other."""
    keys = [key.strip() for key in keys]
    if exclusive:
        present = {key_identity(row) for row in text.splitlines()} - {None}
        same = present == {key_identity(key) for key in keys}
        return text if same else "".join(f"{key}\n" for key in keys)
    present = {key_identity(row) for row in text.splitlines()}
    missing = [key for key in keys if key_identity(key) not in present]
    if missing and text and not text.endswith("\n"):
        text += "\n"
    return text + "".join(f"{key}\n" for key in missing)
