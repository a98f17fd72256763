"""Puts a role's entry in the record of owned files back, and leaves what other roles have recorded meanwhile.

Runs by itself, as a file of a way back, with the record's place, the role, and a record that has the old entry alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def put_back(place: Path, role: str, kept: Path) -> None:
    """Make the entry what it is in `kept`. A record without entries goes; a damaged one is for the next run to name."""
    old = json.loads(kept.read_bytes())
    try:
        record = json.loads(place.read_bytes()) if place.exists() else {**old, "roles": {}}
        record["roles"].pop(role, None)
        record["roles"].update(old["roles"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    if not record["roles"]:
        place.unlink(missing_ok=True)
        return
    beside = Path(f"{place}.dlhost-revert")
    beside.write_text(f"{json.dumps(record, indent=2, sort_keys=True)}\n")
    beside.chmod(0o644)
    beside.replace(place)


if __name__ == "__main__":
    put_back(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
