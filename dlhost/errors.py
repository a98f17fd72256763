"""The exit codes that dlhost promises, and the errors that carry them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Public and frozen; the README's table says the same."""

    DONE = 0
    TASK_FAILED = 1
    USAGE = 2
    DRIFT = 3
    UNREACHABLE = 4
    REFUSED = 5
    USER_MUST_ACT = 6
    CHECK_FAILED = 7
    INTERRUPTED = 130


class DlhostError(Exception):
    """One sentence for the user, which names the thing and the fix."""

    exit_code = ExitCode.TASK_FAILED


class UsageError(DlhostError):
    """The command line asks for something that does not exist or does not fit."""

    exit_code = ExitCode.USAGE


class InventoryError(DlhostError):
    """The inventory, one of its variables or its vault is not usable; no connection was made."""

    exit_code = ExitCode.USAGE


class UnreachableError(DlhostError):
    """No host could be reached."""

    exit_code = ExitCode.UNREACHABLE


class RefusedError(DlhostError):
    """A preflight said no; nothing was changed anywhere."""

    exit_code = ExitCode.REFUSED


class InterruptedRunError(DlhostError):
    """The user stopped the run; the next run finishes it."""

    exit_code = ExitCode.INTERRUPTED
