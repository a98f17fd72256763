"""What provision, drift and verify have in common: an inventory held against the roles, looked at, run, recorded."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlhost.adapters import content, gpu_stack, inventory_source, monitoring, openssh, runner, state, vault
from dlhost.adapters.git import revision
from dlhost.errors import DlhostError, ExitCode, InventoryError, RefusedError, UsageError
from dlhost.operations.init import CA, CA_VALUE, CA_VARIABLE
from dlhost.render import log
from dlhost.values import monitoring as monitored
from dlhost.values import preflight
from dlhost.values.inventory import Host, Inventory
from dlhost.values.preflight import Contact, Probe
from dlhost.values.record import RunRecord, run_id
from dlhost.values.redaction import Redaction, redaction, texts_in
from dlhost.values.run import (
    Event,
    Failure,
    HostReport,
    HostStatus,
    Listener,
    PlaybookRun,
    Run,
    RunReport,
    report,
)
from dlhost.values.schema import (
    Option,
    RoleSchema,
    did_you_mean,
    missing,
    misspelt_groups,
    problems,
    secrets_in,
    unrenderable,
    without_effect,
)
from dlhost.values.services import Offer

# Ansible's own variables that hold a password, by all their names.
PASSWORDS = frozenset(
    {
        "ansible_become_pass",
        "ansible_become_password",
        "ansible_password",
        "ansible_ssh_pass",
        "ansible_ssh_password",
        "ansible_sudo_pass",
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for. `hosts`, `roles` and `skip` are names; empty means all, all and none."""

    operation: str
    inventory: str
    playbook: str
    check: bool = False
    hosts: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    verbosity: int = 0
    arguments: tuple[str, ...] = ()

    @property
    def changing(self) -> bool:
        """Whether hosts are to be changed, and not only looked at."""
        return self.operation == "provision" and not self.check


@dataclass(frozen=True, slots=True)
class Outside:
    """What a run needs of the world beyond values; a test hands in plain functions.

    `ask` and `confirm` are None where nobody can be asked. `announce` is told the hosts before they are run.
    """

    run: Run = runner.run_playbook
    probe_all: Callable[[Iterable[Host], Path], list[Probe]] = openssh.probe_all
    try_sudo_password: Callable[[Host, str, Path], bool] = openssh.try_sudo_password
    close_connections: Callable[[Iterable[Host], Path], None] = openssh.close_connections
    ask: Callable[[str], str] | None = None
    confirm: Callable[[str], bool] | None = None
    offers: Callable[[Iterable[Host], Path], Mapping[str, Offer]] = openssh.offers
    refusals_of_gpus: Callable[[Host, Mapping[str, Mapping[str, Any]], Collection[str], Path], Sequence[str]] = (
        gpu_stack.refusals
    )
    tell: Callable[[Iterable[monitoring.Message], Path], list[str]] = monitoring.tell
    announce: Callable[[Sequence[str], Sequence[str]], None] = lambda _hosts, _roles: None
    listen: Listener = lambda _event: None


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended, with everything that was seen of it, already free of secrets.

    `everything`: it was about all of the inventory's hosts. `offers` are what the hosts say that they offer, by name,
    after a run that was to change them. `untold` says whose Zabbix server does not know of the result, and why.
    """

    record: RunRecord
    report: RunReport
    events: tuple[Event, ...]
    inventory: Inventory
    everything: bool
    schemas: Sequence[RoleSchema]
    offers: Mapping[str, Offer]
    untold: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A finished run with its operation's own verdict, and where its log is."""

    finished: Finished
    log: Path
    exit_code: ExitCode


def execute(request: Request, outside: Outside) -> Finished:
    """Run the request's playbook, on every host that can be reached, when no preflight refuses.

    The caller saves the record once it knows what the result says (`conclude`).

    Raises:
        UsageError: No such inventory, host or role.
        InventoryError: A file, a variable or a password of the inventory is wrong; nothing was connected to.
        RefusedError: A host must not be touched, or another run holds the inventory.
    """
    schemas = content.role_schemas()
    names = chosen_roles(schemas, request.roles, request.skip)
    location = inventory_source.find(request.inventory)
    password = inventory_source.vault_password(location, outside.ask)
    inventory = inventory_source.load(location, password, request.hosts, request.extra_vars)
    secrets = secret_texts(inventory, request.extra_vars, schemas) | ({password.text} if password else set())
    require_valid(inventory, schemas, redaction(secrets))
    chosen = [schema for schema in schemas if schema.role in names]
    roles, hosts = _concerned(inventory, chosen)
    # Of all roles: Ansible looks at their arguments whatever the tags, and other roles' plays look too.
    require_complete(inventory, schemas, request.inventory)
    everything = not request.hosts and hosts == inventory.hosts
    scope = _Scope(replace(inventory, hosts=hosts), everything, schemas, roles, password, secrets)
    _require_known_variables(request.extra_vars, schemas, redaction(secrets))

    started = datetime.now(UTC)
    record = RunRecord(
        id=run_id(started),
        operation=request.operation,
        inventory=location.name,
        user=getpass.getuser(),
        started=started,
        arguments=request.arguments,
        revision=revision(location.directory),
        key=location.key,
    )
    with state.locked(record):
        state.save_record(record)
        try:
            return _run(request, outside, scope, record)
        except BaseException as error:
            stopped, code = _stopped_by(error)
            state.save_record(replace(record, state=stopped, ended=datetime.now(UTC), exit_code=code))
            if isinstance(error, DlhostError):
                state.save_log(record, redaction(secrets)(log.refusal(record, str(error))))
            raise
        finally:
            outside.close_connections(hosts, runner.control_path_dir(location.path))


def _stopped_by(error: BaseException) -> tuple[str, ExitCode]:
    """A run's state and exit code after an error that ended it at once."""
    match error:
        case KeyboardInterrupt():
            return "interrupted", ExitCode.INTERRUPTED
        case RefusedError():
            return "refused", ExitCode.REFUSED
        case _:
            return "failed", ExitCode.TASK_FAILED


def conclude(finished: Finished, exit_code: ExitCode, document: Mapping[str, Any]) -> Path:
    """Save a finished run's record and log; returns the log's path."""
    ended = "interrupted" if finished.report.interrupted else "done"
    state.save_record(
        replace(finished.record, state=ended, ended=datetime.now(UTC), exit_code=exit_code, report=document)
    )
    return state.save_log(finished.record, log.text(finished.record, finished.report, finished.events))


def chosen_roles(schemas: Sequence[RoleSchema], roles: Sequence[str], skip: Sequence[str]) -> tuple[str, ...]:
    """The roles that a run applies, in the site's order.

    Raises:
        UsageError: A name is no role's, or nothing is left.
    """
    names = [schema.role for schema in schemas]
    for name in (*roles, *skip):
        if name not in names:
            raise UsageError(f"There is no role {name}{did_you_mean(name, names) or '.'} Roles: {', '.join(names)}.")
    chosen = tuple(name for name in names if (not roles or name in roles) and name not in skip)
    if not chosen:
        raise UsageError("--roles and --skip leave no role to run.")
    return chosen


def _concerned(inventory: Inventory, schemas: Sequence[RoleSchema]) -> tuple[tuple[str, ...], tuple[Host, ...]]:
    """The roles that some host gets, and the hosts that get any.

    Raises:
        UsageError: No host gets any of them.
    """
    hosts = tuple(host for host in inventory.hosts if any(schema.applies_to(host) for schema in schemas))
    if not hosts:
        groups = ", ".join(sorted({group for schema in schemas for group in schema.groups}))
        raise UsageError(f"No host gets these roles: none is in group {groups}.")
    return tuple(schema.role for schema in schemas if any(schema.applies_to(host) for host in hosts)), hosts


def secret_texts(inventory: Inventory, extra_vars: Mapping[str, Any], schemas: Sequence[RoleSchema]) -> frozenset[str]:
    """What must never be shown: vaulted values, passwords of connections, and what a role's spec calls a secret."""
    options = known_options(schemas)
    found: list[Any] = [host.connection.become_password for host in inventory.hosts]
    for name, value in (*((setting.name, setting.value) for setting in inventory.settings), *extra_vars.items()):
        found += secrets_in(options[name], value) if name in options else ()
    derived = {monitoring.derived_key(host) for host in inventory.hosts}
    return inventory.secrets | derived | {text for value in found for text in texts_in(value)}


def known_options(schemas: Sequence[RoleSchema]) -> dict[str, Option]:
    """Every variable that somebody reads and may call a secret: the roles' and Ansible's passwords."""
    passwords = {name: Option(name, secret=True) for name in PASSWORDS}
    return passwords | {name: option for schema in schemas for name, option in schema.options.items()}


def require_valid(inventory: Inventory, schemas: Sequence[RoleSchema], hide: Redaction) -> None:
    """Hold the inventory against the roles' argument specs.

    Raises:
        InventoryError: Every problem, one line each, with file and line where they are known.
    """
    found = [
        *problems(inventory, schemas),
        *without_effect(inventory, schemas),
        *unrenderable(inventory, schemas),
        *misspelt_groups(inventory.hosts, schemas),
        *monitored.without_front(inventory.hosts),
    ]
    if found:
        raise InventoryError(hide("\n".join(map(str, found))))


def require_complete(inventory: Inventory, schemas: Sequence[RoleSchema], name: str) -> None:
    """See that every host has what its roles cannot do without.

    Raises:
        InventoryError: What is missing, one line each, with the command that sets it.
    """
    found = [*missing(inventory.hosts, schemas, name), *_missing_certificate(inventory, schemas, name)]
    if found:
        raise InventoryError("\n".join(found))


def _missing_certificate(inventory: Inventory, schemas: Sequence[RoleSchema], name: str) -> Iterator[str]:
    """A line of the inventory that reads its authority's certificate, where that is not there."""
    path = inventory.location.directory / CA
    of_tls = [schema for schema in schemas if schema.role == "tls"]
    certified = (host for host in inventory.hosts if host.has_own_authority)
    if path.exists() or not any(schema.applies_to(host) for schema in of_tls for host in certified):
        return
    for setting in inventory.settings:
        if (setting.name, setting.value) == (CA_VARIABLE, CA_VALUE):
            yield (
                f"{setting.file}:{setting.line()}: {path} is not there. Bring back your copy of it, "
                f"or make another authority, which every browser has to trust anew: dlhost ca create -i {name}"
            )


def _require_known_variables(extra_vars: Mapping[str, Any], schemas: Sequence[RoleSchema], hide: Redaction) -> None:
    """-e is held against the same specs, so that a slip of the finger there is no silent no-op either."""
    from dlhost.values.inventory import Location, Setting

    settings = tuple(Setting(name, value, Path("-e"), {(): 1}) for name, value in extra_vars.items())
    found = problems(Inventory(Location("-e", Path("-e")), (), settings), schemas)
    if found:
        raise UsageError(hide("\n".join(f"-e {problem.message}" for problem in found)))


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a run is about: the hosts that get one of its roles, whether those are all, and what reading them took."""

    inventory: Inventory
    everything: bool
    schemas: Sequence[RoleSchema]
    roles: tuple[str, ...]
    password: vault.VaultPassword | None
    secrets: frozenset[str]


def _run(request: Request, outside: Outside, scope: _Scope, record: RunRecord) -> Finished:
    inventory, password = scope.inventory, scope.password
    probes, passwords, become_password = _look(request, outside, scope)
    _require_consent(probes, request, outside, scope.roles)
    lost = {probe.host: probe for probe in probes if probe.contact is Contact.UNREACHABLE}
    reached = [host.name for host in inventory.hosts if host.name not in lost]

    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        outside.listen(event)

    interrupted = False
    if reached:
        outside.announce(reached, scope.roles)
        interrupted = outside.run(
            PlaybookRun(
                playbook=request.playbook,
                inventory=inventory.location.path,
                check=request.check,
                limit=() if scope.everything and not lost else tuple(reached),
                tags=request.roles,
                skip_tags=request.skip,
                extra_vars=request.extra_vars,
                verbosity=request.verbosity,
                ports={probe.host: probe.port for probe in probes if probe.port is not None},
                vault_password_file=password.source if password else None,
                vault_password=password.text if password and password.source is None else None,
                become_password=become_password,
                redaction=redaction(scope.secrets | ({become_password} if become_password else set())),
            ),
            listen,
        )
    ran = report(events, reached, check=request.check, interrupted=interrupted)
    sockets = runner.control_path_dir(inventory.location.path)
    by_name = {host.host: host for host in ran.hosts} | {name: _lost(probe) for name, probe in lost.items()}
    answered = {probe.host: probe.port for probe in probes}
    offers: Mapping[str, Offer] = {}
    if request.changing and not interrupted:
        well = [host for host in inventory.hosts if by_name[host.name].status is HostStatus.OK]
        ports = {host.name: by_name[host.name].moved_to_port or answered[host.name] for host in well}
        offers = outside.offers([on_port(host, ports[host.name]) for host in well], sockets)
    hosts = tuple(_with_port(by_name[host.name], host, answered[host.name]) for host in inventory.hosts)
    ran = replace(ran, hosts=hosts, complete=ran.complete or not reached)
    untold: tuple[str, ...] = ()
    # What was asked of some roles alone says nothing of the host.
    if request.operation in monitored.ITEMS and not (interrupted or request.roles or request.skip):
        messages = [
            monitoring.Message(
                on_port(host, answered[host.name]),
                monitored.ITEMS[request.operation],
                monitored.value(request.operation, by_name[host.name], datetime.now(UTC)),
                passwords.get(host.name),
            )
            for host in inventory.hosts
            if monitored.is_monitored(host) and by_name[host.name].status in monitored.TELLING
        ]
        untold = tuple(outside.tell(messages, sockets))
    return Finished(record, ran, tuple(events), inventory, scope.everything, scope.schemas, offers, untold)


def _look(request: Request, outside: Outside, scope: _Scope) -> tuple[list[Probe], dict[str, str], str | None]:
    """Probe every host; returns what was seen, the sudo passwords by host, and the one that had to be asked for.

    Raises:
        RefusedError: Some host must not be touched; every reason is named.
    """
    inventory, sockets = scope.inventory, runner.control_path_dir(scope.inventory.location.path)
    found = outside.probe_all(inventory.hosts, sockets)
    probes, passwords, asked = judge_sudo(found, inventory.hosts, outside.try_sudo_password, outside.ask, sockets)
    refused = [
        f"{probe.host} {refusal}."
        for probe in probes
        for refusal in preflight.refusals(probe, scope.roles, request.inventory, changing=request.changing)
    ]
    if request.operation == "provision" and not refused:
        refused = _refused_for_gpus(probes, outside, scope, sockets)
    if refused:
        raise RefusedError("\n".join(refused))
    return probes, passwords, asked


def _refused_for_gpus(probes: Iterable[Probe], outside: Outside, scope: _Scope, sockets: Path) -> list[str]:
    """What the GPU roles would refuse; they run late, and what comes before them would be changed already."""
    hosts = {host.name: host for host in scope.inventory.hosts}
    asked: list[tuple[Host, dict[str, dict[str, Any]]]] = []
    for probe in probes:
        host = hosts[probe.host]
        schemas = [one for one in scope.schemas if one.role in gpu_stack.ROLES]
        present = content.present_settings(schemas, host)
        if not present.keys().isdisjoint(scope.roles) and probe.contact is Contact.REACHED:
            asked.append((on_port(host, probe.port), present))
    with ThreadPoolExecutor(openssh.AT_ONCE) as pool:
        told = pool.map(lambda one: outside.refusals_of_gpus(one[0], one[1], scope.roles, sockets), asked)
        return [
            f"{host.name}: {refusal}" for (host, _), refusals in zip(asked, told, strict=True) for refusal in refusals
        ]


def judge_sudo(
    probes: Iterable[Probe],
    hosts: Iterable[Host],
    try_sudo_password: Callable[[Host, str, Path], bool],
    ask: Callable[[str], str] | None,
    sockets: Path,
) -> tuple[list[Probe], dict[str, str], str | None]:
    """Judge the hosts where sudo wants a password: by the inventory's, or by one asked for once and tried on all.

    Returns the probes, the accepted passwords by host, and the one that was asked for.
    """
    by_name = {host.name: host for host in hosts}
    judged: list[Probe] = []
    passwords: dict[str, str] = {}
    asked: str | None = None
    for probe in probes:
        password = by_name[probe.host].connection.become_password or asked
        if probe.sudo == "password" and password is None and ask is not None:
            password = asked = ask(f"sudo password on {probe.host}")
        if probe.sudo != "password" or password is None:
            judged.append(probe)
            continue
        accepted = try_sudo_password(on_port(by_name[probe.host], probe.port), password, sockets)
        if accepted:
            passwords[probe.host] = password
        judged.append(replace(probe, sudo="ok" if accepted else "wrong"))
    return judged, passwords, asked


def on_port(host: Host, port: int | None) -> Host:
    """The host on the port that answers, where that is not the inventory's."""
    return host if port is None else replace(host, connection=replace(host.connection, port=port))


def _require_consent(probes: Sequence[Probe], request: Request, outside: Outside, roles: Sequence[str]) -> None:
    if not request.changing:
        return
    wanted = [f"{probe.host}: {consent}" for probe in probes for consent in preflight.consents(probe, roles)]
    if not wanted:
        return
    if outside.confirm is None:
        raise RefusedError("\n".join([*wanted, "Nobody is here to agree to this; say --yes if you do."]))
    if not outside.confirm("\n".join([*wanted, "Go on?"])):
        raise RefusedError("Nothing was changed.")


def _with_port(report: HostReport, host: Host, answered: int | None) -> HostReport:
    """The report with the port that the inventory should name: the run moved SSH there, or an earlier one did."""
    own = host.connection.port or 22
    # Where the inventory names the port that it wants, the host is what has to follow.
    earlier = answered if host.ssh_port_wanted != own else None
    now = report.moved_to_port or earlier
    return replace(report, moved_to_port=now if now != own else None)


def _lost(probe: Probe) -> HostReport:
    return HostReport(probe.host, HostStatus.UNREACHABLE, failure=Failure("", "", f"{probe.host} {probe.error}."))
