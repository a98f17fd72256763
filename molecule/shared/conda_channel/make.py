#!/usr/bin/env python3
"""A conda channel of small packages that install and run: make.py DIRECTORY [--python /usr/bin/python3.11].

`python` is a real one: the interpreter and standard library that are named, with what Debian changed for its own
packages taken back, so that pip parts install into it. Only `conda` and `mamba` are doubles, of what conda-forge alone
has. Needs Python alone. DIRECTORY is then served by any web server, or named as file://DIRECTORY.

    libanswer 1.0 1.1 2.0     compiled; has its directory in it, as C libraries do
    answer 1.0 2.0            noarch python with a command; each for one major release of libanswer
    question 1.0              noarch generic, an old package (.tar.bz2) that does not go with libanswer 2
    greeter 1.0               has a post-link script, and one for activation
    accel 1.0                 in builds with and without __cuda
    filler-000 to filler-199  so many that an environment is of a usual size
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "nvidia_apt_double")]

import elf  # noqa: E402
from package import PREFIX, Package  # noqa: E402

WHO = """import json, platform, sys, sysconfig
print(json.dumps([platform.python_version(), sysconfig.get_path("stdlib"), sysconfig.get_config_var("LDLIBRARY"),
    sysconfig.get_config_var("LIBDIR"), sys.base_prefix]))"""
# What no test imports, and what is Debian's own.
LEFT_OUT = {"__pycache__", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages"}
LEFT_OUT |= {"dist-packages", "EXTERNALLY-MANAGED", "pydoc_data"}
# Debian's Python installs below local/ and reads dist-packages. Module site is frozen into the interpreter.
SYSCONFIG = ("sysconfig.py", "sysconfig/__init__.py")
LOCAL, USUAL = b"prefix_scheme = 'posix_local'", b"prefix_scheme = 'posix_prefix'"
SITECUSTOMIZE = b"""import site, sysconfig
site.addsitedir(sysconfig.get_path("purelib"))
"""
FILLERS = 200

ANSWER = """import ctypes, pathlib, sys
def main():
    print(ctypes.CDLL(str(pathlib.Path(sys.prefix) / "lib" / "libanswer.so")).answer())
"""
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
CONDA = f"""# The tests' double of conda's own file.
export CONDA_EXE='{PREFIX}/bin/{{name}}'
{{name}}() {{{{
    case "$1" in
        activate) export CONDA_PREFIX='/opt/dlhost/conda/envs/'"$2" PATH='/opt/dlhost/conda/envs/'"$2/bin:$PATH" ;;
        *) "$CONDA_EXE" "$@" ;;
    esac
}}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    given = parser.parse_args()
    write(given.directory, [python(given.python), *every()])


def write(directory: Path, packages: list[Package]) -> None:
    """Add the packages to the channel in directory, which is made where it is missing."""
    for subdir in ("linux-64", "noarch"):
        place = directory / subdir
        place.mkdir(parents=True, exist_ok=True)
        index = place / "repodata.json"
        known = json.loads(index.read_text()) if index.exists() else {"packages": {}, "packages.conda": {}}
        for package in packages:
            if package.subdir == subdir:
                known["packages" if package.old_format else "packages.conda"][package.filename] = _stored(
                    place, package
                )
        index.write_text(json.dumps({"info": {"subdir": subdir}, **known, "removed": [], "repodata_version": 1}))


def _stored(place: Path, package: Package) -> dict[str, object]:
    content = package.pack()
    (place / package.filename).write_bytes(content)
    sums = {kind: hashlib.new(kind, content).hexdigest() for kind in ("md5", "sha256")}
    return {**package.index, **sums, "size": len(content)}


def python(executable: Path) -> Package:
    """A Python of this machine as a package."""
    executable = executable.resolve()
    said = subprocess.run([executable, "-I", "-S", "-c", WHO], capture_output=True, text=True, check=True).stdout
    version, stdlib, library, libraries, base = json.loads(said)
    short = ".".join(version.split(".")[:2])
    program = f"bin/python{short}"
    interpreter = Path(base, program) if Path(base, program).exists() else executable
    files = {program: interpreter.read_bytes()}
    for path, name in _tree(Path(stdlib)):
        content = path.read_bytes()
        files[f"lib/python{short}/{name}"] = content.replace(LOCAL, USUAL) if name in SYSCONFIG else content
    files[f"lib/python{short}/sitecustomize.py"] = SITECUSTOMIZE
    if library.endswith(".so") and Path(libraries, f"{library}.1.0").exists():
        files[f"lib/{library}.1.0"] = Path(libraries, f"{library}.1.0").read_bytes()
    return Package(
        "python",
        version,
        build="0_cpython",
        depends=("__glibc >=2.17",),
        files=files,
        links={"bin/python": f"python{short}", "bin/python3": f"python{short}"},
        python_site_packages_path=f"lib/python{short}/site-packages",
    )


def _tree(top: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(top.rglob("*")):
        steps = path.relative_to(top).parts
        # config-3.11-x86_64-linux-gnu is for those who compile.
        if not LEFT_OUT & set(steps) and not steps[0].startswith("config-") and path.is_file():
            yield path, "/".join(steps)


def every() -> Iterator[Package]:
    """All but the Python."""
    for version, number in (("1.0", 41), ("1.1", 42), ("2.0", 43)):
        library = elf.library("answer", number) + PREFIX.encode() + b"/share\0\0"
        yield Package("libanswer", version, depends=("__glibc >=2.17",), files={"lib/libanswer.so": library})
    for version, major in (("1.0", 1), ("2.0", 2)):
        module = {"site-packages/answer.py": ANSWER.encode()}
        yield Package(
            "answer",
            version,
            noarch="python",
            depends=("python >=3.9", f"libanswer >={major},<{major + 1}"),
            files=module | _distribution("answer", version),
            entry_points=("answer = answer:main",),
        )
    words = {"share/question.txt": b"What do you get if you multiply six by nine?\n"}
    yield Package("question", "1.0", noarch="generic", constrains=("libanswer <2",), files=words, old_format=True)
    script = b'#!/bin/sh\necho "$PKG_NAME was linked into $PREFIX" >"$PREFIX/greeted"\n'
    activation = b'export GREETING="hello from $CONDA_PREFIX"\n'
    files = {"bin/.greeter-post-link.sh": script, "etc/conda/activate.d/greeter.sh": activation}
    yield Package("greeter", "1.0", noarch="generic", files=files)
    for build, number, depends in (("cpu_0", 0, ()), ("cuda_0", 1, ("__cuda >=12",))):
        yield Package("accel", "1.0", build, number, depends, files={"share/accel": build.encode() + b"\n"})
    for number in range(FILLERS):
        files = {f"share/filler/{number:03}-{part}": f"{number} {part}\n".encode() for part in range(20)}
        yield Package(f"filler-{number:03}", "1.0", noarch="generic", files=files)
    for name in ("conda", "mamba"):
        command = f"#!{PREFIX}/bin/python\nimport sys\nprint('double of {name}', *sys.argv[1:])\n".encode()
        files = {f"bin/{name}": command, f"etc/profile.d/{name}.sh": CONDA.format(name=name).encode()}
        yield Package(name, "26.1.0", depends=("python",), files=files)


def _distribution(name: str, version: str) -> dict[str, bytes]:
    place = f"site-packages/{name}-{version}.dist-info"
    return {
        f"{place}/METADATA": METADATA.format(name=name, version=version).encode(),
        f"{place}/WHEEL": WHEEL,
        f"{place}/INSTALLER": b"conda\n",
        f"{place}/RECORD": "".join(
            f"{place}/{file},,\n" for file in ("METADATA", "WHEEL", "INSTALLER", "RECORD")
        ).encode(),
    }


if __name__ == "__main__":
    main()
