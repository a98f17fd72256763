# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declared environment is to have on the hosts that get it: its kind's part, and wheels that run on their cards.

The kinds are those of data/environments.yml; about cards and wheels data/compatibility.yml is asked. No host is.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import LOADER, Build, Card, Table
from ansible_collections.dlhost.host.plugins.plugin_utils.compatibility import load as compatibility
from ansible_collections.dlhost.host.plugins.plugin_utils.conda_lock import CondaLockError, Environment

# What a match spec of conda or a requirement of pip is for; an address names nothing.
SPEC = re.compile(r"(?:[^\s\[]+::)?(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:$|[\s\[<>=!~;@*])")
UNITED = re.compile(r"[-_.]+")
DATA = Path(__file__).parents[2] / "data" / "environments.yml"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A ready-made environment."""

    name: str
    title: str
    source: str
    python: str = ""
    conda: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    framework: str = ""
    """As the compatibility table calls it; empty for none."""
    device: str = "auto"
    """Whose wheels of the framework: gpu, cpu, or auto for what the hosts have."""
    unverified: str = ""


@dataclasses.dataclass(frozen=True)
class Rig:
    """A host as far as wheels go: its cards, and the driver that it has or is to have; None for none."""

    name: str
    cards: tuple[Card, ...] = ()
    driver: str | None = None


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a solver and a resolver are asked for."""

    conda: tuple[str, ...]
    pip: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    """What the requirements of pip must not come to."""
    wheels: str = ""
    """The family of framework wheels, as the compatibility table names it; empty for none of its own."""
    index: str = ""
    """Where that family lies beside the usual index; empty where it lies there."""


@dataclasses.dataclass(frozen=True)
class Kinds:
    """All of data/environments.yml; `load` reads it."""

    kinds: tuple[Kind, ...]
    kernel: str
    """What pip is asked for where an environment is to be a kernel and nothing brings one."""
    pypi_names: dict[str, str]
    """A conda package's name to that of its distribution on PyPI, where it is another."""
    import_names: dict[str, str]
    """A distribution to the module that it is imported as, where its name does not say it."""

    def kind(self, environment: Environment) -> Kind:
        """The environment's kind; one without anything where it has none.

        Raises:
            CondaLockError: There is no such kind.
        """
        if not environment.kind:
            return Kind(name="", title="", source="")
        found = next((kind for kind in self.kinds if kind.name == environment.kind), None)
        if found:
            return found
        names = [kind.name for kind in self.kinds]
        close = difflib.get_close_matches(environment.kind, names, n=1)
        meant = f", {close[0]} perhaps" if close else ""
        raise CondaLockError(
            f"Environment {environment.name} has kind {environment.kind!r}; take one of {', '.join(names)}{meant}."
        )

    def imports(self, environment: Environment) -> dict[str, str]:
        """What was declared of it as distributions, each with its module; empty where only its own records tell."""
        kind = self.kind(environment)
        specs = [kind.framework, *kind.conda, *kind.pip, *environment.conda, *environment.pip]
        named = [match["name"].lower() for match in map(SPEC.match, specs) if match]
        distributions = {UNITED.sub("-", self.pypi_names.get(name, name)) for name in named}
        return {name: self.import_names.get(name, "") for name in sorted(distributions)}

    def wanted(self, environment: Environment, rigs: Sequence[Rig], table: Table) -> Wanted:
        """What an environment is to have so that it runs on all these hosts.

        Raises:
            CondaLockError: Nothing does, or there is no such kind.
        """
        kind = self.kind(environment)
        python = environment.python or kind.python
        conda = (*([f"python {python}.*"] if python else []), *kind.conda, *environment.conda)
        build = self._build(environment, kind, rigs, table) if kind.framework else None
        if build is None:
            return Wanted(conda, (*kind.pip, *environment.pip))
        cards = [card for rig in rigs for card in rig.cards] if build.cuda else []
        return Wanted(
            conda,
            (f"{build.requirement}=={build.release}.*", *kind.pip, *environment.pip),
            constraints=table.pip_constraints(build, cards),
            wheels=build.wheel if build.index or build.cuda else "",
            index=build.index,
        )

    def _build(self, environment: Environment, kind: Kind, rigs: Sequence[Rig], table: Table) -> Build:
        """The best build of the kind's framework that runs on every host."""
        subject = f"Environment {environment.name} ({kind.name})"
        with_gpu = [rig for rig in rigs if rig.cards]
        without = [rig for rig in rigs if not rig.cards]
        if kind.device == "gpu" and without:
            raise CondaLockError(
                f"{subject} needs a GPU, so {_named(without)} without one cannot have it; "
                "declare it for other hosts alone, or take a kind for the processor."
            )
        if kind.device == "auto" and with_gpu and without:
            raise CondaLockError(
                f"{subject} cannot be one for {_named(with_gpu)} with GPUs and for {_named(without)} without; "
                "declare one under another name for each."
            )
        on_gpu = kind.device != "cpu" and bool(with_gpu)
        fitting = [
            [
                build
                for build in table.framework_builds(kind.framework, rig.cards, rig.driver)
                if bool(build.cuda) == on_gpu
            ]
            for rig in rigs
        ]
        common = [build for build in fitting[0] if all(build in builds for builds in fitting)]
        if not common:
            # Those that have none at all, or all of them, which have none in common.
            missing = [rig for rig, builds in zip(rigs, fitting, strict=True) if not builds]
            told = " and ".join(f"{rig.name}'s {_hardware(rig)}" for rig in missing or rigs)
            way_out = "declare it for other hosts alone" if missing else "declare one under another name for each"
            raise CondaLockError(f"{subject} has no build that runs on {told}; {way_out}.")
        return common[0]


def cuda_version(rigs: Sequence[Rig], table: Table) -> str:
    """The CUDA release that every host runs: its driver's own, unless its cards have no code from it; empty for none.

    It is what conda packages ask for as __cuda.
    """
    releases = []
    for rig in rigs:
        newest = table.newest_cuda(rig.cards, rig.driver) if rig.cards and rig.driver else None
        if newest is None:
            return ""
        releases.append(newest.release)
    return min(releases, key=lambda release: tuple(map(int, release.split("."))), default="")


def wheel_index(wheels: str) -> str:
    """Where the wheels of a family lie beside the usual index; empty where they lie there."""
    return next((build.index for build in compatibility().builds if build.wheel == wheels and build.index), "")


@functools.cache
def load(path: Path = DATA) -> Kinds:
    """The kinds of data/environments.yml, read once."""
    data: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506  both are safe
    kinds = tuple(
        Kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
        for row in data["kinds"]
    )
    return Kinds(kinds, data["kernel"]["requirement"], data["pypi_names"], data["import_names"])


def _named(rigs: Sequence[Rig]) -> str:
    return ", ".join(rig.name for rig in rigs)


def _hardware(rig: Rig) -> str:
    cards = ", ".join(dict.fromkeys(card.label for card in rig.cards))
    return f"{cards} with {f'driver {rig.driver}' if rig.driver else 'no driver'}"
