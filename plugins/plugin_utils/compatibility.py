# SPDX-License-Identifier: GPL-3.0-or-later
"""What fits together: NVIDIA cards, driver branches, kernel modules, CUDA, cuDNN and the frameworks' wheels.

Every answer comes from data/compatibility.yml at the collection's root, where each row names its source. A refusal is
one sentence with the reason and the nearest thing that works; it is empty where nothing speaks against it.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parents[2] / "data" / "compatibility.yml"
DEVICE_ID = re.compile(r"(?:0x)?([0-9a-f]{4})", re.IGNORECASE)
OPEN, PROPRIETARY = "open", "proprietary"
LONG_TERM = "long-term"


class CompatibilityError(ValueError):
    """What is asked is no question that the table could answer: an id that is none, a platform that dlhost lacks."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A generation of chips, which driver branches have code for it, and which kernel modules drive it."""

    name: str
    title: str
    open_kernel_module: str
    """refused, allowed or required."""
    first_driver: str
    last_driver: str
    """The last branch for it; empty while newer branches still have it."""
    source: str

    @property
    def kernel_modules(self) -> tuple[str, ...]:
        return {"refused": (PROPRIETARY,), "required": (OPEN,)}.get(self.open_kernel_module, (OPEN, PROPRIETARY))


@dataclasses.dataclass(frozen=True)
class Card:
    """A graphics card, as its PCI device id tells it."""

    device_id: str
    """Four lowercase hex digits."""
    chip: str
    architecture: Architecture
    compute_capability: str
    first_driver: str
    """The first branch with code for this chip."""
    kernel_modules: tuple[str, ...]
    known: bool
    """Whether the table has the id; where not, everything here is that of the newest architecture."""
    name: str = ""

    @property
    def label(self) -> str:
        """How a sentence names the card."""
        return self.name or f"card 10de:{self.device_id}"

    @property
    def warning(self) -> str:
        """What the caller is to say about a card that the table lacks."""
        if self.known:
            return ""
        return (
            f"The {self.label} is newer than dlhost's table of cards, so it is treated as one of the newest "
            f"architecture there, {self.architecture.title}; a newer dlhost may know it."
        )

    @property
    def described(self) -> str:
        """The chip within a sentence: "GeForce GTX 1070's chip GP104 (Pascal)"."""
        return f"{self.label}'s chip {self.chip} ({self.architecture.title})"


@dataclasses.dataclass(frozen=True)
class Branch:
    """A driver branch: its life, the versions that belong to it, the CUDA that it was made with."""

    name: str
    kind: str
    """long-term, production or new-feature."""
    end_of_life: str
    """The last month with fixes, as 2028-06; empty for a branch that never had a date and is over."""
    smallest: str
    newest: str
    """The first and the newest version that the table knows."""
    kernel_modules: tuple[str, ...]
    preferred_kernel_module: str
    """What NVIDIA's installer takes where both modules drive the card."""
    cuda: str
    """The CUDA release that nvidia-smi shows; later ones of the same major release run with fewer features."""
    source: str

    @property
    def cuda_major(self) -> int:
        return numbers(self.cuda)[0]

    def is_maintained(self, today: datetime.date) -> bool:
        """Whether the branch still gets fixes; its last month counts in full."""
        return bool(self.end_of_life) and f"{today:%Y-%m}" <= self.end_of_life


@dataclasses.dataclass(frozen=True)
class Cuda:
    """A release of the CUDA toolkit."""

    release: str
    apt: str
    """The part of apt package names: 12-9."""
    smallest_driver: str
    """The first version that runs its programs, by minor-version compatibility."""
    own_driver: str
    """The version that it was released with, from which on all its features work."""
    compute_capabilities: tuple[str, ...]
    source: str

    @property
    def major(self) -> int:
        return numbers(self.release)[0]


@dataclasses.dataclass(frozen=True)
class Cudnn:
    """Releases of cuDNN for one CUDA major release."""

    release: str
    """The first release that the row speaks for; it holds until the next row of the same CUDA major release."""
    last: str
    """The last release for this CUDA major release; empty while there are newer ones."""
    cuda_major: int
    smallest_compute_capability: str
    smallest_driver: str
    packages: dict[str, str]
    """Debian package names: runtime, development, headers, meta."""
    source: str


@dataclasses.dataclass(frozen=True)
class Build:
    """One build of a framework's wheels."""

    framework: str
    release: str
    wheel: str
    """The build's own name: cu126, cpu; an extra's name where the framework has extras instead."""
    index: str
    """The package index to install from; empty for PyPI."""
    requirement: str
    """What to hand to pip, without a version of more digits than the row speaks for."""
    cuda: str
    """The CUDA release inside; empty for a build without."""
    smallest_driver: str
    compute_capabilities: tuple[str, ...]
    ptx: str
    """The compute capability whose intermediate code is inside, for cards newer than all others; empty for none."""
    source: str

    def runs_on(self, card: Card) -> bool:
        """Whether there is code for the card: of its own major capability, or intermediate code of an earlier one."""
        capability = numbers(card.compute_capability)
        same = any(has[0] == capability[0] and has <= capability for has in map(numbers, self.compute_capabilities))
        return same or bool(self.ptx and numbers(self.ptx) <= capability)


@dataclasses.dataclass(frozen=True)
class Platform:
    """What a distribution itself has."""

    name: str
    drivers: tuple[str, ...]
    """Driver branches in its archive, newest last."""
    prebuilt: tuple[str, ...]
    """Those whose kernel modules it builds and signs, so that Secure Boot takes them."""
    cuda: str
    """The CUDA release of nvidia-cuda-toolkit; empty for none."""
    repository: str
    """The directory of NVIDIA's package source: debian12."""
    source: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The nearest combination that works, and what speaks against the host's present one."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    branch: Branch | None
    kernel_module: str
    cuda: Cuda | None
    cudnn: Cudnn | None
    builds: dict[str, Build]
    """Framework to the best build for these cards and this branch."""


def numbers(version: str) -> tuple[int, ...]:
    """A version as what it is compared by: 12.9 comes before 12.10."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def reaches(driver: str, smallest: str) -> bool:
    """Whether a driver is new enough; a branch without its minor version is as new as its newest."""
    has, needs = numbers(driver), numbers(smallest)
    return has[0] >= needs[0] if len(has) == 1 else has >= needs


def branch_of(driver: str) -> str:
    """The branch of a version: 580 of 580.95.05."""
    return driver.partition(".")[0]


@dataclasses.dataclass(frozen=True)
class Table:
    """The whole table; `load` reads it."""

    read: str
    """The newest date on which a source was read."""
    architectures: tuple[Architecture, ...]
    """Oldest first."""
    chips: tuple[dict[str, Any], ...]
    branches: tuple[Branch, ...]
    """Oldest first, as the releases of CUDA are."""
    cudas: tuple[Cuda, ...]
    cudnns: tuple[Cudnn, ...]
    builds: tuple[Build, ...]
    platforms: tuple[Platform, ...]

    # Cards

    def card(self, device_id: str, name: str = "") -> Card:
        """The card with a PCI device id of vendor 10de, four hex digits with or without 0x.

        Raises:
            CompatibilityError: That is no such id.
        """
        match = DEVICE_ID.fullmatch(device_id)
        if not match:
            raise CompatibilityError(f"A PCI device id has four hex digits, as 2684 has; {device_id} is none.")
        number = match[1].lower()
        row = next((row for row in self.chips if row["first"] <= number <= row["last"]), None)
        known = row is not None
        if row is None:
            row = {**max(self.chips, key=lambda each: numbers(each["compute_capability"])), "chip": "unknown"}
            row["architecture"] = self.architectures[-1].name
        architecture = next(each for each in self.architectures if each.name == row["architecture"])
        return Card(
            device_id=number,
            chip=row["chip"],
            architecture=architecture,
            compute_capability=row["compute_capability"],
            first_driver=row.get("first_driver", architecture.first_driver),
            kernel_modules=(OPEN,) if row.get("open_kernel_module") == "required" else architecture.kernel_modules,
            known=known,
            name=name,
        )

    # Drivers

    def branch(self, name: str) -> Branch | None:
        """The branch called so, which may be given as a version of it."""
        return next((branch for branch in self.branches if branch.name == branch_of(name)), None)

    def supports(self, branch: Branch, card: Card) -> bool:
        """Whether the branch has code for the card."""
        last = card.architecture.last_driver
        number = numbers(branch.name)
        return numbers(card.first_driver) <= number and (not last or number <= numbers(last))

    def driver_branch(self, cards: Sequence[Card], today: datetime.date | None = None) -> Branch | None:
        """The branch to recommend: maintained, for all the cards, with the newest CUDA major release, long-lived."""
        today = today or datetime.date.today()
        fitting = [
            branch for branch in self.branches if branch.is_maintained(today) and self.kernel_modules(cards, branch)
        ]
        return max(
            fitting,
            key=lambda branch: (branch.cuda_major, branch.kind == LONG_TERM, _steadiness(branch), numbers(branch.name)),
            default=None,
        )

    def kernel_modules(self, cards: Iterable[Card], branch: Branch) -> tuple[str, ...]:
        """The kernel modules of the branch that drive all the cards together, the preferred one first."""
        cards = list(cards)
        if not all(self.supports(branch, card) for card in cards):
            return ()
        fitting = [kind for kind in branch.kernel_modules if all(kind in card.kernel_modules for card in cards)]
        return tuple(sorted(fitting, key=lambda kind: kind != branch.preferred_kernel_module))

    def kernel_module(self, cards: Sequence[Card], branch: Branch) -> str:
        """The automatic choice between open and proprietary; empty where none drives all the cards."""
        return next(iter(self.kernel_modules(cards, branch)), "")

    def driver_refusal(
        self,
        cards: Sequence[Card],
        branch: str,
        kernel_module: str = "auto",
        today: datetime.date | None = None,
        allow_end_of_life: bool = False,
    ) -> str:
        """Why a host with these cards cannot have this branch with this kernel module: open, proprietary or auto."""
        today = today or datetime.date.today()
        advice = self._driver_advice(cards, today)
        wanted = self.branch(branch)
        if wanted is None:
            return f"There is no driver branch {branch} in dlhost's table, {self._spelling(branch)}; {advice}."
        return (
            self._unsupported(cards, wanted, advice)
            or self._no_common_module(cards, wanted)
            or ("" if allow_end_of_life or wanted.is_maintained(today) else self._over(wanted, advice))
            or self._wrong_module(cards, wanted, kernel_module)
        )

    def _driver_advice(self, cards: Sequence[Card], today: datetime.date) -> str:
        nearest = self.driver_branch(cards, today)
        if nearest:
            return f"set nvidia_driver_branch to {nearest.name}"
        if not any(self.kernel_modules([card], each) for card in cards for each in self._maintained(today)):
            return f"no maintained branch supports {'it' if len(cards) == 1 else 'these cards'}"
        return "no maintained branch supports all cards of this host"

    def _maintained(self, today: datetime.date) -> list[Branch]:
        return [branch for branch in self.branches if branch.is_maintained(today)]

    def _spelling(self, branch: str) -> str:
        names = [each.name for each in self.branches]
        close = difflib.get_close_matches(branch, names, n=1, cutoff=0.6)
        if close:
            return f"perhaps {close[0]} is meant"
        return f"which goes from {names[0]} to {names[-1]}"

    def _unsupported(self, cards: Sequence[Card], branch: Branch, advice: str) -> str:
        for card in cards:
            if self.supports(branch, card):
                continue
            last = card.architecture.last_driver
            if last and numbers(branch.name) > numbers(last):
                return f"The {card.described} is supported up to branch {last}, not by {branch.name}; {advice}."
            return (
                f"The {card.described} is supported from branch {card.first_driver} on, not by {branch.name}; {advice}."
            )
        return ""

    def _no_common_module(self, cards: Sequence[Card], branch: Branch) -> str:
        if self.kernel_modules(cards, branch):
            return ""
        needs_open = next((card for card in cards if PROPRIETARY not in card.kernel_modules), None)
        needs_proprietary = next((card for card in cards if OPEN not in card.kernel_modules), None)
        if needs_open and needs_proprietary:
            return (
                f"The {needs_open.described} needs the open kernel module and the {needs_proprietary.described} the "
                "proprietary one, and a host runs one of them; take one of the two cards out of this host."
            )
        return f"Branch {branch.name} has no kernel module for the {(needs_open or cards[0]).described}."

    def _over(self, branch: Branch, advice: str) -> str:
        since = f" since {branch.end_of_life}" if branch.end_of_life else ""
        return f"Driver branch {branch.name} gets no more fixes{since}; {advice}."

    def _wrong_module(self, cards: Sequence[Card], branch: Branch, kernel_module: str) -> str:
        fitting = self.kernel_modules(cards, branch)
        if kernel_module in ("auto", *fitting):
            return ""
        card = next((card for card in cards if kernel_module not in card.kernel_modules), None)
        if card is None:
            return (
                f"Branch {branch.name} has no {kernel_module} kernel module; set nvidia_driver_kernel_module to auto."
            )
        return (
            f"The {kernel_module} kernel module does not drive the {card.described}; "
            f"set nvidia_driver_kernel_module to {fitting[0]} or auto."
        )

    # CUDA

    def cuda(self, release: str) -> Cuda | None:
        """The release of CUDA called so: 12.9, or 12.9.1 for the row that speaks for it."""
        return next((cuda for cuda in self.cudas if numbers(cuda.release) == numbers(release)[:2]), None)

    def newest_cuda(self, cards: Sequence[Card], driver: str | None = None) -> Cuda | None:
        """The newest release with code for all the cards, of those whose features the driver has in full.

        Where it has none in full, the newest that runs by minor-version compatibility; without a driver, the newest.
        """
        fitting = [
            cuda
            for cuda in self.cudas
            if all(card.compute_capability in cuda.compute_capabilities for card in cards)
            and (not driver or reaches(driver, cuda.smallest_driver))
        ]
        whole = [cuda for cuda in fitting if driver and reaches(driver, cuda.own_driver)]
        return (whole or fitting or [None])[-1]

    def cuda_refusal(self, cards: Sequence[Card], release: str, driver: str | None = None) -> str:
        """Why a host with these cards cannot have this release of CUDA; driver is a branch, a version, or None."""
        wanted = self.cuda(release)
        if wanted is None:
            known = ", ".join(cuda.release for cuda in self.cudas)
            return f"There is no CUDA release {release} in dlhost's table; take one of {known}."
        for card in cards:
            if card.compute_capability not in wanted.compute_capabilities:
                return self._cuda_without(card, wanted, driver)
        if driver and not reaches(driver, wanted.smallest_driver):
            return self._driver_too_old(f"CUDA {wanted.release}", wanted.smallest_driver, cards, driver)
        return ""

    def _cuda_without(self, card: Card, wanted: Cuda, driver: str | None) -> str:
        having = [cuda for cuda in self.cudas if card.compute_capability in cuda.compute_capabilities]
        reason = f"CUDA {wanted.release} has no code for the {card.described}"
        if not having:
            return f"{reason}, and no release that dlhost has does."
        end, edge = (
            ("last", having[-1]) if numbers(having[-1].release) < numbers(wanted.release) else ("first", having[0])
        )
        nearest = self.newest_cuda([card], driver) or edge
        return f"{reason}, for which CUDA {edge.release} is the {end} one; take CUDA {nearest.release}."

    def _driver_too_old(self, what: str, smallest: str, cards: Sequence[Card], driver: str) -> str:
        older = self.newest_cuda(cards, driver)
        newer = next(
            (
                branch
                for branch in self.branches
                if reaches(branch.name, smallest) and self.kernel_modules(cards, branch)
            ),
            None,
        )
        ways = [f"take CUDA {older.release}"] if older else []
        ways += [f"set nvidia_driver_branch to {newer.name}"] if newer else []
        advice = f"; {' or '.join(ways)}" if ways else ""
        return f"{what} needs driver {smallest} or newer, and this host has {driver}{advice}."

    # cuDNN

    def cudnn(self, cuda_major: int, version: str = "") -> Cudnn | None:
        """The row for a version of cuDNN, or its beginning as 9 or 9.*; without a version, for the newest."""
        rows = [row for row in self.cudnns if row.cuda_major == cuda_major]
        given = numbers(version)
        if given:
            rows = [row for row in rows if numbers(row.release)[: len(given)] <= given]
            rows = [row for row in rows if not row.last or given[:2] <= numbers(row.last)]
            rows = [row for row in rows if numbers(row.release)[0] == given[0]]
        return rows[-1] if rows else None

    def cudnn_refusal(self, cards: Sequence[Card], cuda_major: int, version: str = "") -> str:
        """Why a host with these cards cannot have this cuDNN for this major release of CUDA."""
        row = self.cudnn(cuda_major, version)
        if row is None:
            majors = sorted({each.cuda_major for each in self.cudnns})
            if cuda_major not in majors:
                known = " or ".join(map(str, majors))
                return f"There is no cuDNN for CUDA {cuda_major}; take CUDA {known}."
            newest = self.cudnn(cuda_major)
            major = numbers(newest.release)[0] if newest else ""
            return f"There is no cuDNN {version} for CUDA {cuda_major} in dlhost's table; take {major}."
        for card in cards:
            if numbers(card.compute_capability) < numbers(row.smallest_compute_capability):
                return self._cudnn_without(card, row)
        return ""

    def _cudnn_without(self, card: Card, row: Cudnn) -> str:
        capability = numbers(card.compute_capability)
        fitting = [each for each in self.cudnns if numbers(each.smallest_compute_capability) <= capability]
        reason = (
            f"cuDNN for CUDA {row.cuda_major} has no code for the {card.described}, "
            f"whose compute capability {card.compute_capability} is below {row.smallest_compute_capability}"
        )
        if not fitting:
            return f"{reason}; no cuDNN that dlhost has does."
        best = fitting[-1]
        until = f" {best.last}" if best.last else ""
        return f"{reason}; take cuDNN{until} for CUDA {best.cuda_major}."

    # Frameworks

    def framework_builds(
        self, framework: str, cards: Sequence[Card], driver: str | None = None, release: str = ""
    ) -> list[Build]:
        """The framework's builds that run here, best first: the newest release, then the newest CUDA, CPU last.

        Without cards, or without a driver, that is what runs on the CPU alone.
        """
        fitting = [
            build for build in self._builds(framework, release) if not self._speaks_against(build, cards, driver)
        ]
        return sorted(
            fitting, key=lambda build: (bool(build.cuda), numbers(build.release), numbers(build.cuda)), reverse=True
        )

    def _builds(self, framework: str, release: str) -> list[Build]:
        given = numbers(release)[:2]
        return [
            build
            for build in self.builds
            if build.framework == framework and (not given or numbers(build.release)[: len(given)] == given)
        ]

    def _speaks_against(self, build: Build, cards: Sequence[Card], driver: str | None) -> str:
        if not build.cuda:
            return ""
        name = f"{build.framework} {build.release} built for CUDA {build.cuda}"
        if not cards:
            return f"{name} needs an NVIDIA card, and this host has none"
        for card in cards:
            if not build.runs_on(card):
                return f"{name} has no code for the {card.described}"
        if driver is None:
            return f"{name} needs a driver, and this host has none"
        if not reaches(driver, build.smallest_driver):
            return f"{name} needs driver {build.smallest_driver} or newer, and this host has {driver}"
        return ""

    def framework_refusal(
        self, framework: str, wheel: str, cards: Sequence[Card], driver: str | None = None, release: str = ""
    ) -> str:
        """Why the framework's build (cu126, cpu) does not run here; without a release, in none of its releases."""
        builds = self._builds(framework, release)
        if not builds:
            known = ", ".join(sorted({each.framework for each in self.builds}))
            of = f" {release}" if release else ""
            return f"There is no {framework}{of} in dlhost's table, which has {known}."
        wanted = [build for build in builds if build.wheel == wheel]
        best = next(iter(self.framework_builds(framework, cards, driver)), None)
        advice = f"take {framework} {best.release} with {best.wheel}" if best else f"no build of {framework} runs here"
        if not wanted:
            known = ", ".join(dict.fromkeys(build.wheel for build in builds))
            return (
                f"There is no build {wheel} of {framework}{' ' + release if release else ''}, only {known}; {advice}."
            )
        reasons = [self._speaks_against(build, cards, driver) for build in wanted]
        return "" if not all(reasons) else f"{reasons[-1]}; {advice}."

    # Platforms and the whole

    def platform(self, name: str) -> Platform:
        """What the distribution itself has; debian-12, ubuntu-24.04.

        Raises:
            CompatibilityError: dlhost does not support it.
        """
        for platform in self.platforms:
            if platform.name == name:
                return platform
        known = ", ".join(platform.name for platform in self.platforms)
        raise CompatibilityError(f"dlhost does not know {name}; it knows {known}.")

    def verdict(
        self,
        cards: Sequence[Card],
        driver: str | None = None,
        kernel_module: str = "auto",
        today: datetime.date | None = None,
    ) -> Verdict:
        """The nearest combination to a host's cards and driver that works: the driver stays where it can."""
        today = today or datetime.date.today()
        refusal = self.driver_refusal(cards, driver, kernel_module, today) if driver and cards else ""
        branch = self.branch(driver) if driver and not refusal else self.driver_branch(cards, today)
        at = driver if driver and not refusal else branch and branch.name
        cuda = self.newest_cuda(cards, at)
        cudnns = [row for row in self.cudnns if not self.cudnn_refusal(cards, row.cuda_major)]
        cudnns = [row for row in cudnns if cuda and row.cuda_major <= cuda.major]
        frameworks = dict.fromkeys(build.framework for build in self.builds)
        best = {name: self.framework_builds(name, cards, at) for name in frameworks}
        return Verdict(
            problems=(refusal,) if refusal else (),
            warnings=tuple(card.warning for card in cards if card.warning),
            branch=branch if cards else None,
            kernel_module=self.kernel_module(cards, branch) if cards and branch else "",
            cuda=cuda if cards else None,
            cudnn=max(cudnns, key=lambda row: (row.cuda_major, numbers(row.release)), default=None) if cards else None,
            builds={name: builds[0] for name, builds in best.items() if builds},
        )


def _steadiness(branch: Branch) -> int:
    return ("new-feature", "production", LONG_TERM).index(branch.kind)


@functools.cache
def load(path: Path = DATA) -> Table:
    """The table of data/compatibility.yml, read once."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Table(
        read=max(source["read"] for source in data["sources"].values()),
        architectures=_rows(Architecture, data["architectures"]),
        chips=tuple(data["chips"]),
        branches=_rows(Branch, data["driver_branches"]),
        cudas=_rows(Cuda, data["cuda"]),
        cudnns=_rows(Cudnn, data["cudnn"]),
        builds=_rows(Build, data["frameworks"]),
        platforms=_rows(Platform, data["platforms"]),
    )


def _rows(kind: Any, rows: Iterable[dict[str, Any]]) -> tuple[Any, ...]:
    fields = {field.name for field in dataclasses.fields(kind)}
    return tuple(
        kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items() if key in fields})
        for row in rows
    )
