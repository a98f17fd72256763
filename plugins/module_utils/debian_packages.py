"""Debian packages by apt-get: no Python binding needed, locks waited for, a cut installation finished first.

What apt would do is simulated before it does it, so that nothing is removed that nobody spoke of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import commands
from ansible_collections.dlhost.host.plugins.module_utils.debian_transaction import (
    Known,
    Terms,
    Transaction,
    Wish,
    dependents,
    listed,
    revised_status,
    similar,
)

LISTS = Path("/var/lib/apt/lists")
# dpkg's journal: there while it works, and after it was cut; apt-get then refuses everything.
JOURNAL = Path("/var/lib/dpkg/updates")
LOCK = Path("/var/lib/dpkg/lock")
STATUS = Path("/var/lib/dpkg/status")
# What the lists are made from; a directory is younger than they when a file in it came or went.
SOURCES = Path("/etc/apt")
# Where packages are fetched to, and where nearly all of their files go.
CACHE, PROGRAMS = Path("/var/cache"), Path("/usr")
# What apt has read of its lists, where its configuration lets it keep that.
INDEX = Path("/var/cache/apt/srcpkgcache.bin")
LISTS_VALID_S = 3600
# Where apt's own configuration says nothing; a fresh host updates itself for minutes.
LOCK_TIMEOUT_S = 300
LOCK_POLL_S = 2

ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    # No service is restarted in mid-run, least of all the one that carries it.
    "NEEDRESTART_SUSPEND": "1",
}
# A package that brings a new configuration file keeps the host's, and asks nobody.
KEEP_CONFIGURATION = ("--force-confdef", "--force-confold")
# apt-cache would write what it has read of the lists, which a dry run must not.
IN_MEMORY = ("--option=Dir::Cache::pkgcache=", "--option=Dir::Cache::srcpkgcache=")
# A simulation is logged too.
UNLOGGED = ("--option=Dir::Log::Planner=/dev/null", "--option=Dir::Log::Solver=/dev/null")
NO_LISTS = "apt cannot refresh its package lists"
# What apt-get and dpkg say of a lock that somebody else holds.
LOCKED = re.compile(r"Could not get lock|lock was locked by another process|Unable to acquire the dpkg frontend lock")
HOLDER = re.compile(r"process (?:with pid )?\d+(?: \([^)]*\))?")
# The lists are young, and the mirror has moved on all the same.
OUTDATED = re.compile(r"Failed to fetch|has no installation candidate|Version '.*' for '.*' was not found")
NO_VERSION = re.compile(r"Version '(.*)' for '(.*)' was not found")


class PackagesError(Exception):
    """One sentence for the user: what stopped apt, and what to do."""


def was_cut() -> bool:
    """Whether an installation was stopped half-way and has to be finished before the next."""
    return JOURNAL.is_dir() and any(path.name.isdigit() for path in JOURNAL.iterdir()) and not _dpkg_works()


def install(
    names: Collection[str],
    *,
    replaces: Collection[str] = (),
    protects: Collection[str] = (),
    downgrades: Collection[str] = (),
    hold: bool | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> Transaction:
    """Install the packages, NAME or NAME=VERSION, without recommendations, in one transaction; returns what it did.

    It may purge installed packages that match the shell patterns in `replaces`, and no others; without names it does
    nothing else. It may neither bring, change nor remove what matches `protects` and is not among the names, nor take
    back to an older version what does not match `downgrades` and is not among them with a version. `hold` says whether
    apt leaves the packages as they are from then on; without it, what was held is held again. `on_start` is called when
    nothing speaks against it.

    Raises:
        PackagesError: A lock is held for too long, a name is unknown, there is no room, apt would do what it may not,
            or it fails for another reason.
    """
    timeout_s = _lock_timeout_s()
    if was_cut():
        failure = "An installation was cut and dpkg cannot finish it"
        _must(failure, timeout_s, "dpkg", "--configure", "-a", *KEEP_CONFIGURATION)
    terms = _terms(names, replaces, protects, downgrades)
    transaction = _carry_out(terms, timeout_s, on_start) if _is_due(terms) else Transaction()
    if hold is not None:
        set_held(terms.own, held=hold, check=False)
    return transaction


def foresee(
    names: Collection[str],
    *,
    replaces: Collection[str] = (),
    protects: Collection[str] = (),
    downgrades: Collection[str] = (),
) -> Transaction | None:
    """What `install` would do, without a trace on the host; None where the present package lists cannot tell.

    Raises:
        PackagesError: It would be refused.
    """
    terms = _terms(names, replaces, protects, downgrades)
    if not _is_due(terms):
        return Transaction()
    if terms.wishes and (_sources_are_newer() or _unknown(terms.names)):
        return None
    transaction, _command = _simulate(terms)
    _make_sure_of_room(transaction)
    return transaction


def _terms(
    names: Collection[str], replaces: Collection[str], protects: Collection[str], downgrades: Collection[str]
) -> Terms:
    due = unmet(names)
    wishes, met = (tuple(Wish.from_text(name) for name in names if (name in due) is is_due) for is_due in (True, False))
    return Terms(wishes, met, tuple(replaces), tuple(protects), tuple(downgrades))


def _is_due(terms: Terms) -> bool:
    return bool(terms.wishes) or (terms.only_remove and any(map(terms.lets_go, known_packages())))


def _carry_out(terms: Terms, timeout_s: int, on_start: Callable[[], None]) -> Transaction:
    # What goes is known without any list.
    fresh = terms.only_remove or (_lists_are_fresh() and not _unknown(terms.names))
    if not fresh:
        _update(timeout_s)
        # Asked beforehand: apt-get takes `curl-` for a wish to remove curl, and a dot in an unknown name for a pattern.
        if strangers := _unknown(terms.names):
            raise PackagesError(_nobody_knows(strangers))
    try:
        return _transact(terms, timeout_s, on_start)
    except _OutdatedError:
        if not fresh:
            raise
    _update(timeout_s)
    return _transact(terms, timeout_s, on_start)


class _OutdatedError(PackagesError):
    """The package lists may be older than what they list."""


def _transact(terms: Terms, timeout_s: int, on_start: Callable[[], None]) -> Transaction:
    transaction, command = _simulate(terms)
    _make_sure_of_room(transaction)
    on_start()
    with _released(terms, transaction):
        done = run("apt-get", *command, f"--option=DPkg::Lock::Timeout={timeout_s}")
        if done.returncode != 0:
            raise _failure(done, timeout_s)
    return transaction


def _simulate(terms: Terms) -> tuple[Transaction, list[str]]:
    """What apt would do on these terms, and the words for apt-get that have it done.

    Raises:
        PackagesError: apt cannot do it, or may not.
    """
    known = known_packages()
    own = {name for name, package in known.items() if package.held and (name in terms.own or terms.lets_go(name))}
    leaving = _leaving(terms, known)
    command = [
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        "--allow-downgrades",
        *(["--purge"] if leaving else []),
        *(f"--option=Dpkg::Options::={option}" for option in KEEP_CONFIGURATION),
        *map(str, terms.wishes),
        *(f"{name}-" for name in leaving),
    ]
    done = _dry_run(command, gone=(), released=own)
    if done.returncode != 0:
        strangers = sorted({name for name, package in known.items() if package.held} - own)
        if strangers and (released := _dry_run(command, gone=(), released={*own, *strangers})).returncode == 0:
            steps = Transaction.from_simulation(released.stdout).steps
            held = [step.name for step in steps if step.name in strangers]
            raise PackagesError(
                f"To install {listed(terms.names)}, apt would change {listed(held)}, held on this host; "
                f"allow it with apt-mark unhold {' '.join(held)}, and run again."
            )
        raise _failure(done, 0)
    transaction = Transaction.from_simulation(done.stdout)
    if refusal := terms.refusal(transaction):
        raise PackagesError(refusal)
    return transaction, command


def _leaving(terms: Terms, known: dict[str, Known]) -> list[str]:
    """The packages to be purged: what may go, and would not come on a host that had none of it."""
    may_go = {name for name in known if terms.lets_go(name) and name not in terms.own}
    if not may_go:
        return []
    # A host on which nothing is broken for want of them: apt would repair that first.
    gone = {*may_go, *terms.own}
    gone |= dependents(STATUS.read_text(errors="surrogateescape"), gone)
    wanted = [*map(str, terms.wishes), *map(str, terms.met)]
    done = _dry_run(["install", "--no-install-recommends", *wanted], gone=gone, released=())
    coming = {step.name for step in Transaction.from_simulation(done.stdout).installed}
    return sorted(may_go - coming)


def _dry_run(
    command: list[str], *, gone: Collection[str], released: Collection[str]
) -> subprocess.CompletedProcess[str]:
    """apt-get's simulation on a host without some packages, and without the hold on others."""
    status = revised_status(STATUS.read_text(errors="surrogateescape"), gone=gone, released=released)
    with tempfile.NamedTemporaryFile("w", errors="surrogateescape", prefix="dlhost-dpkg-status-") as revised:
        revised.write(status)
        revised.flush()
        return ask("apt-get", "--simulate", *UNLOGGED, f"--option=Dir::State::status={revised.name}", *command)


def _make_sure_of_room(transaction: Transaction) -> None:
    """Raises:
    PackagesError: The disk has less room than the packages say they need.
    """
    wanted = [f"{step.name}={step.after}" for step in transaction.installed]
    if not wanted:
        return
    printed = ask("apt-cache", "show", *wanted).stdout
    fetched = sum(int(size) for size in re.findall(r"^Size: (\d+)$", printed, re.MULTILINE))
    unpacked = sum(int(size) << 10 for size in re.findall(r"^Installed-Size: (\d+)$", printed, re.MULTILINE))
    known = known_packages()
    unpacked -= sum(known[step.name].size_kib << 10 for step in transaction.steps if step.name in known)
    places = {PROGRAMS: unpacked, CACHE: fetched}
    for place in places:
        needed = sum(size for other, size in places.items() if other.stat().st_dev == place.stat().st_dev)
        space = os.statvfs(place)
        free = space.f_bavail * space.f_frsize
        if needed > free:
            raise PackagesError(
                f"The packages need {_mib(needed)} MiB on the disk of {place}, which has {_mib(free)} MiB free; "
                "make room there and run again."
            )


def _mib(size: int) -> int:
    return max(size, 0) >> 20


@contextlib.contextmanager
def _released(terms: Terms, transaction: Transaction) -> Iterator[None]:
    """Without the hold on the packages of the transaction; what is still installed then gets it back."""
    held = [name for name in _held() if name in {*terms.own, *(step.name for step in transaction.steps)}]
    _mark("unhold", held)
    try:
        yield
    finally:
        # One that cannot be set up is there all the same.
        _mark("hold", [name for name in held if name in known_packages()])


def set_held(names: Iterable[str], *, held: bool, check: bool) -> list[str]:
    """Have apt leave the installed packages as they are, or no more; returns those for which that is new."""
    known = known_packages()
    due = [name for name in names if known.get(name, Known("")).version and known[name].held != held]
    if not check:
        _mark("hold" if held else "unhold", due)
    return due


def _held() -> list[str]:
    return [name for name, package in known_packages().items() if package.held]


def _mark(how: str, names: list[str]) -> None:
    if names:
        _must("apt-mark failed", _lock_timeout_s(), "apt-mark", how, *names)


def unmet(names: Iterable[str]) -> list[str]:
    """Those of NAME and NAME=VERSION that are not installed like that."""
    wanted = list(names)
    if not wanted:
        return []
    known = known_packages()
    return [
        name for name in wanted if not (wish := Wish.from_text(name)).is_met_by(known.get(wish.name, Known("")).version)
    ]


def known_packages() -> dict[str, Known]:
    """Every package that is installed or left its configuration; one of another architecture as NAME:ARCHITECTURE."""
    native = run("dpkg", "--print-architecture").stdout.strip()
    form = "${Package}\\t${Architecture}\\t${Version}\\t${db:Status-Status}\\t${db:Status-Want}\\t${Installed-Size}\\n"
    known = {}
    for row in run("dpkg-query", "--show", f"--showformat={form}").stdout.splitlines():
        name, architecture, version, status, want, size = row.split("\t")
        if status != "not-installed":
            key = name if architecture in (native, "all") else f"{name}:{architecture}"
            installed = version if status == "installed" else ""
            known[key] = Known(installed, held=want == "hold", size_kib=int(size or 0) if installed else 0)
    return known


def hand_back(names: list[str], *, check: bool) -> list[str]:
    """Mark packages as automatically installed, for apt's autoremove; returns those that were not yet.

    They are not removed: others may depend on them by now. None is held any more: apt removes no held package.
    """
    if not names:
        return []
    timeout_s = _lock_timeout_s()
    manual = set(_must("apt-mark failed", timeout_s, "apt-mark", "showmanual").split()) & set(names)
    if manual and not check:
        _must("apt-mark failed", timeout_s, "apt-mark", "auto", *sorted(manual))
    return sorted({*manual, *set_held(names, held=False, check=check)})


def refresh(sources: Iterable[Path]) -> None:
    """Refresh the package lists of these files alone; those of the others count as old as they are.

    Raises:
        PackagesError: A source does not answer, or its signature is not accepted.
    """
    before = LISTS.stat().st_mtime
    with tempfile.TemporaryDirectory(prefix="dlhost-sources-") as directory:
        for source in sources:
            (Path(directory) / source.name).symlink_to(source)
        alone = ("--option=Dir::Etc::SourceList=/dev/null", f"--option=Dir::Etc::SourceParts={directory}")
        kept = "--option=APT::Get::List-Cleanup=0"
        _must(NO_LISTS, _lock_timeout_s(), "apt-get", "update", "--quiet", kept, *alone)
    os.utime(LISTS, (before, before))


def _update(timeout_s: int) -> None:
    _must(NO_LISTS, timeout_s, "apt-get", "update", "--quiet")
    # Where nothing was new, nothing in it was written.
    os.utime(LISTS)


def _must(failure: str, timeout_s: int, *command: str) -> str:
    """What a command prints that does not wait for a lock by itself; `failure` begins the sentence where it fails."""
    deadline = time.monotonic() + timeout_s
    while True:
        done = run(*command)
        if done.returncode == 0:
            return done.stdout
        if not LOCKED.search(done.stderr) or time.monotonic() >= deadline:
            raise PackagesError(_sentence(failure, done, timeout_s))
        time.sleep(LOCK_POLL_S)


def _unknown(names: Iterable[str]) -> list[str]:
    """Those that no package list has exactly."""
    known = _names()
    return [name for name in names if name.partition(":")[0] not in known]


def _names() -> set[str]:
    return set(ask("apt-cache", "pkgnames").stdout.split())


def _nobody_knows(strangers: list[str]) -> str:
    near = similar(strangers[0], _names())
    meant = f" It knows {listed(near)}." if near else ""
    return (
        f"apt knows no package called {', '.join(strangers)}.{meant} "
        "Correct the name in the inventory, or add its source."
    )


def _dpkg_works() -> bool:
    """Whether somebody's dpkg is at work just now, which keeps this lock as long."""
    try:
        with LOCK.open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # No such file, or it may not be opened: then nothing is known to work.
    return False


def _lists_are_fresh() -> bool:
    return not _sources_are_newer() and time.time() - LISTS.stat().st_mtime < LISTS_VALID_S


def _sources_are_newer() -> bool:
    """Whether the package lists are of other sources than those that are there now."""
    if not any(LISTS.glob("*_Packages*")):
        return True
    files = [SOURCES / "sources.list", SOURCES / "sources.list.d", *(SOURCES / "sources.list.d").glob("*")]
    return any(file.stat().st_mtime > LISTS.stat().st_mtime for file in files if file.exists())


def _lock_timeout_s() -> int:
    answer = run("apt-config", "dump", "--format=%v", "DPkg::Lock::Timeout").stdout.strip()
    return int(answer) if answer.isdigit() else LOCK_TIMEOUT_S


def _failure(failed: subprocess.CompletedProcess[str], timeout_s: int) -> PackagesError:
    kind = _OutdatedError if OUTDATED.search(failed.stderr) else PackagesError
    absent = NO_VERSION.search(failed.stderr)
    if not absent:
        return kind(_sentence("apt failed", failed, timeout_s))
    version, name = absent.groups()
    rows = ask("apt-cache", "madison", name).stdout.splitlines()
    there = list(dict.fromkeys(row.split("|")[1].strip() for row in rows))
    has = f"it has {listed(there)}" if there else "it has none"
    return kind(f"apt has no version {version} of {name}; {has}.")


def _sentence(failure: str, failed: subprocess.CompletedProcess[str], timeout_s: int) -> str:
    if LOCKED.search(failed.stderr):
        # While apt-get waits by itself it names the holder on standard output, and in its last word no more.
        holder = HOLDER.search(failed.stderr) or HOLDER.search(failed.stdout)
        who = holder[0] if holder else "another program"
        return f"apt waited {timeout_s} s for its lock, held by {who}; run again when that has ended."
    return f"{failure}: {_why(failed)}"


def _why(failed: subprocess.CompletedProcess[str]) -> str:
    errors = [line[3:] for line in failed.stderr.splitlines() if line.startswith("E: ")]
    return "; ".join(errors) or " ".join((failed.stderr or failed.stdout).split()[-40:])


def ask(program: str, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of apt's that writes nothing: what apt has kept of its lists, it would renew; it gets a copy."""
    with tempfile.TemporaryDirectory(prefix="dlhost-apt-") as directory:
        copy = Path(directory) / INDEX.name
        try:
            shutil.copyfile(INDEX, copy)
        except OSError:  # There is none, or no room: then apt reads its lists once more, which takes a second.
            return run(program, verb, *IN_MEMORY, *words)
        return run(program, verb, IN_MEMORY[0], f"--option=Dir::Cache::srcpkgcache={copy}", *words)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of apt's or dpkg's, which asks nobody."""
    return commands.run(*command, variables=ENVIRONMENT)
