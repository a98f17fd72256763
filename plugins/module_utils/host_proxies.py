"""The proxies that a host names for all who log in: sudo takes them away from what it runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

FILE = Path("/etc/environment")
# A line as pam_env(8) takes it.
LINE = re.compile(r"\s*(?:export\s+)?((?:https?|all|no)_proxy)=(['\"]?)(.*?)\2\s*", re.IGNORECASE)


def surroundings() -> dict[str, str]:
    """This process' variables, with the host's proxies where it has none of that name."""
    lines = FILE.read_text(encoding="utf-8", errors="replace").splitlines() if FILE.exists() else []
    found = {match[1]: match[3] for line in lines if (match := LINE.fullmatch(line))}
    return {**found, **os.environ}
