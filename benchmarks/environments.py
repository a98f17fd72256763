"""Conda environments: a run that finds nothing to do, an install of what was fetched before, and a lock.

conda-forge is molecule's channel of small packages, which the host makes and serves itself.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from benchmarks import contenders
from benchmarks.contenders import BIN
from benchmarks.end_state import PIP_TRUST
from benchmarks.estate import Estate, Host, Inventory
from benchmarks.hosts import require_unchanged
from benchmarks.result import Figure, in_turn, ratio
from dlhost.adapters import environments as locks
from dlhost.adapters.container import execute

SHARED = Path(__file__).parents[1] / "molecule" / "shared"
CHANNEL = ("conda_channel/make.py", "conda_channel/package.py", "nvidia_apt_double/elf.py")
PORT = 8583
# Python is there as on any host whose system role ran.
SERVE = """
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y install --no-install-recommends python3-venv
mkdir -p /srv/conda_channel
cd /srv/conda_channel
printf %s "$1" > make.py
printf %s "$2" > package.py
printf %s "$3" > elf.py
python3 -B make.py served
systemd-run --quiet --working-directory=/srv/conda_channel/served python3 -c "
import http.server as http
# rattler asks for many files at once.
http.ThreadingHTTPServer.request_queue_size = 256
http.test(http.SimpleHTTPRequestHandler, http.ThreadingHTTPServer, port=$4)"
until python3 -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$4/')" 2>/dev/null; do sleep 0.2; done
"""
SIZE, COUNT = 200, 5
FULL = ["python", "libanswer", "answer", *(f"filler-{number:03}" for number in range(SIZE - 3))]
ENVIRONMENTS = "/opt/dlhost/conda/envs"
UV = "/opt/dlhost/conda/installer/bin/uv"
AT_MOST_S = 1.0
# The pip part: what it is made of, and two other ways to it, each with a cache of its own.
WHEELS = {"name": "wheels", "conda": ["python"], "pip": ["numpy", "pandas"], "kernel": False}
PLACE = "/opt/benchmark"
OPTIONS = f"--require-hashes --no-deps -r {PLACE}/lock"
BY_PIP = f"""
set -e
python3 -m venv {PLACE}/pip
{PIP_TRUST} {PLACE}/pip/bin/pip -q install {OPTIONS}
"""
# It compiles as the others do.
BY_UV = f"""
set -e
export UV_CACHE_DIR={PLACE}/cache UV_LINK_MODE=hardlink UV_SYSTEM_CERTS=true
{UV} -q venv --python /usr/bin/python3 {PLACE}/uv
{UV} -q pip install --compile-bytecode --python {PLACE}/uv {OPTIONS}
"""
COPY = f"cp -aT $(readlink -f {ENVIRONMENTS}/full1) {PLACE}/copy"
TRIP = {"name": "Do nothing", "ansible.builtin.raw": "true", "changed_when": False}
IMPORT = "ansible.builtin.import_role"
ROLE = {"name": "Keep the environments", IMPORT: {"name": "dlhost.host.conda"}}
LOCKS = {"name": "Read the locks", IMPORT: {"name": "dlhost.host.conda", "tasks_from": "rules"}}
# As the role calls it first.
CHECK = {
    "name": "Check",
    IMPORT: {"name": "dlhost.host.conda", "tasks_from": "environments"},
    "vars": {"__conda_looks_only": True},
}


def measure(estate: Estate, rounds: int, slow_rounds: int) -> Iterator[Figure]:
    """On one host, without the rest of the stack."""
    host = estate.host()
    execute(host.container, SERVE, *((SHARED / name).read_text() for name in CHANNEL), str(PORT))
    full = [{"name": f"full{number}", "conda": FULL, "kernel": False} for number in range(COUNT)]
    inventory = _locked(estate, host, full)
    role = _playbook(estate, "role", ROLE)
    contenders.site(inventory, role)
    yield from _no_change(estate, host, inventory, role, rounds)
    yield from _lock(host, inventory, slow_rounds)
    yield from _install(estate, host, inventory, role, slow_rounds)
    estate.discard(host)


def _no_change(estate: Estate, host: Host, inventory: Inventory, role: str, rounds: int) -> Iterator[Figure]:
    """Against a play of one command, so that what Ansible takes to begin counts for neither.

    Beside the check, the role sees to kernels and the shells' files.
    """
    trip, check = _playbook(estate, "trip", TRIP), _playbook(estate, "check", LOCKS, CHECK)
    seconds = in_turn(
        {
            "role": lambda: require_unchanged(contenders.site(inventory, role)),
            "check": lambda: require_unchanged(contenders.site(inventory, check)),
            "trip": lambda: require_unchanged(contenders.site(inventory, trip)),
            "diff": lambda: _env("diff", inventory),
            "ssh": lambda: contenders.round_trip(host, inventory),
        },
        rounds,
    )
    what = f"{COUNT} environments of {SIZE} packages"
    yield _beyond(f"{what}: check beyond one SSH round trip", seconds["check"], seconds["trip"], AT_MOST_S)
    yield _beyond(f"{what}: no-change run of role conda beyond one SSH round trip", seconds["role"], seconds["trip"])
    yield _beyond(f"{what}: `dlhost env diff` beyond one SSH round trip", seconds["diff"], seconds["ssh"])


def _beyond(name: str, whole: float, trip: float, at_most: float | None = None) -> Figure:
    measured = f"{whole - trip:.2f} s ({whole:.3g} - {trip:.3g} s)"
    if at_most is None:
        return Figure(name, measured)
    return Figure(name, measured, f"<= {at_most:g} s", whole - trip <= at_most)


def _lock(host: Host, inventory: Inventory, rounds: int) -> Iterator[Figure]:
    """One environment solved anew; the host is asked what it is, so one round trip is in it."""
    name = f"`dlhost env lock --upgrade` of {SIZE} packages / cold SSH round trip"
    seconds = in_turn(
        {
            "lock": lambda: _env("lock", inventory, "full0", "--upgrade"),
            "ssh": lambda: contenders.round_trip(host, inventory),
        },
        rounds,
    )
    yield ratio(name, seconds["lock"], seconds["ssh"])


def _install(estate: Estate, host: Host, inventory: Inventory, role: str, rounds: int) -> Iterator[Figure]:
    """What is not there, of files that were fetched before: one environment, and the pip part in three ways."""
    role_s, copy_s = _built_anew(
        host,
        {
            f"{ENVIRONMENTS}/full0": lambda: contenders.site(inventory, role),
            f"{PLACE}/copy": lambda: contenders.shell_script(host, inventory, COPY),
        },
        rounds,
    )
    yield ratio(f"install of {SIZE} fetched packages: role conda / copy of the environment", role_s, copy_s)
    wheels = _locked(estate, host, [WHEELS])
    lock = locks.read_lock(locks.lock_path(wheels.directory, str(WHEELS["name"])))
    execute(host.container, f'printf %s "$1" > {PLACE}/lock', lock.pip)
    role_s, pip_s, uv_s = _built_anew(
        host,
        {
            f"{ENVIRONMENTS}/{WHEELS['name']}": lambda: contenders.site(wheels, role),
            f"{PLACE}/pip": lambda: contenders.shell_script(host, wheels, BY_PIP),
            f"{PLACE}/uv": lambda: contenders.shell_script(host, wheels, BY_UV),
        },
        rounds,
    )
    yield ratio("install of fetched numpy and pandas: role conda / venv and pip", role_s, pip_s)
    yield ratio("install of fetched numpy and pandas: role conda / uv venv and uv pip", role_s, uv_s)


def _built_anew(host: Host, ways: Mapping[str, Callable[[], object]], rounds: int) -> list[float]:
    """Medians in seconds of ways to fill places, each emptied before; a first round that fetches does not count."""
    seconds: dict[str, list[float]] = {place: [] for place in ways}
    for number in range(rounds + 1):
        for place, fill in ways.items():
            execute(host.container, f"rm -rf {place} {place}-*; mkdir -p {PLACE}")
            started = time.perf_counter()
            fill()
            if number:
                seconds[place].append(time.perf_counter() - started)
    return [statistics.median(each) for each in seconds.values()]


def _locked(estate: Estate, host: Host, environments: Sequence[Mapping[str, object]]) -> Inventory:
    """An inventory with these environments and their locks."""
    settings = {
        "conda_environments": [*environments],
        "conda_channels": [f"http://{host.address}:{PORT}"],
        "conda_base": False,
    }
    inventory = estate.inventory(host, settings=settings)
    _env("lock", inventory)
    return inventory


def _env(what: str, inventory: Inventory, *more: str) -> None:
    contenders.run([str(BIN / "dlhost"), "env", what, "-i", inventory.name, "--json", *more], os.environ)


def _playbook(estate: Estate, name: str, *tasks: Mapping[str, object]) -> str:
    path = estate.directory / f"{name}.yml"
    play = {"name": "Measure", "hosts": "all", "become": True, "gather_facts": False, "tasks": [*tasks]}
    path.write_text(yaml.safe_dump([play]))
    return str(path)
