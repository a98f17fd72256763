"""How much faster the GPUs of a host are than its processor, in each of its Python environments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from dlhost.adapters import bench as adapter
from dlhost.adapters import inventory_source, openssh, state
from dlhost.adapters import status as status_adapter
from dlhost.adapters.xdg import private_place
from dlhost.errors import ExitCode, RefusedError, UnreachableError, UsageError
from dlhost.operations.remote import one_of
from dlhost.render.bench import document
from dlhost.values.bench import (
    CONDA_PREFIX,
    INSTALLED,
    MEASURED,
    SIZES,
    Bench,
    Environment,
    Machine,
    Row,
    in_use,
    rows,
    warnings,
    with_before,
)
from dlhost.values.checks import CheckResult
from dlhost.values.inventory import Host, Location
from dlhost.values.record import run_id
from dlhost.values.status import NO_ANSWER, Status
from dlhost.values.templates import is_template

FIND_S = 30
# All works of one framework: a slow processor takes minutes for a large picture.
MEASURE_S = 1800


@dataclass(frozen=True, slots=True)
class Outside:
    """What it takes of the world beyond values; `tell` is told what is being measured.

    `ask` is None where nobody can be asked for the vault's password.
    """

    tell: Callable[[str], None]
    status: Callable[[Host, Path, Sequence[str], bool], Status] = status_adapter.look
    look: Callable[[Host, Path, str, Sequence[str]], Machine] = adapter.look
    ask_inside: Callable[..., Any] = adapter.ask_inside
    close_connections: Callable[[Iterable[Host], Path], None] = openssh.close_connections
    ask: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for; `host` may be empty where the inventory has one, `environment` for all of them.

    `beside`: also beside programs that use the GPUs, whose memory then may not suffice.
    """

    inventory: str
    host: str
    environment: str
    size: str
    repeat: int
    beside: bool


def bench(request: Request, outside: Outside) -> Bench:
    """Measure on one host, and keep the result for the next comparison.

    Raises:
        UsageError: There is no such inventory, host, environment or size.
        UnreachableError: The host does not answer.
        RefusedError: Nothing can be measured there.
    """
    if request.size not in SIZES:
        raise UsageError(f"There is no size {request.size}; there are {', '.join(SIZES)}.")
    location = inventory_source.find(request.inventory)
    password = inventory_source.vault_password(location, outside.ask)
    host = one_of(inventory_source.load(location, password, (request.host,) if request.host else ()).hosts)
    # Before the minutes that it takes: what could not be kept is better known now.
    earlier = state.benches(location)
    # Connections of its own: at the end they are closed, and a run's must not be.
    with private_place() as sockets:
        try:
            found = _measured(request, location, host, sockets, outside)
        finally:
            outside.close_connections([host], sockets)
    found = with_before(found, earlier)
    state.save_bench(location, run_id(found.moment), document(found, exit_code(found)))
    return found


def exit_code(found: Bench) -> ExitCode:
    """A GPU that computes wrongly or not at all is a check that failed; no GPU where none is to be had is none."""
    return ExitCode.CHECK_FAILED if found.failed else ExitCode.DONE


def _measured(request: Request, location: Location, host: Host, sockets: Path, outside: Outside) -> Bench:
    status = outside.status(host, sockets, (), True)
    if status.error:
        raise UnreachableError(f"{host.name} {status.error}.")
    if status.driver_hangs:
        # Whoever starts to compute now would wait for it for ever.
        raise RefusedError(f"{host.name}: {NO_ANSWER}.")
    if status.processes and not request.beside:
        raise RefusedError(
            f"{host.name}: {'; '.join(in_use(status))}. It could run out of memory; "
            "run again when that has ended, or with --yes."
        )
    machine = _machine(request, host, sockets, outside)
    found = Bench(
        inventory=location.name,
        host=host.name,
        moment=datetime.now(UTC),
        size=request.size,
        repeat=request.repeat,
        machine=machine,
        cores=status.cores,
        gpus=status.gpus,
        gpu_error=status.gpu_error,
        warnings=tuple(warnings(status)),
    )
    for warning in found.warnings:
        outside.tell(f"{warning}.")
    measured = [
        row
        for environment in machine.environments
        for row in _of_environment(
            environment, request, status, machine, partial(outside.ask_inside, host, sockets), outside.tell
        )
    ]
    if not measured:
        names = ", ".join(environment.name for environment in machine.environments)
        raise RefusedError(f"{host.name}: nothing to measure, for no torch, tensorflow, jax or numpy is in {names}.")
    return replace(found, rows=tuple(measured))


def _machine(request: Request, host: Host, sockets: Path, outside: Outside) -> Machine:
    """The host with the environments that are asked for.

    Raises:
        UsageError: The one that is named is not there.
        RefusedError: There is none.
    """
    prefix = _plain(host.variables.get("conda_prefix")) or CONDA_PREFIX
    known = host.variables.get("nvidia_driver_computing_pythons")
    pythons = [*filter(None, map(_plain, known))] if isinstance(known, list) else []
    machine = outside.look(host, sockets, prefix, pythons)
    if not machine.environments:
        raise RefusedError(
            f"{host.name} has no environment: neither in {prefix}, where conda_environments come to lie, "
            "nor one that nvidia_driver_computing_pythons names."
        )
    if not request.environment:
        return machine
    chosen = tuple(each for each in machine.environments if each.name == request.environment)
    if not chosen:
        names = ", ".join(each.name for each in machine.environments)
        raise UsageError(f"{host.name} has no environment {request.environment}; it has {names}.")
    return replace(machine, environments=chosen)


def _plain(value: object) -> str:
    """A variable's text, empty for a template: only a run knows what that comes to."""
    return value if isinstance(value, str) and not is_template(value) else ""


def _of_environment(
    environment: Environment,
    request: Request,
    status: Status,
    machine: Machine,
    ask_inside: Callable[..., Any],
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Every framework in turn, each in a process of its own: two at once would slow each other down."""
    unknown = Row(environment.name, "", "", CheckResult.FAIL)
    try:
        versions = ask_inside(environment.python, FIND_S, INSTALLED)
        frameworks = {str(name): str(version) for name, version in versions.items()}
    except adapter.NoAnswerError as error:
        yield replace(unknown, reason=str(error))
        return
    except AttributeError:
        yield replace(unknown, reason="gave no answer")
        return
    for framework, version in frameworks.items():
        tell(f"Measuring {framework} {version} of {environment.name} …")
        failed = replace(unknown, framework=framework, version=version)
        arguments = (framework, request.repeat, asdict(SIZES[request.size]))
        try:
            answer = ask_inside(environment.python, MEASURE_S, MEASURED, *arguments)
            yield from list(rows(environment.name, framework, version, answer, status, machine.driver))
        except adapter.NoAnswerError as error:
            yield replace(failed, reason=str(error))
        except (KeyError, TypeError, ValueError, AttributeError):
            yield replace(failed, reason="gave an answer that is none of ours")
