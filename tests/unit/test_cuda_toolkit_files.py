"""The files of role cuda_toolkit, and whether the linker has to look anew, by what is asked for and what was seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cuda_world import ADA, facts
from tests.unit.plays import results, rules_of

ROLE = Path(__file__).parents[2] / "roles" / "cuda_toolkit"
LINKER = "/etc/ld.so.conf.d/000-dlhost-cuda.conf"
PATHS = ["/etc/profile.d/dlhost-cuda.sh", "/etc/systemd/system-environment-generators/90-dlhost-cuda"]
LINKED = "dlhost:linked=/usr/local/cuda-12.9/lib64/libcudart.so.12.9.79 \n"
HOSTS: dict[str, tuple[dict[str, Any], str, list[str], bool]] = {
    "off": ({}, "", PATHS, False),
    "asked": ({"cuda_toolkit_ld_so_conf": True}, "", [*PATHS, LINKER], True),
    "there": ({"cuda_toolkit_ld_so_conf": "yes"}, LINKED, [*PATHS, LINKER], False),
    "another-default": (
        {"cuda_toolkit_ld_so_conf": True, "cuda_toolkit_versions": ["12.9", "13.0"]},
        LINKED,
        [*PATHS, LINKER],
        True,
    ),
    "without-paths": ({"cuda_toolkit_ld_so_conf": True, "cuda_toolkit_paths": False}, LINKED, [LINKER], False),
    "distributions": ({"cuda_toolkit_ld_so_conf": True, "cuda_toolkit_source": "distro"}, "", [], False),
    "no-toolkit": ({"cuda_toolkit_ld_so_conf": True, "cuda_toolkit_versions": []}, "", [], False),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    rules = rules_of("cuda_toolkit")
    shown = {"files": "{{ __cuda_toolkit_files }}", "unlinked": "{{ __cuda_toolkit_unlinked }}"}
    directory = tmp_path_factory.mktemp("files")
    # Where the role's own tasks find them by themselves.
    (directory / "templates").symlink_to(ROLE / "templates")
    hosts = {
        name: {
            "ansible_python_interpreter": sys.executable,
            "cuda_toolkit_versions": ["12.9"],
            "__cuda_toolkit_facts": {"nvidia": facts(ADA)},
            "__cuda_toolkit_look": {"stdout": seen},
            **settings,
        }
        for name, (settings, seen, _files, _unlinked) in HOSTS.items()
    }
    found = results(directory, hosts, [rules, {"ansible.builtin.debug": {"msg": shown}}], "--check")
    return {host: result["msg"] for _task, host, result in found if isinstance(result.get("msg"), dict)}


@pytest.mark.parametrize("name", HOSTS)
def test_the_linker_is_told_where_that_is_asked_for(told: dict[str, dict[str, Any]], name: str) -> None:
    _settings, _seen, paths, unlinked = HOSTS[name]
    files = {file["path"]: file["content"] for file in told[name]["files"]}

    assert (list(files), told[name]["unlinked"]) == (paths, unlinked)
    if LINKER in files:
        lines = [line for line in files[LINKER].splitlines() if not line.startswith("#")]
        assert lines == ["/usr/local/cuda/lib64", "/usr/local/cuda/extras/CUPTI/lib64"]
