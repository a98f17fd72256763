"""The key that Secure Boot is to trust is staged with a password that nobody sees but root."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

TEMPLATES = Path(__file__).parents[2] / "roles" / "nvidia_driver" / "templates"


def test_the_password_lies_in_a_file_of_roots_and_is_not_printed(tmp_path: Path) -> None:
    password, key, asked = tmp_path / "password", tmp_path / "a key.pub", tmp_path / "asked"
    password.write_text("of another time")
    password.chmod(0o644)
    mokutil = tmp_path / "bin" / "mokutil"
    mokutil.parent.mkdir()
    mokutil.write_text(f'#!/bin/sh\n{{ printf "%s\\n" "$@"; cat; }} >{shlex.quote(str(asked))}\n')
    mokutil.chmod(0o755)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=False)  # noqa: S701  # It is a shell script.
    environment.filters["quote"] = shlex.quote
    script = environment.get_template("enrol.sh.j2").render(
        __nvidia_driver_mok_password=str(password), __nvidia_driver_plan={"mok_key": str(key)}
    )

    done = subprocess.run(
        ["sh", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": f"{mokutil.parent}:{os.environ['PATH']}"},
    )

    digits = password.read_text()
    assert len(digits) == 10
    assert digits.isdigit()
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert (done.stdout, done.stderr) == ("", "")
    assert asked.read_text().splitlines() == ["--import", str(key), digits, digits]
