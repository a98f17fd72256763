"""The ways back of guarded changes: real scripts over files of the test's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.python_environments import plugin
from tests.unit.systemd_double import own_files
from tests.unit.test_owned_files import small_files

# Keeps the one table that it is given, in the words that it came in.
NFT_DOUBLE = """\
#!/bin/sh
case "$*" in
    "--file -") tail -n +3 > {kernel};;
    "--file "*) cp "$2" {kernel};;
    *) cat {kernel};;
esac
"""


@dataclass(frozen=True)
class World:
    """A host with a firewall: its modules, its files and the kernel's table."""

    ways: ModuleType
    firewall: ModuleType
    root: Path

    @property
    def rules(self) -> Path:
        return self.root / "firewall.nft"

    @property
    def kernel(self) -> Path:
        return self.root / "kernel"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def text(self, *ports: int) -> str:
        return str(plugin("module_utils.firewall_rules").rules(ports, [], [], []))

    def change(self, way: Any, text: str, lines: Iterable[str] = ()) -> None:
        """Have the rules be `text`, loaded, with the way back armed; nobody proves it."""
        staged = self.root / "staged"
        staged.write_text(text)
        with way.change({self.rules: staged}, [], self.ways.PutBack([*lines], "x.service"), 120):
            self.kernel.write_text(text)

    def lines(self, active: bool = True) -> Any:
        """How the firewall is put back, whose unit boots and is active or not."""
        return self.firewall.put_back_lines(SimpleNamespace(enabled=True, active=active))

    def remove(self, way: Any, lines: Iterable[str]) -> None:
        """Have the firewall go, with the way back armed."""
        with way.change({}, [self.rules, self.firewall.UNIT_FILE], self.ways.PutBack([*lines], "x.service"), 120):
            self.firewall.unload()

    def fire(self, way: Any) -> None:
        """The timer, or a boot."""
        if way.script.exists():
            subprocess.run(["/bin/sh", way.script], check=True)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    ways, firewall = plugin("module_utils.way_back"), plugin("module_utils.firewall_host")
    own_files(monkeypatch, tmp_path / "dlhost")
    programs = tmp_path / "programs"
    for directory in (programs, tmp_path / "units", tmp_path / "dlhost"):
        directory.mkdir()
    world = World(ways, firewall, tmp_path)
    for name, text in {
        "nft": NFT_DOUBLE.format(kernel=world.kernel),
        "systemctl": f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n',
        "systemd-run": "#!/bin/sh\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(ways, "STATE", world.state)
    monkeypatch.setattr(ways, "UNIT_DIRECTORY", tmp_path / "units")
    monkeypatch.setattr(firewall, "NFT", str(programs / "nft"))
    monkeypatch.setattr(firewall, "RULES", world.rules)
    monkeypatch.setattr(firewall, "UNIT_FILE", tmp_path / "units" / "dlhost-firewall.service")
    monkeypatch.setattr(firewall, "AT_BOOT", tmp_path / "units" / "wanted")
    firewall.UNIT_FILE.write_text("")
    world.rules.write_text(world.text(22))
    world.kernel.write_text(world.text(22))
    return world


def serve(monkeypatch: pytest.MonkeyPatch, phase: str, **phases: Any) -> Any:
    """One call of a guarded module, whose phases are given."""
    guarded = plugin("module_utils.guarded_module")

    class EndedError(Exception):
        pass

    def end(**said: Any) -> None:
        raise EndedError(said)

    module = SimpleNamespace(params={"phase": phase}, check_mode=False, exit_json=end, fail_json=end)
    monkeypatch.setattr(guarded, "AnsibleModule", lambda **_specification: module)
    monkeypatch.setattr(guarded.os, "geteuid", lambda: 0)

    def none(_request: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("this phase is not meant to come")

    with pytest.raises(EndedError) as ended:
        guarded.serve({}, guarded.WayBack("x", "x", "x"), **{"plan": none, "apply": none, "confirm": none, **phases})
    return ended.value.args[0]


def test_a_change_that_was_cut_is_taken_back_before_another_role_plans(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(world.ways.FIREWALL_WAY_BACK, world.text(22, 8000), world.lines())
    assert world.ways.is_any_armed()

    def apply(_request: dict[str, Any]) -> dict[str, Any]:
        # sshd moves to 2222, as sshd_config does it.
        assert world.rules.read_text() == world.kernel.read_text() == world.text(22)
        [file] = world.firewall.letting_in([2222])
        world.change(world.ways.SSHD_WAY_BACK, file.content.decode())
        return {"changed": True}

    assert serve(monkeypatch, "apply", apply=apply) == {"changed": True}
    world.ways.SSHD_WAY_BACK.disarm()
    world.fire(world.ways.FIREWALL_WAY_BACK)
    assert world.rules.read_text() == world.kernel.read_text() == world.text(22, 2222)
    assert not world.ways.is_any_armed()
    assert not world.state.exists()


def test_sshds_change_of_the_rules_is_taken_back_before_the_firewall_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(world.ways.SSHD_WAY_BACK, world.text(22, 2222), [f"    {world.firewall.NFT} --file {world.rules}"])

    def apply(_request: dict[str, Any]) -> dict[str, Any]:
        assert world.rules.read_text() == world.kernel.read_text() == world.text(22)
        world.change(world.ways.FIREWALL_WAY_BACK, world.text(22, 443), world.lines())
        return {"changed": True}

    serve(monkeypatch, "apply", apply=apply)
    world.ways.FIREWALL_WAY_BACK.disarm()
    world.fire(world.ways.SSHD_WAY_BACK)
    assert world.rules.read_text() == world.kernel.read_text() == world.text(22, 443)


def test_what_cannot_be_taken_back_ends_the_run_before_it_changes_anything(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(world.ways.FIREWALL_WAY_BACK, world.text(8000), ["    left=yes"])
    assert "could not put back the old firewall" in serve(monkeypatch, "apply")["msg"]
    assert world.ways.FIREWALL_WAY_BACK.is_armed()


def test_no_part_of_the_script_does_anything(world: World, tmp_path: Path) -> None:
    way = world.ways.FIREWALL_WAY_BACK
    world.change(way, world.text(8000), world.lines())
    text = way.script.read_text()
    begins = text.rindex("systemctl daemon-reload")
    for end in range(begins, len(text.rstrip()), 7):
        part = tmp_path / "part"
        part.write_text(text[:end])
        subprocess.run(["/bin/sh", part], check=False, capture_output=True)
        assert way.is_armed()
        assert way.script.exists()
    world.fire(way)
    assert not world.state.exists()


def test_a_full_disk_leaves_no_script_and_changes_nothing(world: World) -> None:
    way = world.ways.FIREWALL_WAY_BACK
    with small_files(), pytest.raises(world.ways.RefusedError, match="The host is as it was"):
        world.change(way, world.text(8000), ["    # a long table"] * 1000)
    assert world.rules.read_text() == world.kernel.read_text() == world.text(22)
    assert not way.script.exists()
    assert not way.is_armed()


def test_rules_that_are_noise_are_the_firewalls_matter(world: World) -> None:
    world.rules.write_bytes(world.text(22).encode() + bytes(range(128, 228)))
    assert world.firewall.letting_in([2222]) == []


def test_a_removal_that_is_taken_back_is_back_after_a_boot_too(world: World) -> None:
    world.firewall.AT_BOOT.symlink_to(world.firewall.UNIT_FILE)
    world.remove(world.ways.FIREWALL_WAY_BACK, world.lines())
    assert not world.firewall.AT_BOOT.is_symlink()
    (world.root / "told").unlink()
    world.fire(world.ways.FIREWALL_WAY_BACK)
    assert world.rules.read_text() == world.kernel.read_text() == world.text(22)
    assert world.firewall.AT_BOOT.readlink() == world.firewall.UNIT_FILE
    assert "start --no-block dlhost-firewall.service" in (world.root / "told").read_text()


def test_a_firewall_without_nft_can_go_and_come_back(world: World) -> None:
    way = world.ways.FIREWALL_WAY_BACK
    Path(world.firewall.NFT).unlink()
    world.remove(way, world.lines(active=False))
    way.take_back()
    assert not way.is_armed()
    assert world.rules.exists()
    world.remove(way, world.lines(active=False))
    way.disarm()
    assert not way.is_armed()
    assert not world.rules.exists()


def staged_record(**roles: str) -> dict[Path, Path]:
    """A record in which each role owns one file, beside its place."""
    owned = plugin("module_utils.owned_files")
    entries = {role: {"files": [path], "packages": [], "installed": []} for role, path in roles.items()}
    return dict(owned.stage([owned.manifest_file(entries)]))


def record(**roles: str) -> None:
    """Have the roles own these and no others anything."""
    plugin("module_utils.owned_files").swap(staged_record(**roles))


def change_of_record(world: World, way: Any, **roles: str) -> None:
    """A change that leaves this record, or none."""
    staged = staged_record(**roles) if roles else {}
    goes = [] if roles else [plugin("module_utils.owned_files").MANIFEST]
    with way.change(staged, goes, world.ways.PutBack([], "x.service"), 120):
        pass


def files_of_roles() -> dict[str, list[str]]:
    return {role: owned["files"] for role, owned in plugin("module_utils.owned_files").read_manifest().items()}


def test_a_way_back_forgets_nothing_that_other_roles_have_recorded_meanwhile(world: World) -> None:
    way = world.ways.FIREWALL_WAY_BACK
    record(firewall="/a", tls="/t")
    change_of_record(world, way, firewall="/b", tls="/t")
    record(firewall="/b", tls="/u", vnc="/v")
    world.fire(way)
    assert files_of_roles() == {"firewall": ["/a"], "tls": ["/u"], "vnc": ["/v"]}


def test_a_role_that_owned_nothing_owns_nothing_again(world: World) -> None:
    way = world.ways.FIREWALL_WAY_BACK
    change_of_record(world, way, firewall="/b")
    world.fire(way)
    assert not (world.root / "dlhost").exists()


def test_a_record_that_went_with_the_last_file_comes_back_as_it_was(world: World) -> None:
    way, place = world.ways.FIREWALL_WAY_BACK, plugin("module_utils.owned_files").MANIFEST
    record(firewall="/a")
    before = place.read_bytes(), place.stat().st_mode
    change_of_record(world, way)
    assert not place.exists()
    world.fire(way)
    assert (place.read_bytes(), place.stat().st_mode) == before


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"roles": []}'])
def test_a_damaged_record_is_for_the_next_run_to_name(world: World, damage: str) -> None:
    way, place = world.ways.FIREWALL_WAY_BACK, plugin("module_utils.owned_files").MANIFEST
    record(firewall="/a")
    change_of_record(world, way, firewall="/b")
    place.write_text(damage)
    world.fire(way)
    assert place.read_text() == damage
    assert not way.is_armed()


def test_the_timer_and_a_run_put_back_one_after_the_other(world: World) -> None:
    way, told = world.ways.FIREWALL_WAY_BACK, world.root / "order"
    world.change(way, world.text(8000), [f"    echo begins >> {told}; sleep 0.5; echo ends >> {told}"])
    timer = subprocess.Popen(["/bin/sh", way.script])
    while not told.exists():
        assert timer.poll() is None
    way.take_back()
    assert told.read_text().split() == ["begins", "ends"]
    assert timer.wait() == 0
    # The timer's script may be at its last lines yet, which would take the next change's way back along.
    assert "stop dlhost-firewall-revert.service" in (world.root / "told").read_text().splitlines()
