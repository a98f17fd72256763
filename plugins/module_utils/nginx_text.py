"""What nginx reads, as functions over texts: its directives, its servers, and what differs between its versions.

nginx itself stays the judge: `nginx -T` tests a whole configuration and prints every file of it.
"""

from __future__ import annotations

import dataclasses
import glob
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

TREE = Path("/etc/nginx")
MAIN = TREE / "nginx.conf"
SITE = TREE / "sites-available" / "dlhost.conf"
# nginx takes the first server of a port for the one that answers whatever no other is named for, so ours comes last.
LINK = TREE / "sites-enabled" / "zz-dlhost.conf"
DEFAULT_LINK = TREE / "sites-enabled" / "default"
DEFAULT_SITE = TREE / "sites-available" / "default"

HTTP2_DIRECTIVE = (1, 25, 1)  # https://nginx.org/en/docs/http/ngx_http_v2_module.html#http2
# In the site's text, this stands for the name of one writing of it: what answers with the name has loaded just that.
REVISION = "@revision@"
REVISION_PATH = "/.dlhost/revision"
IS_REVISION = re.compile(r"[0-9a-f]{32}")

_TOKEN = re.compile(r"""\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\\.|\$\{\w*\}|[^\s{};\\])+""", re.DOTALL)
_FILE = re.compile(r"(?m)^# configuration file (/.*):$\n?")
_INCLUDE = re.compile(r"#[^\n]*|(?<![\w$])include\s+([^\s;]+)\s*;")


@dataclasses.dataclass(frozen=True)
class Server:
    """One server block: its `listen` lines without that word, and its names in lower case."""

    listens: tuple[tuple[str, ...], ...]
    names: frozenset[str]

    @property
    def ports(self) -> set[int]:
        return {_port(address) for address, *_options in self.listens} or {80}

    def is_default_on(self, port: int) -> bool:
        """Whether it says so itself, for any address."""
        return any(_port(address) == port and "default_server" in options for address, *options in self.listens)


def directives(text: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Each simple directive as its words, with the names of the blocks around it; `server` has its number appended."""
    blocks: list[str] = []
    words: list[str] = []
    for number, part in enumerate(_TOKEN.findall(text)):
        if part.startswith("#"):
            continue
        if part == "{":
            name = words[0] if words else ""
            blocks.append(f"server {number}" if name == "server" else name)
        elif part == "}":
            del blocks[-1:]
        elif part != ";":
            words.append(part[1:-1] if part[0] in "\"'" else part)
            continue
        elif words:
            yield tuple(blocks), tuple(words)
        words = []


def servers(text: str) -> list[Server]:
    """The server blocks that a file itself holds."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for blocks, words in directives(text):
        if blocks and blocks[-1].startswith("server "):
            found.setdefault(blocks[-1], []).append(words)
    return [
        Server(
            listens=tuple(words[1:] for words in lines if words[0] == "listen" and len(words) > 1),
            # ".example.org" is example.org and every name below.
            names=frozenset(
                name.lower().removeprefix(".") for words in lines if words[0] == "server_name" for name in words[1:]
            ),
        )
        for lines in found.values()
    ]


def dumped_files(output: str) -> dict[Path, str]:
    """What `nginx -T` printed, by file."""
    _head, *parts = _FILE.split(output)
    return {Path(name): text for name, text in zip(parts[::2], parts[1::2], strict=True)}


def taken_name(files: Mapping[Path, str], names: Iterable[str], ports: Iterable[int]) -> tuple[Path, str, int] | None:
    """The first file that serves one of the names on one of the ports, with both; None where nobody does."""
    for path, text in files.items():
        for server in servers(text):
            shared = sorted(server.names & {name.lower() for name in names})
            both = sorted(server.ports & set(ports), reverse=True)
            if shared and both:
                return path, shared[0], both[0]
    return None


def written_for(text: str, version: tuple[int, ...], ipv6: bool) -> str:
    """A site written for the newest nginx, as the one of this host takes it."""
    if version < HTTP2_DIRECTIVE:
        text = re.sub(r"(?m)^\s*http2 on;\n", "", text)
        text = re.sub(r"(?m)^(\s*listen [^;]*\bssl\b[^;]*);", r"\1 http2;", text)
    if not ipv6:
        text = re.sub(r"(?m)^\s*listen \[::\][^;]*;\n", "", text)
    return text


def revision_in(found: str, text: str) -> str:
    """The revision in what is `found`, where all the rest is as in `text`; else nothing."""
    head, _mark, tail = text.partition(REVISION)
    revision = found[len(head) : len(found) - len(tail)]
    return revision if IS_REVISION.fullmatch(revision) and found == f"{head}{revision}{tail}" else ""


def staged_main(text: str, enabled: Mapping[Path, Path | None]) -> str | None:
    """The main file, with `enabled` in the places that its include lines give them; None where none reaches one.

    A path of `enabled` that has no file to be read from is left out.
    """
    reached = False

    def replace(found: re.Match[str]) -> str:
        nonlocal reached
        if found[1] is None:
            return found[0]
        pattern = str(TREE / found[1].strip("\"'"))
        ours = [path for path in enabled if Path(path).match(pattern)]
        if not ours:
            return found[0]
        reached = True
        present = {Path(name) for name in glob.glob(pattern)}  # noqa: PTH207  nginx's own pattern, absolute
        sources = [enabled.get(path, path) for path in sorted({*present, *ours})]
        return " ".join(f"include {source};" for source in sources if source)

    staged = _INCLUDE.sub(replace, text)
    return staged if reached else None


def server_name(name: str) -> str:
    """A name or address as `server_name` and the Host header have it."""
    return f"[{name}]" if ":" in name else name


def _port(address: str) -> int:
    if address.startswith("unix:"):
        return 0
    number = address.rpartition(":")[2]
    return int(number) if number.isdigit() else 80
