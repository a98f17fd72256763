"""What is asked on a host itself. It goes there as text, so it stands on the standard library alone.

The question is JSON on the command line, a function's name and its arguments; the answer is JSON too.
"""

from __future__ import annotations

import grp
import json
import pwd
import re
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MANIFEST = Path("/etc/dlhost/managed.json")
SITES = Path("/etc/nginx/sites-enabled")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# For an environment's own interpreter.
DISTRIBUTIONS = (
    "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
)


def capture(environment: str, notebooks: str) -> dict[str, Any]:
    """What dlhost's roles own here, and what they brought about besides."""
    roles = json.loads(MANIFEST.read_text())["roles"].values()
    files = sorted({Path(path) for role in roles for path in role["files"]})
    folders = sorted(path for path in Path(notebooks).iterdir() if path.is_dir())
    return {
        "files": [{**_place(path), "content": path.read_text()} for path in files],
        "directories": [_place(path) for path in [Path(notebooks), *folders]],
        "links": {str(path): str(path.readlink()) for path in SITES.iterdir()},
        "packages": sorted({name for role in roles for name in role["packages"]}),
        "distributions": _distributions(environment),
    }


def differences(wanted: dict[str, Any], made_up: str) -> list[str]:
    """What this host lacks of an end state; what matches `made_up` is not compared."""
    return [*_in_files(wanted, made_up), *_in_services(wanted), *_in_certificates(wanted), *_in_python(wanted)]


def await_front(url: str, timeout_s: float) -> str:
    """Wait for a page of the proxy, whoever signed its certificate; returns why it does not come, or nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=timeout_s, context=context).close()  # noqa: S310
            return ""
        except OSError as error:  # That the server behind it does not answer yet is one as well.
            if time.monotonic() > deadline:
                return f"{url}: {error}"
        time.sleep(0.05)


def _in_files(wanted: dict[str, Any], made_up: str) -> Iterator[str]:
    for place in [*wanted["files"].values(), *wanted["directories"]]:
        path, content = Path(place["path"]), place.pop("content")
        if not path.exists() or _place(path) != place:
            yield f"{path} with its mode and owner"
        elif path.is_file() and re.sub(made_up, "", path.read_text()) != re.sub(made_up, "", content):
            yield f"the content of {path}"
    for path, target in wanted["links"].items():
        if not Path(path).is_symlink() or str(Path(path).readlink()) != target:
            yield f"the link {path}"


def _in_services(wanted: dict[str, Any]) -> Iterator[str]:
    for name in {*wanted["packages"], *wanted["bootstrap"]}:
        if _run("dpkg-query", "--show", "--showformat=${db:Status-Status}", name).stdout != "installed":
            yield f"package {name}"
    for question, units in (("is-enabled", wanted["enabled"]), ("is-active", wanted["started"])):
        yield from (f"{question} of {unit}" for unit in units if _run("systemctl", question, unit).returncode)
    if not str(Path("/etc/localtime").readlink()).endswith(wanted["timezone"]):
        yield "the time zone"
    if wanted["group"] not in {group.gr_name for group in grp.getgrall()}:
        yield f"group {wanted['group']}"


def _in_certificates(wanted: dict[str, Any]) -> Iterator[str]:
    authority = Path(wanted["files"]["certificate"]["path"])
    if "".join(authority.read_text().split()) not in "".join(BUNDLE.read_text().split()):
        yield f"{authority} in the bundle"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(wanted["tls_certificate"], wanted["tls_key"])
    except OSError as error:
        yield f"a certificate and its key ({error})"
    else:
        if _place(Path(wanted["tls_key"]))["mode"] != "0600":
            yield "the mode of the private key"


def _in_python(wanted: dict[str, Any]) -> Iterator[str]:
    missing = wanted["distributions"].items() - _distributions(wanted["environment"]).items()
    yield from (f"{name} {version} in {wanted['environment']}" for name, version in missing)


def _place(path: Path) -> dict[str, str]:
    found = path.stat()
    return {
        "path": str(path),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": pwd.getpwuid(found.st_uid).pw_name,
        "group": grp.getgrgid(found.st_gid).gr_name,
    }


def _distributions(environment: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(_run(f"{environment}/bin/python", "-I", "-c", DISTRIBUTIONS).stdout)
    return found


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    QUESTIONS: dict[str, Callable[..., Any]] = {
        "capture": capture,
        "differences": differences,
        "await_front": await_front,
    }
    question, arguments = json.loads(sys.argv[1])
    print(json.dumps(QUESTIONS[question](*arguments)))
