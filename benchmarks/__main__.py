"""`python -m benchmarks`: measure dlhost's figures and print them as a Markdown table."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import (
    contenders,
    damages,
    environments,
    first_provision,
    fleet,
    hosts,
    monitoring,
    no_change,
    notebook,
    security,
    start_up,
    wrapper,
)
from benchmarks.end_state import EndState, capture
from benchmarks.estate import Estate, Host, open_estate
from benchmarks.result import Figure, machine, table
from dlhost.errors import DlhostError

# The damages come last: who knows whether their host is repaired.
FIGURES = (
    *("start-up", "monitoring", "environments", "first-provision", "notebook"),
    *("wrapper", "security", "no-change", "fleet", "damages"),
)
# They take no host of the whole stack.
ALONE = {"start-up", "monitoring", "environments"}
# Nor any other host.
HERE = {"start-up", "monitoring"}


def main() -> None:
    """Measure what was asked for; exit code 1 where a target is missed."""
    options = _options()
    # Ended by another program, it still removes its hosts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    figures: list[Figure] = []
    try:
        for figure in _measure(options):
            _say(f"{figure.name}: {figure.measured}")
            figures.append(figure)
    except DlhostError as error:
        sys.exit(str(error))
    finally:
        # What was measured before something went wrong is not lost.
        print(table(figures))
        if options.json:
            document = {**machine(), "rounds": options.rounds, "figures": [asdict(figure) for figure in figures]}
            options.json.write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(any(figure.ok is False for figure in figures))


def _measure(options: argparse.Namespace) -> Iterator[Figure]:
    chosen = options.figures or FIGURES
    if "start-up" in chosen:
        yield from start_up.measure()
    if "monitoring" in chosen:
        yield from monitoring.measure(options.rounds)
    if {*chosen} <= HERE:
        return
    with open_estate(options.debian) as estate:
        if "environments" in chosen:
            _say("Bringing five environments to a host.")
            yield from environments.measure(estate, options.rounds, options.slow_rounds)
        if {*chosen} <= ALONE:
            return
        _say("Provisioning a reference host.")
        host, state = _reference(estate)
        if "first-provision" in chosen:
            yield from first_provision.measure(estate, state, options.slow_rounds)
        if "notebook" in chosen:
            yield from notebook.measure(estate, state, options.slow_rounds)
        if "wrapper" in chosen:
            yield from wrapper.measure(estate, state, options.slow_rounds)
        if "security" in chosen:
            yield from security.measure(host)
        if {"no-change", "fleet", "damages"} & {*chosen}:
            _say("Bringing one host for each contender to where it changes nothing.")
            settled = hosts.settle(estate, host, state)
            if "no-change" in chosen:
                yield from no_change.measure(estate, settled, state, options.rounds, [0, *options.rtt_ms])
            if "fleet" in chosen:
                yield from fleet.measure(estate, settled, state, options.slow_rounds, options.hosts)
            if "damages" in chosen:
                yield from damages.measure(estate, settled, state)


def _reference(estate: Estate) -> tuple[Host, EndState]:
    """The host that dlhost makes, and what is to be had on all others."""
    host = estate.host()
    contenders.dlhost("provision", estate.inventory(host))
    state = capture(host.container)
    state.require(host.container, "dlhost")
    return host, state


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; none means all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the no-change runs (default 5)")
    parser.add_argument("--slow-rounds", type=int, default=3, help="rounds of first provisions and fleets (default 3)")
    parser.add_argument("--rtt-ms", type=int, nargs="*", default=[40], help="round-trip times beside 0 (default 40)")
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 5, 10], help="sizes of fleets (default 1 5 10)")
    parser.add_argument("--debian", default="12", choices=["12", "13"], help="release of the hosts (default 12)")
    parser.add_argument(
        "--json", type=lambda name: Path(name).absolute(), metavar="FILE", help="write the figures there"
    )
    options = parser.parse_args()
    unknown: Sequence[str] = [name for name in options.figures if name not in FIGURES]
    if unknown:
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    return options


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
