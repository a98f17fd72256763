"""`python -m tools.faults --seed N --rounds N`: hit runs of dlhost and its host, and prove that the next run mends it.

Each round has a host of its own: a bare one that is being provisioned for the first time, or a provisioned one that was
damaged. The run is hit; then `dlhost provision` has to come to its end, a second one has to change nothing, `dlhost
verify` has to pass, no login may ever have been refused, and no secret may be found. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.at_hand import LISTS, PACKAGES
from benchmarks.estate import Estate, open_estate
from dlhost.errors import DlhostError
from tools.faults import damages
from tools.faults.parts import PARTS, units_of
from tools.faults.plan import Round, Start, Trouble, plan
from tools.faults.rig import Calls, Ran, Rig, Run
from tools.faults.secret_places import Secrets, search, secrets_of, strangers
from tools.faults.watch import Watch, log_in

EVERYWHERE = ("dlhost-firewall.service", "apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service")
# Done, or done but for what the user has to see to.
DONE = {0, 6}


@dataclass(frozen=True, slots=True)
class Bed:
    """The images that rounds begin with, and how many calls a run on a bare host makes."""

    images: dict[Start, str]
    calls: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a round came out; it is good where nothing was found."""

    round: str
    hit: bool
    damages: list[str]
    findings: list[str]
    logins: int
    seconds: float


def main() -> None:
    """Play the rounds; exit code 1 where one of them found something."""
    options = _options()
    # Ended by another program, it still removes its hosts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    found = 0
    try:
        with open_estate(options.debian) as estate:
            bed = prepare(estate, options.parts)
            numbers = range(options.first, options.first + options.rounds)
            for one in plan(options.seed, numbers, bed.calls, options.starts, options.troubles):
                result = play(estate, bed, options.parts, one)
                found += bool(result.findings)
                _show(result)
                if options.json:
                    with options.json.open("a") as stream:
                        stream.write(json.dumps({"debian": options.debian, **asdict(result)}) + "\n")
    except DlhostError as error:
        sys.exit(str(error))
    print(f"{options.rounds} rounds, {found} of them found something.")
    sys.exit(bool(found))


def prepare(estate: Estate, parts: Sequence[str]) -> Bed:
    """A host provisioned without trouble, and a bare one that has its packages at hand: else rounds are downloads."""
    settled, bare = Rig.made(estate, parts), Rig.made(estate, parts)
    calls = Calls(settled)
    ran = settled.run("provision", "--yes")
    if ran.code not in DONE:
        raise DlhostError(f"A host cannot even be provisioned without trouble:\n{ran.output}")
    for path in (LISTS, PACKAGES):
        archive, _ = settled.host.container.get_archive(path)
        bare.host.container.put_archive(path.rpartition("/")[0], b"".join(archive))
    images = {Start.BARE: estate.snapshot(bare.host), Start.DAMAGED: estate.snapshot(settled.host)}
    settled.close()
    bare.close()
    return Bed(images, calls.begun)


def play(estate: Estate, bed: Bed, parts: Sequence[str], one: Round) -> Result:
    """One round, on a host of its own."""
    begun = time.monotonic()
    rig = Rig.made(estate, parts, bed.images[one.start])
    try:
        dealt = _damage(rig, one) if one.start is Start.DAMAGED else []
        secrets = secrets_of(rig.inventory.name)
        with Watch(rig.login, secrets.all) as watch:
            hit = _hit(rig, watch, one)
            findings = list(_unmended(rig))
        findings += [f"a login was refused: {why}" for why in watch.refused]
        findings += [f"a secret in a process list: {line}" for line in watch.shown]
        findings += [f"a secret in {place}" for place in _secret_places(rig, estate, secrets)]
    finally:
        rig.close()
    names = [damage.name for damage in dealt]
    return Result(str(one), hit, names, findings, watch.logins, time.monotonic() - begun)


def _damage(rig: Rig, one: Round) -> list[damages.Damage]:
    manifest = json.loads(rig.execute(f"cat {damages.MANIFEST}"))
    dealt = damages.choose(one.choice(), damages.candidates(manifest, [*EVERYWHERE, *units_of(rig.parts)]))
    for damage in dealt:
        # One may have taken away what the next one is about.
        rig.execute(f"({damage.run}) >/dev/null 2>&1 || true")
    return dealt


def _hit(rig: Rig, watch: Watch, one: Round) -> bool:
    """Begin a run and let its trouble come; returns whether the run was still under way then."""
    if one.trouble is Trouble.NONE:
        return False
    if one.trouble is Trouble.DISK_FULL:
        rig.own_disk()
    calls = Calls(rig, one.call)
    run = rig.begin("provision", "--yes")
    while run.going_on and not calls.reached.wait(0.05):
        pass
    time.sleep(one.delay_s if run.going_on else 0)
    hit = run.going_on
    if hit:
        _befall(rig, run, watch, one)
    run.end()
    if one.trouble is Trouble.DISK_FULL:
        rig.make_room()
    return hit


def _befall(rig: Rig, run: Run, watch: Watch, one: Round) -> None:
    match one.trouble:
        case Trouble.WRAPPER_KILLED:
            run.kill_wrapper()
        case Trouble.CONTROLLER_KILLED:
            run.kill_all()
        case Trouble.HOST_SIDE_KILLED:
            rig.kill_modules()
        case Trouble.INTERRUPTED:
            run.interrupt()
        case Trouble.NETWORK_CUT:
            with watch.excused():
                rig.cut(one.cut_s)
        case Trouble.HOST_RESTARTED:
            with watch.excused():
                rig.restart()
                watch.follow(rig.login)
        case Trouble.DISK_FULL:
            rig.fill(one.free_kib)


def _unmended(rig: Rig) -> Iterator[str]:
    """What the next runs do not bring into order."""
    first = rig.run("provision", "--yes")
    if first.code not in DONE:
        yield f"provision ended with {first.code}: {_why(first)}"
    second = rig.run("provision", "--yes")
    if second.code not in DONE or second.changed:
        yield f"the next provision ended with {second.code} and changed {second.changed}: {_why(second)}"
    verified = rig.run("verify")
    if verified.code:
        yield f"verify ended with {verified.code}: {_why(verified)}"
    if refused := log_in(rig.login):
        yield f"no login at the end: {refused}"


def _why(ran: Ran) -> str:
    hosts = ran.document.get("hosts", ())
    said = [str(host["failure"]["message"]) for host in hosts if host.get("failure")]
    said += [
        f"{check['id']}: {check['reason']}"
        for host in hosts
        for check in host.get("checks", ())
        if check["result"] == "fail"
    ]
    return "; ".join(said) or ran.output[-500:].strip()


def _secret_places(rig: Rig, estate: Estate, secrets: Secrets) -> Iterator[str]:
    """Where a secret lies that should not: records and logs here, files and journal there."""
    # A host that has moved has another inventory since.
    secrets |= secrets_of(rig.inventory.name)
    for variable in ("xdg_state_home", "xdg_cache_home"):
        for path in (estate.directory / variable).rglob("*"):
            if path.is_file() and any(secret in path.read_text(errors="replace") for secret in secrets.all):
                yield str(path)
    if any(secret in run.output() for secret in secrets.all for run in rig.runs):
        yield "what dlhost printed"
    found = rig.execute(search(secrets.texts)).splitlines()
    if secrets.keys:
        found += strangers(rig.execute(search(secrets.keys)).splitlines())
    yield from (f"the host's {place}" for place in dict.fromkeys(found))


def _show(result: Result) -> None:
    verdict = "FOUND" if result.findings else "mended" if result.hit or result.damages else "too late, mended"
    print(f"{result.round} -> {verdict} ({result.seconds:.0f} s, {result.logins} logins)", flush=True)
    for line in [*(f"damaged: {name}" for name in result.damages), *result.findings]:
        print(f"    {line}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (default 1)")
    parser.add_argument("--rounds", type=int, default=10, help="how many rounds (default 10)")
    parser.add_argument("--first", type=int, default=1, help="number of the first one: plays round N of a seed again")
    parser.add_argument(
        "--starts", nargs="+", type=Start, choices=[*Start], default=[*Start], help="hosts to begin with"
    )
    # A bare host that nothing befalls is no round.
    troubles = [trouble for trouble in Trouble if trouble is not Trouble.NONE]
    parser.add_argument(
        "--troubles", nargs="+", type=Trouble, choices=troubles, default=[*Trouble], help="only these befall runs"
    )
    parser.add_argument(
        "--groups",
        dest="parts",
        nargs="+",
        choices=[*PARTS],
        default=["workspace", "web"],
        help="what the host is for (default workspace web)",
    )
    parser.add_argument("--debian", default="13", choices=["12", "13"], help="release of the host (default 13)")
    parser.add_argument("--json", type=lambda name: Path(name).absolute(), metavar="FILE", help="add results there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
