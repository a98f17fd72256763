"""What monitoring eight GPUs costs their host, beside the way of common templates: one process for each value.

Both sides read every value twice a minute, as Zabbix's agent has them read: by a shell, whose children's processor time
the kernel adds up. Ours is the collector of role zabbix_agent, the very program with its paths moved: one call of
nvidia-smi for all values of all cards, and a fifth of a call a minute for what else it tells of the host. The other way
is 9 values of 8 cards with a shell pipe around nvidia-smi for each, as the items of plambe/zabbix-nvidia-smi-multi-gpu
are, here at the same interval; its own template asks once a minute, which would double the ratios.

No card is asked. A double stands in for nvidia-smi on both sides, prints what eight cards would say, and computes as
long as it is told: OPENING_S for each call, since the library opens all cards whichever is asked, and CARD_S for each
card that it reports. That is an assumption, and a mild one: where the driver does not stay loaded, the opening takes
seconds, and then nearly nothing but the number of calls counts.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Figure, ratio
from tests.unit import nvidia_smi_log_double as double

COLLECTOR = Path(__file__).parents[1] / "roles" / "zabbix_agent" / "files" / "zabbix_collector.py"
CARDS = 8
A_MINUTE = 2
HOST_A_MINUTE = 1 / 5
OPENING_S = 0.040
CARD_S = 0.010
ITEMS = (
    "fan.speed",
    "power.draw",
    "temperature.gpu",
    "utilization.gpu",
    "utilization.memory",
    "memory.free",
    "memory.used",
    "memory.total",
    "clocks.sm",
)
ONE_VALUE = "{smi} --query-gpu={item} --format=csv,noheader,nounits -i {card} | tr -d '\\n'"
BUSY = """#!{python} -IS
import sys, time
whole = "-x" in sys.argv
sys.stdout.write(open({answer!r}).read() if whole else "71\\n")
until = {opening} + {card} * ({cards} if whole else 1)
while time.process_time() < until:
    pass
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time in seconds, and processes begun."""

    cpu_s: float
    processes: float


def measure(rounds: int) -> Iterator[Figure]:
    """In turn, each round what one interval takes."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        smi, collector = _installed(place)
        gpus, host = [f"{collector} gpu"], [f"{collector} host"]
        each = [ONE_VALUE.format(smi=smi, item=item, card=card) for card in range(CARDS) for item in ITEMS]
        told = json.loads(subprocess.run([collector, "gpu"], check=True, capture_output=True, text=True).stdout)
        if told["error"] or len(told["gpus"]) != CARDS:
            raise RuntimeError(f"The collector did not read the double: {told}")
        seen: dict[str, list[Cost]] = {"gpus": [], "host": [], "each": []}
        for _ in range(rounds):
            for kind, commands in (("gpus", gpus), ("host", host), ("each", each)):
                seen[kind].append(_cost(commands))
    ours = _a_minute(seen["gpus"], A_MINUTE), _a_minute(seen["host"], HOST_A_MINUTE)
    theirs = _a_minute(seen["each"], A_MINUTE)
    cpu_s, processes = (sum(read(cost) for cost in ours) for read in _READINGS)
    of_items = f"eight GPUs, one collector / {len(each)} commands"
    yield ratio(f"monitoring {of_items}: CPU-seconds a minute", cpu_s, theirs.cpu_s, 0.1)
    yield ratio(f"monitoring {of_items}: processes a minute", processes, theirs.processes, 0.1, unit="processes")


_READINGS: Sequence[Callable[[Cost], float]] = (lambda cost: cost.cpu_s, lambda cost: cost.processes)


def _installed(place: Path) -> tuple[Path, Path]:
    """The double and the collector, which calls it."""
    answer = place / "answer.xml"
    answer.write_text(double.document(double.cards(CARDS, {}), max(double.DRIVERS)))
    smi = place / "nvidia-smi"
    smi.write_text(BUSY.format(python=sys.executable, answer=str(answer), opening=OPENING_S, card=CARD_S, cards=CARDS))
    text = COLLECTOR.read_text()
    for own, moved in (('"/usr/bin/nvidia-smi"', f'"{smi}"'), ('"/run/dlhost-zabbix-agent"', f'"{place}"')):
        if own not in text:
            raise RuntimeError(f"{COLLECTOR} no longer says {own}.")
        text = text.replace(own, moved)
    collector = place / "zabbix-collector"
    collector.write_text(text.replace(text.splitlines()[0], f"#!{sys.executable} -IS", 1))
    for program in (smi, collector):
        program.chmod(0o755)
    return smi, collector


def _cost(commands: Sequence[str]) -> Cost:
    """What it takes to run each of these as the agent does."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), _begun()
    for command in commands:
        subprocess.run(["/bin/sh", "-c", command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, _begun() - begun)


def _begun() -> int:
    """Processes and threads that this machine began since its start."""
    return next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line[:5] == "proce")


def _a_minute(rounds: Sequence[Cost], times: float) -> Cost:
    """Others on the machine begin processes too, and end none that was begun here: the fewest are ours."""
    return Cost(
        statistics.median(cost.cpu_s for cost in rounds) * times, min(cost.processes for cost in rounds) * times
    )
