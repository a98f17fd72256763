"""Locks: what is refused, which pins a Python gets, and that this repository's own serve every supported host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plugins.module_utils import python_lock

HASH = f"--hash=sha256:{'a' * 64}"
LOCKS = sorted(Path(__file__).parents[2].glob("roles/*/files/*.in"))


def markers(version: str, machine: str = "x86_64") -> dict[str, str]:
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "sys_platform": "linux",
    }


def test_a_lock_is_read_as_uv_and_pip_compile_write_it() -> None:
    pins = python_lock.parse(
        f"# by a tool\nZope.Interface[extra]==1.0 ; python_version < '3.12' \\\n    {HASH} \\\n"
        f"    --hash=sha256:{'b' * 64}\n    # via -r some.in\nalpha==2.0 {HASH}  # why\n\n"
    )

    assert [(pin.name, pin.version, pin.marker, len(pin.hashes)) for pin in pins] == [
        ("alpha", "2.0", "", 1),
        ("zope-interface", "1.0", "python_version < '3.12'", 2),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The lock names no distribution."),
        ("# nothing\n", "The lock names no distribution."),
        ("alpha==1.0\n", "Line 1 of the lock, alpha==1.0, needs one or more --hash=sha256:… and nothing else."),
        (f"\nalpha==1.0 {HASH[:-1]}\n", "Line 2 of the lock, alpha==1.0, needs one or more --hash"),
        (f"alpha==1.0 {HASH} --no-binary\n", "Line 1 of the lock, alpha==1.0, needs one or more --hash"),
        (f"alpha>=1.0 {HASH}\n", "Line 1 of the lock, 'alpha>=1.0', is not of the shape name==version."),
        (
            f"alpha @ https://example.com/alpha.whl {HASH}\n",
            "Line 1 of the lock, 'alpha @ https://example.com/alpha.whl'",
        ),
        (f"alpha==1.0 ; python_version ~ 3 {HASH}\n", "Line 1 of the lock: the marker 'python_version ~ 3' is not"),
        (
            "--index-url https://example.com/simple\n",
            "Line 1 of the lock is the option --index-url; a lock holds nothing",
        ),
        (f"-e .\nalpha==1.0 {HASH}\n", "Line 1 of the lock is the option -e; a lock holds nothing"),
    ],
)
def test_what_is_no_lock_is_refused_by_line(text: str, said: str) -> None:
    with pytest.raises(python_lock.LockError) as refused:
        python_lock.parse(text)

    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("marker", "applies"),
    [
        ("python_version < '3.12'", True),
        ("python_full_version < '3.11.5'", True),
        ("python_full_version >= '3.11.5'", False),
        ("python_version >= '3.9'", True),
        ("'3.9' > python_version", False),
        ("python_full_version == '3.11.*'", True),
        ("python_full_version != '3.11.*'", False),
        ("python_version == '3.11'", True),
        ("python_version in '3.10 3.11'", True),
        ("python_version not in '3.10 3.11'", False),
        ("sys_platform == 'win32' or (platform_machine == 'x86_64' and os_name != 'nt')", True),
        ("platform_python_implementation == 'PyPy'", False),
    ],
)
def test_markers_are_those_of_the_host(marker: str, applies: bool) -> None:
    [pin] = python_lock.parse(f"alpha==1.0 ; {marker} {HASH}")

    assert pin.applies(markers("3.11.2")) == applies


@pytest.mark.parametrize("marker", ["extra == 'test'", "sys_platform < 'x'", "python_version", "1 < 2 < 3"])
def test_a_marker_that_says_nothing_about_a_host_is_refused(marker: str) -> None:
    [pin] = python_lock.parse(f"alpha==1.0 ; {marker} {HASH}")

    with pytest.raises(python_lock.LockError, match="is not understood"):
        pin.applies(markers("3.11.2"))


def test_one_name_in_two_versions_and_none_at_all_are_refused() -> None:
    pins = python_lock.parse(f"alpha==1.0 {HASH}\nalpha==2.0 ; python_version < '3.12' {HASH}\n")

    assert python_lock.select(pins, markers("3.12.0")) == {"alpha": "1.0"}
    with pytest.raises(python_lock.LockError, match=r"both in 1\.0 and in 2\.0"):
        python_lock.select(pins, markers("3.11.0"))
    with pytest.raises(python_lock.LockError, match=r"nothing for Python 3\.12\.0"):
        python_lock.select([pin for pin in pins if pin.marker], markers("3.12.0"))


def test_the_digest_is_that_of_the_pins() -> None:
    one = python_lock.parse(f"alpha==1.0 {HASH}\nbeta==1.0 {HASH}\n")
    same = python_lock.parse(f"# why\nbeta==1.0 ; python_version > '3' {HASH}\nalpha==1.0 {HASH}\n")
    other = python_lock.parse(f"alpha==1.0 --hash=sha256:{'b' * 64}\nbeta==1.0 {HASH}\n")

    assert python_lock.digest(one, "3.11") == python_lock.digest(same, "3.11")
    assert (
        len({python_lock.digest(one, "3.11"), python_lock.digest(one, "3.12"), python_lock.digest(other, "3.11")}) == 3
    )


@pytest.mark.parametrize("wanted", LOCKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", ["3.10.12", "3.11.2", "3.12.3", "3.13.5", "3.14.0"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_lock_of_ours_has_what_was_asked_for_on_every_host(wanted: Path, version: str, machine: str) -> None:
    asked = {
        python_lock.canonical_name(found[0])
        for found in (re.match(r"[A-Za-z][\w.-]*", line) for line in wanted.read_text().splitlines())
        if found
    }
    pins = python_lock.parse(wanted.with_suffix(".txt").read_text())

    assert asked
    assert asked <= python_lock.select(pins, markers(version, machine)).keys()


@pytest.mark.parametrize("wanted", LOCKS, ids=lambda path: path.stem)
def test_a_lock_of_ours_names_no_index(wanted: Path) -> None:
    assert "://" not in wanted.with_suffix(".txt").read_text()
