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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

# Every task that asks the table reads it in a process of its own, and libyaml does that nine times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DATA = Path(__file__).parents[2] / "data" / "compatibility.yml"
DEVICE_ID = re.compile(r"(?:0x)?([0-9a-f]{4})", re.IGNORECASE)
OPEN, PROPRIETARY = "open", "proprietary"
# From the branch to avoid to the one to prefer.
KINDS = ("legacy", "new-feature", "production", "long-term")


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
    source: str
    last_driver: str = ""
    """The last branch for it; empty while newer branches still have it."""
    unverified: str = ""
    """Which of these no source says, and why it stands there all the same; so in every row."""

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
            f"The {self.label} is not in dlhost's table of cards, so it is taken for one of the newest architecture "
            f"that is sold as a card, {self.architecture.title}; a newer dlhost may know it."
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
    """long-term, production, new-feature or legacy."""
    smallest: str
    newest: str
    """The first and the newest version that the table knows."""
    kernel_modules: tuple[str, ...]
    preferred_kernel_module: str
    """What NVIDIA's installer takes where both modules drive the card."""
    cuda: str
    """The CUDA release that it came with; later ones of the same major release run with fewer features."""
    source: str
    end_of_life: str = ""
    """The last month with fixes, as 2028-06."""
    over_by: str = ""
    """Where no source names that month: one in which a source calls the branch over."""
    unverified: str = ""

    @property
    def cuda_major(self) -> int:
        return numbers(self.cuda)[0]

    def is_maintained(self, today: datetime.date) -> bool:
        """Whether the branch still gets fixes; its last month counts in full."""
        return f"{today:%Y-%m}" <= self.end_of_life if self.end_of_life else not self.over_by


@dataclasses.dataclass(frozen=True)
class Cuda:
    """A release of the CUDA toolkit."""

    release: str
    apt: str
    """The part of apt package names: 12-9."""
    smallest_driver: str
    """The first version that runs its programs, by minor-version compatibility."""
    compute_capabilities: tuple[str, ...]
    source: str
    newest_gcc: int = 0
    """The major version of GCC above which nvcc refuses to work; 0 where that is not known."""
    own_driver: str = ""
    """The version from which on all its features work; empty where that is not known yet."""
    unverified: str = ""

    @property
    def major(self) -> int:
        return numbers(self.release)[0]

    def is_before(self, other: Cuda) -> bool:
        """Whether it is the older release of the two."""
        return numbers(self.release) < numbers(other.release)


@dataclasses.dataclass(frozen=True)
class Cudnn:
    """Releases of cuDNN for one CUDA major release."""

    release: str
    """The first release that the row speaks for."""
    cuda_major: int
    smallest_compute_capability: str
    smallest_driver: str
    packages: dict[str, str]
    """Debian package names: runtime, development, headers, meta."""
    source: str
    last: str = ""
    """The last release that the row speaks for; empty while newer ones are like it."""
    unverified: str = ""

    @property
    def newest(self) -> str:
        """Its last release, in a sentence."""
        return self.last or "the newest"

    def covers(self, version: tuple[int, ...]) -> bool:
        """Whether the row speaks for a version of which so many numbers are given."""
        length = len(version)
        below = not self.last or version <= numbers(self.last)[:length]
        same_major = numbers(self.release)[: min(length, 1)] == version[:1]
        return same_major and numbers(self.release)[:length] <= version and below

    def runs_on(self, card: Card) -> bool:
        """Whether it has code for the card."""
        return numbers(self.smallest_compute_capability) <= numbers(card.compute_capability)


@dataclasses.dataclass(frozen=True)
class Build:
    """One build of a framework's wheels."""

    framework: str
    release: str
    wheel: str
    """The build's own name: cu126, cpu; an extra's name where the framework has extras instead."""
    requirement: str
    """What to hand to pip, without a version."""
    source: str
    index: str = ""
    """The package index to install from; empty for PyPI."""
    cuda: str = ""
    """The CUDA release inside; empty for a build without."""
    cudnn: str = ""
    """The version of cuDNN that it asks for; empty for any of its CUDA major release, and for a build without."""
    smallest_driver: str = ""
    """That of its CUDA release."""
    compute_capabilities: tuple[str, ...] = ()
    ptx: str = ""
    """The compute capability whose intermediate code is inside, for cards newer than all others; empty for none."""
    unverified: str = ""

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
    cuda: str
    """The CUDA release of nvidia-cuda-toolkit."""
    repository: str
    """The directory of NVIDIA's package source: debian12."""
    source: str
    gcc: int = 0
    """The major version of its default GCC; 0 where that is not known."""
    prebuilt: tuple[str, ...] = ()
    """The drivers whose kernel modules it builds and signs, so that Secure Boot takes them."""
    unverified: str = ""


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
    """Ranges of device ids, `first` to `last`, with chip, architecture and compute_capability."""
    unknown_card: dict[str, Any]
    """What a card with none of these ids is taken for."""
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
        found = next((row for row in self.chips if row["first"] <= number <= row["last"]), None)
        row = found or {"chip": "unknown", **self.unknown_card}
        architecture = next(each for each in self.architectures if each.name == row["architecture"])
        return Card(
            device_id=number,
            chip=row["chip"],
            architecture=architecture,
            compute_capability=row["compute_capability"],
            first_driver=row.get("first_driver", architecture.first_driver),
            kernel_modules=(OPEN,) if row.get("open_kernel_module") == "required" else architecture.kernel_modules,
            known=found is not None,
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
            key=lambda branch: (branch.cuda_major, KINDS.index(branch.kind), numbers(branch.name)),
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
        nearest = self.driver_branch(cards, today)
        advice = self._driver_advice(cards, nearest)
        wanted = self.branch(branch)
        if wanted is None:
            return f"There is no driver branch {branch} in dlhost's table, {self._spelling(branch)}; {advice}."
        return (
            self._at_odds(cards)
            or self._unsupported(cards, wanted, advice)
            or ("" if allow_end_of_life or wanted.is_maintained(today) else self._over(wanted, nearest, advice))
            or self._wrong_module(cards, wanted, kernel_module)
        )

    def _driver_advice(self, cards: Sequence[Card], nearest: Branch | None) -> str:
        if nearest:
            return f"set nvidia_driver_branch to {nearest.name}"
        return f"no maintained branch supports {'it' if len(cards) == 1 else 'all cards of this host'}"

    def _spelling(self, branch: str) -> str:
        names = [each.name for each in self.branches]
        close = difflib.get_close_matches(branch, names, n=1, cutoff=0.7)
        return f"perhaps {close[0]} is meant" if close else f"which goes from {names[0]} to {names[-1]}"

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

    def _at_odds(self, cards: Sequence[Card]) -> str:
        needs_open = next((card for card in cards if PROPRIETARY not in card.kernel_modules), None)
        needs_proprietary = next((card for card in cards if OPEN not in card.kernel_modules), None)
        if not needs_open or not needs_proprietary:
            return ""
        return (
            f"The {needs_open.described} needs the open kernel module and the {needs_proprietary.described} the "
            "proprietary one, and a host runs one of them; take one of the two cards out of this host."
        )

    def _over(self, branch: Branch, nearest: Branch | None, advice: str) -> str:
        month = f" of {branch.end_of_life}" if branch.end_of_life else ""
        without = "nvidia_driver_allow_end_of_life to true to do without fixes"
        return (
            f"Driver branch {branch.name} is past its end of life{month}; {advice}, or {without}."
            if nearest
            else f"Driver branch {branch.name} is past its end of life{month}, and {advice}; set {without}."
        )

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

        Where it has none in full, the newest that runs by minor-version compatibility; without a driver, the newest of
        those whose own driver is known.
        """
        fitting = [
            cuda
            for cuda in self.cudas
            if all(card.compute_capability in cuda.compute_capabilities for card in cards)
            and (not driver or reaches(driver, cuda.smallest_driver))
        ]
        whole = [cuda for cuda in fitting if cuda.own_driver and (not driver or reaches(driver, cuda.own_driver))]
        return (whole or fitting or [None])[-1]

    def compiler_warning(self, platform: str, release: str) -> str:
        """Why nvcc of this release does not compile with the distribution's own GCC, and what it takes instead."""
        cuda, gcc = self.cuda(release), self.platform(platform).gcc
        if cuda is None or not cuda.newest_gcc or gcc <= cuda.newest_gcc:
            return ""
        return (
            f"nvcc of CUDA {release} takes GCC up to {cuda.newest_gcc}, and this host's own is {gcc}: install "
            f"g++-{cuda.newest_gcc} and compile with nvcc -ccbin g++-{cuda.newest_gcc}, or take a newer CUDA."
        )

    def cuda_refusal(self, cards: Sequence[Card], release: str, driver: str | None = None) -> str:
        """Why a host with these cards cannot have this release of CUDA; driver is a branch, a version, or None."""
        wanted = self.cuda(release)
        if wanted is None:
            known = ", ".join(cuda.release for cuda in self.cudas)
            return f"There is no CUDA release {release} in dlhost's table; take one of {known}."
        without = next((card for card in cards if card.compute_capability not in wanted.compute_capabilities), None)
        if without:
            return self._cuda_without(without, wanted, cards, driver)
        if driver and not reaches(driver, wanted.smallest_driver):
            return self._driver_too_old(wanted, cards, driver)
        return ""

    def _cuda_without(self, card: Card, wanted: Cuda, cards: Sequence[Card], driver: str | None) -> str:
        reason = f"CUDA {wanted.release} has no code for the {card.described}"
        having = [cuda for cuda in self.cudas if card.compute_capability in cuda.compute_capabilities]
        if not having:
            return f"{reason}, nor has any other that dlhost knows."
        end, edge = ("last", having[-1]) if having[-1].is_before(wanted) else ("first", having[0])
        nearest = self.newest_cuda(cards, driver)
        advice = f"take CUDA {nearest.release}" if nearest else "no CUDA serves all cards of this host with its driver"
        return f"{reason}, for which CUDA {edge.release} is the {end} one; {advice}."

    def _driver_too_old(self, wanted: Cuda, cards: Sequence[Card], driver: str) -> str:
        older, newer = self.newest_cuda(cards, driver), self.driver_branch(cards)
        ways = [f"take CUDA {older.release}"] if older else []
        if newer and reaches(newer.name, wanted.smallest_driver):
            ways.append(f"set nvidia_driver_branch to {newer.name}")
        advice = f"; {' or '.join(ways)}" if ways else ""
        return f"CUDA {wanted.release} needs driver {wanted.smallest_driver} or newer, not {driver}{advice}."

    # cuDNN

    def cudnn(self, cuda_major: int, version: str = "") -> Cudnn | None:
        """The row for a version of cuDNN, or its beginning as 9 or 9.*; without a version, for the newest."""
        given = numbers(version)[:3]
        rows = [row for row in self.cudnns if row.cuda_major == cuda_major and row.covers(given)]
        return rows[-1] if rows else None

    def newest_cudnn(self, cards: Sequence[Card], cuda_major: int) -> Cudnn | None:
        """The newest cuDNN with code for all the cards; a role pins it by `last` where there is one."""
        rows = [row for row in self.cudnns if row.cuda_major == cuda_major and all(map(row.runs_on, cards))]
        return rows[-1] if rows else None

    def cudnn_refusal(self, cards: Sequence[Card], cuda_major: int, version: str = "") -> str:
        """Why a host with these cards cannot have this version of cuDNN for this major release of CUDA."""
        row = self.cudnn(cuda_major, version)
        if row is None:
            return self._no_cudnn(cuda_major, version)
        card = next((card for card in cards if not row.runs_on(card)), None)
        if card is None:
            return ""
        fitting = [each for each in self.cudnns if all(map(each.runs_on, cards))]
        best = max(fitting, key=lambda each: (each.cuda_major == cuda_major, each.cuda_major), default=None)
        advice = f"take cuDNN {best.newest} for CUDA {best.cuda_major}" if best else "no cuDNN has"
        what = f"cuDNN {version}" if version else "cuDNN"
        return (
            f"{what} for CUDA {cuda_major} has no code for the {card.described}, as compute capability "
            f"{card.compute_capability} is below {row.smallest_compute_capability}; {advice}."
        )

    def _no_cudnn(self, cuda_major: int, version: str) -> str:
        known = sorted({row.cuda_major for row in self.cudnns})
        if cuda_major not in known:
            return (
                f"There is no cuDNN for CUDA {cuda_major} in dlhost's table; take CUDA {' or '.join(map(str, known))}."
            )
        rows = [row for row in self.cudnns if row.cuda_major == cuda_major]
        return (
            f"There is no cuDNN {version} for CUDA {cuda_major} in dlhost's table; take one from {rows[0].release} on, "
            f"up to {rows[-1].newest}."
        )

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

    def pip_constraints(self, build: Build, cards: Sequence[Card]) -> tuple[str, ...]:
        """What pip must be told beside the requirement, as the newest cuDNN would have no code for one of the cards."""
        if not build.cuda or build.cudnn:
            return ()
        major = numbers(build.cuda)[0]
        without = [row for row in self.cudnns if row.cuda_major == major and not all(map(row.runs_on, cards))]
        return tuple(f"nvidia-cudnn-cu{major}<{row.release}" for row in without)

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
        """The nearest combination to a host's cards and driver that works: the driver stays where it can.

        Without cards there is none; the builds are then those for the CPU.
        """
        today = today or datetime.date.today()
        warnings = [card.warning for card in cards if card.warning]
        newest = self.branches[-1].name
        beyond = bool(driver) and self.branch(driver) is None and numbers(driver) > numbers(newest)
        if beyond:
            warnings.append(f"Driver {driver} is newer than dlhost's table, which ends with branch {newest}.")
        refusal = self.driver_refusal(cards, driver, kernel_module, today) if driver and cards and not beyond else ""
        stays = driver if driver and not refusal else None
        branch = self.branch(stays) if stays else self.driver_branch(cards, today)
        at = stays or (branch.name if branch else None)
        cuda = self.newest_cuda(cards, at) if cards and at else None
        best = {
            name: self.framework_builds(name, cards, at) for name in dict.fromkeys(b.framework for b in self.builds)
        }
        return Verdict(
            problems=(refusal,) if refusal else (),
            warnings=tuple(warnings),
            branch=branch if cards else None,
            kernel_module=self.kernel_module(cards, branch) if cards and branch else "",
            cuda=cuda,
            cudnn=self.newest_cudnn(cards, cuda.major) if cuda else None,
            builds={name: builds[0] for name, builds in best.items() if builds},
        )


@functools.cache
def load(path: Path = DATA) -> Table:
    """The table of data/compatibility.yml, read once."""
    data = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506  both are safe
    cudas = _rows(Cuda, data["cuda"])
    return Table(
        read=f"{max(source['read'] for source in data['sources'].values()):%Y-%m-%d}",
        architectures=_rows(Architecture, data["architectures"]),
        chips=tuple(data["chips"]),
        unknown_card=data["unknown_card"],
        branches=_rows(Branch, data["driver_branches"]),
        cudas=cudas,
        cudnns=_rows(Cudnn, data["cudnn"]),
        builds=_rows(Build, _builds(data["frameworks"], {cuda.major: cuda.smallest_driver for cuda in cudas})),
        platforms=_rows(Platform, data["platforms"]),
    )


def _rows(kind: Any, rows: Iterable[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(
        kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}) for row in rows
    )


def _builds(releases: Iterable[dict[str, Any]], smallest_drivers: dict[int, str]) -> Iterator[dict[str, Any]]:
    for release in releases:
        shared = {key: value for key, value in release.items() if key != "builds"}
        for build in release["builds"]:
            row = {"requirement": release["framework"], **shared, **build}
            if "index" in row:
                row["index"] = row["index"].format(wheel=row["wheel"])
            if "cuda" in row:
                row["smallest_driver"] = smallest_drivers[numbers(row["cuda"])[0]]
            yield row
