"""What all tests share."""

import signal

import pytest

# Tests press Ctrl-C. A shell that starts them in the background has them ignore it, and all that they start with them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """One of several processes has its directories where the only one would: a path is not to outgrow a socket's."""
    if hasattr(config, "workerinput"):
        config.option.basetemp = config.option.basetemp.replace("popen-gw", "")
