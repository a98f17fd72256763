"""A Python environment that holds exactly what a lock says: built in full beside the one in use, then switched to."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import environment_link as link
from ansible_collections.dlhost.host.plugins.module_utils import python_environment_record as record
from ansible_collections.dlhost.host.plugins.module_utils import python_lock
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_build import (
    Interpreter,
    build,
    site_packages,
)
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import UnreachableError


@dataclasses.dataclass(frozen=True)
class Environment:
    """The environment that `path` is to be, made with `interpreter` from those pins that apply to it."""

    path: Path
    interpreter: Interpreter
    pins: list[python_lock.Pin]

    def plan(self, thorough: bool) -> link.Plan:
        """Compare it with what is there; `thorough` reads every file instead of those that look changed.

        Raises:
            LockError: The lock has nothing for this Python.
            PythonEnvironmentError: Something else is where the link should be.
        """
        markers = self.interpreter.markers
        holds = python_lock.select(self.pins, markers)
        digest = python_lock.digest(self._applying, self.interpreter.identity, markers["platform_machine"])
        return link.plan(link.Wanted(self.path, digest, self.interpreter.identity, holds), thorough)

    def build(self, plan: link.Plan, options: dict[str, object], lock: int) -> None:
        """Make it in full in the plan's directory, or leave nothing there but what was fetched.

        Raises:
            PythonEnvironmentError: It could not be made.
        """
        downloads = link.downloads(self.path)
        try:
            build(plan.directory, self.interpreter, self._applying, options, downloads, lock)
            distributions = {pin.name: pin.version for pin in self._applying}
            site = site_packages(plan.directory, self.interpreter)
            made = record.take(plan.directory, plan.digest, self.interpreter.identity, site, distributions)
            record.write(plan.directory, made)
        except BaseException as error:
            shutil.rmtree(plan.directory, ignore_errors=True)
            if isinstance(error, Exception) and not isinstance(error, UnreachableError):
                # It may be part of the trouble, or take the room that is missing.
                shutil.rmtree(downloads, ignore_errors=True)
            raise
        shutil.rmtree(downloads)

    @property
    def _applying(self) -> list[python_lock.Pin]:
        return [pin for pin in self.pins if pin.applies(self.interpreter.markers)]
