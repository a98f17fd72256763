#!/usr/bin/python3
"""Puts the proof into pebble's DNS and takes it out again: add or remove, with certbot's environment."""

import json
import os
import sys
import urllib.request

RECORD = {"host": f"_acme-challenge.{os.environ['CERTBOT_DOMAIN']}."}

if sys.argv[1] == "add":
    act, told = "set-txt", {**RECORD, "value": os.environ["CERTBOT_VALIDATION"]}
else:
    act, told = "clear-txt", RECORD
urllib.request.urlopen(f"http://127.0.0.1:8055/{act}", json.dumps(told).encode())
