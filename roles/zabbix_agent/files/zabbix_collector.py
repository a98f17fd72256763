#!/usr/bin/python3 -IS
# Written by dlhost, role zabbix_agent.
"""What Zabbix's agent asks about this host: its GPUs, from one call of nvidia-smi, or the rest of it, as one JSON text.

    zabbix-collector gpu|host

A value that a card does not have is null. The answer is always JSON and always comes: when nvidia-smi fails or hangs,
`error` says so, and one that cannot even be killed is remembered, so that no second one is started beside it.
"""

import calendar
import contextlib
import fcntl
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

SCHEMA_VERSION = 1
SMI = ("/usr/bin/nvidia-smi", "-q", "-x")
# The agent gives an answer 30 seconds.
SMI_LIMIT_S = 20
KILL_LIMIT_S = 1
POLL_S = 0.05
# The unit of the agent makes it, and keeps it when the agent is restarted.
RUNTIME = Path("/run/dlhost-zabbix-agent")
PROC = Path("/proc")
SYS = Path("/sys")
RUN = Path("/run")
CERTIFICATE = Path("/etc/dlhost/tls/cert.pem")

NVIDIA = "0x10de"
# PCI's classes of display controllers: VGA compatible, and 3D without a monitor's port.
DISPLAYS = ("0x0300", "0x0302")
MIB = 1024 * 1024
MHZ = 1_000_000
DAY_S = 86400
SHOWN_CHARACTERS = 300


class CollectorError(Exception):
    """Why there are no values, in one sentence."""


def main(arguments):
    kinds = {"gpu": gpu_values, "host": host_values}
    if len(arguments) != 1 or arguments[0] not in kinds:
        sys.stderr.write("usage: zabbix-collector gpu|host\n")
        return 2
    sys.stdout.write(json.dumps(kinds[arguments[0]](), separators=(",", ":"), allow_nan=False) + "\n")
    return 0


def gpu_values():
    """The GPUs as nvidia-smi reports them, and how many the PCI bus has."""
    return {"schema_version": SCHEMA_VERSION, **ask_once(), "expected": expected()}


def host_values():
    """What else of the host is worth an alarm."""
    return {
        "schema_version": SCHEMA_VERSION,
        "reboot_pending": int((RUN / "reboot-required").exists()),
        "certificate_days": certificate_days(),
        "driver_installed": said("modinfo", "--field=version", "nvidia"),
        "driver_loaded": first_line(SYS / "module/nvidia/version"),
    }


def ask_once():
    """What nvidia-smi reports. Those who ask while another does get the same answer."""
    asked = time.time()
    answer = RUNTIME / "answer.json"
    try:
        with opened(RUNTIME) as lock:
            deadline = time.monotonic() + SMI_LIMIT_S + 2 * KILL_LIMIT_S
            while not is_locked(lock):
                if time.monotonic() > deadline:
                    return without(f"another call of nvidia-smi did not end within {SMI_LIMIT_S} s")
                time.sleep(POLL_S)
            if asked <= written(answer) <= time.time():
                return json.loads(answer.read_text())
            try:
                values = read(*ask())
            except CollectorError as error:
                values = without(str(error))
            put(answer, json.dumps(values))
            return values
    except OSError as error:
        return without(f"{error.filename} cannot be used: {error.strerror}")


def without(reason):
    """The answer where nothing is known."""
    return {"driver": None, "cuda": None, "error": reason, "count": None, "gpus": []}


def ask():
    """Run nvidia-smi; returns what it printed, and what it said in trouble.

    Raises:
        CollectorError: It is not there, hangs, or one that hung before still does.
    """
    record = RUNTIME / "running"
    if hanging := still_running(record):
        raise CollectorError(f"nvidia-smi, process {hanging}, hangs and cannot be ended")
    try:
        process = subprocess.Popen(
            SMI,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # The agent ends the whole group of an answer that is late; this one is ours to end.
            start_new_session=True,
        )
    except FileNotFoundError:
        raise CollectorError("nvidia-smi is not installed") from None
    except OSError as error:
        raise CollectorError(f"nvidia-smi cannot be run: {error.strerror}") from None
    put(record, f"{process.pid} {start_of(process.pid)}")
    try:
        printed, complaint = process.communicate(timeout=SMI_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.stderr.close()
        try:
            process.wait(KILL_LIMIT_S)
        except subprocess.TimeoutExpired:
            # Nobody waits for what sleeps in the kernel: this program ends, and the record stays.
            raise CollectorError(
                f"nvidia-smi did not answer within {SMI_LIMIT_S} s and cannot be ended (process {process.pid})"
            ) from None
        record.unlink()
        raise CollectorError(f"nvidia-smi did not answer within {SMI_LIMIT_S} s") from None
    record.unlink()
    if process.returncode == 0:
        return printed, ""
    # It puts what went wrong before, after or instead of the document, on either stream.
    words = " ".join(re.sub(r"(?s)<\?xml.*</nvidia_smi_log>", "", f"{complaint} {printed}").split())
    end = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
    return printed, words[:SHOWN_CHARACTERS] if words and "<" not in words else f"nvidia-smi ended with {end}"


def read(text, trouble):
    """The values in what nvidia-smi printed.

    Raises:
        CollectorError: There is no whole document.
    """
    begin = max(text.find("<?xml"), 0)
    end = text.rfind(">") + 1
    try:
        log = ElementTree.fromstring(text[begin:end])  # noqa: S314  the driver's own program wrote it
    except ElementTree.ParseError:
        none = re.match(r"\s*No devices were found", text)
        if none and not trouble:
            return {**without(""), "count": 0}
        printed = "no whole document" if text.strip() else "nothing"
        raise CollectorError(trouble or f"nvidia-smi printed {printed}") from None
    numbered = [gpu(element, index) for index, element in enumerate(log.findall("gpu"))]
    # Of a card that is lost or wants a reset, each text is these words.
    gpus = [one for one in numbered if (one["uuid"] or "").startswith("GPU-")]
    silent = [f"{one['bus_id']} says {one['uuid'] or 'nothing'}" for one in numbered if one not in gpus]
    return {
        "driver": word(log, "driver_version"),
        "cuda": word(log, "cuda_version"),
        "error": (trouble or "; ".join(silent))[:SHOWN_CHARACTERS],
        "count": len(gpus),
        "gpus": gpus,
    }


def gpu(element, index):
    """One card. Names are those of nvidia-smi's documents since version 10, drivers 418 to 590."""
    return {
        "uuid": word(element, "uuid"),
        # The document has them in the order of their numbers.
        "index": index,
        "name": word(element, "product_name"),
        "bus_id": word(element, "pci/pci_bus_id") or element.get("id"),
        "mig": word(element, "mig_mode/current_mig") == "Enabled",
        "utilisation": number(element, "utilization/gpu_util"),
        "memory_utilisation": number(element, "utilization/memory_util"),
        "memory_total": number(element, "fb_memory_usage/total", scale=MIB),
        "memory_used": number(element, "fb_memory_usage/used", scale=MIB),
        "temperature": number(element, "temperature/gpu_temp"),
        "memory_temperature": number(element, "temperature/memory_temp"),
        "fan": number(element, "fan_speed"),
        "power": number(
            element,
            "gpu_power_readings/average_power_draw",
            "gpu_power_readings/power_draw",
            "gpu_power_readings/instant_power_draw",
            "power_readings/power_draw",
        ),
        "power_limit": number(
            element,
            "gpu_power_readings/current_power_limit",
            "power_readings/enforced_power_limit",
            "power_readings/power_limit",
        ),
        "clock_sm": number(element, "clocks/sm_clock", scale=MHZ),
        "clock_memory": number(element, "clocks/mem_clock", scale=MHZ),
        # Since the driver was loaded. Before Turing, errors are counted by the bits they have.
        "ecc_corrected": total(
            element,
            "ecc_errors/volatile/sram_correctable",
            "ecc_errors/volatile/dram_correctable",
            "ecc_errors/volatile/single_bit/total",
        ),
        "ecc_uncorrected": total(
            element,
            "ecc_errors/volatile/sram_uncorrectable",
            "ecc_errors/volatile/sram_uncorrectable_parity",
            "ecc_errors/volatile/sram_uncorrectable_secded",
            "ecc_errors/volatile/dram_uncorrectable",
            "ecc_errors/volatile/double_bit/total",
        ),
        "retired_pages": total(
            element,
            "retired_pages/multiple_single_bit_retirement/retired_count",
            "retired_pages/double_bit_retirement/retired_count",
        ),
        "remap_failure": {"Yes": 1, "No": 0}.get(word(element, "remapped_rows/remapped_row_failure")),
        "throttle": throttle(element),
        "processes": processes(element),
    }


def word(element, path):
    """A text of the document; what the card does not have is None."""
    text = (element.findtext(path) or "").strip()
    return None if text.strip("[]") in ("", "N/A", "Not Supported", "Unknown Error") else text


def number(element, *paths, scale=1):
    """The first of these that the card has, without its unit, times `scale`."""
    for path in paths:
        found = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?: [A-Za-z%]+)?", word(element, path) or "")
        if found:
            value = float(found[1]) * scale
            return int(value) if value == math.floor(value) else value
    return None


def total(element, *paths):
    """The sum of those of these that the card has."""
    counts = [count for count in (number(element, path) for path in paths) if count is not None]
    return sum(counts) if counts else None


def throttle(element):
    """Why the clocks are lower than they could be, by the names of the reasons; None where the card does not tell."""
    reasons = [
        (reason.tag.removeprefix(prefix), (reason.text or "").strip())
        for group, prefix in (
            ("clocks_event_reasons", "clocks_event_reason_"),
            ("clocks_throttle_reasons", "clocks_throttle_reason_"),
        )
        for reason in element.findall(f"{group}/*")
    ]
    if not any(state in ("Active", "Not Active") for _name, state in reasons):
        return None
    return [name for name, state in reasons if state == "Active"]


def processes(element):
    """How many processes use the card."""
    group = element.find("processes")
    if group is None or (len(group) == 0 and (group.text or "").strip() == "N/A"):
        return None
    # A process in two instances of a divided card is one process.
    return len({one.findtext("pid") for one in group.findall("process_info")})


def expected():
    """NVIDIA's display controllers on the PCI bus, without those lent to virtual machines."""
    count = 0
    for device in (SYS / "bus/pci/devices").glob("*"):
        if first_line(device / "vendor") == NVIDIA and (first_line(device / "class") or "").startswith(DISPLAYS):
            count += (device / "driver").resolve().name != "vfio-pci"
    return count


def certificate_days():
    """Whole days until the certificate of role tls expires, less than 0 after that; None without one."""
    if not os.access(CERTIFICATE, os.R_OK):
        return None
    end = (said("openssl", "x509", "-noout", "-enddate", "-in", str(CERTIFICATE)) or "").partition("=")[2]
    try:
        return math.floor((calendar.timegm(time.strptime(end, "%b %d %H:%M:%S %Y GMT")) - time.time()) / DAY_S)
    except ValueError:
        return None


def said(*command):
    """The first line that a command prints; None where it fails or is not there."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    except OSError:
        return None
    return next(iter(done.stdout.splitlines()), None) if done.returncode == 0 else None


def first_line(path):
    try:
        return path.read_text(errors="replace").partition("\n")[0]
    except OSError:
        return None


def written(path):
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def opened(directory):
    """A directory's descriptor: to lock it takes no file, which the first to ask would own."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def put(path, text):
    """Write a file, in the place of one that may be another's: root asks too, and the directory is the agent's."""
    staged = path.with_suffix(".staged")
    staged.unlink(missing_ok=True)
    # Not through a link that the agent's account put there meanwhile.
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(descriptor, 0o644)
        stream.write(text)
    staged.replace(path)


def is_locked(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def still_running(record):
    """The number of the process of that record, if it cannot be ended; else nothing."""
    number_of, _space, start = (first_line(record) or "").partition(" ")
    if not number_of.isdigit() or not start:
        return ""
    deadline = time.monotonic() + KILL_LIMIT_S
    while start_of(number_of) == start:
        if time.monotonic() > deadline:
            return number_of
        # Who waited for it may have been ended before it could do this. Root ends nothing for the agent's account.
        with contextlib.suppress(OSError):
            if record.lstat().st_uid == (PROC / number_of).stat().st_uid:
                os.killpg(int(number_of), signal.SIGKILL)
        time.sleep(POLL_S)
    return ""


def start_of(process):
    """When a process began, in ticks since the boot: what tells it from another of the same number; dead is empty."""
    # The name in brackets may hold anything: pid (name) state ... starttime
    fields = (first_line(PROC / str(process) / "stat") or "").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
