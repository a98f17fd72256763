"""What all tests share."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

# Tests press Ctrl-C. A shell that starts them in the background has them ignore it, and all that they start with them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The modules whose tests share one provisioned workspace, and those whose tests share nothing that is dear.
WORKSPACE = ("test_environments", "test_front_in_the_browser", "test_jupyter_in_the_browser", "test_workspace")
APART = ("test_lockout_guard", "test_trouble")


def pytest_configure(config: pytest.Config) -> None:
    """One of several processes has its directories where the only one would: a path is not to outgrow a socket's."""
    if hasattr(config, "workerinput"):
        config.option.basetemp = config.option.basetemp.replace("popen-gw", "")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With --dist=loadscope, tests that share a host stay in one process; all others go to whichever is free."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = _stays_together
    return scheduling


def _stays_together(test: str) -> str:
    module = Path(test.partition("::")[0]).stem
    return "workspace" if module in WORKSPACE else test if module in APART else module
