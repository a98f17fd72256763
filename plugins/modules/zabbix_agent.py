# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the agent of Zabbix on a host, as one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: zabbix_agent
short_description: Run Zabbix's agent 2 with the files of one role
description:
  - Compares files, packages and the unit with the host. A configuration that differs is tried out beside the user's own
    files, and swapped in only if the agent takes it under the right name; the agent is restarted when what it runs from
    is newer than it. If it does not start, everything is put back as it was.
  - Refuses, before anything changes, a host with the classic agent, or whose agent reports to another server already, a
    version of Zabbix that is not served, and a server whose name the host cannot resolve.
  - Where packages are to come from Zabbix's own repository, it says what M(dlhost.host.apt_source) has to do for that,
    and is asked again afterwards.
author: dlhost maintainers (@dlhost)
extends_documentation_fragment: dlhost.host.owned_files
options:
  host:
    description: What the agent calls itself.
    type: str
    default: ""
  server:
    description: Where it reports to, as HOST or HOST:PORT.
    type: str
    default: ""
  port:
    description: Where it listens on loopback.
    type: int
    default: 10050
  gpu_mode:
    description:
      - Who reads the GPUs. V(auto) is the vendor's plugin where apt has it for the agent and nvidia-smi answers, else
        the collector where there is a GPU or nvidia-smi.
    type: str
    choices: [auto, plugin, collector, none]
    default: auto
  packages:
    description: Debian packages that the role wants, besides the plugin.
    type: list
    elements: str
    default: []
  source:
    description: Zabbix's own repository, which has newer releases than the distribution and the plugin.
    type: dict
    default: {}
    suboptions:
      release:
        description: The release that is taken from there, such as V(7.4); empty where the distribution's is taken.
        type: str
        default: ""
      url:
        description: A mirror of its directory for this release and distribution.
        type: str
        default: ""
      key:
        description: The key that signs it, armoured; else Zabbix' own is fetched.
        type: str
        default: ""
  state:
    description:
      - With V(absent), every file of the role is removed. An agent that the role brought is stopped; one that was there
        before goes on with what else its configuration says.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says what would change and writes nothing.
  diff_mode:
    support: full
    description: One diff per file, and one line per package and for the unit.
"""

EXAMPLES = r"""
- name: Run the agent
  dlhost.host.zabbix_agent:
    role: zabbix_agent
    host: rig
    server: zabbix.example.org
    packages: [zabbix-agent2]
    files:
      - path: /etc/zabbix/zabbix_agent2.d/dlhost.conf
        content: "{{ lookup('ansible.builtin.template', 'dlhost.conf.j2') }}"
"""

RETURN = r"""
changed_paths:
  description: Files written or removed.
  type: list
  elements: str
  returned: always
packages:
  description: Packages that the role wants here, as NAME or NAME=VERSION.
  type: list
  elements: str
  returned: always
missing_packages:
  description: Those of them that are not installed like that.
  type: list
  elements: str
  returned: always
superfluous_packages:
  description: Those that the role brought, wants no longer, and that would keep the agent from starting.
  type: list
  elements: str
  returned: always
source:
  description: Arguments for M(dlhost.host.apt_source) under C(role=zabbix_agent_source).
  type: dict
  returned: always
source_paths:
  description: Its files that differ, or that are to go.
  type: list
  elements: str
  returned: always
unit_problems:
  description: How the unit differs from enabled, running and started with what is there now, one sentence each.
  type: list
  elements: str
  returned: always
gpu_mode:
  description: Who reads the GPUs, never V(auto).
  type: str
  returned: always
version:
  description: Version of the agent that is installed, such as V(7.0.22); empty without one.
  type: str
  returned: always
unknown:
  description: What a dry run cannot know; empty where it knows all.
  type: str
  returned: always
due:
  description: Whether anything is to be done.
  type: bool
  returned: always
"""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dlhost.host.plugins.module_utils import owned_files, zabbix_source
from ansible_collections.dlhost.host.plugins.module_utils.commands import run
from ansible_collections.dlhost.host.plugins.module_utils.service_host import (
    AGAIN,
    RefusedError,
    Unit,
    find_listeners,
    find_units,
    in_the_way,
    is_newer,
    is_of,
    make_startable,
    must,
    wait_until_listening,
)
from ansible_collections.dlhost.host.plugins.module_utils.zabbix_wire import place

AGENT, CLASSIC, PLUGIN = "zabbix-agent2", "zabbix-agent", "zabbix-agent2-plugin-nvidia-gpu"
UNIT = f"{AGENT}.service"
PROGRAM = Path("/usr/sbin/zabbix_agent2")
MAIN = Path("/etc/zabbix/zabbix_agent2.conf")
DROP_INS = Path("/etc/zabbix/zabbix_agent2.d")
UNIT_DROP_IN = Path("/etc/systemd/system/zabbix-agent2.service.d/dlhost.conf")
# What systemd makes for the unit.
DIRECTORIES = (Path("/run/dlhost-zabbix-agent"), Path("/var/lib/dlhost-zabbix-agent"))
LOOPBACK = "127.0.0.1"
# As the packages' own file has it.
HERE = (LOOPBACK, "::1", "localhost")
OWN_DROP_IN = "dlhost.conf"

OLDEST = (6, 0)
PLUGIN_SINCE = (7, 2)
SMI = "/usr/bin/nvidia-smi"
SMI_LIMIT_S = 20
PCI = Path("/sys/bus/pci/devices")
CONTROL_DEVICE = Path("/dev/nvidiactl")
SHOWN_CHARACTERS = 300

TEXT = {"type": "str", "default": ""}
SOURCE_ARGUMENT = {"release": TEXT, "url": TEXT, "key": {**TEXT, "no_log": False}}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What differs."""

    owned: owned_files.Plan
    unit: Unit
    problems: list[str]
    packages: list[str]
    missing: list[str]
    superfluous: list[str]
    source: zabbix_source.Source
    gpu_mode: str
    version: str

    @property
    def due(self) -> bool:
        return bool(self.owned.paths or self.problems or self.missing or self.superfluous or self.source.paths)

    def result(self) -> dict[str, object]:
        """The module's result."""
        lines = [f"package {name}: not installed" for name in self.missing]
        lines += [f"package {name}: installed, and not wanted" for name in self.superfluous]
        lines += [f"{UNIT} {problem}" for problem in self.problems]
        return {
            "changed": self.due,
            "due": self.due,
            "changed_paths": self.owned.paths,
            "packages": self.packages,
            "missing_packages": self.missing,
            "superfluous_packages": self.superfluous,
            "source": self.source.arguments(has=self.packages),
            "source_paths": list(self.source.paths),
            "unit_problems": self.problems,
            "gpu_mode": self.gpu_mode,
            "version": self.version,
            "diff": [*self.owned.diffs, *({"prepared": f"{line}\n"} for line in lines)],
        }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "files": owned_files.FILES_ARGUMENT,
            "host": TEXT,
            "server": TEXT,
            "port": {"type": "int", "default": 10050},
            "gpu_mode": {"type": "str", "choices": ["auto", "plugin", "collector", "none"], "default": "auto"},
            "packages": {"type": "list", "elements": "str", "default": []},
            "source": {"type": "dict", "default": {}, "no_log": False, "options": SOURCE_ARGUMENT},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    request = owned_files.request_of(module.params)
    try:
        if os.geteuid() != 0:
            raise RefusedError(f"The agent's files are root's. Set ansible_become to true {AGAIN}")
        result = converge(request, module.check_mode)
    except (RefusedError, owned_files.OwnedFilesError, zabbix_source.SourceError) as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}.")
    module.exit_json(**result)


def converge(request: dict, check: bool) -> dict[str, object]:
    """Make it so; returns the module's result.

    Raises:
        RefusedError: It cannot be; the host is as it was.
    """
    absent = request["state"] == "absent"
    plan = make_plan(request)
    if not absent and PROGRAM.exists() and any(Path(path).parent == DROP_INS for path in plan.owned.paths):
        try_out(request, [file for file in plan.owned.write if file.path.parent == DROP_INS])
    if plan.due and not check:
        take_away(request["role"], plan) if absent else apply(plan, request["port"])
    unknown = ""
    if not absent and not PROGRAM.exists():
        unknown = "whether the agent takes its configuration, because it is not installed yet"
    elif check and plan.source.release and plan.source.paths:
        unknown = "who reads the GPUs, because Zabbix' repository is not set up yet"
    return {**plan.result(), "unknown": unknown}


def make_plan(request: dict) -> Plan:
    """Compare everything with the host.

    Raises:
        RefusedError: The host cannot have it.
        SourceError: It cannot have packages of Zabbix' own.
        OwnedFilesError: The record of what the role owns is damaged.
    """
    absent = request["state"] == "absent"
    versions = installed_versions()
    version = versions.get(AGENT, "")
    if not absent:
        refuse(request, versions)
    source = zabbix_source.plan(**request["source"]) if not absent else zabbix_source.plan()
    release = numbers(source.release)
    brought = owned_files.read_manifest().get(request["role"], owned_files.NOTHING)["installed"]
    older = way_back(version) if AGENT in brought and not absent and not release else ""
    mode = "none"
    if not absent:
        coming = release or numbers(upstream(older) or version or candidate(AGENT))
        mode = gpu_mode_of(request["gpu_mode"], coming, source)
    packages = [] if absent else [*request["packages"], *([PLUGIN] if mode == "plugin" else [])]
    missing = owned_files.missing_packages(packages)
    wishes = {name: source.wish(name) for name in packages}
    if release:
        missing = [name for name in packages if name in missing or numbers(versions.get(name, "")) != release]
    elif older:
        wishes[AGENT] = f"{AGENT}={older}"
        missing.append(AGENT)
    files = [] if absent else [with_groups(owned_files.OwnedFile.from_argument(file)) for file in request["files"]]
    unit = find_units([UNIT])[UNIT]
    return Plan(
        owned=owned_files.plan(request["role"], files, packages, absent),
        unit=unit,
        problems=[] if absent else problems_of(unit, [file.path for file in files], request["port"]),
        packages=list(wishes.values()),
        missing=[wishes[name] for name in missing],
        # Without a driver, it would keep the agent from starting. Before the sources are as they should, that is open.
        superfluous=[PLUGIN] if mode != "plugin" and not absent and not source.paths and PLUGIN in brought else [],
        source=source,
        gpu_mode=mode,
        version=version,
    )


def refuse(request: dict, versions: dict[str, str]) -> None:
    """Raise a RefusedError where the host cannot have the agent."""
    if CLASSIC in versions:
        raise RefusedError(
            f"This host has Zabbix's classic agent (package {CLASSIC}), and two agents would report under one name. "
            f"Remove it (apt-get purge {CLASSIC}) {AGAIN}"
        )
    version = versions.get(AGENT) or candidate(AGENT)
    if version and numbers(version) < OLDEST:
        raise RefusedError(
            f"This host has {AGENT} {version}, and dlhost needs {dotted(OLDEST)} or later. "
            f"Take a release of the distribution that has it {AGAIN}"
        )
    name, _port = place(request["server"])
    if other := other_server(name):
        raise RefusedError(
            f"This host's agent reports to another server already ({other}), which would hear of it no more. Take that "
            f"line out, or name that server in zabbix_agent_server, {AGAIN}"
        )
    try:
        socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise RefusedError(
            f"zabbix_agent_server names {name}, which this host cannot resolve ({getattr(error, 'strerror', error)}). "
            f"Correct it, or the host's DNS, {AGAIN}"
        ) from None


def other_server(name: str) -> str:
    """The line of the user's own files by which the agent knows another server; empty where there is none.

    Of a parameter that several files have, the last counts: the role's, or one that would undo the role's.
    """
    for path in (MAIN, *sorted(DROP_INS.glob("*.conf"))):
        if path.name == OWN_DROP_IN or not path.exists():
            continue
        for line in path.read_text(errors="replace").splitlines():
            found = re.fullmatch(r"\s*Server(?:Active)?\s*=\s*(\S.*?)[,;\s]*", line)
            servers = [one.strip() for one in re.split("[,;]", found[1])] if found else []
            if any(not {one, place(one)[0]} & {*HERE, name} for one in servers):
                return f"{line.strip()} in {path}"
    return ""


def problems_of(unit: Unit, files: list[Path], port: int) -> list[str]:
    """How the unit differs from what is wanted, in words that follow its name."""
    found = unit.boot_problems
    if not unit.active:
        return [*found, "does not run"]
    # The agent reads them once; its programs are read every time.
    if any(is_newer(path, unit.started) for path in files if path.parent != Path("/usr/lib/dlhost")):
        found.append("started before its files were as they are")
    # Plugins are registered when it starts.
    if is_newer(DROP_INS / "plugins.d", unit.started):
        found.append("started before its plugins were as they are")
    listeners = [listener for listener in find_listeners() if is_of(listener, unit)]
    if not in_the_way(listeners, LOOPBACK, port):
        found.append(f"does not listen on {LOOPBACK} port {port}")
    if outside := listening_outside(unit):
        found.append(f"listens on {outside}")
    return found


def listening_outside(unit: Unit) -> str:
    """Where else than on loopback a unit listens."""
    listeners = [each for each in find_listeners() if is_of(each, unit) and each.address not in (LOOPBACK, "::1")]
    return ", ".join(f"{each.address} port {each.port}" for each in listeners)


def gpu_mode_of(wanted: str, release: tuple[int, ...], source: zabbix_source.Source) -> str:
    """Who reads the GPUs, with an agent of this release.

    Raises:
        RefusedError: The plugin is asked for, and cannot be had.
    """
    if source.paths:
        # A repository that is not set up yet has to have what is wanted of it; with one that goes, its packages go.
        there = bool(source.release) and wanted == "plugin"
    else:
        # The plugin of another version is refused by the agent, which then does not start.
        there = release >= PLUGIN_SINCE and numbers(candidate(PLUGIN)) == release
    if wanted in ("auto", "plugin") and there and smi_answers():
        return "plugin"
    if wanted == "plugin":
        lacking = f"{SMI} does not answer" if there else f"apt has no {PLUGIN} of the agent's version {dotted(release)}"
        raise RefusedError(
            f"zabbix_agent_gpu_mode is plugin, which takes a driver that works and an agent of {dotted(PLUGIN_SINCE)} "
            f"or later with its package, as zabbix_agent_release has it; here, {lacking}. Set it to auto {AGAIN}"
        )
    if wanted == "auto":
        return "collector" if Path(SMI).exists() or has_gpu() else "none"
    return wanted


def installed_versions() -> dict[str, str]:
    """Those of the agents and the plugin that are installed, and their versions without Debian's additions."""
    form = "--showformat=${Package} ${db:Status-Status} ${Version}\\n"
    rows = [line.split() for line in run("dpkg-query", "--show", form, AGENT, CLASSIC, PLUGIN).stdout.splitlines()]
    return {row[0]: upstream(row[2]) for row in rows if row[1:2] == ["installed"]}


def candidate(package: str) -> str:
    """The version that apt would install; empty where its lists have none."""
    found = re.search(r"Candidate: (\d\S*)", run("apt-cache", "policy", package).stdout)
    return upstream(found[1]) if found else ""


def way_back(version: str) -> str:
    """The version that the sources have, all of them older than the installed release; empty where it is had still."""
    if numbers(version) < PLUGIN_SINCE:
        return ""  # No release of the repository that dlhost takes.
    rows = [row.split("|")[1].strip() for row in run("apt-cache", "madison", AGENT).stdout.splitlines()]
    return rows[0] if rows and all(numbers(upstream(row)) < numbers(version) for row in rows) else ""


def upstream(version: str) -> str:
    return re.sub(r"^\d+:|[+~-].*", "", version)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def has_gpu() -> bool:
    """Whether NVIDIA's display controllers are on the PCI bus."""
    for device in PCI.glob("*"):
        with contextlib.suppress(OSError):
            kind = (device / "class").read_text()
            if (device / "vendor").read_text().strip() == "0x10de" and kind.startswith(("0x0300", "0x0302")):
                return True
    return False


def smi_answers() -> bool:
    """Whether the driver works; a call that cannot be ended is not waited for."""
    try:
        process = subprocess.Popen(
            [SMI, "-L"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError:
        return False
    try:
        return process.wait(SMI_LIMIT_S) == 0
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return False


def with_groups(file: owned_files.OwnedFile) -> owned_files.OwnedFile:
    """The unit's drop-in lets the agent into the group of the cards, where the driver keeps them from others."""
    if file.path != UNIT_DROP_IN:
        return file
    try:
        node = CONTROL_DEVICE.stat()
    except OSError:
        # No driver is loaded now, as before a reboot: what it said when one was holds.
        found = re.search(rb"(?m)^SupplementaryGroups=\d+\n", owned_files.find(UNIT_DROP_IN).content or b"")
        return dataclasses.replace(file, content=file.content + found[0]) if found else file
    if node.st_mode & stat.S_IROTH and node.st_mode & stat.S_IWOTH:
        return file
    line = f"SupplementaryGroups={node.st_gid}\n"
    return dataclasses.replace(file, content=file.content + line.encode())


def try_out(request: dict, drop_ins: list[owned_files.OwnedFile]) -> None:
    """Have the agent read the new files among the user's own, elsewhere.

    Raises:
        RefusedError: It does not take them, or calls itself otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="dlhost-zabbix-agent-") as name:
        directory = Path(name)
        (directory / "d").mkdir()
        for path in DROP_INS.glob("*.conf"):
            (directory / "d" / path.name).symlink_to(path)
        for file in drop_ins:
            (directory / "d" / file.path.name).unlink(missing_ok=True)
            (directory / "d" / file.path.name).write_bytes(file.content)
        main_file = MAIN.read_text(errors="replace") if MAIN.exists() else ""
        main_file = re.sub(rf"(?m)^(Include\s*=\s*){re.escape(str(DROP_INS))}/\*", rf"\1{directory}/d/*", main_file)
        # What is relative begins where the file is.
        main_file = re.sub(r"(?m)^(Include\s*=\s*)\./", rf"\1{MAIN.parent}/", main_file)
        # It takes this away when it ends, and the running agent's from under its plugins if it were the same.
        main_file += f"\nPluginSocket={directory}/plugin.sock\n"
        (directory / MAIN.name).write_text(main_file)
        done = run(str(PROGRAM), "-c", str(directory / MAIN.name), "-t", "agent.hostname", timeout_s=60)
        complaint = " ".join((done.stderr or done.stdout).partition("\n\n")[0].split())
    said = re.sub(r"^.*?ERROR: ", "", complaint).replace(f"{directory}/d", str(DROP_INS))[:SHOWN_CHARACTERS].rstrip(".")
    answer = re.search(r"\[s\|(.*)\]", done.stdout)
    if done.returncode != 0:
        raise RefusedError(
            f"{AGENT} does not take this configuration: {said}. "
            f"Correct zabbix_agent_options, or your own file in {DROP_INS}, and run again; no file was changed."
        )
    if not answer or answer[1] != request["host"]:
        raise RefusedError(
            f"{AGENT} would call itself {answer[1] if answer else 'nothing'}, not {request['host']}: a value is out of "
            f"its range, another file in {DROP_INS} says otherwise, or {MAIN} does not include that directory. "
            "Mend that and run again; no file was changed."
        )


def apply(plan: Plan, port: int) -> None:
    """Swap the files in and start the agent with them, or put everything back.

    Raises:
        RefusedError: It does not run with them.
    """
    undo = reverse(plan.owned)
    try:
        owned_files.carry_out(plan.owned)
        load(plan)
        if plan.unit.active and (plan.owned.paths or plan.problems):
            must("systemctl", "restart", UNIT)
        else:
            must("systemctl", "start", UNIT)
        wait_until_listening({UNIT: (LOOPBACK, port)})
        if outside := listening_outside(find_units([UNIT])[UNIT]):
            raise RefusedError(
                f"The agent would listen on {outside}, because a file in {DROP_INS} says so. Take ListenIP out there."
            )
    except RefusedError as error:
        owned_files.carry_out(undo)
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", UNIT)
        run("systemctl", "restart" if plan.unit.active else "stop", UNIT)
        raise RefusedError(f"{error} The files are as they were.") from None


def load(plan: Plan) -> None:
    if str(UNIT_DROP_IN) in plan.owned.paths or plan.unit.reload_due:
        must("systemctl", "daemon-reload")
    make_startable({UNIT: plan.unit})


def reverse(plan: owned_files.Plan) -> owned_files.Plan:
    """What puts back what a plan changes."""
    paths = [*(file.path for file in plan.write), *plan.remove]
    before = {path: found for path in paths if (found := owned_files.find(path)).content is not None}
    return owned_files.Plan(
        write=[
            owned_files.OwnedFile(path, found.content, found.mode, found.owner, found.group)
            for path, found in before.items()
        ],
        remove=[path for path in paths if path not in before],
        diffs=[],
        claim=[],
    )


def take_away(role: str, plan: Plan) -> None:
    """Remove everything of the role's; an agent that others had installed goes on without it."""
    brought = AGENT in owned_files.read_manifest().get(role, owned_files.NOTHING)["installed"]
    if brought and (plan.unit.active or plan.unit.enabled):
        must("systemctl", "disable", "--quiet", "--now", UNIT)
    owned_files.carry_out(plan.owned)
    must("systemctl", "daemon-reload")
    if not brought and plan.unit.active:
        must("systemctl", "restart", UNIT)
    for directory in DIRECTORIES:
        shutil.rmtree(directory, ignore_errors=True)
    for path in plan.owned.remove:
        with contextlib.suppress(OSError):
            if path.parent.name in ("dlhost", f"{UNIT}.d"):
                path.parent.rmdir()


if __name__ == "__main__":
    main()
