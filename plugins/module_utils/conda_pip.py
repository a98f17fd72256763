"""uv's way to a package index: what the host's pip.conf and PIP_* say, and options of pip on top, as uv's variables."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

# Where pip looks (pip's "Configuration"), the last one wins; uv reads none of them.
FILES = (Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), Path("~/.pip/pip.conf"), Path("~/.config/pip/pip.conf"))
SECTIONS = ("global", "install")
# pip's option to uv's variables, and what stands between several values.
VARIABLES = {
    "index_url": (("UV_DEFAULT_INDEX",), ""),
    "extra_index_url": (("UV_EXTRA_INDEX_URL",), " "),
    "find_links": (("UV_FIND_LINKS",), ","),
    "no_index": (("UV_NO_INDEX",), ""),
    "proxy": (("HTTP_PROXY", "HTTPS_PROXY"), ""),
    "cert": (("SSL_CERT_FILE",), ""),
    "trusted_host": (("UV_INSECURE_HOST",), " "),
}


def variables(options: Mapping[str, object], index: str) -> dict[str, str]:
    """Variables for uv; `index` is one more index than the host and the options know, empty for none."""
    given = {name: value for name, value in options.items() if value not in (None, [])}
    said: dict[str, object] = {**_host_says(), **given}
    said["extra_index_url"] = [*_values(said.get("extra_index_url", [])), *([index] if index else [])]
    found = {}
    for option, (names, separator) in VARIABLES.items():
        text = separator.join(_values(said.get(option, []))) if separator else str(said.get(option, ""))
        found.update(dict.fromkeys(names if text else (), text))
    return found


def _host_says() -> dict[str, str]:
    """pip's options by its own configuration, as texts."""
    parser = configparser.RawConfigParser()
    more = os.environ.get("PIP_CONFIG_FILE")
    parser.read([path.expanduser() for path in [*FILES, *([Path(more)] if more else [])]], encoding="utf-8")
    said = {}
    for section in SECTIONS:
        if parser.has_section(section):
            said.update({name.replace("-", "_"): value for name, value in parser.items(section)})
    said.update({name[4:].lower(): value for name, value in os.environ.items() if name.startswith("PIP_")})
    return {name: value for name, value in said.items() if name in VARIABLES}


def _values(value: object) -> list[str]:
    return value.split() if isinstance(value, str) else [str(item) for item in value]  # type: ignore[attr-defined]
