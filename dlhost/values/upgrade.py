"""A driver taken to another branch: how that came out on each host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dlhost.errors import ExitCode


class Outcome(StrEnum):
    """How the upgrade of one host ended."""

    UPGRADED = "upgraded"
    NEWEST = "the newest already"
    WAITS = "waits for you"
    BROUGHT_BACK = "brought back"
    FAILED = "failed"
    NOT_BEGUN = "not begun"


@dataclass(frozen=True, slots=True)
class HostUpgrade:
    """One host; `before` and `after` are releases of the driver, or a branch where no more is known of what it has.

    `reasons` say what went wrong, or what only the user can do.
    """

    host: str
    before: str
    after: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.DONE


@dataclass(frozen=True, slots=True)
class Upgrade:
    """All hosts, in the order in which they were taken, and what the inventory should say from now on."""

    branch: str
    hosts: tuple[HostUpgrade, ...]
    left_to_do: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """What went wrong first; otherwise whether the user must act."""
        wrong = [host.exit_code for host in self.hosts if host.exit_code not in {ExitCode.DONE, ExitCode.USER_MUST_ACT}]
        if wrong:
            return wrong[0]
        waits = any(host.outcome is Outcome.WAITS for host in self.hosts)
        return ExitCode.USER_MUST_ACT if waits or self.left_to_do else ExitCode.DONE


def question(branch: str, before: Sequence[tuple[str, str, bool]]) -> str:
    """What the user is asked before the first host is changed.

    `before` are hosts with their present releases, and whether those are of the branch already.
    """
    changes = [
        f"{host}: driver {present} goes to the newest release of {branch}, where apt finds a newer one"
        if stays
        else f"{host}: driver {present} is replaced by {branch}"
        for host, present, stays in before
    ]
    switches = not all(stays for _, _, stays in before)
    way_back = "; one that fails its checks gets its old branch back" if switches else ""
    return "\n".join([*changes, f"One host after the other{way_back}. Go on?"])
