"""What hosts that stop when they are idle are up to, as lines and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from dlhost.errors import ExitCode
from dlhost.render.documents import SCHEMA_VERSION
from dlhost.values.keepalive import Idle


def line(found: Idle) -> str:
    """One host in one line; times are those of this machine."""
    if found.error:
        return f"{found.host}: {found.error}"
    if not found.watched:
        return f"{found.host}: never stopped when idle; role idle_stop is not on it"
    said = f"idle for {found.idle_s // 60} min" if found.said == "idle" else found.said
    kept = ", ".join(f"{wish.user} until {datetime.fromtimestamp(wish.until):%a %H:%M}" for wish in found.wishes)
    dry = " (dry run: never stopped)" if found.dry_run else ""
    return f"{found.host}: {said or 'not looked at yet'}; {f'kept up by {kept}' if kept else 'nobody keeps it up'}{dry}"


def document(inventory: str, found: Sequence[Idle], code: ExitCode) -> dict[str, Any]:
    """The result of `dlhost keepalive`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "operation": "keepalive",
        "inventory": inventory,
        "exit_code": int(code),
        "hosts": [asdict(one) for one in found],
    }
