"""A small world for the wrapper: three roles, one inventory, and plain functions where Ansible and OpenSSH would be."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dlhost.adapters import content, gpu_stack
from dlhost.adapters.monitoring import Message
from dlhost.cli import options
from dlhost.cli.app import app
from dlhost.operations import run as operation
from dlhost.values.inventory import Host
from dlhost.values.preflight import Contact, Probe
from dlhost.values.run import Event, Listener, Outcome, PlaybookRun, Stats, TaskEnded
from dlhost.values.services import Offer

FACTS = {
    "distribution": "debian",
    "version": "13",
    "pretty_name": "Debian GNU/Linux 13 (trixie)",
    "architecture": "x86_64",
    "user": "rig",
    "uid": "1000",
    "free_mib_root": "50000",
    "free_mib_var": "50000",
    "free_mib_tmp": "50000",
    "python": "yes",
    "ssh_hardened": "yes",
    "sudo": "ok",
    "complete": "yes",
}

SPECS = {
    "system": """
        system_packages: {type: list, elements: str, description: Packages.}
        system_swap_mib: {type: int, description: Size.}
        system_time_service: {type: str, choices: [timesyncd, chrony, none], description: Clock.}
        """,
    "ssh_hardening": """
        ssh_hardening_port: {type: int, description: Port.}
        ssh_hardening_guard: {type: bool, description: Guard.}
        ssh_hardening_options: {type: dict, description: Keywords.}
        """,
    "portal": """
        portal_state: {type: str, choices: [present, absent], description: Present or absent.}
        portal_password: {type: str, no_log: true, description: Password.}
        portal_names: {type: list, elements: str, description: Its names.}
        portal_url: {type: str, description: Where to look.}
        portal_tokens: {type: list, elements: str, no_log: true, description: Tokens.}
        portal_users:
          type: list
          elements: dict
          description: Accounts.
          options:
            name: {type: str, required: true, description: The account.}
            shell: {type: str, choices: [bash, zsh], description: Its shell.}
            password: {type: str, no_log: true, description: Its own password.}
            limits: {type: dict, description: Its limits., options: {memory_mib: {type: int, description: Memory.}}}
        """,
}

# A playbook to the hosts and the roles of its one play.
PLAYBOOKS = {"access": ("all", ("system", "ssh_hardening")), "portal": ("portals:workspace", ("portal",))}
# meta/needed.yml of the one that needs something.
NEEDED = """
    portal_password: {}
    portal_names: {}
    """
GIVEN = {"portal": "      vars: {portal_names: [alpha]}\n"}


def write(path: Path, text: str) -> Path:
    """Write a dedented text, parents made; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def write_content(root: Path) -> Path:
    """The collection's own files, as far as the wrapper reads them."""
    for role, options_ in SPECS.items():
        indented = textwrap.indent(textwrap.dedent(options_), " " * 6)
        spec = f"argument_specs:\n  main:\n    short_description: Role {role}\n    options:\n{indented}"
        write(root / "roles" / role / "meta" / "argument_specs.yml", spec)
        write(root / "roles" / role / "defaults" / "main.yml", f"---\n# One.\n{role}_one: 1\n")
    write(root / "roles" / "portal" / "meta" / "needed.yml", NEEDED)
    for playbook, (hosts, roles) in PLAYBOOKS.items():
        listed = "".join(f"    - role: dlhost.host.{role}\n{GIVEN.get(role, '')}" for role in roles)
        write(root / "playbooks" / f"{playbook}.yml", f"- name: Play\n  hosts: {hosts}\n  roles:\n{listed}")
    imports = "".join(f"- ansible.builtin.import_playbook: dlhost.host.{playbook}\n" for playbook in PLAYBOOKS)
    write(root / "playbooks" / "site.yml", imports)
    verified = "ansible.builtin.import_role: {name: dlhost.host.portal, tasks_from: verify}"
    write(
        root / "playbooks" / "verify.yml", f"- hosts: all\n  tasks:\n    - {verified}\n      vars: {{portal_url: x}}\n"
    )
    return root


def ended(host: str, outcome: Outcome = Outcome.OK, role: str = "system", **more: Any) -> TaskEnded:
    """A task's end."""
    return TaskEnded(host=host, role=role, task=more.pop("task", "Install packages"), outcome=outcome, **more)


def stats(failures: Mapping[str, int] | None = None, dark: Mapping[str, int] | None = None) -> Stats:
    """Ansible's closing word."""
    return Stats(failures or {}, dark or {})


ALL_WELL: tuple[Event, ...] = (ended("alpha"), ended("beta"), stats())


@dataclass
class World:
    """What a test says about the outside, and what the wrapper did to it."""

    monkeypatch: pytest.MonkeyPatch
    events: Sequence[Event] = ALL_WELL
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    sudo_password: str = "correct horse"  # noqa: S105  not a real one
    answers: list[str] | None = None
    interrupted: bool = False
    raises: type[BaseException] | None = None
    runs: list[PlaybookRun] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    sudo_ports: list[int | None] = field(default_factory=list)
    offers: dict[str, Offer] = field(default_factory=dict)
    asked: list[tuple[str, int | None]] = field(default_factory=list)
    at_terminal: bool = False
    gpus: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gpu_settings: dict[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    gpus_judged: dict[str, set[str]] = field(default_factory=dict)
    told: list[Message] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    def run(self, run: PlaybookRun, listen: Listener) -> bool:
        self.runs.append(run)
        if self.raises is not None:
            raise self.raises
        for event in self.events:
            listen(event)
        return self.interrupted

    def probe_all(self, hosts: Iterable[Host], _sockets: Path) -> list[Probe]:
        return [self.probes.get(host.name) or self._probe(host.name) for host in hosts]

    def _probe(self, name: str) -> Probe:
        facts = FACTS | self.facts.get(name, {})
        return Probe(name, Contact.REACHED, sudo=facts["sudo"], facts=facts)

    def try_sudo_password(self, host: Host, password: str, _sockets: Path) -> bool:
        self.sudo_ports.append(host.connection.port)
        return password == self.sudo_password

    def close(self, hosts: Iterable[Host], _sockets: Path) -> None:
        self.closed += [host.name for host in hosts]

    def all_offers(self, hosts: Iterable[Host], _sockets: Path) -> dict[str, Offer]:
        self.asked += [(host.name, host.connection.port) for host in hosts]
        return {name: offer for name, offer in self.offers.items() if name in dict(self.asked)}

    def refusals_of_gpus(
        self, host: Host, roles: Mapping[str, Mapping[str, Any]], judged: Collection[str], _sockets: Path
    ) -> tuple[str, ...]:
        self.gpu_settings[host.name] = roles
        self.gpus_judged[host.name] = set(judged) & set(roles)
        return self.gpus.get(host.name, ())

    def tell(self, messages: Iterable[Message], _sockets: Path) -> list[str]:
        self.told += messages
        return self.untold

    def ask(self, question: str) -> str:
        self.questions.append(question)
        if not self.answers:
            raise KeyboardInterrupt
        return self.answers.pop(0)

    def __call__(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run a command line in this world; no traceback may come of it."""
        for module in [module for name, module in sys.modules.items() if name.endswith(".host_group_vars")]:
            # Ansible remembers for a whole process which files of variables there are; a command is a process.
            module.FOUND.clear()
            module.NAK.clear()
        with self.monkeypatch.context() as patch:
            fakes = partial(
                operation.Outside,
                run=self.run,
                probe_all=self.probe_all,
                try_sudo_password=self.try_sudo_password,
                close_connections=self.close,
                offers=self.all_offers,
                refusals_of_gpus=self.refusals_of_gpus,
                tell=self.tell,
            )
            patch.setattr("dlhost.operations.run.Outside", fakes)
            patch.setattr("sys.argv", ["dlhost", *arguments])
            if self.at_terminal:
                patch.setattr(options, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
            if self.answers is not None:
                patch.setattr(options, "ask_secret", lambda: self.ask)
            result = CliRunner().invoke(app, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result


def with_gpu_roles(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wrapper find the small collection, and in it the real GPU roles for hosts of group gpu."""
    write_content(root)
    for role in gpu_stack.ROLES:
        (root / "roles" / role).symlink_to(Path(__file__).parents[2] / "roles" / role)
    listed = "".join(f"    - role: dlhost.host.{role}\n" for role in gpu_stack.ROLES)
    write(root / "playbooks" / "gpu.yml", f"- name: Play\n  hosts: gpu\n  roles:\n{listed}")
    with (root / "playbooks" / "site.yml").open("a") as site:
        site.write("- ansible.builtin.import_playbook: dlhost.host.gpu\n")
    monkeypatch.setattr(content, "content_root", lambda: root)


def fake_content(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let the wrapper find the small collection where it looks for its own."""
    monkeypatch.setattr(content, "content_root", lambda: write_content(root))
