"""What keeps dlhost from working, on the controller and on every host; nothing is changed anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlhost.adapters import container, content, gpu_stack, inventory_source, openssh
from dlhost.adapters import doctor as adapter
from dlhost.adapters.xdg import private_place
from dlhost.errors import DlhostError, ExitCode, InventoryError, RefusedError, UnreachableError
from dlhost.operations.run import judge_sudo, on_port, require_complete, require_valid, secret_texts
from dlhost.values.doctor import (
    NVIDIA,
    PYPI,
    Advice,
    Diagnosis,
    Finding,
    Look,
    Verdict,
    driver_versions,
    in_two,
    of_gpus,
    of_look,
    of_probe,
    unreached,
    wanted_ports,
)
from dlhost.values.inventory import Host, Inventory, Location
from dlhost.values.new_inventory import DEMO
from dlhost.values.preflight import Contact, Probe
from dlhost.values.redaction import redaction
from dlhost.values.schema import RoleSchema
from dlhost.values.templates import is_template

Question = tuple[str, Callable[[], str]]
CONTROLLER: tuple[Question, ...] = (
    ("python", adapter.python),
    ("ansible", adapter.engine),
    ("ssh_client", adapter.ssh_client),
    ("collection", adapter.collection),
)


@dataclass(frozen=True, slots=True)
class Outside:
    """What it takes of the world beyond values; `ask` is None where nobody can be asked for a password."""

    controller: tuple[Question, ...] = CONTROLLER
    probe_all: Callable[[Iterable[Host], Path], list[Probe]] = openssh.probe_all
    try_sudo_password: Callable[[Host, str, Path], bool] = openssh.try_sudo_password
    look: Callable[..., Look] = adapter.look
    advise: Callable[[Mapping[str, Any], Mapping[str, Mapping[str, Any]]], Advice] = gpu_stack.advise
    close_connections: Callable[[Iterable[Host], Path], None] = openssh.close_connections
    ask: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of the controller, with the inventory, and of each host."""

    controller: tuple[Finding, ...]
    hosts: tuple[Diagnosis, ...]

    @property
    def exit_code(self) -> ExitCode:
        """What provision would say first: no, then that a host is lost."""
        findings = [*self.controller, *(finding for host in self.hosts for finding in host.findings)]
        lost = [host for host in self.hosts if host.contact is Contact.UNREACHABLE]
        refused = sum(finding.verdict is Verdict.FAIL for finding in findings) > len(lost)
        return ExitCode.REFUSED if refused else ExitCode.UNREACHABLE if lost else ExitCode.DONE


def doctor(name: str, limit: tuple[str, ...], outside: Outside) -> Examined:
    """Look at the controller, and where an inventory is named at it and its hosts.

    Raises:
        UsageError: No such inventory or host.
    """
    controller = [_answered(topic, look) for topic, look in outside.controller]
    if not name:
        return Examined(tuple(controller), ())
    location = inventory_source.find(name)
    if location.name == DEMO:
        controller.append(_answered("container_engine", _engine))
    schemas = content.role_schemas()
    inventory, findings = _read(location, name, limit, schemas, outside.ask)
    valid = all(finding.verdict is not Verdict.FAIL for finding in findings)
    hosts: list[Diagnosis] = []
    if inventory:
        try:
            hosts = _hosts(inventory, name, schemas, outside, valid=valid)
        except RefusedError as error:  # Nothing of ours to reach any host with.
            findings.append(in_two("hosts", Verdict.FAIL, str(error)))
    return Examined((*controller, *findings), tuple(hosts))


def _answered(topic: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(topic, Verdict.PASS, look())
    except DlhostError as error:
        return in_two(topic, Verdict.FAIL, str(error))


def _engine() -> str:
    container.engine()
    return "answers"


def _read(
    location: Location,
    name: str,
    limit: tuple[str, ...],
    schemas: Sequence[RoleSchema],
    ask: Callable[[str], str] | None,
) -> tuple[Inventory | None, list[Finding]]:
    """The inventory, and whether it is one that provision would take; None where it cannot be read."""
    try:
        password = inventory_source.vault_password(location, ask)
        inventory = inventory_source.load(location, password, limit)
    except InventoryError as error:
        return None, [in_two("inventory", Verdict.FAIL, str(error))]
    vault = "opens with its password" if password else "nothing is encrypted"
    findings = [Finding("vault", Verdict.PASS if password else Verdict.SKIP, vault)]
    hide = redaction(secret_texts(inventory, {}, schemas) | ({password.text} if password else set()))
    findings += _objected(lambda: require_valid(inventory, schemas, hide))
    findings += _objected(lambda: require_complete(inventory, schemas, name))
    if len(findings) == 1:
        hosts = "1 host" if len(inventory.hosts) == 1 else f"{len(inventory.hosts)} hosts"
        findings.append(
            Finding("inventory", Verdict.PASS, f"{location.path}: {hosts}, every variable is one that is known")
        )
    return inventory, findings


def _objected(require: Callable[[], None]) -> list[Finding]:
    try:
        require()
    except InventoryError as error:
        return [in_two("inventory", Verdict.FAIL, line) for line in str(error).splitlines()]
    return []


def _hosts(
    inventory: Inventory, name: str, schemas: Sequence[RoleSchema], outside: Outside, *, valid: bool
) -> list[Diagnosis]:
    hosts = {host.name: host for host in inventory.hosts}
    # Connections of its own: at the end they are closed, and a run's must not be.
    with private_place() as sockets:
        try:
            found = outside.probe_all(inventory.hosts, sockets)
            probes, passwords, _ = judge_sudo(found, inventory.hosts, outside.try_sudo_password, outside.ask, sockets)

            def diagnose(probe: Probe) -> Diagnosis:
                examination = _Examination(hosts[probe.host], probe, name, valid, schemas, outside)
                return examination.diagnosis(sockets, passwords.get(probe.host))

            with ThreadPoolExecutor(openssh.AT_ONCE) as pool:
                return list(pool.map(diagnose, probes))
        finally:
            outside.close_connections(inventory.hosts, sockets)


@dataclass(frozen=True, slots=True)
class _Examination:
    """One host, and what the inventory wants of it."""

    host: Host
    probe: Probe
    inventory: str
    valid: bool
    schemas: Sequence[RoleSchema]
    outside: Outside

    def diagnosis(self, sockets: Path, sudo_password: str | None) -> Diagnosis:
        if self.probe.contact is not Contact.REACHED:
            return Diagnosis(self.host.name, self.probe.contact, (unreached(self.probe, self.inventory),))
        roles = tuple(schema.role for schema in self.schemas if schema.applies_to(self.host))
        present = content.present_settings(self.schemas, self.host)
        findings = list(of_probe(self.host, self.probe, roles, self.inventory))
        uid = (self.probe.facts or {}).get("uid")
        try:
            look = self.outside.look(
                on_port(self.host, self.probe.port),
                sockets,
                str(self.host.variables.get("nvidia_driver_sysfs") or "/sys"),
                _indexes(present),
                root=self.probe.sudo == "ok" and uid != "0",
                sudo_password=sudo_password,
            )
        except UnreachableError as error:
            findings.append(in_two("look", Verdict.FAIL, str(error)))
            return Diagnosis(self.host.name, Contact.UNREACHABLE, tuple(findings))
        findings += of_look(look, wanted_ports(self.host, present))
        gpu_roles = {role: present[role] for role in gpu_stack.ROLES if role in present}
        # Settings of a wrong type are named already, and nothing to reckon with.
        advice = self.outside.advise(look.gpu, gpu_roles if self.valid else {})
        if gpu_roles and not self.valid:
            advice = replace(advice, unjudged="the inventory is to be mended first")
        findings += of_gpus(look, advice, self.inventory, wanted="nvidia_driver" in gpu_roles)
        driver = driver_versions(look.gpu, advice)
        return Diagnosis(self.host.name, self.probe.contact, tuple(findings), look.gpu, driver)


def _indexes(roles: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Addresses of package indexes besides apt's own that the roles fetch from."""
    found = []
    if (jupyter := roles.get("jupyter")) is not None:
        options = jupyter.get("jupyter_pip_options")
        index = options.get("index_url") if isinstance(options, dict) else None
        found.append(str(index or PYPI))
    if (repository := roles.get("nvidia_repo")) is not None and repository["nvidia_repo_source"] != "distro":
        found.append(str(repository["nvidia_repo_url"] or NVIDIA))
    return [index for index in found if not is_template(index)]
