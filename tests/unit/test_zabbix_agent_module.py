"""The agent on a host whose systemd is the test's: what is refused, tried out, restarted, put back and taken away."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlhost.adapters.ansible_env import collections_path
from tests.unit.apt_host import double_key
from tests.unit.systemd_double import SystemdDouble, own_files

PLUGINS = "ansible_collections.dlhost.host.plugins"
UNIT = "zabbix-agent2.service"


class Host(SystemdDouble):
    """A host with agent 2, whose program reads the files that are there."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(collections_path()))
        super().__init__()
        self.module = importlib.import_module(f"{PLUGINS}.modules.zabbix_agent")
        self.path = path
        self.installed = {"zabbix-agent2": "7.0.22"}
        self.apt: dict[str, str] = {}
        self.madison = ""
        self.starts = True
        self.outside_address = ""
        self.conf = path / "zabbix/d/dlhost.conf"
        self.main = path / "zabbix/zabbix_agent2.conf"
        self.drop_in = path / f"units/{UNIT}.d/dlhost.conf"
        self.program = path / "zabbix_agent2"

        owned = own_files(monkeypatch, path)
        monkeypatch.setattr(owned, "missing_packages", lambda names: [n for n in names if n not in self.installed])
        for name, double in {
            "PROGRAM": self.program,
            "MAIN": self.main,
            "DROP_INS": self.conf.parent,
            "UNIT_DROP_IN": self.drop_in,
            "DIRECTORIES": (path / "run", path / "state"),
            "PCI": path / "pci",
            "SMI": str(path / "nvidia-smi"),
            "CONTROL_DEVICE": path / "nvidiactl",
            "find_units": self.find_units,
            "find_listeners": self.find_listeners,
            "must": self.must,
            "wait_until_listening": self.wait,
            "installed_versions": lambda: dict(self.installed),
            "candidate": lambda package: self.apt.get(package, ""),
        }.items():
            monkeypatch.setattr(self.module, name, double)
        self.source = self.module.zabbix_source
        self.sources = path / "apt/sources.list.d"
        self.sources.mkdir(parents=True)
        monkeypatch.setattr(self.source, "APT", path / "apt")
        monkeypatch.setattr(self.source, "OS_RELEASE", path / "os-release")
        (path / "os-release").write_text('ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n')
        monkeypatch.setattr(self.outside, "must", self.must)
        run = self.module.run

        def run_here(*command: str, **more: Any) -> Any:
            if command[0] == "systemctl":
                self.must(*command)
                return SimpleNamespace(returncode=0)
            if command[:2] == ("apt-cache", "madison"):
                return SimpleNamespace(stdout=self.madison)
            return run(*command, **more)

        monkeypatch.setattr(self.module, "run", run_here)
        self.conf.parent.mkdir(parents=True)
        self.main.write_text(f"Hostname=Zabbix server\nInclude={self.conf.parent}/*.conf\nInclude=./more/*.conf\n")
        # Names itself as the last of the files says, as the real one does.
        self.program.write_text(
            "#!/bin/sh\n"
            'for file in "$2" $(sed -n "s/^Include=//p" "$2"); do cat "$file" 2>/dev/null; done >"$0.read"\n'
            'grep -q ^Nonsense "$0.read" && echo "ERROR: unknown parameter Nonsense" >&2 && exit 1\n'
            'echo "agent.hostname [s|$(sed -n s/^Hostname=//p "$0.read" | tail -n 1)]"\n'
        )
        self.program.chmod(0o755)

    def port_of(self, _unit: str) -> int:
        return 10050

    def must(self, systemctl: str, verb: str, *names: str) -> None:
        super().must(systemctl, "start" if verb == "restart" else verb, *names)
        if "--now" in names:
            super().must(systemctl, "stop", *names)
            self.commands.pop()
        self.commands[-1] = " ".join([verb, *names])

    def find_listeners(self) -> list[Any]:
        found = super().find_listeners()
        return [dataclasses.replace(each, address=self.outside_address or each.address) for each in found]

    def wait(self, _servers: Any) -> None:
        if not self.starts:
            raise self.outside.RefusedError("It does not run (some reason).")

    def request(self, **more: Any) -> dict[str, Any]:
        terms = {"mode": "0644", "owner": "", "group": "", "validate": "", "sensitive": False}
        return {
            "role": "zabbix_agent",
            "host": "rig",
            "server": "127.0.0.1",
            "port": 10050,
            "gpu_mode": "auto",
            "source": {"release": "", "url": "", "key": ""},
            "packages": ["zabbix-agent2"],
            "state": "present",
            "files": [
                {"path": str(self.conf), "content": "Hostname=rig\n", **terms},
                {"path": str(self.drop_in), "content": "[Service]\n", **terms},
            ],
            **more,
        }

    def converge(self, check: bool = False, **more: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.module.converge(self.request(**more), check)
        return result

    def refusal(self, **more: Any) -> str:
        with pytest.raises(self.outside.RefusedError) as refused:
            self.converge(**more)
        return str(refused.value)

    def with_hostname(self, name: str) -> list[dict[str, Any]]:
        files: list[dict[str, Any]] = self.request()["files"]
        files[0]["content"] = f"Hostname={name}\n"
        return files


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_an_agent_is_run_once(host: Host) -> None:
    foreseen = host.converge(check=True)
    assert foreseen["due"]
    assert not host.conf.exists()
    assert host.commands == []

    assert host.converge()["changed"]
    assert host.commands == ["daemon-reload", f"enable --quiet {UNIT}", f"start {UNIT}"]

    host.commands.clear()
    again = host.converge()
    assert (again["changed"], again["unit_problems"], again["gpu_mode"]) == (False, [], "none")
    assert host.commands == []


def test_an_agent_older_than_its_files_is_restarted(host: Host) -> None:
    host.converge()
    host.commands.clear()
    host.change(UNIT, started=1.0)

    assert host.converge(check=True)["unit_problems"] == ["started before its files were as they are"]
    host.converge()
    assert host.commands == [f"restart {UNIT}"]


def test_what_is_wrong_with_the_unit_is_said_and_mended(host: Host) -> None:
    host.converge()
    host.must("systemctl", "stop", UNIT)
    host.change(UNIT, masked="masked", enabled=False)

    assert host.converge(check=True)["unit_problems"] == ["is masked", "does not run"]
    host.converge()
    assert host.converge()["unit_problems"] == []


def test_two_agents_are_refused(host: Host) -> None:
    host.installed["zabbix-agent"] = "7.0.22"

    assert "This host has Zabbix's classic agent (package zabbix-agent)" in host.refusal()


@pytest.mark.parametrize(("installed", "apt"), [({"zabbix-agent2": "5.4.9"}, {}), ({}, {"zabbix-agent2": "5.0.17"})])
def test_a_version_that_is_not_served_is_refused(host: Host, installed: dict[str, str], apt: dict[str, str]) -> None:
    host.installed, host.apt = installed, apt

    assert "and dlhost needs 6.0 or later" in host.refusal()


@pytest.mark.parametrize("server", ["zabbix.invalid", "zabbix.invalid:10051", "a..b"])
def test_a_server_that_no_name_leads_to_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    def nowhere(*_name: Any, **_terms: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    words = f"zabbix_agent_server names {server.partition(':')[0]}, which this host cannot resolve (Name or service"

    assert words in host.refusal(server=server)


@pytest.mark.parametrize("line", ["ServerActive=zabbix.corp:10051", " Server = 127.0.0.1, 192.0.2.0/24", "Server=::/0"])
def test_an_agent_of_another_server_is_not_taken_from_it(host: Host, line: str) -> None:
    (host.conf.parent / "corp.conf").write_text(f"{line}\n")

    said = host.refusal(server="localhost")

    assert f"reports to another server already ({line.strip()} in {host.conf.parent}/corp.conf)" in said
    assert not host.conf.exists()


@pytest.mark.parametrize("line", ["ServerActive=localhost:10052;[::1]", "Server=127.0.0.1,::1", "# Server=zabbix.corp"])
def test_the_files_of_the_package_and_of_the_same_server_are_taken(host: Host, line: str) -> None:
    host.main.write_text(f"{line}\n{host.main.read_text()}")
    (host.conf.parent / "own.conf").write_text("ServerActive=192.0.2.1\n")

    assert host.converge(check=True, server="192.0.2.1:10051")["due"]


@pytest.mark.parametrize("server", ["127.0.0.1:10051", "[::1]:10051", "[::1]", "localhost"])
def test_every_form_of_a_server_is_taken(host: Host, server: str) -> None:
    assert host.converge(check=True, server=server)["due"]


def test_a_configuration_that_is_not_taken_changes_nothing(host: Host) -> None:
    host.converge()
    (host.conf.parent / "zz.conf").write_text("Nonsense=1\n")
    host.commands.clear()

    assert "does not take this configuration: unknown parameter Nonsense. Correct" in host.refusal(
        files=host.with_hostname("other"), host="other"
    )
    assert (host.conf.read_text(), host.commands) == ("Hostname=rig\n", [])


def test_a_users_file_that_has_the_last_word_is_refused(host: Host) -> None:
    (host.conf.parent / "zz.conf").write_text("Hostname=mine\n")

    assert "would call itself mine, not rig" in host.refusal()
    assert not host.conf.exists()


def test_a_main_file_that_does_not_include_ours_is_refused(host: Host) -> None:
    host.main.write_text("Hostname=Zabbix server\n")

    assert "would call itself Zabbix server, not rig" in host.refusal()


@pytest.mark.parametrize("fault", ["does not start", "listens outside"])
def test_an_agent_that_does_not_run_as_it_should_is_put_back(host: Host, fault: str) -> None:
    host.converge()
    before = {path: path.read_text() for path in host.path.rglob("*") if path.is_file()}
    host.starts = fault != "does not start"
    host.outside_address = "*" if fault == "listens outside" else ""
    words = {"does not start": "It does not run", "listens outside": "The agent would listen on * port 10050"}

    said = host.refusal(files=host.with_hostname("other")[:1], host="other")

    assert words[fault] in said
    assert said.endswith("The files are as they were.")
    after = {path: path.read_text() for path in host.path.rglob("*") if path.is_file()}
    changed = {path.name for path in {*before, *after} if before.get(path) != after.get(path)}
    # What the program itself wrote down.
    assert changed <= {"zabbix_agent2.read"}
    assert host.commands[-1] == f"restart {UNIT}"


def test_before_the_package_is_there_nothing_is_tried_out(host: Host) -> None:
    host.program.unlink()
    host.installed = {}

    foreseen = host.converge(check=True)

    assert foreseen["missing_packages"] == ["zabbix-agent2"]
    assert "whether the agent takes its configuration" in foreseen["unknown"]


@pytest.mark.parametrize(
    ("wanted", "version", "plugin", "smi", "mode"),
    [
        ("auto", "7.0.22", "7.0.22", "exit 0", "collector"),
        ("auto", "7.4.3", "7.4.3", "exit 0", "plugin"),
        # The agent would not start with it.
        ("auto", "7.4.3", "7.2.9", "exit 0", "collector"),
        ("auto", "7.4.3", "", "exit 0", "collector"),
        ("auto", "7.4.3", "7.4.3", "exit 9", "collector"),
        ("auto", "7.4.3", "7.4.3", "sleep 60", "collector"),
        ("auto", "7.4.3", "7.4.3", "", "none"),
        ("collector", "7.4.3", "7.4.3", "exit 0", "collector"),
        ("none", "7.4.3", "7.4.3", "exit 0", "none"),
        ("plugin", "7.4.3", "7.4.3", "exit 0", "plugin"),
        ("plugin", "7.4.3", "7.4.3", "exit 9", ""),
        ("plugin", "6.0.14", "", "exit 0", ""),
    ],
)
def test_who_reads_the_gpus(
    host: Host, monkeypatch: pytest.MonkeyPatch, wanted: str, version: str, plugin: str, smi: str, mode: str
) -> None:
    monkeypatch.setattr(host.module, "SMI_LIMIT_S", 0.5)
    monkeypatch.setattr(host.module.subprocess.Popen, "__del__", lambda _process: None)
    host.installed = {"zabbix-agent2": version}
    host.apt = {"zabbix-agent2-plugin-nvidia-gpu": plugin}
    if smi:
        (host.path / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
        (host.path / "nvidia-smi").chmod(0o755)
    if not mode:
        lacking = "nvidia-smi does not answer" if plugin else "apt has no zabbix-agent2-plugin-nvidia-gpu of"
        assert lacking in host.refusal(gpu_mode=wanted)
        return

    result = host.converge(check=True, gpu_mode=wanted)

    assert result["gpu_mode"] == mode
    assert result["packages"] == ["zabbix-agent2", *(["zabbix-agent2-plugin-nvidia-gpu"] if mode == "plugin" else [])]


@pytest.mark.parametrize(
    ("kind", "vendor", "mode"), [("0x030200", "0x10de", "collector"), ("0x0300", "0x1002", "none")]
)
def test_a_card_without_a_driver_has_the_collector(host: Host, kind: str, vendor: str, mode: str) -> None:
    device = host.path / "pci/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "class").write_text(f"{kind}\n")
    (device / "vendor").write_text(f"{vendor}\n")

    assert host.converge(check=True)["gpu_mode"] == mode


VENDOR = {"release": "7.4", "url": "", "key": ""}
PLUGIN = "zabbix-agent2-plugin-nvidia-gpu"


def set_up(host: Host, **more: str) -> None:
    """Do what module apt_source would."""
    asked = host.source.plan(**VENDOR | more)
    key = host.source.owned_files.OwnedFile(Path(asked.key["path"]), f"{asked.key['text'].strip()}\n".encode())
    owned = host.source.owned_files
    owned.carry_out(owned.plan(host.source.OWNER, [*asked.files, *([key] if asked.key["text"] else [])], []))


def test_a_release_of_zabbix_own_comes_from_its_repository(host: Host) -> None:
    result = host.converge(check=True, source=VENDOR)

    assert result["missing_packages"] == ["zabbix-agent2=1:7.4.*"]
    assert result["source"]["has"] == ["zabbix-agent2=1:7.4.*"]
    stanza, preferences = (file["content"] for file in result["source"]["files"])
    assert "URIs: https://repo.zabbix.com/zabbix/7.4/stable/debian\nSuites: trixie\n" in stanza
    assert f"Signed-By: {host.path}/apt/keyrings/dlhost-zabbix.asc\n" in stanza
    assert preferences.endswith("Package: *\nPin: release o=Zabbix\nPin-Priority: -1\n")
    assert result["source"]["key"]["fingerprints"] == ["4C3D6F2CC75F5146754FC374D913219AB5333005"]
    assert "who reads the GPUs" in result["unknown"]


def test_a_mirror_has_a_key_of_its_own(host: Host) -> None:
    mirror = {"url": "https://mirror.example.org/zabbix/", "key": double_key().public()}
    result = host.converge(check=True, source=VENDOR | mirror)

    assert "URIs: https://mirror.example.org/zabbix\n" in result["source"]["files"][0]["content"]
    assert result["source"]["key"]["fingerprints"] == [double_key().fingerprint]
    set_up(host, **mirror)
    host.installed["zabbix-agent2"] = "7.4.3"
    host.converge(source=VENDOR | mirror)
    assert not host.converge(source=VENDOR | mirror)["due"]
    # It is looked at too: what is in place may be somebody else's.
    (host.path / "apt/keyrings/dlhost-zabbix.asc").write_text(double_key("Somebody else").public())
    assert host.converge(check=True, source=VENDOR | mirror)["source_paths"]


@pytest.mark.parametrize(("wanted", "mode"), [("auto", "collector"), ("plugin", "plugin")])
def test_a_repository_has_to_have_the_plugin_where_it_is_asked_for(host: Host, wanted: str, mode: str) -> None:
    (host.path / "nvidia-smi").write_text("#!/bin/sh\n")
    (host.path / "nvidia-smi").chmod(0o755)
    # What apt knows is of another repository, which this one replaces.
    host.apt = {"zabbix-agent2": "7.4.3", PLUGIN: "7.4.3"}

    result = host.converge(check=True, source=VENDOR, gpu_mode=wanted)

    assert result["gpu_mode"] == mode
    names = ["zabbix-agent2", *([PLUGIN] if wanted == "plugin" else [])]
    assert result["source"]["has"] == [f"{name}=1:7.4.*" for name in names]


def test_without_a_release_the_repository_goes(host: Host) -> None:
    set_up(host, key=double_key().public())

    gone = host.converge(check=True)

    files = {"dlhost-zabbix", "dlhost-zabbix.asc", "dlhost-zabbix.sources"}
    assert {Path(path).name for path in gone["source_paths"]} == {*files, "managed.json"}
    assert gone["source"] == {"files": [], "key": {}, "has": []}
    assert host.converge(check=True, state="absent", files=[])["source_paths"] == gone["source_paths"]
    # Refused before it goes, as its plugin goes with it.
    host.installed, host.apt = {"zabbix-agent2": "7.4.3"}, {PLUGIN: "7.4.3"}
    assert "zabbix_agent_gpu_mode is plugin" in host.refusal(gpu_mode="plugin")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("sources.list", "deb https://repo.zabbix.com/zabbix/7.0/debian trixie main"),
        ("sources.list.d/zabbix.sources", "URIs: https://repo.zabbix.com/zabbix/7.4/stable/debian"),
        ("sources.list.d/mirror.list", "deb [trusted=yes] http://mirror.example.org/zabbix trixie main"),
    ],
)
def test_a_second_source_of_it_is_refused(host: Host, file: str, line: str) -> None:
    (host.path / "apt" / file).write_text(f"# https://repo.zabbix.com/zabbix/7.4\n{line}\n")

    with pytest.raises(host.source.SourceError, match=f"{file} has Zabbix's repository as well"):
        host.converge(check=True, source=VENDOR | {"url": "https://mirror.example.org/zabbix"})


def test_other_sources_are_no_matter(host: Host) -> None:
    (host.sources / "tools.list").write_text("deb https://repo.zabbix.com/zabbix-tools/debian-ubuntu trixie main\n")
    (host.sources / "old.list").write_text("# deb https://repo.zabbix.com/zabbix/7.0/debian trixie main\n")
    (host.sources / "old.list.save").write_text("deb https://repo.zabbix.com/zabbix/7.0/debian trixie main\n")

    assert host.converge(check=True, source=VENDOR)["due"]


@pytest.mark.parametrize(
    ("system", "key", "words"),
    [
        ("ID=arch", "", "Zabbix has no packages for arch"),
        ("ID=debian", "mine", "zabbix_agent_repo_key is no armoured OpenPGP key"),
        ("ID=debian", double_key().public() + double_key("Somebody else").public(), "has 2 keys; give the one"),
    ],
)
def test_a_repository_that_cannot_be_is_refused(host: Host, system: str, key: str, words: str) -> None:
    (host.path / "os-release").write_text(f"{system}\n")

    with pytest.raises(host.source.SourceError, match=words):
        host.converge(check=True, source=VENDOR | {"key": key})


@pytest.mark.parametrize(
    ("installed", "there", "wish"),
    [
        ("7.4.3", ["1:7.0.22+dfsg-1"], "zabbix-agent2=1:7.0.22+dfsg-1"),
        ("7.4.3", ["1:7.4.4-1", "1:7.0.22+dfsg-1"], ""),
        # Not of the repository: a release of the distribution that has moved on.
        ("7.0.22", ["1:6.0.14+dfsg-1"], ""),
        ("7.4.3", [], ""),
    ],
)
@pytest.mark.parametrize("brought", [True, False])
def test_the_way_back_is_to_an_older_agent(
    host: Host, brought: bool, installed: str, there: list[str], wish: str
) -> None:
    host.installed = {} if brought else {"zabbix-agent2": installed}
    host.converge()
    host.installed = {"zabbix-agent2": installed}
    host.madison = "".join(f" zabbix-agent2 | {version} | http://x trixie/main\n" for version in there)

    # What is installed counts as what apt would install.
    host.apt = {PLUGIN: installed}
    (host.path / "nvidia-smi").write_text("#!/bin/sh\n")
    (host.path / "nvidia-smi").chmod(0o755)

    found = host.converge(check=True)

    goes_back = brought and bool(wish)
    assert [each for each in found["missing_packages"] if each != PLUGIN] == ([wish] if goes_back else [])
    assert found["gpu_mode"] == ("collector" if goes_back or installed == "7.0.22" else "plugin")


@pytest.mark.parametrize("brought", [True, False])
def test_a_plugin_without_a_driver_goes(host: Host, brought: bool) -> None:
    (host.path / "nvidia-smi").write_text("#!/bin/sh\n")
    (host.path / "nvidia-smi").chmod(0o755)
    host.installed, host.apt = {"zabbix-agent2": "7.4.3"}, {PLUGIN: "7.4.3"}
    host.installed |= {} if brought else {PLUGIN: "7.4.3"}
    assert host.converge()["gpu_mode"] == "plugin"
    host.installed[PLUGIN] = "7.4.3"
    (host.path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")

    found = host.converge(check=True)

    assert (found["gpu_mode"], found["due"]) == ("collector", True)
    assert found["superfluous_packages"] == ([PLUGIN] if brought else [])


def test_an_agent_older_than_its_plugins_is_restarted(host: Host) -> None:
    host.converge()
    host.change(UNIT, started=time.time() - 60)
    os.utime(host.conf, (0, 0))
    os.utime(host.drop_in, (0, 0))
    (host.conf.parent / "plugins.d").mkdir()

    assert host.converge(check=True)["unit_problems"] == ["started before its plugins were as they are"]


def test_the_plugins_of_the_running_agent_keep_their_socket(host: Host) -> None:
    host.converge()

    read = host.program.with_name("zabbix_agent2.read").read_text()

    # The last one counts.
    assert re.findall("(?m)^PluginSocket=.*/dlhost-zabbix-agent-.*/plugin.sock$", read)


def test_cards_of_a_group_are_the_agents_too(host: Host) -> None:
    (host.path / "nvidiactl").touch(mode=0o660)
    (host.path / "nvidiactl").chmod(0o660)

    host.converge()

    assert host.drop_in.read_text() == f"[Service]\nSupplementaryGroups={os.getgid()}\n"
    (host.path / "nvidiactl").rename(host.path / "unloaded")
    assert not host.converge()["changed"]
    (host.path / "unloaded").rename(host.path / "nvidiactl")
    (host.path / "nvidiactl").chmod(0o666)
    host.converge()
    assert host.drop_in.read_text() == "[Service]\n"


def test_what_the_role_brought_goes(host: Host) -> None:
    host.installed = {}
    host.converge()
    host.installed = {"zabbix-agent2": "7.0.22"}
    (host.path / "state").mkdir()
    host.commands.clear()

    assert host.converge(state="absent", files=[])["changed"]

    assert host.commands == [f"disable --quiet --now {UNIT}", "daemon-reload"]
    assert not [path for path in (host.conf, host.drop_in.parent, host.path / "state") if path.exists()]
    assert not host.converge(state="absent", files=[])["changed"]


def test_an_agent_that_was_there_before_goes_on(host: Host) -> None:
    host.converge()
    owned = json.loads((host.path / "managed.json").read_text())["roles"]["zabbix_agent"]
    assert owned["installed"] == []
    host.commands.clear()

    host.converge(state="absent", files=[])

    assert host.commands == ["daemon-reload", f"restart {UNIT}"]


@pytest.mark.parametrize(
    ("debian", "upstream"),
    [("1:6.0.14+dfsg-1+b1", "6.0.14"), ("1:7.0.22+dfsg-1~deb13u1", "7.0.22"), ("1:7.4.3-1+debian12", "7.4.3")],
)
def test_a_version_is_the_vendors_without_debians_additions(host: Host, debian: str, upstream: str) -> None:
    assert host.module.upstream(debian) == upstream
