"""uv's way to a package index: what the host's pip.conf and PIP_* say, and options of pip on top, as uv's variables.

What of it is true for any server, its proxy and its authority's certificate, rattler takes as well.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.dlhost.host.plugins.module_utils import host_proxies
from ansible_collections.dlhost.host.plugins.module_utils.python_environment_trouble import PythonEnvironmentError

# Where pip looks (pip's "Configuration"), on Linux and on macOS; the last one wins, and uv reads none of them.
FILES = tuple(
    Path(path)
    for path in (
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        "/Library/Application Support/pip/pip.conf",
        "~/.pip/pip.conf",
        "~/.config/pip/pip.conf",
        "~/Library/Application Support/pip/pip.conf",
    )
)
# Of uv's own variables, those that say how it works and not what it finds.
HARMLESS = ("UV_CACHE_DIR", "UV_CONCURRENT_", "UV_HTTP_", "UV_REQUEST_TIMEOUT")
SECTIONS = ("global", "install")
# For which uv has an option, and no variable.
NO_INDEX = "no_index"
# pip's option to uv's variables, and what stands between several values.
VARIABLES = {
    "index_url": (("UV_DEFAULT_INDEX",), ""),
    "extra_index_url": (("UV_EXTRA_INDEX_URL",), " "),
    "find_links": (("UV_FIND_LINKS",), ","),
    "proxy": (("HTTP_PROXY", "HTTPS_PROXY"), ""),
    "cert": (("SSL_CERT_FILE",), ""),
    "trusted_host": (("UV_INSECURE_HOST",), " "),
}


def variables(options: Mapping[str, object], index: str) -> dict[str, str]:
    """Variables for uv; `index` is one more index than the host and the options know, empty for none.

    Raises:
        PythonEnvironmentError: A file of pip's configuration cannot be read.
    """
    said = _said(options)
    said["extra_index_url"] = [*_values(said.get("extra_index_url", [])), *([index] if index else [])]
    found = {}
    for option, (names, separator) in VARIABLES.items():
        text = separator.join(_values(said.get(option, []))) if separator else str(said.get(option, ""))
        found.update(dict.fromkeys(names if text else (), text))
    return found


def ways_out(options: Mapping[str, object]) -> dict[str, str]:
    """Of these variables those that are for any server, and not for uv alone.

    Raises:
        PythonEnvironmentError: A file of pip's configuration cannot be read.
    """
    return {name: value for name, value in variables(options, "").items() if not name.startswith("UV_")}


def surroundings() -> dict[str, str]:
    """This process' variables without what somebody has told uv: another host would find something else."""
    here = host_proxies.surroundings()
    return {name: value for name, value in here.items() if not name.startswith("UV_") or name.startswith(HARMLESS)}


def without_index(options: Mapping[str, object]) -> bool:
    """Whether no index is to be asked."""
    return str(_said(options).get(NO_INDEX, "")).lower() in {"1", "on", "true", "yes"}


def _said(options: Mapping[str, object]) -> dict[str, object]:
    return {**_host_says(), **{name: value for name, value in options.items() if value not in (None, [])}}


def _host_says() -> dict[str, str]:
    """pip's options by its own configuration, as texts.

    Raises:
        PythonEnvironmentError: A file of it cannot be read.
    """
    parser = configparser.RawConfigParser()
    more = os.environ.get("PIP_CONFIG_FILE")
    for path in [*FILES, *([Path(more)] if more else [])]:
        try:
            parser.read(path.expanduser(), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise PythonEnvironmentError(f"{path} cannot be read ({reason}). Correct it and run again.") from None
    said = {}
    for section in SECTIONS:
        if parser.has_section(section):
            said.update({name.replace("-", "_"): value for name, value in parser.items(section)})
    said.update({name[4:].lower(): value for name, value in os.environ.items() if name.startswith("PIP_")})
    return {name: value for name, value in said.items() if name in {*VARIABLES, NO_INDEX}}


def _values(value: object) -> list[str]:
    return value.split() if isinstance(value, str) else [str(item) for item in value]  # type: ignore[attr-defined]
