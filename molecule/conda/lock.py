"""Lock environments for a host of the scenario: lock.py REPODATA URL LOCKS GLIBC DECLARATIONS [WITHOUT].

The wrapper's own solver and resolver do it, from a copy of the channel's index in REPODATA; the host has the channel at
URL. DECLARATIONS is JSON; packages whose names begin with WITHOUT are taken for not there yet.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from dlhost.adapters import conda_solver, pip_resolver
from dlhost.adapters.ansible_env import plugin_util
from dlhost.values.environments import Target


def main(repodata: str, url: str, locks: str, glibc: str, declarations: str, without: str = "") -> None:
    conda_lock = plugin_util("conda_lock")
    Path(locks).mkdir(parents=True, exist_ok=True)
    target = Target("x86_64", "linux-64", {"__glibc": glibc, "__linux": "4.18"})
    with tempfile.TemporaryDirectory() as directory:
        for subdir in ("linux-64", "noarch"):
            index = json.loads(Path(repodata, f"{subdir}.json").read_text())
            for kind in ("packages", "packages.conda"):
                index[kind] = {
                    file: package
                    for file, package in index[kind].items()
                    if not without or not file.startswith(without)
                }
            place = Path(directory, subdir)
            place.mkdir()
            (place / "repodata.json").write_text(json.dumps(index))
        here = Path(directory).as_uri()
        for environment in conda_lock.environments(json.loads(declarations), base=True):
            specs = environment.conda or ("conda", "mamba")
            packages = conda_solver.solve(environment.name, specs, [here], target)
            python = next((package.version for package in packages if package.name == "python"), "")
            pip = pip_resolver.resolve(
                pip_resolver.Question(
                    environment.name,
                    environment.pip,
                    python.rpartition(".")[0],
                    target.python_platform,
                    pip_resolver.distributions(packages, {}),
                )
            )
            lock = conda_lock.Lock(
                environment=environment.name,
                platform="linux-64",
                virtual_packages=target.virtual_packages,
                channels=(url,),
                declared=environment.declared,
                wheels="",
                conda=tuple(dataclasses.replace(package, url=package.url.replace(here, url)) for package in packages),
                pip=pip,
            )
            Path(locks, conda_lock.file_name(environment.name)).write_text(conda_lock.write(lock))


if __name__ == "__main__":
    main(*sys.argv[1:])
