"""What is said of environments that run, and of such that do not; kernels are started in molecule/conda."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from tests.unit.python_environments import ALPHA, BETA, plugin


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = plugin("modules.conda_probe")
    # Nobody may not read the test's directories.
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    return module


def environment(directory: Path, script: str) -> Path:
    """An environment whose Python is that script."""
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return directory


def test_a_python_is_asked_where_it_is(probe: Any, tmp_path: Path) -> None:
    right = environment(tmp_path / "right", f"echo {tmp_path}/right")
    moved = environment(tmp_path / "moved", "echo /somewhere/else")
    broken = environment(tmp_path / "broken", "echo no libpython >&2; exit 3")

    assert probe.runs("right", right) == ""
    assert probe.runs("moved", moved) == "the Python of moved believes to be in /somewhere/else"
    assert probe.runs("broken", broken) == "the Python of broken ended with status 3: no libpython"
    assert probe.runs("gone", tmp_path / "gone") == "the Python of gone does not start: No such file or directory"


def test_a_kernel_has_to_compute_in_its_own_environment(probe: Any, tmp_path: Path) -> None:
    right = environment(tmp_path / "right", f'test "$5" = dlhost-right && echo 42 {tmp_path}/right {tmp_path}/right')
    other = environment(tmp_path / "other", "echo 42 /usr")

    assert probe.computes("right", right) == ""
    assert probe.computes("other", other) == (
        f"the kernel of other says '42 /usr' in place of 42 {tmp_path}/other {tmp_path}/other"
    )


def test_a_distribution_that_lacks_another_is_named(probe: Any, lab: Path) -> None:
    [site] = lab.glob("lib/python3*/site-packages")
    for wheel in (BETA, ALPHA):
        with zipfile.ZipFile(BytesIO(wheel.content)) as archive:
            archive.extractall(site)
        said = probe.consistent("lab", lab, find_uv_bin())
        assert ("The package `beta` requires `alpha`" in said) == (wheel is BETA)
    assert said == ""


def test_nobody_else_can_leave_anything_in_the_home_of_what_runs(probe: Any, tmp_path: Path) -> None:
    lab = environment(tmp_path / "lab", 'stat -c %a "$HOME"')
    assert probe.runs("lab", lab) == "the Python of lab believes to be in 700"


def test_a_program_that_hangs_is_ended(probe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT_S", 0.1)
    hanging = environment(tmp_path / "lab", "exec sleep 60")
    assert probe.runs("lab", hanging) == "the Python of lab did not end within 0.1 s"


# The calls that are made of numpy, torch, tensorflow and jax alike; a double, as their wheels are too large for a test.
MULTIPLYING_DOUBLE = """
import sys
class Matrix:
    def __init__(self, rows): self.rows = rows
    def __matmul__(self, other):
        columns = list(zip(*other.rows))
        return Matrix([[sum(x * y for x, y in zip(row, column)) + {off} for column in columns] for row in self.rows])
    def numpy(self): return self
    def tolist(self): return self.rows
def array(rows, dtype): return Matrix(rows)
def matmul(a, b): return a @ b
tensor = constant = array
float32, numpy = "float32", sys.modules[__name__]
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """An environment with a real Python."""
    subprocess.run([find_uv_bin(), "venv", "--quiet", f"--python={sys.executable}", tmp_path / "lab"], check=True)
    return tmp_path / "lab"


def bring(lab: Path, name: str, files: dict[str, str], top_level: str = "") -> None:
    """Install a distribution with these files."""
    [site] = lab.glob("lib/python3*/site-packages")
    about = f"{name.replace('-', '_')}-1.0.dist-info"
    said = {f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", **files}
    if top_level:
        said[f"{about}/top_level.txt"] = top_level
    for path, text in {**said, f"{about}/RECORD": "".join(f"{path},,\n" for path in said)}.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


WELL, BROKEN = "", "import ctypes\nctypes.CDLL('libnowhere.so.1')\n"
NOWHERE = "libnowhere.so.1: cannot open shared object file: No such file or directory"


def test_what_was_declared_is_imported_by_the_name_that_its_records_or_the_map_tell(probe: Any, lab: Path) -> None:
    bring(lab, "alpha", {"alpha/__init__.py": WELL, "tests/__init__.py": BROKEN})
    bring(lab, "Other_Name", {"beta.py": BROKEN})
    bring(lab, "opencv-python", {"cv2/__init__.py": BROKEN, "cv2_data/__init__.py": WELL})
    bring(lab, "gamma", {}, top_level="gamma_core\n_gamma\n")
    bring(lab, "open", {"one.py": BROKEN, "two.py": BROKEN})
    declared = {"alpha": "", "other-name": "", "opencv-python": "cv2", "gamma": "", "open": "", "libthing": ""}

    said = probe.used("lab", lab, declared)
    assert said["imported"] == ["alpha", "other-name", "opencv-python", "gamma"]
    assert said["imports"] == (
        f"other-name of lab fails: OSError: {NOWHERE}; opencv-python of lab fails: OSError: {NOWHERE}; "
        "gamma of lab fails: ModuleNotFoundError: No module named 'gamma_core'"
    )
    assert (said["multiplies"], said["multiplied"]) == ("", [])


def test_a_package_that_ends_its_python_is_named(probe: Any, lab: Path) -> None:
    bring(lab, "fatal", {"fatal.py": "import os, sys\nprint('no such instruction', file=sys.stderr)\nos.abort()\n"})
    said = probe.used("lab", lab, {"fatal": ""})
    assert said["imports"] == "fatal of lab ended with status -6: no such instruction"
    assert said["imported"] == ["fatal"]


@pytest.mark.parametrize(
    ("script", "said"),
    [("import sys\nsys.exit(0)\n", "fails: SystemExit: 0"), ("import os\nos._exit(0)\n", "ended its Python")],
)
def test_a_package_that_ends_its_python_well_is_not_imported(probe: Any, lab: Path, script: str, said: str) -> None:
    bring(lab, "leaving", {"leaving.py": script})
    assert probe.used("lab", lab, {"leaving": ""})["imports"] == f"leaving of lab {said}"


def test_a_package_that_exits_keeps_no_other_from_being_tried(probe: Any, lab: Path) -> None:
    bring(lab, "leaving", {"leaving.py": "import sys\nsys.exit(0)\n"})
    bring(lab, "broken", {"broken.py": BROKEN})
    bring(lab, "numpy", {"numpy.py": MULTIPLYING_DOUBLE.format(off=0)})
    said = probe.used("lab", lab, {"leaving": "", "broken": ""})
    assert said["imported"] == ["leaving", "broken"]
    assert said["imports"].endswith(f"; broken of lab fails: OSError: {NOWHERE}")
    assert said["multiplied"] == ["numpy"]


def test_a_package_that_hangs_is_named(probe: Any, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STEP_S", 0.1)
    bring(lab, "hanging", {"hanging.py": "import time\ntime.sleep(60)\n"})
    assert probe.used("lab", lab, {"hanging": ""})["imports"] == "hanging of lab did not end within 0.1 s"


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow", "jax"])
def test_a_framework_that_multiplies_wrongly_on_the_processor_is_named(probe: Any, lab: Path, framework: str) -> None:
    bring(lab, framework, {f"{framework}.py": MULTIPLYING_DOUBLE.format(off=0)})
    said = probe.used("lab", lab, {})
    assert (said["multiplies"], said["multiplied"]) == ("", [framework])

    bring(lab, framework, {f"{framework}.py": MULTIPLYING_DOUBLE.format(off=1e-3)})
    assert probe.used("lab", lab, {})["multiplies"] == (
        f"{framework} of lab fails: ArithmeticError: the product of two matrices has wrong numbers"
    )


def test_no_gpu_is_seen(probe: Any, lab: Path) -> None:
    bring(lab, "looking", {"looking.py": "import os\nraise ValueError(os.environ['CUDA_VISIBLE_DEVICES'])\n"})
    assert probe.used("lab", lab, {"looking": ""})["imports"] == "looking of lab fails: ValueError: -1"


def test_a_python_that_does_not_start_has_nothing_that_can_be_imported(probe: Any, tmp_path: Path) -> None:
    broken = environment(tmp_path / "broken", "echo no libpython >&2; exit 3")
    said = probe.used("broken", broken, {"alpha": ""})
    assert said["imports"] == "the Python of broken ended with status 3: no libpython"
    assert said["imported"] == ["the Python"]
