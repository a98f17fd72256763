"""What a first provision fetches: how long that takes by itself, and bare hosts that have it at hand."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.end_state import PIP_TRUST, EndState
from benchmarks.estate import Estate, Host
from dlhost.adapters.container import execute

LISTS, PACKAGES, WHEELS = "/var/lib/apt/lists", "/var/cache/apt/archives", "/var/cache/dlhost-benchmark"
FETCH_PACKAGES = "apt-get -q update; apt-get -q -y install --no-install-recommends --download-only $1"
PREPARE_PIP = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -q -y install --no-install-recommends python3-venv
python3 -m venv {WHEELS}
"""
FETCH_WHEELS = f"""
printf %s "$1" > {WHEELS}/lock
{PIP_TRUST} {WHEELS}/bin/pip -q download --no-deps --require-hashes -r {WHEELS}/lock -d {WHEELS}
"""
# Variables that make dlhost use what is there.
SETTINGS: Mapping[str, object] = {"jupyter_pip_options": {"no_index": True, "find_links": [WHEELS]}}


def fetch(host: Host, state: EndState) -> float:
    """Fetch everything to a bare host; returns the seconds that fetching took."""
    started = time.perf_counter()
    execute(host.container, FETCH_PACKAGES, " ".join(sorted({*state.bootstrap, *state.packages})))
    packages_s = time.perf_counter() - started
    execute(host.container, PREPARE_PIP)
    started = time.perf_counter()
    execute(host.container, FETCH_WHEELS, state.lock)
    return packages_s + time.perf_counter() - started


def image(estate: Estate, state: EndState) -> str:
    """An image of a bare host where apt and pip find everything in their first place to look."""
    fetched, bare = estate.host(), estate.host()
    fetch(fetched, state)
    for path in (LISTS, PACKAGES, WHEELS):
        archive, _ = fetched.container.get_archive(path)
        bare.container.put_archive(path.rpartition("/")[0], b"".join(archive))
    made = estate.snapshot(bare)
    estate.discard(fetched, bare)
    return made
