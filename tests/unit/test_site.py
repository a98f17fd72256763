"""The order of the site: what is wrong without a look at a host is said before any role has acted there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dlhost.adapters.ansible_env import collections_path

# Nobody listens on port 1, so that the first role that looks at a host would lose it.
HOST: dict[str, Any] = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-F /dev/null"}
SITE = {"path": "/a/", "upstream": "http://127.0.0.1:8888"}
HOSTS: dict[str, dict[str, Any]] = {
    "path": {"nginx_proxy_sites": [{**SITE, "path": "/a"}]},
    "undefined": {"nginx_proxy_sites": [{**SITE, "basic_auth": [{"name": "ada", "password": "{{ nobody_set_it }}"}]}]},
}


def test_values_are_refused_before_the_first_connection(tmp_path: Path) -> None:
    variables = {"tls_mode": "self_signed", "tls_names": ["rig.example.org"]}
    hosts = {name: {**HOST, **own} for name, own in HOSTS.items()}
    inventory = {"all": {"vars": variables, "children": {"web": {"hosts": hosts}}}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "hosts.json", "dlhost.host.site"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        },
    )
    document = json.loads(done.stdout)
    ended = {
        host: (task["task"]["name"].partition(" : ")[0], result["msg"])
        for play in document["plays"]
        for task in play["tasks"]
        for host, result in task["hosts"].items()
        if result.get("failed") or result.get("unreachable")
    }

    assert {host: stats["unreachable"] for host, stats in document["stats"].items()} == dict.fromkeys(HOSTS, 0)
    assert ended["path"][0] == ended["undefined"][0] == "dlhost.host.nginx_proxy"
    assert "/a is not like that" in ended["path"][1]
    assert "'nobody_set_it' is undefined" in ended["undefined"][1]
