"""env lock, list, diff, freeze, rollback: the command line over the real solver and the real uv; hosts are values."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from dlhost.adapters import pip_resolver, vault
from dlhost.errors import ExitCode, RefusedError, UnreachableError
from dlhost.operations import environments as operation
from dlhost.values.environments import HostEnvironments, HostLook, Installed, target
from dlhost.values.inventory import Host
from tests.unit.conda_world import add, channel, look
from tests.unit.python_environments import Wheel, plugin, serve
from tests.unit.test_conda_lock import pin
from tests.unit.world import World, write

DEFAULTS = """
    conda_state: present
    conda_environments: []
    conda_channels: [conda-forge]
    conda_pip_options: {}
    conda_locks: "{{ inventory_dir }}"
    conda_prefix: /opt/dlhost/conda
    conda_base: false
    conda_kernel_pip: []
    """
SPECS = """
    argument_specs:
      main:
        short_description: Environments
        options: {conda_environments: {type: list, elements: dict, description: Environments.}}
    """
DRIVER_SPECS = """
    argument_specs:
      main:
        short_description: The driver
        options: {nvidia_driver_branch: {type: str, description: Branch.}}
    """
HOSTS = """
    all:
      hosts:
        alpha: {ansible_host: 192.0.2.1}
        beta: {ansible_host: 192.0.2.2}
        gamma: {ansible_host: 192.0.2.3}
      children:
        workspace: {hosts: {alpha: , beta: }}
    """
LAB = {"name": "lab", "python": "3.12", "conda": ["answer"], "pip": ["alpha"]}
RTX_4090, GTX_1070 = ("2684", "RTX 4090"), ("1b81", "GTX 1070")


@dataclass
class Rig:
    """An inventory with a channel and wheels of its own, and what its hosts would say."""

    world: World
    root: Path
    looks: dict[str, HostLook] = field(default_factory=dict)
    there: dict[str, HostEnvironments] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    drivers: dict[str, str] = field(default_factory=dict)
    prefixes: set[str] = field(default_factory=set)
    torch: str = ""

    def declare(self, *environments: dict[str, Any], group: str = "workspace", **variables: Any) -> None:
        settings = {
            "conda_environments": list(environments),
            "conda_channels": [self.channel.as_uri()],
            "conda_pip_options": {"no_index": True, "find_links": [str(self.wheels)]},
            **variables,
        }
        write(Path(f"inventories/rig/group_vars/{group}/conda.yml"), json.dumps(settings))

    @property
    def channel(self) -> Path:
        return self.root / "channel"

    @property
    def wheels(self) -> Path:
        return self.root / "wheels"

    def bring(self, *wheels: Wheel) -> None:
        self.wheels.mkdir(exist_ok=True)
        for wheel in wheels:
            (self.wheels / wheel.file).write_bytes(wheel.content)

    def lock_file(self, name: str = "lab", *, previous: bool = False) -> Path:
        file = plugin("plugin_utils.conda_lock").file_name(name, previous)
        return Path("inventories/rig").absolute() / str(file)

    def lock(self, name: str = "lab") -> Any:
        return plugin("plugin_utils.conda_lock").parse(self.lock_file(name).read_text(), name)

    def versions(self, name: str = "lab") -> dict[str, str]:
        lock = self.lock(name)
        return {each.name: each.version for each in (*lock.conda, *lock.pins)}

    def look(self, host: Host, _sockets: Path, planned_driver: str) -> HostLook:
        self.asked.append(host.name)
        self.drivers[host.name] = planned_driver
        if host.name in self.lost:
            raise UnreachableError(f"{host.name} does not answer.")
        return self.looks.get(host.name) or look(host.name)

    def installed(self, host: Host, _sockets: Path, prefix: str, _urls: bool) -> HostEnvironments:
        self.prefixes.add(prefix)
        return self.there.get(host.name) or HostEnvironments(host.name)

    def pytorch_index_double(self, question: pip_resolver.Question) -> str:
        """PyTorch's own index, which no test can ask: it has torch in one version."""
        assert question.index.startswith("https://download.pytorch.org/whl/")
        return pin("torch", self.torch)

    def install(self, *hosts: str, name: str = "lab", lock: str = "", **other: str | None) -> None:
        """Let hosts have what is locked, but for versions of single packages; None for a package that is gone."""
        locked = self.lock(name)
        conda = {each.name: f"{each.version} {each.build}" for each in locked.conda}
        pip = {pin.name: pin.version for pin in locked.pins}
        for package, version in other.items():
            part = conda if package in conda else pip
            part.pop(package, None)
            if version is not None:
                part[package] = version
        urls = {each.name: f"{each.url}#{each.md5}" for each in locked.conda}
        for host in hosts:
            made = Installed(name, lock or locked.digest[:12], conda, pip, urls)
            self.there[host] = HostEnvironments(host, {name: made})

    def __call__(self, *arguments: str) -> Result:
        with self.world.monkeypatch.context() as patch:
            fakes = partial(
                operation.Outside,
                look=self.look,
                installed=self.installed,
                close_connections=lambda _hosts, _at: None,
                resolve=self.pytorch_index_double if self.torch else pip_resolver.resolve,
            )
            patch.setattr("dlhost.operations.environments.Outside", fakes)
            return self.world("env", arguments[0], "-i", "rig", *arguments[1:])

    def document(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)


@pytest.fixture
def rig(world: World, tmp_path: Path) -> Rig:
    """Two hosts with environments, and one without."""
    write(Path("inventories/rig/hosts.yml"), HOSTS)
    content = tmp_path / "content"
    write(content / "roles/conda/defaults/main.yml", DEFAULTS)
    write(content / "roles/conda/meta/argument_specs.yml", SPECS)
    write(content / "roles/nvidia_driver/defaults/main.yml", 'nvidia_driver_branch: "580"\n')
    write(content / "roles/nvidia_driver/meta/argument_specs.yml", DRIVER_SPECS)

    def write_content(root: Path) -> Path:
        from tests.unit import world as small

        small.write_content(root)
        play = "- name: Play\n  hosts: workspace\n  roles:\n    - role: dlhost.host.nvidia_driver\n"
        play += "    - role: dlhost.host.conda\n"
        site = root / "playbooks" / "site.yml"
        write(root / "playbooks" / "workspace.yml", play)
        site.write_text(f"{site.read_text()}- ansible.builtin.import_playbook: dlhost.host.workspace\n")
        return root

    world.monkeypatch.setattr("dlhost.adapters.content.content_root", lambda: write_content(content))
    made = Rig(world, tmp_path)
    channel(made.channel, "3.11.2", "3.12.4")
    made.bring(Wheel("alpha", "1.0", ("beta",)), Wheel("beta", "1.0"), Wheel("ipykernel", "7.0"))
    made.declare(LAB)
    return made


# lock


def test_an_environment_is_locked_for_the_hosts_that_get_it(rig: Rig) -> None:
    rig.looks = {"beta": look("beta", glibc="2.35", kernel="5.15.0-100-generic")}
    result = rig("lock")
    assert result.exit_code == ExitCode.DONE
    assert rig.asked == ["alpha", "beta"] or rig.asked == ["beta", "alpha"]
    assert rig.versions() == {
        "answer": "2.0",
        "libanswer": "2.0",
        "python": "3.12.4",
        "alpha": "1.0",
        "beta": "1.0",
        "ipykernel": "7.0",
    }
    lock = rig.lock()
    assert lock.virtual_packages == {"__glibc": "2.35", "__linux": "5.15"}
    assert (lock.environment, lock.platform, lock.channels) == ("lab", "linux-64", (f"{rig.channel.as_uri()}/",))
    assert "lab: new: 6 packages for alpha, beta (__glibc=2.35 __linux=5.15)" in result.stdout
    assert "dlhost provision -i rig --roles conda" in result.stdout


def test_a_second_lock_changes_nothing_and_keeps_versions(rig: Rig) -> None:
    rig("lock")
    before = rig.lock_file().read_text()
    add(rig.channel, "libanswer", "2.1")
    rig.bring(Wheel("beta", "2.0"))
    assert rig.document("lock")["environments"][0]["state"] == "unchanged"
    assert rig.lock_file().read_text() == before
    assert not rig.lock_file(previous=True).exists()


@pytest.mark.parametrize("newer", [{"kernel": "6.1.158-1-amd64"}, {"kernel": "6.12.48", "glibc": "2.41"}])
def test_hosts_that_offer_more_than_before_change_no_lock_that_fits(rig: Rig, newer: dict[str, str]) -> None:
    rig("lock")
    before = rig.lock_file().read_text()
    rig.looks = {host: look(host, **newer) for host in ("alpha", "beta")}
    assert rig.document("lock")["environments"][0]["state"] == "unchanged"
    assert rig.lock_file().read_text() == before


def test_packages_that_only_newer_hosts_run_are_locked_for_those(rig: Rig) -> None:
    rig.declare({"name": "lab", "conda": ["libanswer"], "kernel": False})
    rig("lock")
    add(rig.channel, "libanswer", "2.1", depends=("__glibc >=2.40",))
    rig.looks = {host: look(host, glibc="2.41") for host in ("alpha", "beta")}
    rig("lock", "--upgrade")
    assert (rig.versions()["libanswer"], rig.lock().virtual_packages["__glibc"]) == ("2.1", "2.41")


def test_hosts_that_offer_less_than_before_are_locked_for(rig: Rig) -> None:
    rig("lock")
    rig.looks = {"beta": look("beta", kernel="4.19.0-27-amd64")}
    assert rig.document("lock")["environments"][0]["state"] == "changed"
    assert rig.lock().virtual_packages["__linux"] == "4.19"


def test_ansible_has_nothing_to_say_about_locks_in_its_inventory(rig: Rig) -> None:
    rig("lock")
    rig.declare({**LAB, "conda": ["greeter"]})
    rig("lock")
    assert rig.lock_file(previous=True).exists()
    result = rig("list")
    assert result.exit_code == ExitCode.DONE
    assert result.stderr == ""


def test_an_upgrade_takes_the_newest_and_says_what_changes(rig: Rig) -> None:
    rig.declare({**LAB, "conda": ["libanswer"]})
    rig("lock")
    before = rig.lock_file().read_text()
    add(rig.channel, "libanswer", "2.1")
    rig.bring(Wheel("beta", "2.0"))
    result = rig("lock", "--upgrade")
    assert "  ~ libanswer 2.0 0 -> 2.1 0\n" in result.stdout
    assert "  ~ beta (pip) 1.0 -> 2.0\n" in result.stdout
    assert rig.lock_file(previous=True).read_text() == before


def test_a_changed_declaration_is_a_new_lock_with_as_little_change_as_it_takes(rig: Rig) -> None:
    rig("lock")
    add(rig.channel, "libanswer", "2.1")
    rig.declare({**LAB, "conda": ["answer", "greeter"]})
    [one] = rig.document("lock")["environments"]
    assert [(change["name"], change["old"]) for change in one["changes"]] == [("greeter", "")]
    assert rig.lock().declared == plugin("plugin_utils.conda_lock").declared({**LAB, "conda": ["answer", "greeter"]})


def test_only_what_is_named_is_locked(rig: Rig) -> None:
    rig.declare(LAB, {"name": "other", "conda": ["greeter"], "kernel": False})
    rig("lock", "other")
    assert rig.lock_file("other").exists() and not rig.lock_file().exists()


def test_what_has_no_solution_leaves_all_locks_as_they_were(rig: Rig) -> None:
    rig.declare(LAB, {"name": "other", "conda": ["nowhere"], "kernel": False})
    result = rig("lock")
    assert result.exit_code == ExitCode.REFUSED
    assert "Environment other has no solution" in result.stderr
    assert not rig.lock_file().exists()
    assert not [*rig.lock_file().parent.glob("*environment*")]


def test_a_lock_that_cannot_be_written_leaves_all_as_they_were(rig: Rig) -> None:
    rig.declare(LAB, {"name": "other", "conda": ["greeter"], "kernel": False})
    rig.lock_file("other").mkdir(parents=True)
    result = rig("lock", "lab", "other")
    assert result.exit_code == ExitCode.REFUSED
    assert "environment-other.lock.txt cannot be written" in result.stderr
    assert [*rig.lock_file().parent.glob("*.lock*")] == [rig.lock_file("other")]
    assert not [*rig.lock_file().parent.glob(".*.writing")]


def test_a_lock_that_is_a_link_stays_one(rig: Rig) -> None:
    rig("lock")
    kept = rig.lock_file().rename(rig.root / "kept elsewhere")
    rig.lock_file().symlink_to(kept)
    rig.declare({**LAB, "conda": ["greeter"]})
    assert rig("lock").exit_code == ExitCode.DONE
    assert rig.lock_file().is_symlink() and "greeter" in kept.read_text()
    assert sorted(path.name for path in rig.root.glob(".*.writing")) == []


def test_a_host_that_does_not_answer_is_told_before_anything_is_solved(rig: Rig) -> None:
    rig.lost = {"beta"}
    result = rig("lock")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (ExitCode.UNREACHABLE, "beta does not answer.")
    assert not rig.lock_file().exists()


def test_a_damaged_lock_is_made_anew(rig: Rig) -> None:
    rig("lock")
    good = rig.lock_file().read_text()
    rig.lock_file().write_text("version: [")
    result = rig("lock")
    assert "lab: new: " in result.stdout and "environment-lab.lock.txt cannot be used as it is" in result.stderr
    assert "dlhost env lock" not in result.stderr
    assert rig.lock_file().read_text() == good


def test_builds_are_chosen_by_what_all_hosts_have(rig: Rig) -> None:
    rig.declare({"name": "lab", "conda": ["accel"], "kernel": False})
    rig.looks = {name: look(name, cards=(RTX_4090,), driver="580.95.05") for name in ("alpha", "beta")}
    rig("lock")
    assert (rig.lock().conda[0].build, rig.lock().virtual_packages["__cuda"]) == ("cuda_0", "13.0")
    rig.looks.pop("beta")
    rig("lock")
    assert (rig.lock().conda[0].build, "__cuda" in rig.lock().virtual_packages) == ("cpu_0", False)


def test_a_kind_has_the_wheels_for_the_hosts_cards(rig: Rig) -> None:
    rig.declare({"name": "lab", "kind": "jax", "kernel": False})
    rig.bring(Wheel("jax", "0.12.1"))
    rig.looks = {name: look(name, cards=(GTX_1070,), driver="580.95.05") for name in ("alpha", "beta")}
    result = rig("lock")
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert (rig.lock().wheels, rig.versions()["jax"]) == ("cuda12", "0.12.1")
    assert "wheels for cuda12" in result.stdout


def test_a_framework_of_its_own_index_is_taken_from_there_alone(rig: Rig) -> None:
    rig.declare({"name": "lab", "kind": "pytorch"})
    rig.looks = {name: look(name, cards=(GTX_1070,), driver="580.95.05") for name in ("alpha", "beta")}
    rig.torch = "2.14.0"
    result = rig("lock")
    assert result.exit_code == ExitCode.REFUSED
    assert "https://download.pytorch.org/whl/cu126 has no torch for cu126" in result.stderr
    rig.torch = "2.14.0+cu126"
    assert rig("lock").exit_code == ExitCode.DONE
    assert rig.lock().wheels == "cu126"


def test_hosts_that_no_one_environment_serves_are_named(rig: Rig) -> None:
    rig.declare({"name": "lab", "kind": "pytorch"})
    rig.looks = {"alpha": look("alpha", cards=(GTX_1070,), driver="580.95.05")}
    result = rig("lock")
    assert result.exit_code == ExitCode.REFUSED
    assert "for alpha with GPUs and for beta without" in result.stderr


UNFIT: list[Any] = [
    pytest.param({"beta": {"machine": "aarch64"}}, "beta is aarch64, alpha is x86_64", id="two architectures"),
    pytest.param({"alpha": {"machine": "riscv64"}, "beta": {"machine": "riscv64"}}, "is riscv64, for which", id="one"),
    pytest.param({"beta": {"glibc": ""}}, "beta does not say which glibc it has", id="no glibc"),
]


@pytest.mark.parametrize(("looks", "sentence"), UNFIT)
def test_hosts_that_nothing_can_be_solved_for_are_named(rig: Rig, looks: Any, sentence: str) -> None:
    rig.looks = {host: look(host, **more) for host, more in looks.items()}
    result = rig("lock")
    assert result.exit_code == ExitCode.REFUSED
    assert sentence in result.stderr


@pytest.mark.parametrize(
    ("name", "way_out"),
    [("lab", "declare one of its own for each"), ("base", "set conda_base to false for one of them")],
)
def test_what_to_do_about_two_architectures_is_said(name: str, way_out: str) -> None:
    with pytest.raises(RefusedError) as refused:
        target(name, [look("alpha"), look("beta", machine="aarch64")], "")
    assert str(refused.value).endswith(f"two architectures: beta is aarch64, alpha is x86_64; {way_out}.")


def test_libraries_of_two_cuda_releases_in_one_environment_are_refused(rig: Rig) -> None:
    rig.bring(Wheel("nvidia_nccl_cu12", "2.0"), Wheel("nvidia_nccl_cu13", "2.0"))
    rig.declare({**LAB, "pip": ["nvidia-nccl-cu12", "nvidia-nccl-cu13"]})
    result = rig("lock")
    assert result.exit_code == ExitCode.REFUSED
    assert "CUDA 12 (nvidia-nccl-cu12) and CUDA 13 (nvidia-nccl-cu13)" in result.stderr


def test_a_kernel_that_conda_brings_is_not_brought_again(rig: Rig) -> None:
    add(rig.channel, "ipykernel", "6.0", noarch="python", depends=("python",))
    rig.declare({**LAB, "conda": ["ipykernel"]})
    rig("lock")
    assert rig.versions()["ipykernel"] == "6.0"
    assert "ipykernel" not in {pin.name for pin in rig.lock().pins}


def test_an_environment_that_needs_a_python_and_has_none_is_refused(rig: Rig) -> None:
    rig.declare({"name": "lab", "conda": ["greeter"]})
    result = rig("lock")
    assert result.exit_code == ExitCode.REFUSED
    assert "has no Python, which ipykernel needs; give it a python" in result.stderr


def test_conda_s_own_environment_is_locked_like_any_other(rig: Rig) -> None:
    rig.declare(LAB, conda_base=True)
    rig("lock")
    assert set(rig.versions("base")) >= {"conda", "mamba"}


WRONG: list[Any] = [
    pytest.param([{**LAB, "python": 3.1}], "python 3.1, which is to be a text", id="a number"),
    pytest.param(
        [{**LAB, "name": "{{ x }}"}],
        "alpha: conda_environments holds a template that the inventory does not",
        id="a template",
    ),
    pytest.param([{**LAB, "kind": "pytorhc"}], "pytorch perhaps", id="no such kind"),
    pytest.param([], "declare one in conda_environments of hosts in group workspace", id="none"),
]


@pytest.mark.parametrize(("declared", "sentence"), WRONG)
def test_a_declaration_that_is_none_is_refused(rig: Rig, declared: list[Any], sentence: str) -> None:
    rig.declare(*declared)
    result = rig("lock")
    assert result.exit_code in {ExitCode.USAGE, ExitCode.REFUSED}
    assert sentence in result.stderr


def test_one_name_for_two_environments_is_refused(rig: Rig) -> None:
    rig.declare(LAB, group="all")
    write(Path("inventories/rig/host_vars/beta.yml"), json.dumps({"conda_environments": [{**LAB, "pip": []}]}))
    result = rig("lock")
    assert result.exit_code == ExitCode.USAGE
    assert "declared one way for alpha and another for beta" in result.stderr


def test_templates_are_what_the_inventory_s_variables_make_of_them(rig: Rig) -> None:
    rig.declare(
        {**LAB, "python": "{{ python_of_ours }}"},
        python_of_ours="3.11",
        conda_prefix="{{ storage }}/conda",
        conda_locks="{{ inventory_dir }}/../locks",
        conda_base="{{ has_conda | default('no') }}",
        nvidia_driver_branch="{{ branches.old }}",
        storage="/srv",
        branches={"old": "535"},
        conda_pip_options={"no_index": True, "find_links": ["{{ wheels }}"]},
        wheels=str(rig.wheels),
    )
    result = rig("lock")
    assert result.exit_code == ExitCode.DONE, result.stderr
    module = plugin("plugin_utils.conda_lock")
    written = Path("inventories/locks") / rig.lock_file().name
    assert module.parse(written.read_text(), "it").declared == module.declared({**LAB, "python": "3.11"})
    assert rig.drivers == {"alpha": "535", "beta": "535"}
    rig("list")
    assert rig.prefixes == {"/srv/conda"}


def test_a_password_of_the_vault_opens_an_index_and_comes_into_no_lock(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = write(rig.root / "password", "correct horse\n")
    password.chmod(0o600)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    variables = "index_password: battery\nindex_path: simple\n"
    with serve(Wheel("alpha", "1.0"), Wheel("ipykernel", "7.0")) as index:
        address = index.url.replace("://", "://me:{{ index_password }}@").replace("simple", "{{ index_path }}")
        rig.declare(LAB, conda_pip_options={"index_url": address})
        encrypted = vault.encrypt(variables, vault.VaultPassword("correct horse"))
        write(Path("inventories/rig/group_vars/all.yml"), encrypted)
        result = rig("lock")
    assert result.exit_code == ExitCode.DONE, result.stderr
    assert rig.versions()["alpha"] == "1.0"
    assert "battery" not in rig.lock_file().read_text() + result.stdout + result.stderr


@pytest.mark.parametrize("says", ["true", "yes", True])
def test_conda_s_own_environment_is_asked_for_in_any_of_ansible_s_words(rig: Rig, says: object) -> None:
    rig.declare(LAB, conda_base=says)
    assert [one["environment"] for one in rig.document("list")["environments"]] == ["base", "lab"]


def test_an_environment_that_there_is_not_is_refused_with_those_that_there_are(rig: Rig) -> None:
    result = rig("lock", "lob")
    assert result.exit_code == ExitCode.USAGE
    assert "no environment lob; did you mean lab? It has: lab." in result.stderr


def test_hosts_where_the_role_is_to_go_have_no_say(rig: Rig) -> None:
    write(Path("inventories/rig/host_vars/beta.yml"), "conda_state: absent\n")
    rig("lock")
    assert rig.asked == ["alpha"]


# list and diff


def states(document: Any) -> list[Any]:
    [one] = document["environments"]
    return [one["state"], {on["host"]: on["state"] for on in one["hosts"]}, document["exit_code"]]


def test_a_list_tells_how_each_host_stands_to_the_lock(rig: Rig) -> None:
    assert states(rig.document("list")) == ["missing", {"alpha": "not installed", "beta": "not installed"}, 0]
    rig("lock")
    rig.install("alpha")
    rig.install("beta", lock="0123456789ab", libanswer="1.0 0")
    assert states(rig.document("list")) == ["locked", {"alpha": "same packages as the lock", "beta": "another lock"}, 0]
    rig.declare({**LAB, "conda": []})
    assert states(rig.document("list"))[0] == "stale"
    assert [line.split() for line in rig("list").stdout.splitlines()] == [
        ["lab", "stale,", "6", "packages"],
        ["alpha", *["same", "packages", "as", "the", "lock"]],
        ["beta", "another", "lock:", "1", "package"],
    ]


def test_a_difference_names_each_package_and_has_an_exit_code(rig: Rig) -> None:
    rig("lock")
    rig.install("alpha", "beta")
    assert rig("diff").exit_code == ExitCode.DONE
    rig.install("beta", libanswer="1.0 0", answer=None, extra="3.0")
    result = rig("diff")
    assert result.exit_code == ExitCode.DRIFT
    assert result.stdout == textwrap.dedent(
        """\
        lab on alpha: same packages as the lock
        lab on beta: differs
          - answer 2.0 0
          ~ libanswer 2.0 0 -> 1.0 0
          + extra (pip) 3.0
        """
    )


@pytest.mark.parametrize(
    ("declared", "variables"), [(LAB, {}), ({**LAB, "pip": []}, {}), (LAB, {"conda_channels": ["conda-forge"]})]
)
def test_a_lock_that_is_not_what_is_declared_is_a_difference(rig: Rig, declared: Any, variables: Any) -> None:
    rig("lock")
    rig.install("alpha", "beta")
    if (declared, variables) == (LAB, {}):
        rig.lock_file().unlink()
    rig.declare(declared, **variables)
    result = rig("diff")
    assert result.exit_code == ExitCode.DRIFT
    assert "dlhost env lock -i rig lab" in result.stdout


def test_a_host_that_does_not_answer_is_told_and_the_others_are_compared(rig: Rig) -> None:
    rig("lock")
    rig.install("alpha")
    rig.there["beta"] = HostEnvironments("beta", error="does not answer")
    for command in ("list", "diff"):
        result = rig(command)
        assert result.exit_code == ExitCode.UNREACHABLE
        assert "same packages as the lock" in result.stdout and "does not answer" in result.stdout


def test_a_damaged_lock_is_not_compared_with(rig: Rig) -> None:
    rig("lock")
    rig.lock_file().write_text("version: 9\n")
    result = rig("diff")
    assert result.exit_code == ExitCode.REFUSED
    assert "environment-lab.lock.txt was written by another dlhost" in result.stderr


# freeze and rollback


def test_what_a_host_has_is_printed_or_written(rig: Rig, tmp_path: Path) -> None:
    rig("lock")
    rig.install("alpha", alpha="0.9")
    result = rig("freeze", "lab", "--host", "alpha")
    lines = result.stdout.splitlines()
    answer = rig.lock().conda[0]
    assert lines[1:3] == ["@EXPLICIT", f"{answer.url}#{answer.md5}"]
    assert lines[-3:] == ["# pip: alpha==0.9", "# pip: beta==1.0", "# pip: ipykernel==7.0"]
    rig("freeze", "lab", "--host", "alpha", "--output", str(tmp_path / "lab.txt"))
    assert (tmp_path / "lab.txt").read_text() == result.stdout


def test_what_a_host_has_is_written_to_what_is_no_file(rig: Rig) -> None:
    rig("lock")
    rig.install("alpha")
    reading, writing = os.pipe()
    result = rig("freeze", "lab", "--host", "alpha", "--output", f"/dev/fd/{writing}")
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert (result.exit_code, pipe.readline()) == (
            ExitCode.DONE,
            "# Environment lab as alpha has it: what is there, not what its lock says.\n",
        )


def test_what_takes_nothing_is_told_by_its_name(rig: Rig) -> None:
    rig("lock")
    rig.install("alpha")
    (rig.root / "full").symlink_to("/dev/full")
    result = rig("freeze", "lab", "--host", "alpha", "--output", str(rig.root / "full"))
    assert result.exit_code == ExitCode.REFUSED
    assert f"{rig.root}/full cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lab"], "which host is meant; say --host with one of alpha, beta"),
        (["lab", "--host", "gamma"], "gamma does not get it"),
        (["lab", "--host", "alpha"], "alpha has no environment lab; dlhost provision -i rig makes it"),
    ],
)
def test_what_is_not_there_is_not_frozen(rig: Rig, arguments: list[str], sentence: str) -> None:
    result = rig("freeze", *arguments)
    assert result.exit_code in {ExitCode.USAGE, ExitCode.REFUSED}
    assert sentence in result.stderr


def test_a_rollback_swaps_the_lock_with_the_one_before(rig: Rig) -> None:
    rig.declare({**LAB, "conda": ["libanswer"]})
    rig("lock")
    old = rig.lock_file().read_text()
    add(rig.channel, "libanswer", "2.1")
    rig("lock", "--upgrade")
    new = rig.lock_file().read_text()
    result = rig("rollback", "lab")
    assert result.exit_code == ExitCode.DONE
    assert (rig.lock_file().read_text(), rig.lock_file(previous=True).read_text()) == (old, new)
    assert "  ~ libanswer 2.1 0 -> 2.0 0\n" in result.stdout
    rig("rollback", "lab")
    assert (rig.lock_file().read_text(), rig.lock_file(previous=True).read_text()) == (new, old)


def test_a_rollback_to_another_declaration_says_what_is_left_to_do(rig: Rig) -> None:
    rig("lock")
    rig.declare({**LAB, "conda": ["greeter"]})
    rig("lock")
    result = rig("rollback", "lab")
    assert result.exit_code == ExitCode.USER_MUST_ACT
    assert "Declare lab, or conda_channels, as before, too" in result.stdout


def test_there_is_nothing_to_go_back_to_after_one_lock(rig: Rig) -> None:
    rig("lock")
    result = rig("rollback", "lab")
    assert result.exit_code == ExitCode.REFUSED
    assert "has no lock before the present one" in result.stderr
