"""Has names lead to an address, or nowhere, in the DNS that pebble asks: dns.py ADDRESS|nowhere NAME..."""

import json
import sys
import urllib.request


def tell(act, name, **more):
    told = json.dumps({"host": name, **more}).encode()
    urllib.request.urlopen(f"http://127.0.0.1:8055/{act}", told)


address, *names = sys.argv[1:]
for name in names:
    tell("clear-servfail", name)
    tell("clear-a", name)
    if address == "nowhere":
        tell("set-servfail", name)
    else:
        tell("add-a", name, addresses=[address])
