"""From a bare host to a notebook that computed a cell through the proxy, split into downloads and the rest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks import at_hand, contenders
from benchmarks.end_state import USER, EndState
from benchmarks.estate import Estate, Host
from benchmarks.result import Figure
from dlhost.adapters.container import execute
from plugins.module_utils.jupyter_session import Session, Trust

RECEIVED = "cat /sys/class/net/eth0/statistics/rx_bytes"


def measure(estate: Estate, state: EndState, rounds: int) -> Iterator[Figure]:
    """In turn: all of it, and the downloads alone."""
    whole_s, downloads_s, received_mb = [], [], []
    for _ in range(rounds):
        host = estate.host()
        before = int(execute(host.container, RECEIVED))
        whole_s.append(_first_cell(estate, host))
        received_mb.append((int(execute(host.container, RECEIVED)) - before) / 1e6)
        estate.discard(host)
        host = estate.host()
        downloads_s.append(at_hand.fetch(host, state))
        estate.discard(host)
    whole, downloads = statistics.median(whole_s), statistics.median(downloads_s)
    split = f"downloads {downloads:.1f} s ({statistics.median(received_mb):.0f} MB), the rest {whole - downloads:.1f} s"
    yield Figure("bare host to a computed cell through the proxy", f"{whole:.1f} s: {split}")


def _first_cell(estate: Estate, host: Host) -> float:
    """Seconds from a bare host to a cell's result."""
    # As a user reaches it: by its address, trusting nothing but the inventory's authority.
    inventory = estate.inventory(host, settings={"tls_names": [host.address]})
    started = time.perf_counter()
    contenders.dlhost("provision", inventory)
    session = Session(f"https://{host.address}/jupyter/{USER}/", Trust(estate.authority.certificate))
    if not session.log_in(estate.password) or session.compute("print(6 * 7)").strip() != "42":
        raise RuntimeError("The notebook did not compute.")
    return time.perf_counter() - started
