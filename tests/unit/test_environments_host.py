"""What a host is asked about its environments, by this machine's own shell: what it offers, and what it has."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from pathlib import Path

import pytest

from dlhost.adapters import environments, openssh
from dlhost.errors import UnreachableError
from dlhost.values.environments import HostState, Installed, on_host
from dlhost.values.inventory import Connection, Host
from dlhost.values.preflight import Contact
from tests.unit.test_conda_lock import lock, package, pin

HERE = Host("here", (), Connection(transport="local"))
NOWHERE = Host("nowhere", (), Connection(address="127.0.0.1", port=9))


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A place of environments: lab is in use, made before it another, and beside it one that is not finished."""
    prefix = tmp_path / "it's conda"
    made = prefix / "envs" / "lab-0123456789ab"
    site = made / "lib" / "python3.12" / "site-packages"
    for name, installer in {"alpha-1.0": "uv", "Be_ta.x-2.0": "pip", "answer-2.0": "conda", "bare-1.0": ""}.items():
        (site / f"{name}.dist-info").mkdir(parents=True)
        if installer:
            (site / f"{name}.dist-info" / "INSTALLER").write_text(f"{installer}\n")
    (made / "conda-meta").mkdir()
    for name, sums in {"answer-2.0-0": {"md5": "12"}, "py-thing-1.0-py312_0": {"sha256": "34"}}.items():
        said = {"url": f"https://conda.example/{name}.conda", **sums}
        (made / "conda-meta" / f"{name}.json").write_text(json.dumps(said))
    (made / "conda-meta" / "history").touch()
    (prefix / "envs" / "lab-ba9876543210").mkdir()
    (prefix / "envs" / "lab").symlink_to(made.name)
    (prefix / "envs" / "gone").symlink_to("gone-0123456789ab")
    return prefix


LAB = Installed(
    "lab", "0123456789ab", {"answer": "2.0 0", "py-thing": "1.0 py312_0"}, {"alpha": "1.0", "be-ta-x": "2.0"}
)


def test_a_host_has_what_is_in_use_with_conda_s_and_pip_s_parts(prefix: Path, tmp_path: Path) -> None:
    found = environments.installed(HERE, tmp_path, str(prefix), urls=False)
    assert (found.error, found.installed) == ("", {"lab": LAB})


def test_an_environment_that_was_repaired_is_known_by_its_lock_as_before(prefix: Path, tmp_path: Path) -> None:
    (prefix / "envs" / "lab").unlink()
    (prefix / "envs" / "lab-0123456789ab").rename(prefix / "envs" / "lab-0123456789ab-2")
    (prefix / "envs" / "lab").symlink_to("lab-0123456789ab-2")
    assert environments.installed(HERE, tmp_path, str(prefix), urls=False).installed == {"lab": LAB}


def test_where_packages_came_from_is_told_when_it_is_asked_for(prefix: Path, tmp_path: Path) -> None:
    found = environments.installed(HERE, tmp_path, str(prefix), urls=True)
    assert found.installed["lab"].urls == {
        "answer": "https://conda.example/answer-2.0-0.conda#12",
        "py-thing": "https://conda.example/py-thing-1.0-py312_0.conda#sha256:34",
    }


def test_a_host_without_any_has_none(tmp_path: Path) -> None:
    found = environments.installed(HERE, tmp_path, str(tmp_path / "nothing"), urls=False)
    assert (found.error, dict(found.installed)) == ("", {})


def test_a_damaged_file_of_conda_is_told_as_one_sentence(prefix: Path, tmp_path: Path) -> None:
    (prefix / "envs" / "lab" / "conda-meta" / "answer-2.0-0.json").write_text("{")
    found = environments.installed(HERE, tmp_path, str(prefix), urls=True)
    assert found.error == f"does not say which environments are in {prefix}"


@pytest.mark.parametrize("foreign", ["lab", "miniforge3", "lab-", "lab-{digest[0]}"])
def test_what_another_made_is_in_sync_with_no_lock(prefix: Path, tmp_path: Path, foreign: str) -> None:
    made = prefix / "envs" / "lab-0123456789ab"
    packages = [dataclasses.replace(package("answer", "2.0"), build="0")]
    packages += [dataclasses.replace(package("py-thing"), build="py312_0")]
    locked = lock(*packages, pip=pin("alpha") + pin("be-ta-x", "2.0"))
    other = tmp_path / foreign.format(digest=locked.digest)
    made.rename(other)
    (prefix / "envs" / "lab").unlink()
    (prefix / "envs" / "lab").symlink_to(other)
    on = on_host(locked, environments.installed(HERE, tmp_path, str(prefix), urls=False), "lab")
    assert (on.state, on.changes) == (HostState.OTHER, ())


def test_a_host_that_does_not_answer_is_no_host_without_environments(tmp_path: Path) -> None:
    assert environments.installed(NOWHERE, tmp_path, "/opt", urls=False).error
    with pytest.raises(UnreachableError, match="nowhere "):
        environments.look(NOWHERE, tmp_path, "")


def test_a_host_that_is_not_trusted_yet_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = openssh.Answer(Contact.UNTRUSTED, "is not trusted yet")
    monkeypatch.setattr(openssh, "ask", lambda *_: stranger)
    way_out = "is not trusted yet; `dlhost doctor` tells how to trust it"
    assert environments.installed(NOWHERE, tmp_path, "/opt", urls=False).error == way_out
    with pytest.raises(UnreachableError, match=re.escape(f"nowhere {way_out}.")):
        environments.look(NOWHERE, tmp_path, "")


def test_what_a_host_offers_is_asked_of_the_host(tmp_path: Path) -> None:
    found = environments.look(HERE, tmp_path, "580")
    assert (found.host, found.machine, found.kernel) == ("here", platform.machine(), platform.release())
    assert found.glibc == platform.libc_ver()[1]
    assert bool(found.driver) == bool(found.cards)


def test_a_host_is_held_against_the_lock(tmp_path: Path, prefix: Path) -> None:
    found = environments.installed(HERE, tmp_path, str(prefix), urls=False)
    locked = lock(package("answer", "2.0"), pip=pin("alpha"))
    on = on_host(locked, found, "lab")
    assert on.state is HostState.OTHER
    assert [(change.name, change.old, change.new) for change in on.changes] == [
        ("answer", "2.0 h0_0", "2.0 0"),
        ("py-thing", "", "1.0 py312_0"),
        ("be-ta-x", "", "2.0"),
    ]
    assert on_host(locked, found, "other").state is HostState.ABSENT
