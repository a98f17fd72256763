#!/usr/bin/python3 -IBS
# Written by dlhost, role zabbix_agent.
"""Tell Zabbix one value of this host, as the agent would: zabbix-sender KEY VALUE

Debian's own sender is in the package of the classic agent, or in one of its own, depending on the release. Ends with 0
if the server takes the value, 1 if it does not answer, and 2 if it has no such item.
"""

import json
import sys
from pathlib import Path

LIBRARY = "/usr/lib/dlhost"
CONFIGURATION = Path("/etc/zabbix/zabbix_agent2.d/dlhost.conf")
TIMEOUT_S = 10


def main(arguments):
    if len(arguments) != 2:
        sys.stderr.write("usage: zabbix-sender KEY VALUE\n")
        return 2
    sys.path.insert(0, LIBRARY)
    import zabbix_wire

    lines = [line.split("=", 1) for line in CONFIGURATION.read_text().splitlines() if not line.startswith("#")]
    agent = dict(lines)
    value = {"host": agent["Hostname"], "key": arguments[0], "value": arguments[1]}
    message = json.dumps({"request": "sender data", "data": [value]})
    address, port = zabbix_wire.place(agent["ServerActive"])
    key = (agent["TLSPSKIdentity"], Path(agent["TLSPSKFile"]).read_text().strip())
    try:
        answer = json.loads(zabbix_wire.ask(address, port, message, TIMEOUT_S, key))
    except (zabbix_wire.WireError, ValueError) as error:
        sys.stderr.write(f"{agent['ServerActive']} does not answer: {error}\n")
        return 1
    sys.stdout.write(f"{answer.get('info', answer.get('response'))}\n")
    return 0 if answer.get("response") == "success" and "failed: 0" in answer.get("info", "") else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
