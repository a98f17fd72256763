"""The order of the site: what is wrong without a look at a host is said before any role has acted there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from dlhost.adapters import gpu_stack
from tests.unit.plays import ansible_playbook, rules_of

# Nobody listens on port 1, so that the first role that looks at a host would lose it.
HOST: dict[str, Any] = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-F /dev/null"}
SITE = {"path": "/a/", "upstream": "http://127.0.0.1:8888"}
PASSWORD = "horse/battery"  # noqa: S105
WEB: dict[str, dict[str, Any]] = {
    "path": {"nginx_proxy_sites": [{**SITE, "path": "/a"}]},
    "undefined": {"nginx_proxy_sites": [{**SITE, "basic_auth": [{"name": "ada", "password": "{{ nobody_set_it }}"}]}]},
    "needed": {"tls_state": "absent"},
}
GPU: dict[str, dict[str, Any]] = {
    "repository": {"nvidia_repo_source": "distro", "nvidia_repo_url": "https://mirror.example.org/"},
    "branch": {"nvidia_driver_branch": "580.95.05"},
    "release": {"cuda_toolkit_versions": ["12.9"], "cuda_toolkit_default": "13.0"},
    "version": {"cudnn_cuda_majors": [12], "cudnn_version": "newest"},
}
WORKSPACE: dict[str, dict[str, Any]] = {
    "anaconda": {"conda_channels": ["conda-forge", "defaults"]},
    "own-address": {"conda_channels": ["https://conda.anaconda.org/main/"]},
    "secret": {"conda_channels": ["https://me:secret@conda.example"]},
    "relative": {"conda_channels": ["./channel"]},
    "home": {"conda_channels": ["~/channel"]},
    "prefix": {"conda_prefix": "/srv/my conda"},
}
# Each with groups whose roles are told of it under a name of their own.
TOLD: dict[str, tuple[str, dict[str, Any], str]] = {
    "names": ("workspace", {"tls_names": ["rig example"]}, "tls_names: 'rig example' is neither a host name"),
    "desktops": ("desktop", {"vnc_web": True, "vnc_web_allow_cidrs": ["foo"]}, "vnc_web_allow_cidrs takes addresses"),
    "boards": (
        "workspace",
        {"jupyter_tensorboard": True, "jupyter_tensorboard_allow_cidrs": ["300.1.1.1"]},
        "jupyter_tensorboard_allow_cidrs takes addresses",
    ),
}
REPOSITORY = Path(__file__).parents[2]


def play(directory: Path, groups: dict[str, Any], playbook: str) -> dict[str, Any]:
    """What Ansible's json callback tells of a playbook, run over these groups."""
    (directory / "hosts.json").write_text(json.dumps({"all": {"children": groups}}))
    done = ansible_playbook(directory, playbook, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_values_are_refused_before_the_first_connection(tmp_path: Path) -> None:
    groups: dict[str, Any] = {
        group: {"hosts": {name: {**HOST, **own} for name, own in hosts.items()}}
        for group, hosts in (("web", WEB), ("gpu", GPU), ("workspace", WORKSPACE))
    }
    groups["web"]["vars"] = {"tls_mode": "self_signed", "tls_names": ["rig.example.org"]}
    document = play(tmp_path, groups, "dlhost.host.site")
    ended = {
        host: (task["task"]["name"].partition(" : ")[0], result["msg"])
        for play in document["plays"]
        for task in play["tasks"]
        for host, result in task["hosts"].items()
        if result.get("failed") or result.get("unreachable")
    }

    assert {host: stats["unreachable"] for host, stats in document["stats"].items()} == dict.fromkeys(
        [*WEB, *GPU, *WORKSPACE], 0
    )
    assert ended["path"][0] == ended["undefined"][0] == "dlhost.host.nginx_proxy"
    assert "/a is not like that" in ended["path"][1]
    assert "'nobody_set_it' is undefined" in ended["undefined"][1]
    assert ended["needed"][1].startswith("tls_state is absent, and nginx_proxy serves with its certificate")
    assert [ended[name][0].removeprefix("dlhost.host.") for name in GPU] == list(gpu_stack.ROLES)
    assert "nvidia_repo_url, nvidia_repo_key and" in ended["repository"][1]
    assert "580.95.05 is no branch" in ended["branch"][1]
    assert "cuda_toolkit_default is 13.0" in ended["release"][1]
    assert "cudnn_version is newest" in ended["version"][1]
    assert {ended[name][0] for name in WORKSPACE} == {"dlhost.host.conda"}
    assert all(ended[name][1].startswith("conda_channels has ") for name in WORKSPACE if name != "prefix")
    assert "secret" not in ended["secret"][1]
    assert "/srv/my conda is no directory" in ended["prefix"][1]


def test_what_is_refused_is_the_variable_that_was_set(tmp_path: Path) -> None:
    users = {"vnc_users": [{"name": "ada"}], "jupyter_users": [{"name": "ada"}]}
    common = {**HOST, **users, "vnc_password": PASSWORD, "jupyter_password": PASSWORD}
    groups: dict[str, Any] = {"web": {"vars": {"tls_mode": "self_signed", "tls_names": ["rig.example.org"]}}}
    groups["web"]["hosts"] = {name: {**common, **own} for name, (_group, own, _words) in TOLD.items()}
    for group in {group for group, _own, _words in TOLD.values()}:
        groups[group] = {"hosts": {name: {} for name in TOLD if TOLD[name][0] == group}}
    document = play(tmp_path, groups, "dlhost.host.rules")
    said = {
        host: result["msg"]
        for task in document["plays"][0]["tasks"]
        for host, result in task["hosts"].items()
        if result.get("failed")
    }

    assert {name: said[name][: len(words)] for name, (_group, _own, words) in TOLD.items()} == {
        name: words for name, (_group, _own, words) in TOLD.items()
    }


def test_what_conda_is_to_take_away_may_come_from_anywhere(tmp_path: Path) -> None:
    host = {**HOST, "conda_channels": ["defaults"], "conda_state": "absent"}
    rules = rules_of("conda")
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [rules]}]))
    document = play(tmp_path, {"workspace": {"hosts": {"rig": host}}}, "play.json")

    assert document["stats"]["rig"]["failures"] == 0


def test_the_environments_of_role_conda_are_to_compute_without_being_named(tmp_path: Path) -> None:
    verifying = yaml.safe_load((REPOSITORY / "playbooks" / "verify.yml").read_text())[0]["tasks"]
    (handed_on,) = (task["vars"] for task in verifying if task.get("tags") == "nvidia_driver")
    said = {"ansible.builtin.debug": {"msg": "{{ nvidia_driver_role_pythons }}"}, "vars": handed_on}
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [said]}]))
    pythons = {"conda_computing_pythons": ["/opt/torch/bin/python"], "conda_state": "present"}
    workspace = {"with": pythons, "to-go": {**pythons, "conda_state": "absent"}}
    groups = {"workspace": {"hosts": workspace}, "gpu": {"hosts": {"without": pythons}}}
    (task,) = play(tmp_path, groups, "play.json")["plays"][0]["tasks"]

    assert {host: result["msg"] for host, result in task["hosts"].items()} == {
        "with": ["/opt/torch/bin/python"],
        "to-go": [],
        "without": [],
    }
