"""Which conda environments a host has and what is in them, as JSON on a line; runs on the host, changes nothing.

Its arguments are the directory of the environments, and `urls` where it is wanted where the packages came from.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

# Who wrote down that he installed a distribution; conda's packages say conda.
INSTALLERS = ("pip", "uv")


def environments(directory: Path, urls: bool) -> dict[str, dict[str, object]]:
    """Every environment that is in use: a link, by whose target one knows the lock."""
    links = sorted(path for path in directory.iterdir() if path.is_symlink()) if directory.is_dir() else []
    return {path.name: _environment(path, urls) for path in links if path.is_dir()}


def _environment(link: Path, urls: bool) -> dict[str, object]:
    metas = sorted((link / "conda-meta").glob("*-*-*.json"))
    # NAME-DIGEST, with a number behind it where one of that name was there already.
    found: dict[str, object] = {"lock": link.readlink().name[len(link.name) + 1 :].partition("-")[0]}
    parts = [path.name[: -len(".json")].rsplit("-", 2) for path in metas]
    found["conda"] = {name: f"{version} {build}" for name, version, build in parts}
    found["pip"] = dict(
        _distribution(info) for info in link.glob("lib/python3*/site-packages/*.dist-info") if _ours(info)
    )
    if urls:
        found["urls"] = {parts[at][0]: _url(path) for at, path in enumerate(metas)}
    return found


def _ours(info: Path) -> bool:
    try:
        return (info / "INSTALLER").read_text(encoding="utf-8").strip() in INSTALLERS
    except OSError:
        return False


def _distribution(info: Path) -> tuple[str, str]:
    name, _, version = info.name[: -len(".dist-info")].rpartition("-")
    return re.sub(r"[-_.]+", "-", name).lower(), version


def _url(meta: Path) -> str:
    """Where a package came from, with its checksum as conda's explicit lists have it."""
    said = json.loads(meta.read_text(encoding="utf-8"))
    checksum = said.get("md5") or f"sha256:{said.get('sha256', '')}"
    return f"{said.get('url', '')}#{checksum}"


if __name__ == "__main__":
    sys.stdout.write(f"environments={json.dumps(environments(Path(sys.argv[1]), sys.argv[2] == 'urls'))}\n")
