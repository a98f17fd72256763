#!/usr/bin/python3
"""A double of nvidia-smi for machines without a GPU: prints `-q -x`, `-L` and `--query-gpu` of cards that are made up.

None of this was recorded from a card here. Names, order and units are those of documents that the driver printed
elsewhere, versions 11 (drivers up to 530), 12 (535 to 570) and 13 (575 and later), as kept by the project
influxdata/telegraf in plugins/inputs/nvidia_smi/testdata.

/etc/nvidia-smi-double.json says what it plays: `cards` (names of CARDS, or a number of the first), `schema`, `how`
(one of WAYS) and `values`, which stand in place of a card's own.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

SETTINGS = Path("/etc/nvidia-smi-double.json")
DRIVERS = {11: ("515.105.01", "11.7"), 12: ("535.54.03", "12.2"), 13: ("590.44.01", "13.1")}
WAYS = ("answers", "hangs", "crashes", "says_nothing", "is_cut_off", "loses_a_card", "finds_none")
LOST = (
    "Unable to determine the device handle for GPU0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU\n"
)
NO_CARDS = "No devices were found\n"
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n"

# What each card says; a trainer at work, a desktop card that knows little, and a divided one.
CARDS: dict[str, dict[str, str]] = {
    "trainer": {
        "name": "NVIDIA RTX A6000",
        "mig": "N/A",
        "utilization.gpu": "93 %",
        "utilization.memory": "41 %",
        "memory.total": "49140 MiB",
        "memory.used": "47104 MiB",
        "temperature.gpu": "71 C",
        "temperature.memory": "N/A",
        "fan.speed": "62 %",
        "power.draw": "287.45 W",
        "power.limit": "300.00 W",
        "clocks.sm": "1800 MHz",
        "clocks.mem": "7600 MHz",
        "corrected": "3",
        "uncorrected": "0",
        "retired": "0",
        "remap_failure": "No",
        "reasons": "sw_power_cap",
        "processes": "4242 4243",
    },
    "desktop": {
        "name": "NVIDIA GeForce GTX 1070",
        "mig": "N/A",
        "utilization.gpu": "0 %",
        "utilization.memory": "0 %",
        "memory.total": "8192 MiB",
        "memory.used": "3 MiB",
        "temperature.gpu": "35 C",
        "temperature.memory": "N/A",
        "fan.speed": "[N/A]",
        "power.draw": "[Not Supported]",
        "power.limit": "N/A",
        "clocks.sm": "139 MHz",
        "clocks.mem": "405 MHz",
        "corrected": "N/A",
        "uncorrected": "N/A",
        "retired": "N/A",
        "remap_failure": "",
        "reasons": "gpu_idle",
        "processes": "",
    },
    "divided": {
        "name": "NVIDIA A100-SXM4-80GB",
        "mig": "Enabled",
        "utilization.gpu": "N/A",
        "utilization.memory": "N/A",
        "memory.total": "81920 MiB",
        "memory.used": "50 MiB",
        "temperature.gpu": "27 C",
        "temperature.memory": "44 C",
        "fan.speed": "N/A",
        "power.draw": "67.03 W",
        "power.limit": "500.00 W",
        "clocks.sm": "1275 MHz",
        "clocks.mem": "1593 MHz",
        "corrected": "0",
        "uncorrected": "2",
        "retired": "N/A",
        "remap_failure": "Yes",
        "reasons": "",
        "processes": "77 77",
    },
}
REASONS = (
    "gpu_idle",
    "applications_clocks_setting",
    "sw_power_cap",
    "hw_slowdown",
    "hw_thermal_slowdown",
    "sync_boost",
)


def main() -> int:
    """Play what the settings say."""
    played = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
    how = played.get("how", "answers")
    if how not in WAYS:
        sys.exit(f"{SETTINGS}: how is one of {', '.join(WAYS)}")
    if how == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    if how == "crashes":
        sys.stdout.write(MISMATCH)
        return 18
    if how == "finds_none":
        sys.stdout.write(NO_CARDS)
        return 0
    if how == "says_nothing":
        return 0
    found = cards(played.get("cards", 2), played.get("values", {}))
    if "-x" in sys.argv:
        text = document(found, played.get("schema", 13))
        if how == "is_cut_off":
            text = text[: len(text) // 2]
        if how == "loses_a_card":
            sys.stdout.write(LOST)
        sys.stdout.write(text)
    elif "-L" in sys.argv:
        sys.stdout.writelines(f"GPU {card['index']}: {card['name']} (UUID: {card['uuid']})\n" for card in found)
    else:
        asked = next(word for word in sys.argv if word.startswith("--query-gpu=")).partition("=")[2].split(",")
        sys.stdout.writelines(
            ", ".join(card.get(name, "[N/A]").split(" ")[0] for name in asked) + "\n" for card in found
        )
    return 15 if how == "loses_a_card" else 0


def cards(which: int | list[str], values: dict[str, str]) -> list[dict[str, str]]:
    """The cards of these names, or as many trainers and desktop cards by turns."""
    names = [("trainer", "desktop")[index % 2] for index in range(which)] if isinstance(which, int) else which
    return [
        {
            "index": str(index),
            "uuid": f"GPU-{index:08x}-0000-0000-0000-000000000000",
            "bus_id": f"00000000:{index + 1:02X}:00.0",
            **CARDS[name],
            **values,
        }
        for index, name in enumerate(names)
    ]


def document(found: list[dict[str, str]], schema: int) -> str:
    """What `nvidia-smi -q -x` prints of these cards."""
    driver, cuda = DRIVERS[schema]
    head = (
        f'<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v{schema}.dtd">\n<nvidia_smi_log>\n'
        f"\t<driver_version>{driver}</driver_version>\n\t<cuda_version>{cuda}</cuda_version>\n"
        f"\t<attached_gpus>{len(found)}</attached_gpus>\n"
    )
    return head + "".join(_card(card, schema) for card in found) + "</nvidia_smi_log>\n"


def _card(card: dict[str, str], schema: int) -> str:
    group = f"clocks_{'throttle' if schema == 11 else 'event'}_reason"
    active = card["reasons"].split()
    draw = "average_power_draw" if schema == 13 else "power_draw"
    power = "power_readings" if schema == 11 else "gpu_power_readings"
    limit = "enforced_power_limit" if schema == 11 else "current_power_limit"
    remapped = (
        f"<remapped_row_failure>{card['remap_failure']}</remapped_row_failure>" if card["remap_failure"] else "N/A"
    )
    clocks = "".join(f"<supported_graphics_clock>{mhz} MHz</supported_graphics_clock>" for mhz in range(3090, 180, -8))
    return f"""\t<gpu id="{card["bus_id"]}">
\t\t<product_name>{card["name"]}</product_name>
\t\t<mig_mode><current_mig>{card["mig"]}</current_mig><pending_mig>{card["mig"]}</pending_mig></mig_mode>
\t\t<mig_devices>{_divisions() if card["mig"] == "Enabled" else "None"}</mig_devices>
\t\t<uuid>{card["uuid"]}</uuid>
\t\t<minor_number>{card["index"]}</minor_number>
\t\t<pci><pci_bus_id>{card["bus_id"]}</pci_bus_id></pci>
\t\t<fan_speed>{card["fan.speed"]}</fan_speed>
\t\t<performance_state>P2</performance_state>
\t\t<{group}s>{
        "".join(f"<{group}_{name}>{'' if name in active else 'Not '}Active</{group}_{name}>" for name in REASONS)
    }</{group}s>
\t\t<fb_memory_usage><total>{card["memory.total"]}</total><reserved>869 MiB</reserved><used>{
        card["memory.used"]
    }</used></fb_memory_usage>
\t\t<bar1_memory_usage><total>256 MiB</total><used>5 MiB</used></bar1_memory_usage>
\t\t<utilization><gpu_util>{card["utilization.gpu"]}</gpu_util><memory_util>{
        card["utilization.memory"]
    }</memory_util></utilization>
\t\t<ecc_errors>{_errors(card, schema)}</ecc_errors>
\t\t<retired_pages>{
        "".join(
            f"<{kind}><retired_count>{card['retired']}</retired_count></{kind}>"
            for kind in ("multiple_single_bit_retirement", "double_bit_retirement")
        )
    }</retired_pages>
\t\t<remapped_rows>{remapped}</remapped_rows>
\t\t<temperature><gpu_temp>{
        card["temperature.gpu"]
    }</gpu_temp><gpu_temp_max_threshold>92 C</gpu_temp_max_threshold><memory_temp>{
        card["temperature.memory"]
    }</memory_temp></temperature>
\t\t<{power}><power_state>P2</power_state><{draw}>{card["power.draw"]}</{draw}><{limit}>{card["power.limit"]}</{
        limit
    }></{power}>
\t\t<module_power_readings><{draw}>N/A</{draw}></module_power_readings>
\t\t<clocks><graphics_clock>{card["clocks.sm"]}</graphics_clock><sm_clock>{card["clocks.sm"]}</sm_clock><mem_clock>{
        card["clocks.mem"]
    }</mem_clock></clocks>
\t\t<max_clocks><sm_clock>3090 MHz</sm_clock><mem_clock>14001 MHz</mem_clock></max_clocks>
\t\t<supported_clocks><supported_mem_clock><value>14001 MHz</value>{clocks}</supported_mem_clock></supported_clocks>
\t\t<processes>{
        "".join(
            f"<process_info><pid>{pid}</pid><type>C</type><process_name>python &amp; co</process_name></process_info>"
            for pid in card["processes"].split()
        )
    }</processes>
\t</gpu>
"""


def _errors(card: dict[str, str], schema: int) -> str:
    corrected, uncorrected = card["corrected"], card["uncorrected"]
    if schema == 11 and card["name"].startswith("NVIDIA GeForce"):
        return (
            f"<volatile><single_bit><total>{corrected}</total></single_bit>"
            f"<double_bit><total>{uncorrected}</total></double_bit></volatile>"
        )
    none = "N/A" if uncorrected == "N/A" else "0"
    parts = {"sram_correctable": none, "dram_correctable": corrected, "dram_uncorrectable": uncorrected}
    parts |= (
        {"sram_uncorrectable_parity": none, "sram_uncorrectable_secded": none}
        if schema == 13
        else {"sram_uncorrectable": none}
    )
    volatile = "".join(f"<{name}>{count}</{name}>" for name, count in parts.items())
    return f"<volatile>{volatile}</volatile><aggregate><dram_uncorrectable>77</dram_uncorrectable></aggregate>"


def _divisions() -> str:
    one = "<mig_device><fb_memory_usage><total>19968 MiB</total><used>12 MiB</used></fb_memory_usage></mig_device>"
    return one * 4


if __name__ == "__main__":
    sys.exit(main())
