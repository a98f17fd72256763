"""Which conda packages an environment comes to: py-rattler, the only engine, for another machine than this one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from dlhost.adapters.ansible_env import plugin_util
from dlhost.adapters.xdg import cache_directory
from dlhost.errors import DlhostError, RefusedError
from dlhost.values.environments import Target


def solve(
    environment: str, specs: Sequence[str], channels: Sequence[str], target: Target, preferred: Iterable[Any] = ()
) -> list[Any]:
    """The packages for all the specs, by name, as conda_lock.Package; of `preferred` ones no version changes in vain.

    Raises:
        RefusedError: No packages fit together, or a spec or a channel is none.
        DlhostError: A channel cannot be read.
    """
    refusal = plugin_util("conda_lock").channels_refusal(channels)
    if refusal:
        raise RefusedError(f"Environment {environment}: {refusal}")
    if not specs:
        return []
    # It takes a while to import, and every other command does without.
    import asyncio

    import rattler
    from rattler.exceptions import GatewayError, InvalidChannelError, InvalidMatchSpecError, SolverError

    try:
        sources = [rattler.Channel(channel) for channel in channels]
        records = asyncio.run(
            rattler.solve(
                sources=sources,
                specs=[rattler.MatchSpec(spec) for spec in specs],
                gateway=rattler.Gateway(cache_dir=cache_directory() / "conda"),
                platforms=[rattler.Subdir(target.platform), rattler.Subdir("noarch")],
                locked_packages=[_record(package) for package in preferred if _is_at_hand(package, sources, target)],
                virtual_packages=_virtual_packages(target),
                channel_relations="disabled",
            )
        )
    except InvalidMatchSpecError as error:
        raise RefusedError(
            f"Environment {environment}: a spec among {', '.join(specs)} is none: {_line(error)}; "
            "one looks like `numpy >=2,<3`."
        ) from None
    except InvalidChannelError as error:
        raise RefusedError(f"Environment {environment}: a channel in conda_channels is none: {_line(error)}.") from None
    except SolverError as error:
        raise RefusedError(
            f"Environment {environment} has no solution for {', '.join(specs)} on {_told(target)}: {_conflict(error)}. "
            "Change its conda specs."
        ) from None
    except GatewayError as error:
        raise DlhostError(
            f"Environment {environment}: the channel cannot be read: {_line(error)}; "
            "see that this machine reaches what conda_channels names."
        ) from None
    return sorted((_package(environment, record) for record in records), key=lambda package: str(package.name))


def _virtual_packages(target: Target) -> list[Any]:
    import rattler

    def virtual(name: str, version: str, build: str = "0") -> Any:
        return rattler.GenericVirtualPackage(
            rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build)
        )

    # Every supported host is a Unix; of its processor nothing beyond the architecture is asked.
    always = [virtual("__unix", "0"), virtual("__archspec", "1", target.machine)]
    return [*always, *(virtual(name, version) for name, version in target.virtual_packages.items())]


def _package(environment: str, record: Any) -> Any:
    if not record.sha256:
        raise RefusedError(
            f"Environment {environment}: the channel has no sha256 for {record.file_name}, and nothing is installed "
            "without; take another version of it, or mend the channel's repodata."
        )
    noarch = record.noarch
    return plugin_util("conda_lock").Package(
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        build_number=record.build_number,
        subdir=str(record.subdir),
        url=record.url,
        sha256=record.sha256.hex(),
        noarch="python" if noarch.python else "generic" if noarch.generic else "",
        md5=record.md5.hex() if record.md5 else "",
        size=record.size or 0,
        depends=tuple(record.depends),
        constrains=tuple(record.constrains),
        python_site_packages_path=record.python_site_packages_path or "",
    )


def _is_at_hand(package: Any, sources: Sequence[Any], target: Target) -> bool:
    """Whether a locked package is of these channels and hosts; the solver would take it from anywhere."""
    in_channel = any(package.url.startswith(source.base_url) for source in sources)
    return in_channel and package.subdir in {target.platform, "noarch"}


def _record(package: Any) -> Any:
    """A lock's package as the solver knows them, and gives them back."""
    import rattler

    known = rattler.PackageRecord(
        package.name,
        package.version,
        rattler.BuildString(package.build),
        package.build_number,
        package.subdir,
        noarch=package.noarch or None,
        depends=list(package.depends),
        constrains=list(package.constrains),
        sha256=bytes.fromhex(package.sha256),
        md5=bytes.fromhex(package.md5) if package.md5 else None,
        size=package.size or None,
        python_site_packages_path=package.python_site_packages_path or None,
    )
    place, _, file = package.url.rpartition("/")
    return rattler.RepoDataRecord(known, file, package.url, place.rpartition("/")[0])


def _told(target: Target) -> str:
    virtual = " ".join(f"{name}={version}" for name, version in target.virtual_packages.items())
    return f"{target.platform} with {virtual}"


def _conflict(error: Exception) -> str:
    """The solver's tree as one line."""
    text = str(error).removeprefix("Cannot solve the request because of: ")
    parts = [re.sub(r"^[\s│├└─]+", "", line).rstrip(". :") for line in text.splitlines()]
    return "; ".join(filter(None, parts))


def _line(error: Exception) -> str:
    """The first line of an error, and its last cause, which is what one can mend."""
    lines = [line.removeprefix("Caused by: ").rstrip(". ") for line in str(error).splitlines() if line]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1]}"
