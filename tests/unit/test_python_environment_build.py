"""Environments made for real, by this machine's Python and pip, from an index that can be told to fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.python_environments import (
    ALPHA,
    ALPHA_2,
    BETA,
    LOCK,
    NEWER_LOCK,
    NO_INDEX,
    Host,
    Index,
    Wheel,
    plugin,
    serve,
)


@pytest.fixture(autouse=True)
def _no_other_pip_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    # Honoured, as every variable of pip is; and no test waits for a second try.
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr("os.sync", lambda: None)


@pytest.fixture
def index() -> Iterator[Index]:
    with serve(ALPHA, ALPHA_2, BETA) as served:
        yield served


@pytest.fixture
def host(tmp_path: Path, index: Index) -> Host:
    return Host(tmp_path / "opt" / "server", index.url)


def says(host: Host) -> str:
    """What alpha's command prints."""
    return subprocess.run([host.path / "bin" / "alpha"], capture_output=True, text=True, check=True).stdout.strip()


def test_it_holds_what_the_lock_says_for_everybody_to_read(host: Host, index: Index) -> None:
    host.converge()

    assert host.holds() == ["alpha-1.0", "beta-1.0"]
    assert says(host) == "1.0"
    paths = [path for path in host.path.resolve().rglob("*") if not path.is_symlink()]
    assert {path.stat().st_mode & 0o077 for path in paths} == {0o055, 0o044}
    # Nobody who runs it could write the bytecode.
    assert list(host.site.glob("alpha/__pycache__/__init__.*.pyc"))

    index.status, before = 503, len(index.served)
    assert not host.converge()["changed"]
    assert len(index.served) == before


def test_an_index_that_is_gone_in_mid_install_leaves_the_present_one_and_the_next_run_finishes(
    host: Host, index: Index
) -> None:
    host.converge(ALPHA.pin())
    before, index.gone_after = host.beside(), ALPHA_2.file

    said = host.refuse(NEWER_LOCK)

    assert said.startswith("The package index does not answer (too many 503 error responses). The environment is as ")
    assert says(host) == "1.0"
    assert host.beside() == sorted([".server-downloads", *before])

    index.status, index.gone_after = 200, ""
    host.converge(NEWER_LOCK)
    assert says(host) == "2.0"
    # What was fetched before was kept till now.
    assert index.served.count(ALPHA_2.file) == 1
    assert ".server-downloads" not in host.beside()


def test_a_file_that_breaks_off_is_not_taken_for_whole(host: Host, index: Index) -> None:
    index.breaks_off = BETA.file

    # As pip says it since 25.1, and before.
    assert host.refuse().startswith(
        ("The package index does not answer (", "What the index serves as beta==1.0 is not")
    )

    index.status, index.breaks_off = 200, ""
    host.converge()
    assert host.holds() == ["alpha-1.0", "beta-1.0"]


def test_the_proxy_of_the_hosts_environment_is_taken(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "environment"
    monkeypatch.setattr(plugin("module_utils.host_proxies"), "FILE", file)
    file.write_text("http_proxy=http://127.0.0.1:9\n")
    assert "does not answer through the proxy (" in host.refuse()

    file.write_text("http_proxy=http://127.0.0.1:9\nno_proxy=127.0.0.1\n")
    assert host.converge()["changed"]


def test_an_index_where_nobody_listens_is_said(host: Host) -> None:
    host.index_url = NO_INDEX

    assert host.refuse() == (
        "The package index does not answer (Connection refused). The environment is as it was, and what was fetched is "
        "kept; run again when it does."
    )


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        pytest.param(
            ALPHA.pin(digest="0" * 64), "What the index serves as alpha==1.0 is not what the lock allows", id="hash"
        ),
        pytest.param(Wheel("gamma", "1.0").pin(), "The package index has no file of gamma==1.0 that", id="no file"),
        pytest.param(BETA.pin(), "The lock is not complete: beta 1.0 requires alpha, which is", id="incomplete"),
    ],
)
def test_a_lock_that_cannot_be_installed_leaves_nothing(host: Host, lock: str, said: str) -> None:
    assert host.refuse(lock).startswith(said)
    assert host.beside() == []


def test_a_directory_of_wheels_does_without_an_index(host: Host, tmp_path: Path) -> None:
    for wheel in (ALPHA, BETA):
        (tmp_path / wheel.file).write_bytes(wheel.content)

    host.converge(LOCK, pip_options={"no_index": True, "find_links": [str(tmp_path)]})

    assert says(host) == "1.0"
