"""Ready-made environments: what a kind brings, and which wheels run on all the hosts; no host is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.python_environments import plugin

DATA = Path(__file__).parents[2] / "data" / "environments.yml"
CARDS = {"gtx1070": "1b81", "v100": "1db6", "rtx4090": "2684", "b200": "2901", "k80": "102d"}


@pytest.fixture
def module() -> Any:
    return plugin("plugin_utils.environment_kinds")


def rig(name: str, driver: str | None = "580.95.05") -> Any:
    """A host with the card that it is called after, or without any."""
    table = plugin("plugin_utils.compatibility").load()
    cards = (table.card(CARDS[name], name.upper()),) if name in CARDS else ()
    return plugin("plugin_utils.environment_kinds").Rig(name, cards, driver if cards else None)


def wanted(kind: str, *rigs: Any, **declared: Any) -> Any:
    """What environment lab of that kind is to have."""
    environment = plugin("plugin_utils.conda_lock").Environment("lab", kind=kind, **declared)
    table = plugin("plugin_utils.compatibility").load()
    return plugin("plugin_utils.environment_kinds").load().wanted(environment, rigs, table)


CHOSEN: list[Any] = [
    pytest.param("pytorch", ["gtx1070"], "torch==2.14.*", "cu126", id="Pascal"),
    pytest.param("pytorch", ["v100"], "torch==2.14.*", "cu126", id="Volta"),
    pytest.param("pytorch", ["rtx4090"], "torch==2.15.*", "cu132", id="Ada"),
    pytest.param("pytorch", ["b200"], "torch==2.15.*", "cu132", id="Blackwell"),
    pytest.param("pytorch", ["gtx1070", "rtx4090"], "torch==2.14.*", "cu126", id="Pascal and Ada"),
    pytest.param("pytorch", ["vm"], "torch==2.15.*", "cpu", id="no card"),
    pytest.param("tensorflow-gpu", ["rtx4090"], "tensorflow[and-cuda]==2.21.*", "and-cuda", id="TensorFlow"),
    pytest.param("tensorflow-cpu", ["rtx4090"], "tensorflow==2.21.*", "", id="TensorFlow, though there is a card"),
    pytest.param("jax", ["gtx1070"], "jax[cuda12]==0.12.*", "cuda12", id="JAX on Pascal"),
    pytest.param("jax", ["rtx4090"], "jax[cuda13]==0.12.*", "cuda13", id="JAX on Ada"),
    pytest.param("jax", ["vm"], "jax==0.12.*", "", id="JAX without a card"),
]


@pytest.mark.parametrize(("kind", "hosts", "requirement", "wheels"), CHOSEN)
def test_the_wheels_are_the_newest_that_run_on_all_hosts(
    kind: str, hosts: list[str], requirement: str, wheels: str
) -> None:
    found = wanted(kind, *map(rig, hosts))
    assert (found.pip[0], found.wheels) == (requirement, wheels)


def test_wheels_of_pytorch_lie_in_an_index_of_their_own_and_others_do_not(module: Any) -> None:
    found = wanted("pytorch", rig("gtx1070"))
    assert found.index == module.wheel_index("cu126") == "https://download.pytorch.org/whl/cu126"
    assert wanted("jax", rig("gtx1070")).index == module.wheel_index("cuda12") == module.wheel_index("") == ""


def test_an_older_card_is_not_given_a_cudnn_without_code_for_it() -> None:
    assert wanted("jax", rig("gtx1070")).constraints == ("nvidia-cudnn-cu12<9.11.0",)
    assert wanted("jax", rig("rtx4090")).constraints == ()


REFUSED: list[Any] = [
    pytest.param("pytorch", ["gtx1070", "b200"], "gtx1070's GTX1070 with driver 580.95.05 and b200's B200", id="apart"),
    pytest.param("pytorch", ["rtx4090", "vm"], "rtx4090 with GPUs and for vm without", id="with and without a card"),
    pytest.param("tensorflow-gpu", ["vm"], "needs a GPU, so vm", id="no card"),
    pytest.param("jax", ["k80"], "no build that runs on k80's K80", id="too old a card"),
]


@pytest.mark.parametrize(("kind", "hosts", "sentence"), REFUSED)
def test_hosts_that_no_build_serves_are_named(module: Any, kind: str, hosts: list[str], sentence: str) -> None:
    with pytest.raises(module.CondaLockError) as error:
        wanted(kind, *map(rig, hosts))
    assert sentence in str(error.value)
    assert str(error.value).startswith(f"Environment lab ({kind}) ")


def test_a_card_without_a_driver_gets_no_wheels_for_it(module: Any) -> None:
    with pytest.raises(module.CondaLockError, match="with no driver; declare it for other hosts"):
        wanted("pytorch", rig("rtx4090", driver=None))


def test_a_kind_that_there_is_not_is_refused_with_the_nearest(module: Any) -> None:
    with pytest.raises(module.CondaLockError, match=r"kind 'pytorhc'; .*, pytorch perhaps"):
        wanted("pytorhc", rig("vm"))


def test_what_is_declared_comes_beside_what_the_kind_brings() -> None:
    found = wanted("pytorch", rig("vm"), python="3.13", conda=("git",), pip=("einops",))
    assert found.conda == ("python 3.13.*", "git")
    assert found.pip[1:] == ("torchvision", "einops")
    assert wanted("base-science", rig("vm")).conda[0] == "python 3.12.*"


def test_an_environment_of_no_kind_is_what_is_declared(module: Any) -> None:
    assert wanted("", rig("vm"), conda=("git",)) == module.Wanted(conda=("git",), pip=())


@pytest.mark.parametrize(
    ("spec", "distribution"),
    [
        ("numpy >=2", "numpy"),
        ("conda-forge::numpy=2.1", "numpy"),
        ("PyYAML", "pyyaml"),
        ("scikit_learn[version='>=1']", "scikit-learn"),
        ("py-opencv", "opencv-python"),
        ("tensorflow[and-cuda]==2.20", "tensorflow"),
        ("timm @ https://example.org/timm-1.0-py3-none-any.whl", "timm"),
        ("https://example.org/timm-1.0-py3-none-any.whl", ""),
        ("git+https://example.org/timm.git", ""),
    ],
)
def test_what_was_declared_is_told_by_its_distributions(module: Any, spec: str, distribution: str) -> None:
    environment = plugin("plugin_utils.conda_lock").Environment("lab", conda=(spec,))
    assert list(module.load().imports(environment)) == ([distribution] if distribution else [])


def test_a_kind_is_imported_too_and_what_names_do_not_say_is_told(module: Any) -> None:
    lock = plugin("plugin_utils.conda_lock")
    found = module.load().imports(lock.Environment("lab", kind="pytorch", pip=("einops",)))
    assert found == {"einops": "", "torch": "", "torchvision": ""}
    science = module.load().imports(lock.Environment("lab", kind="base-science"))
    assert (science["scikit-learn"], science["pillow"], science["pyyaml"], science["numpy"]) == (
        "sklearn",
        "PIL",
        "yaml",
        "",
    )


CUDA: list[Any] = [
    pytest.param([("rtx4090", "580.95.05")], "13.0", id="the driver's"),
    pytest.param([("rtx4090", "550.54.14")], "12.4", id="an older driver's"),
    pytest.param([("gtx1070", "580.95.05")], "12.9", id="the card has no code from the driver's"),
    pytest.param([("rtx4090", "580.95.05"), ("b200", "570.86.10")], "12.8", id="the lowest of all"),
    pytest.param([("rtx4090", "580.95.05"), ("vm", "")], "", id="a host without"),
    pytest.param([("rtx4090", "")], "", id="no driver"),
]


@pytest.mark.parametrize(("rigs", "release"), CUDA)
def test_cuda_is_what_every_host_runs(module: Any, rigs: list[tuple[str, str]], release: str) -> None:
    table = plugin("plugin_utils.compatibility").load()
    assert module.cuda_version([rig(name, driver or None) for name, driver in rigs], table) == release


def test_every_row_names_its_source_and_one_that_was_not_read_is_said_to_be_unverified(module: Any) -> None:
    data = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    assert data["schema_version"] == 1
    assert {row["source"] for row in [*data["kinds"], data["kernel"]]} == set(data["sources"])
    for kind in module.load().kinds:
        assert bool(kind.unverified) == ("read" not in data["sources"][kind.source]), kind.name


def test_every_framework_of_a_kind_is_in_the_compatibility_table(module: Any) -> None:
    known = {build.framework for build in plugin("plugin_utils.compatibility").load().builds}
    assert {kind.framework for kind in module.load().kinds if kind.framework} <= known
