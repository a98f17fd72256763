"""The layers of the wrapper: who may know whom, who may print, who may start processes, and what a start costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dlhost"
MODULES = sorted(PACKAGE.rglob("*.py"))
IN_TEMPLATES = sorted(path for kind in ("filter", "test") for path in (PACKAGE.parent / "plugins" / kind).glob("*.py"))
# A layer to those that it may import; `operations` keep records, whose documents and logs `render` makes.
MAY_IMPORT = {
    "errors": set[str](),
    "values": {"errors", "values"},
    "render": {"errors", "values", "render"},
    "adapters": {"errors", "values", "adapters"},
    "operations": {"errors", "values", "render", "adapters", "operations"},
    "cli": {"errors", "values", "render", "adapters", "operations", "cli"},
}


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_keeps_to_its_layer(path: Path) -> None:
    own = layer(path)
    if own == "__init__":
        assert list(imports(path)) == ["__future__.annotations"] or not list(imports(path))
        return
    names = set(imports(path))

    inner = {name.split(".")[1] for name in names if name.startswith("dlhost.")}
    assert inner - {"__version__"} <= MAY_IMPORT[own]
    outer = {name.split(".")[0] for name in names}
    if own != "adapters":
        assert not outer & {"subprocess", "ansible", "ansible_runner", "socket", "fcntl"}
    if own != "cli":
        assert "typer" not in outer
        made = set(calls(path))
        assert not made & {"print", "sys.exit", "exit", "typer.echo"}
    if own in {"values", "render"}:
        assert not outer & {"os", "tempfile", "shutil"}
        assert not {call for call in calls(path) if call.endswith((".read_text", ".write_text", ".open"))}


def test_only_the_runner_knows_ansible_runner() -> None:
    knowing = [path.stem for path in MODULES if any(name.startswith("ansible_runner") for name in imports(path))]

    assert knowing == ["runner"]


@pytest.mark.parametrize("module", ["ansible", "ansible_runner", "docker", "rich", "cryptography", "rattler"])
def test_a_start_imports_nothing_heavy(module: str) -> None:
    script = f"import sys, dlhost.cli.app; sys.exit({module!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("path", IN_TEMPLATES, ids=lambda path: path.stem)
def test_a_filter_or_test_brings_nothing_before_it_is_used(path: Path) -> None:
    """For any filter, or test, of a collection Ansible loads all of them, in the process of each task that has one."""
    top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]

    assert {str(node.module).partition(".")[0] for node in top} <= sys.stdlib_module_names
