"""A lock of Python distributions: the text of a pip requirements file in which every line has its hashes."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import operator
import re

# PEP 508 names, PEP 440 versions; what a hash may be made with is pip's list.
PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])? *== *(?P<version>[A-Za-z0-9.!+_-]+)")
HASH = re.compile(r"--hash[= ](?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})")
VERSIONS = ("python_version", "python_full_version", "implementation_version")
ORDER = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}


class LockError(Exception):
    """One sentence for the user: which line of the lock is not acceptable, and why."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """One distribution in one version; `marker` is empty where it is for every Python."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def options(self) -> list[str]:
        """The hashes as options of pip."""
        return [f"--hash={value}" for value in self.hashes]

    def applies(self, environment: dict[str, str]) -> bool:
        """Whether a Python with these marker values (PEP 508) gets it.

        Raises:
            LockError: The marker uses what this reader does not know.
        """
        return not self.marker or _evaluate(self.marker, environment)


def parse(text: str) -> list[Pin]:
    """The pins of a lock, sorted.

    Raises:
        LockError: A line is no pin with hashes, or there is none at all.
    """
    pins = [_pin(number, line) for number, line in _logical_lines(text)]
    if not pins:
        raise LockError("The lock names no distribution.")
    return sorted(pins, key=lambda pin: (pin.name, pin.version, pin.marker))


def select(pins: list[Pin], environment: dict[str, str]) -> dict[str, str]:
    """Name to version of what a Python with these marker values gets.

    Raises:
        LockError: Nothing, or one name in two versions.
    """
    chosen: dict[str, str] = {}
    for pin in pins:
        if not pin.applies(environment):
            continue
        if chosen.setdefault(pin.name, pin.version) != pin.version:
            raise LockError(f"The lock has {pin.name} both in {chosen[pin.name]} and in {pin.version}.")
    if not chosen:
        raise LockError(f"The lock has nothing for Python {environment['python_full_version']}.")
    return chosen


def digest(pins: list[Pin], *more: str) -> str:
    """One name for what the pins say; comments, markers and the order of lines are not part of it."""
    said = json.dumps([[(pin.name, pin.version, pin.hashes) for pin in pins], more])
    return hashlib.sha256(said.encode()).hexdigest()


def canonical_name(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _logical_lines(text: str) -> list[tuple[int, str]]:
    lines, pending, start = [], "", 0
    for number, physical in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s+)#.*", "", physical).strip()
        start = start if pending else number
        pending = f"{pending} {line.rstrip(chr(92))}".strip()
        if not line.endswith("\\") and pending:
            lines.append((start, pending))
            pending = ""
    return [*lines, (start, pending)] if pending else lines


def _pin(number: int, line: str) -> Pin:
    if line.startswith("-"):
        raise LockError(
            f"Line {number} of the lock is the option {line.split()[0]}; a lock holds nothing but names. "
            "Take it out; how to reach an index is said in pip.conf or in the options of pip."
        )
    requirement, *options = re.split(r" +(?=--)", line)
    pinned, _, marker = (part.strip() for part in requirement.partition(";"))
    found = PIN.fullmatch(pinned)
    if not found:
        raise LockError(f"Line {number} of the lock, {pinned!r}, is not of the shape name==version.")
    if not options or not all(HASH.fullmatch(option.strip()) for option in options):
        raise LockError(f"Line {number} of the lock, {pinned}, needs one or more --hash=sha256:… and nothing else.")
    try:
        ast.parse(marker or "True", mode="eval")
    except SyntaxError:
        raise LockError(f"Line {number} of the lock: the marker {marker!r} is not understood.") from None
    hashes = sorted(option.strip()[len("--hash=") :] for option in options)
    return Pin(canonical_name(found["name"]), found["version"], marker, tuple(hashes))


def _evaluate(marker: str, environment: dict[str, str]) -> bool:
    """A marker is an expression of Python's own grammar, of names, texts, comparisons, `and` and `or`."""
    try:
        return _truth(ast.parse(marker, mode="eval").body, environment)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LockError(f"The lock's marker {marker!r} is not understood.") from None


def _truth(node: ast.AST, environment: dict[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        return (all if isinstance(node.op, ast.And) else any)(_truth(value, environment) for value in node.values)
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise TypeError
    sides = node.left, node.comparators[0]
    left, right = (environment[side.id] if isinstance(side, ast.Name) else str(side.value) for side in sides)
    is_version = any(isinstance(side, ast.Name) and side.id in VERSIONS for side in sides)
    return _compare(node.ops[0], left, right, is_version)


def _compare(comparison: ast.cmpop, left: str, right: str, is_version: bool) -> bool:
    if isinstance(comparison, (ast.In, ast.NotIn)):
        return (left in right) == isinstance(comparison, ast.In)
    if isinstance(comparison, (ast.Eq, ast.NotEq)):
        equal = left == right
        if is_version:
            parts = right.count(".") if right.endswith(".*") else 3
            equal = _release(left)[:parts] == _release(right)[:parts]
        return equal == isinstance(comparison, ast.Eq)
    if not is_version:
        raise TypeError
    return ORDER[type(comparison)](_release(left), _release(right))


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(re.match(r"\d+", part)[0]) for part in version.split(".")[:3] if part != "*"]
    return (*numbers, 0, 0)[:3]
