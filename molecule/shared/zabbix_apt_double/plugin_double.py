#!/usr/bin/python3
"""A double of Zabbix's plugin for NVIDIA's GPUs, which the real agent starts, asks for its keys, and ends.

The frames are those that the agents of Debian 12 and 13 send and take (little-endian kind 1 and length, then JSON). It
knows one key, the driver's version, by asking nvidia-smi; the real one asks the driver's library, and like that one it
does not come up without a driver, nor does its agent then.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
import time

# Types of messages.
REGISTER, REGISTERED, END, EXPORT, EXPORTED = 2, 3, 5, 6, 7
KIND = 1
EXPORTER = 1


def main() -> None:
    parent = os.getppid()
    said = subprocess.run(["/usr/bin/nvidia-smi", "-q", "-x"], capture_output=True, text=True, timeout=20)
    found = re.search("<driver_version>(.*)</driver_version>", said.stdout)
    if said.returncode != 0 or not found:
        sys.exit("cannot initialise NVML")
    agent = socket.socket(socket.AF_UNIX)
    agent.connect(sys.argv[1])
    stream, version = agent.makefile("rwb"), ""
    while head := stream.read(8):
        asked = json.loads(stream.read(struct.unpack("<II", head)[1]))
        if asked["type"] == END:
            break
        answer = {"id": asked["id"]}
        if asked["type"] == REGISTER:
            version = asked["version"]
            metrics = ["nvml.system.driver.version", "Returns the driver's version."]
            answer |= {"type": REGISTERED, "name": "NVIDIA", "metrics": metrics, "interfaces": EXPORTER}
        elif asked["type"] == EXPORT:
            answer |= {"type": EXPORTED, "value": found[1]}
        else:
            continue
        text = json.dumps(answer).encode()
        stream.write(struct.pack("<II", KIND, len(text)) + text)
        stream.flush()
    # An agent of 6.0 panics now and then when a plugin has ended before it was killed; later ones want it to end.
    while version.startswith("6.0") and os.getppid() == parent:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
