"""What only py-rattler can do: link exactly these conda packages into a directory.

Runs with the installer's own interpreter, as a text given to `python -c`: a question as JSON on standard input, so that
no password of a mirror is in a process list, and the answer as JSON on the last line of standard output. Ansible's
interpreter only reads this text.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

# TOML as rattler's own configuration files have it; a JSON text is one of TOML's, and a list of texts too.
CONFIG = """tls-root-certs = "system"
[mirrors]
{mirrors}"""


def install(prefix: str, cache: str, platform: str, packages: list[dict], mirrors: dict[str, str]) -> None:
    """Link the packages into prefix, and run their link scripts; cache keeps them for the next environment.

    What the cache has is read anew: its files are, on disk, those of the environments.
    """
    from rattler import Client, Config, PackageCache, Subdir, ValidationMode
    from rattler import install as link

    lines = (f"{json.dumps(prefix)} = {json.dumps([mirror])}\n" for prefix, mirror in sorted(mirrors.items()))
    work = link(
        [_record(package) for package in packages],
        target_prefix=prefix,
        # Nothing is in prefix yet.
        installed_packages=[],
        platform=Subdir(platform),
        execute_link_scripts=True,
        show_progress=False,
        client=Client.from_config(Config.from_toml(CONFIG.format(mirrors="".join(lines)))),
        package_cache=PackageCache.new_layered([Path(cache)], validation_mode=ValidationMode.full()),
    )
    asyncio.run(_finished(work))


async def _finished(work) -> None:
    await work


def _record(package: dict):
    """A package of the lock as rattler takes it."""
    from rattler import PackageRecord, RepoDataRecord
    from rattler.package import BuildString

    channel, _, _file = package["url"].rpartition(f"/{package['subdir']}/")
    md5 = package.get("md5", "")
    record = PackageRecord(
        package["name"],
        package["version"],
        BuildString(package["build"]),
        package["build_number"],
        package["subdir"],
        noarch=package.get("noarch") or None,
        depends=package.get("depends", []),
        constrains=package.get("constrains", []),
        sha256=bytes.fromhex(package["sha256"]),
        md5=bytes.fromhex(md5) if md5 else None,
        size=package.get("size") or None,
        python_site_packages_path=package.get("python_site_packages_path") or None,
    )
    return RepoDataRecord(record, package["url"].rpartition("/")[2], package["url"], channel)


if __name__ == "__main__":
    reason = ""
    try:
        install(**json.load(sys.stdin))
    except Exception as error:
        # rattler has its own kinds; each ends the build with its sentence.
        reason = str(error)
    print(json.dumps({"error": reason}), flush=True)  # noqa: T201
    # rattler's threads that are still about would crash an interpreter that ends in the usual way.
    os._exit(0)
