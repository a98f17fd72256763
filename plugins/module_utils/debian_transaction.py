"""What apt would do to a host, read from its simulation, and why some of it may not be done.

Nothing here touches the host: text in, values out.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable

STEP = re.compile(r"^(Inst|Remv|Purg) (\S+)(?: \[([^]]*)\])?(?: \((\S+))?", re.MULTILINE)
# A headline in capitals, then names in indented lines.
DOWNGRADED = re.compile(r"^The following packages will be DOWNGRADED:\n((?: +.*\n)+)", re.MULTILINE)
# How many names a sentence bears.
SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Wish:
    """A package that shall be installed; `version` is a shell pattern, empty where any will do."""

    name: str
    version: str = ""

    @classmethod
    def from_text(cls, text: str) -> Wish:
        """From what apt-get itself takes: NAME or NAME=VERSION."""
        name, _, version = text.partition("=")
        return cls(name, version)

    def __str__(self) -> str:
        return f"{self.name}={self.version}" if self.version else self.name

    def is_met_by(self, version: str) -> bool:
        return bool(version) and (not self.version or fnmatch.fnmatchcase(version, self.version))


@dataclasses.dataclass(frozen=True)
class Known:
    """A package that dpkg knows; one that only left its configuration has no version."""

    version: str
    held: bool = False
    size_kib: int = 0


@dataclasses.dataclass(frozen=True)
class Step:
    """One package's way from one version to another; empty is not installed."""

    name: str
    before: str
    after: str

    @property
    def line(self) -> str:
        if not self.before:
            return f"package {self.name}: not installed, would be {self.after}\n"
        return f"package {self.name}: {self.before}, would be {self.after or 'removed'}\n"


@dataclasses.dataclass(frozen=True)
class Transaction:
    """All steps, in apt's order; those named in `downgraded` go back to an older version."""

    steps: tuple[Step, ...] = ()
    downgraded: frozenset[str] = frozenset()

    @classmethod
    def from_simulation(cls, printed: str) -> Transaction:
        """From the standard output of `apt-get --simulate install`."""
        steps = {}
        for kind, name, before, after in STEP.findall(printed):
            # A package can be taken away first and come back in its new version.
            earlier = steps.pop(name, Step(name, before, ""))
            steps[name] = Step(name, earlier.before, after if kind == "Inst" else "")
        found = DOWNGRADED.search(printed)
        return cls(tuple(steps.values()), frozenset(found[1].split()) if found else frozenset())

    @property
    def removed(self) -> list[str]:
        return [step.name for step in self.steps if step.before and not step.after]

    @property
    def installed(self) -> list[Step]:
        return [step for step in self.steps if step.after]


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a transaction may do: bring what is wished, and let go of what matches `replaces`; never what is protected.

    `replaces`, `protects` and `downgrades` are shell patterns of package names. What is wished and there already is in
    `met`; what matches `downgrades` may go back to an older version.
    """

    wishes: tuple[Wish, ...]
    met: tuple[Wish, ...] = ()
    replaces: tuple[str, ...] = ()
    protects: tuple[str, ...] = ()
    downgrades: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [wish.name for wish in self.wishes]

    @property
    def own(self) -> set[str]:
        """Every wished package, there already or not."""
        return {wish.name for wish in (*self.wishes, *self.met)}

    @property
    def only_remove(self) -> bool:
        """Whether what matches `replaces` goes without anything in its place."""
        return bool(self.replaces) and not self.own

    def lets_go(self, name: str) -> bool:
        return matches(name, self.replaces)

    def refusal(self, transaction: Transaction) -> str:
        """Why the transaction may not take place, in one sentence; empty where nothing speaks against it."""
        purpose = f"install {listed(self.names)}" if self.wishes else f"remove {listed(list(self.replaces))}"
        wished = f"To {purpose}, apt would"
        removed = [name for name in transaction.removed if not self.lets_go(name)]
        protected = [
            step for step in transaction.steps if step.name not in self.own and matches(step.name, self.protects)
        ]
        if protected:
            ways = listed([_way(step) for step in protected])
            return f"{wished} {ways}, which is to stay as it is; nothing was changed."
        if removed:
            them = "it" if len(removed) == 1 else "them"
            return (
                f"{wished} remove {listed(removed)}, so nothing was changed; "
                f"remove {them} yourself if this host can do without {them}, and run again."
            )
        back = sorted(transaction.downgraded - {wish.name for wish in self.wishes if wish.version})
        back = [name for name in back if not self.lets_go(name) and not matches(name, self.downgrades)]
        if back:
            return (
                f"{wished} bring back an older {listed(back)}, so nothing was changed; another source has a newer one."
            )
        return ""


def _way(step: Step) -> str:
    if not step.before:
        return f"install {step.name} {step.after}"
    return f"change {step.name} ({step.before} to {step.after})" if step.after else f"remove {step.name}"


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a package is meant; one of another architecture has it after a colon, as apt prints it."""
    bare = name.partition(":")[0]
    return any(fnmatch.fnmatchcase(bare, pattern) for pattern in patterns)


def revised_status(status: str, *, gone: Collection[str], released: Collection[str]) -> str:
    """dpkg's status file as if some packages were not installed, and others not held."""
    kept = []
    for stanza in status.split("\n\n"):
        name = stanza.partition("\n")[0].removeprefix("Package: ").strip()
        if name in gone:
            continue
        held = "\nStatus: hold "
        kept.append(stanza.replace(held, "\nStatus: install ", 1) if name in released else stanza)
    return "\n\n".join(kept)


def dependents(status: str, gone: Collection[str]) -> set[str]:
    """Packages of dpkg's status file that cannot be without one of those that are gone, nor without each other."""
    needs = {}
    for stanza in status.split("\n\n"):
        name = stanza.partition("\n")[0].removeprefix("Package: ").strip()
        lists = re.findall(r"^(?:Pre-)?Depends: (.*)$", stanza, re.MULTILINE)
        needs[name] = set(re.findall(r"(?:^|[,|]) *([a-z0-9][a-z0-9.+-]*)", ",".join(lists)))
    found: set[str] = set()
    while more := {name for name, needed in needs.items() if needed & {*gone, *found}} - found:
        found |= more
    return found


def similar(name: str, known: Iterable[str]) -> list[str]:
    """Package names that a user may have meant, best first."""
    return difflib.get_close_matches(name, [other for other in known if other[:4] == name[:4]], n=3, cutoff=0.8)


def listed(things: list[str]) -> str:
    """Names in a sentence."""
    more = len(things) - SHOWN
    if more > 1:
        return f"{', '.join(things[:SHOWN])} and {more} more"
    return " and ".join(filter(None, [", ".join(things[:-1]), *things[-1:]]))
