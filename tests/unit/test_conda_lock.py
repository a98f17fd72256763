"""Declarations and locks of conda environments: written and read back, compared, and refused in one sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from tests.unit.python_environments import plugin

HASH = "0" * 64
CHANNEL = "https://conda.example/forge"


def package(name: str, version: str = "1.0", **more: Any) -> Any:
    """A package of the channel."""
    fields = {
        "name": name,
        "version": version,
        "build": "h0_0",
        "build_number": 0,
        "subdir": "linux-64",
        "url": f"{CHANNEL}/linux-64/{name}-{version}-h0_0.conda",
        "sha256": HASH,
    }
    return plugin("plugin_utils.conda_lock").Package(**fields, **more)


def pin(name: str, version: str = "1.0") -> str:
    """A line of a lock's pip part."""
    return f"{name}=={version} \\\n    --hash=sha256:{HASH}\n"


def lock(*packages: Any, pip: str = "", **more: Any) -> Any:
    """A lock of environment lab."""
    fields: dict[str, Any] = {
        "environment": "lab",
        "platform": "linux-64",
        "virtual_packages": {"__glibc": "2.36", "__linux": "6.1"},
        "channels": (CHANNEL,),
        "declared": HASH,
        "wheels": "",
        **more,
    }
    return plugin("plugin_utils.conda_lock").Lock(**fields, conda=packages, pip=pip)


@pytest.fixture
def module() -> Any:
    return plugin("plugin_utils.conda_lock")


PYTHON = {
    "noarch": "",
    "md5": "1" * 32,
    "size": 12,
    "depends": ("libzlib >=1.2,<2.0a0", "tzdata"),
    "constrains": ("python_abi 3.12.* *_cp312",),
    "python_site_packages_path": "lib/python3.12/site-packages",
}


def test_a_lock_is_read_as_it_was_written(module: Any) -> None:
    written = lock(package("python", "3.12.1", **PYTHON), package("tzdata", noarch="generic"), pip=pin("numpy"))
    text = module.write(written)
    assert module.parse(text, "lab.lock.txt") == written
    assert module.write(module.parse(text, "lab.lock.txt")) == text
    # It is YAML, however that is laid out.
    assert module.parse(yaml.safe_dump(yaml.safe_load(text)), "lab.lock.txt") == written


def test_a_lock_without_pip_and_without_packages_is_read_as_it_was_written(module: Any) -> None:
    assert module.parse(module.write(lock()), "lab.lock.txt") == lock()


def test_a_version_that_yaml_would_take_for_a_number_stays_a_text(module: Any) -> None:
    written = lock(package("a", "1.10"), virtual_packages={"__glibc": "2.40"})
    assert module.parse(module.write(written), "lab.lock.txt") == written


def test_another_version_of_a_package_is_one_line_of_the_file(module: Any) -> None:
    before, after = (
        module.write(lock(package("a"), package("b", version), package("c"))).splitlines() for version in ("1.0", "1.1")
    )
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_ansible_reads_no_lock_as_a_part_of_the_inventory(module: Any) -> None:
    from ansible.inventory.manager import IGNORED

    assert all(IGNORED.search(module.file_name("lab", previous).encode()) for previous in (False, True))


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


DAMAGES: list[Any] = [
    pytest.param("version: 1", "version: [", "is not YAML at line", id="no YAML"),
    pytest.param("version: 1", "version: 2", "was written by another dlhost", id="another dlhost's"),
    pytest.param('"sha256": "0000', '"sha256": "x000', "a has no checksum", id="checksum"),
    pytest.param('"build": "h0_0", ', "", "a is without build", id="a field is missing"),
    pytest.param('"build":', '"colour": "blue", "build":', "a is with colour", id="a field too many"),
    pytest.param('"build_number": 0', '"build_number": "0"', "build_number is '0'", id="type"),
    pytest.param('"name": "a"', '"name": "z"', "not sorted by name", id="order"),
    pytest.param("-h0_0.conda", "-h0_0.exe", "a has no address of a package", id="address"),
    pytest.param("--hash=sha256:", "--hash=none:", "needs one or more --hash", id="pip without a hash"),
    pytest.param("platform: ", "platforms: ", "is without platform", id="a value is missing"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), DAMAGES)
def test_a_damaged_lock_is_refused_in_one_sentence(module: Any, old: str, new: str, sentence: str) -> None:
    text = edited(module.write(lock(package("a"), package("b"), pip=pin("numpy"))), old, new)
    with pytest.raises(module.CondaLockError, match=r"^environments/lab\.lock\.txt ") as error:
        module.parse(text, "environments/lab.lock.txt")
    assert sentence in str(error.value)
    assert str(error.value).count(". ") == 0


def test_what_is_no_lock_at_all_is_refused(module: Any) -> None:
    with pytest.raises(module.CondaLockError, match="is no lock of an environment"):
        module.parse("- a\n", "lab.lock.txt")


def test_a_difference_has_what_comes_what_goes_and_what_is_another(module: Any) -> None:
    old = lock(package("a"), package("b"), package("d"), pip=pin("numpy") + pin("old"))
    new = lock(package("b", "2.0"), package("c"), package("d"), pip=pin("numpy", "1.1"))
    found = module.difference(old, new)
    assert [(change.source, change.name) for change in found.added] == [("conda", "c")]
    assert [(change.source, change.name) for change in found.removed] == [("conda", "a"), ("pip", "old")]
    assert [(change.name, change.old, change.new) for change in found.changed] == [
        ("b", "1.0 h0_0", "2.0 h0_0"),
        ("numpy", "1.0", "1.1"),
    ]


def test_a_difference_to_itself_is_none(module: Any) -> None:
    assert not module.difference(lock(package("a"), pip=pin("numpy")), lock(package("a"), pip=pin("numpy")))


def test_against_nothing_everything_comes(module: Any) -> None:
    assert [change.name for change in module.difference(None, lock(package("a"))).added] == ["a"]


def test_the_digest_is_that_of_what_is_installed() -> None:
    one = lock(package("a"), pip=pin("numpy"))
    elsewhere = dataclasses.replace(one.conda[0], url="https://mirror.example/linux-64/a-1.0-h0_0.conda")
    assert lock(elsewhere, pip=f"# why\n{pin('numpy')}", declared="1" * 64).digest == one.digest
    assert lock(dataclasses.replace(one.conda[0], sha256="1" * 64), pip=pin("numpy")).digest != one.digest
    assert lock(package("a"), pip=pin("numpy", "1.1")).digest != one.digest


def test_a_host_is_given_the_packages_as_json_types(module: Any) -> None:
    given = module.to_host(lock(package("a", depends=("b",)), pip=pin("numpy")))
    assert (given["name"], given["platform"], given["pip"]) == ("lab", "linux-64", pin("numpy"))
    assert given["conda"][0] | {"build_number": 0, "depends": ["b"]} == given["conda"][0]
    assert given["digest"] == lock(package("a"), pip=pin("numpy")).digest


TWO_FAMILIES: list[Any] = [
    pytest.param(pin("nvidia-nccl-cu12") + pin("nvidia-nccl-cu13"), [], "nccl-cu12", id="two suffixes"),
    pytest.param(pin("nvidia-cudnn-cu12") + pin("nvidia-cublas", "13.1.0.3"), [], "nvidia-cublas", id="by version"),
    pytest.param(pin("jax-cuda12-plugin") + pin("nvidia-cudnn-cu13"), [], "jax-cuda12-plugin", id="a plugin"),
    pytest.param(pin("cupy-cuda13x"), [("cuda-version", "12.9")], "conda's cuda-version", id="conda and pip"),
]


@pytest.mark.parametrize(("pip", "conda", "named"), TWO_FAMILIES)
def test_libraries_of_two_cuda_releases_are_refused(module: Any, pip: str, conda: list[Any], named: str) -> None:
    refusal = module.cuda_refusal(lock(*(package(*each) for each in conda), pip=pip))
    assert named in refusal
    assert "CUDA 12" in refusal and "CUDA 13" in refusal and "environment of its own" in refusal


def test_one_cuda_release_is_not_refused(module: Any) -> None:
    one = pin("jax-cuda13-plugin") + pin("nvidia-cudnn-cu13") + pin("nvidia-cublas", "13.1.0.3") + pin("numpy", "2.4")
    assert module.cuda_refusal(lock(package("cuda-version", "13.0"), pip=one)) == ""


DECLARATION: dict[str, Any] = {"name": "lab", "python": "3.12", "conda": ["a", "b"], "pip": ["c", "d"]}


def test_what_decides_the_packages_is_declared_and_nothing_else(module: Any) -> None:
    said = module.declared(DECLARATION)
    same: list[dict[str, Any]] = [{"conda": ["b", "a", "a"]}, {"pip": ["d", "c"]}, {"name": "other"}, {"kernel": True}]
    same += [{"display_name": "Lab"}, {"optional": True}, {"python": "3.12", "kind": None}]
    assert {module.declared(DECLARATION | other) for other in same} == {said}
    others: list[dict[str, Any]] = [
        {"conda": ["a"]},
        {"pip": []},
        {"python": "3.13"},
        {"kernel": False},
        {"kind": "pytorch"},
    ]
    assert len({said, *(module.declared(DECLARATION | other) for other in others)}) == len(others) + 1


REFUSED: list[Any] = [
    pytest.param({"name": "Lab"}, "the name 'Lab'", id="uppercase"),
    pytest.param({"name": "../lab"}, "the name '../lab'", id="a path"),
    pytest.param({"name": "base"}, "conda_base", id="conda's own"),
    pytest.param({"python": 3.1}, "python 3.1, which is to be a text, so in quotes", id="a number"),
    pytest.param({"python": "python3"}, "a version such as 3.12", id="no version"),
    pytest.param({"conda": "numpy"}, "conda 'numpy', which is to be a list", id="no list"),
    pytest.param({"pip": [1]}, "pip [1], which is to be a list", id="list of others"),
    pytest.param({"kernel": "yes"}, "kernel 'yes', which is to be true or false", id="no boolean"),
    pytest.param({"state": "gone"}, "it is present or absent", id="state"),
    pytest.param({"pips": []}, "has pips", id="unknown key"),
]


@pytest.mark.parametrize(("wrong", "sentence"), REFUSED)
def test_a_declaration_that_is_none_is_refused(module: Any, wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(module.CondaLockError) as error:
        module.environments([DECLARATION | wrong])
    assert sentence in str(error.value)


def test_the_environments_are_those_declared_and_conda_s_own(module: Any) -> None:
    found = module.environments([DECLARATION], base=True)
    assert [(each.name, each.kind, each.kernel) for each in found] == [("base", "base", False), ("lab", "", True)]
    # A host that has none needs no conda, nor a lock of it.
    assert module.environments([], base=True) == []
    assert [each.name for each in module.environments([{"name": "lab", "state": "absent"}], base=True)] == ["lab"]


@pytest.mark.parametrize("wrong", ["lab", ["lab"], [DECLARATION, DECLARATION]])
def test_declarations_that_are_none_are_refused(module: Any, wrong: object) -> None:
    with pytest.raises(module.CondaLockError, match="conda_environments"):
        module.environments(wrong)


def test_what_every_kernel_has_is_part_of_what_is_declared(module: Any) -> None:
    batch = {**DECLARATION, "name": "batch", "kernel": False}
    lab, other = module.environments([DECLARATION, batch], kernel_pip=["line-profiler"])
    assert lab.declared == module.declared({**DECLARATION, "pip": [*DECLARATION.get("pip", []), "line-profiler"]})
    assert other.declared == module.declared(batch)
    with pytest.raises(module.CondaLockError, match="conda_kernel_pip is to be a list"):
        module.environments([DECLARATION], kernel_pip="line-profiler")
