"""A package source before it is in place: its key, its signature, and what this machine's own apt makes of it."""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.apt_host import NEEDS_APT, PLUGINS, AptHost, double_key, signed_repository

pytestmark = NEEDS_APT


class Source:
    """Role `test` on a host, with the double's repository in a directory as its source."""

    def __init__(self, host: AptHost, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = host
        self.repository = host.root / "srv" / "repo"
        self.repository.mkdir(parents=True)
        signed_repository(self.repository, double_key())
        self.module: Any = importlib.import_module(f"{PLUGINS}.modules.apt_source")
        monkeypatch.setattr(self.module, "TRUSTED", host.root / "etc/apt")
        self.key = host.root / "etc/apt/keyrings/test.asc"
        self.file = host.root / "etc/apt/sources.list.d/test.sources"

    def run(self, *, check: bool = False, key: Any = None, where: str = "", **request: Any) -> dict[str, Any]:
        uri = where or f"file:{self.repository}/"
        content = f"Types: deb\nURIs: {uri}\nSuites: /\nSigned-By: {self.key}\n"
        file = {"mode": "0644", "owner": "root", "group": "root", "validate": None, "sensitive": False}
        asked = {
            "role": "test",
            "files": [{**file, "path": str(self.file), "content": content}],
            "key": {
                "path": str(self.key),
                "text": "",
                "urls": [f"{uri}absent.pub", f"{uri}key.pub"],
                "fingerprints": [double_key().fingerprint],
                **(key or {}),
            },
            "supersedes": [],
            "has": [],
            "retired": [],
            "prove": False,
            "priorities_of": [],
            "state": "present",
            **request,
        }
        answer: dict[str, Any] = self.module.converge(asked, check)
        return answer

    def refusal(self, **request: Any) -> str:
        """Why it is refused; nothing of it is on the host then."""
        with pytest.raises(self.module.RefusedError) as refused:
            self.run(**request)
        assert not self.file.exists()
        assert not self.key.exists()
        assert not (self.host.root / "etc/dlhost").exists()
        return str(refused.value)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(AptHost(tmp_path / "host", monkeypatch), monkeypatch)


def inodes(root: Path) -> dict[str, int]:
    return {str(path): os.lstat(path).st_ctime_ns for path in root.rglob("*")}


def test_a_source_comes_with_its_key_and_goes_with_it(source: Source) -> None:
    assert source.run()["changed_paths"][:2] == [str(source.file), str(source.key)]
    assert source.key.read_text() == double_key().public()
    # The lists are there for who comes next.
    assert "580.126.20-1" in source.host.run("apt-cache", "madison", "nvidia-open")
    assert not source.run()["changed"]
    source.run(state="absent", files=[])
    assert not source.key.exists()
    assert not source.run(state="absent", files=[])["changed"]


def test_a_dry_run_tries_it_and_leaves_no_trace(source: Source) -> None:
    before = inodes(source.host.root)
    answer = source.run(check=True)
    assert answer["changed"]
    assert "dlhost_undetermined" not in answer
    assert inodes(source.host.root) == before


def test_a_repository_that_somebody_else_signs_is_refused(source: Source) -> None:
    signed_repository(source.repository, double_key("Somebody else"))
    said = source.refusal(key={"text": double_key().public()})
    assert said == (
        f"The repository file:{source.repository} is not signed by its key {double_key().fingerprint}; it is not used."
    )
    with contextlib.suppress(source.module.RefusedError):
        source.run(check=True, key={"text": double_key().public()})
        pytest.fail("A dry run has to refuse it too.")


def test_lists_that_were_changed_are_refused(source: Source) -> None:
    (source.repository / "Packages.gz").unlink()
    (source.repository / "Packages").write_text("Package: nvidia-open\nVersion: 666\n")
    assert "differ from those that it signed" in source.refusal()


@pytest.mark.parametrize("text", [True, False])
def test_a_key_with_another_fingerprint_is_refused(source: Source, text: bool) -> None:
    other = double_key("Somebody else")
    (source.repository / "key.pub").write_text(other.public())
    said = source.refusal(key={"text": other.public()} if text else {})
    assert f"should have the fingerprint {double_key().fingerprint}, and has {other.fingerprint};" in said


def test_a_second_key_in_the_file_is_refused(source: Source) -> None:
    both = double_key().public() + double_key("Somebody else").public()
    assert " and " in source.refusal(key={"text": both})


def test_of_a_file_with_several_keys_the_wanted_one_is_taken(source: Source) -> None:
    (source.repository / "key.pub").write_text(double_key("Somebody else").public() + double_key().public())

    source.run()

    keys = source.module.openpgp_keyring.keys(source.key.read_bytes())
    assert [key.fingerprint for key in keys] == [double_key().fingerprint]
    assert not source.run()["changed"]


@pytest.mark.parametrize("wish", ["nvidia-open", "nvidia-open=580.*"])
def test_a_package_that_it_must_have_is_there(source: Source, wish: str) -> None:
    assert source.run(has=[wish])["changed"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [("nvidia-open=999.*", "it has 610"), ("nvidia-closed", "it has none of that name for this host; it is not used.")],
)
def test_a_repository_that_lacks_a_package_is_refused(source: Source, wish: str, words: str) -> None:
    assert source.refusal(has=["nvidia-open", wish]).startswith(
        f"The repository file:{source.repository} has no {wish}: {words}"
    )
    assert "has no" in source.run(has=[wish], check=True, prove=True)["trouble"]


def test_what_is_no_key_is_refused(source: Source) -> None:
    (source.repository / "key.pub").write_text("<html>Please log in</html>")
    assert "and has none, since it is neither armoured nor binary;" in source.refusal()


@pytest.mark.parametrize("given", [True, False])
def test_a_server_that_does_not_answer_is_refused_and_not_known_to_a_dry_run(source: Source, given: bool) -> None:
    key = {"text": double_key().public()} if given else {}
    nowhere = "http://127.0.0.1:9/repo/"
    said = source.refusal(where=nowhere, key=key)
    assert said.startswith(nowhere)
    assert " cannot be had: " in said
    answer = source.run(where=nowhere, key=key, check=True)
    assert answer["changed"]
    assert answer["dlhost_undetermined"].startswith("whether apt gets on with the source: http://127.0.0.1:9")


def test_a_directory_without_a_key_is_refused(source: Source) -> None:
    (source.repository / "key.pub").unlink()
    assert source.refusal().startswith(f"There is no key at file:{source.repository}/absent.pub or ")


def test_a_key_that_was_swapped_is_fetched_anew(source: Source) -> None:
    source.run()
    source.key.write_text(double_key("Somebody else").public())
    assert source.run()["changed_paths"] == [str(source.key)]
    assert source.key.read_text() == double_key().public()


def test_what_is_there_is_proved_without_a_failure(source: Source) -> None:
    source.run()
    answer = source.run(check=True, prove=True, priorities_of=["nvidia-open"])
    assert (answer["changed"], answer["trouble"]) == (False, "")
    assert answer["priorities"]["nvidia-open"]["580.95.05-1"] == 500
    signed_repository(source.repository, double_key("Somebody else"))
    assert "is not signed" in source.run(check=True, prove=True)["trouble"]


def test_a_file_that_is_taken_over_is_gone(source: Source) -> None:
    old = source.host.root / "etc/apt/sources.list.d/cuda.list"
    old.write_text("deb [signed-by=/usr/share/keyrings/old.gpg] http://127.0.0.1:9/repo /\n")
    answer = source.run(supersedes=[str(old)])
    assert str(old) in answer["changed_paths"]
    assert not old.exists()


@pytest.mark.parametrize("name", ["trusted.gpg", "trusted.gpg.d/old.asc"])
def test_a_retired_key_is_taken_out_of_what_apt_trusts(source: Source, name: str) -> None:
    keyring = importlib.import_module(f"{PLUGINS}.module_utils.openpgp_keyring")
    retired, kept = double_key("Retired"), double_key("Somebody else")
    path = source.host.root / "etc/apt" / name
    [old], [other] = (keyring.keys(key.public().encode()) for key in (retired, kept))
    packets = old.packets + other.packets
    path.write_bytes(keyring.armoured(packets).encode() if path.suffix == ".asc" else packets)

    assert source.run(check=True, retired=[retired.fingerprint])["retired"] == [str(path)]
    source.run(retired=[retired.fingerprint])
    assert [key.fingerprint for key in keyring.keys(path.read_bytes())] == [kept.fingerprint]

    path.write_bytes(old.packets)
    source.run(retired=[retired.fingerprint])
    assert not path.exists()


@pytest.mark.usefixtures("source")
def test_a_keyring_is_read_as_gnupg_reads_it() -> None:
    keyring = importlib.import_module(f"{PLUGINS}.module_utils.openpgp_keyring")
    archive = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if archive.exists():
        # "Debian Archive Automatic Signing Key (12/bookworm)", in packets that GnuPG wrote.
        found = {key.fingerprint for key in keyring.keys(archive.read_bytes())}
        assert "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8" in found
    [key] = keyring.keys(double_key().public().encode())
    assert key.fingerprint == double_key().fingerprint
    with pytest.raises(keyring.KeyringError, match="breaks off"):
        keyring.keys(key.packets[:-1])
