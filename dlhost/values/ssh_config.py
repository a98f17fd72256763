"""A host as a block of ssh_config(5), for programs that know hosts by their names there, as editors do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Effective = Mapping[str, Sequence[str]]

# As the manual writes them; ssh takes any case.
FIRST = ("HostName", "Port", "User", "IdentityFile", "UserKnownHostsFile", "HostKeyAlias", "ProxyJump", "ProxyCommand")
ALWAYS = {"hostname", "port", "user"}
# How long our own connections stay open is no matter of others; the last follows from UserKnownHostsFile.
NOT_SAID = {"host", "controlmaster", "controlpath", "controlpersist", "updatehostkeys"}
# One path for each line of these, and ssh ends a word at a space.
ONE_PATH = {"identityfile", "certificatefile", "identityagent"}
SEVERAL_PATHS = {"userknownhostsfile", "globalknownhostsfile"}
ANOTHER_PATH = re.compile(r" (?=[/~])")


def effective_from(printed: str) -> dict[str, list[str]]:
    """What `ssh -G` printed: keyword, in lower case, to its values."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def block(alias: str, host: Effective, anyone: Effective) -> str:
    """What makes `ssh ALIAS` the connection to `host`, where for `anyone` else ssh does something else."""
    spelling = {name.lower(): name for name in FIRST}
    lines = [f"Host {alias}"]
    for keyword in (*spelling, *sorted(set(host) - set(spelling) - NOT_SAID)):
        own = [value for value in host.get(keyword, ()) if value not in anyone.get(keyword, ())]
        told = own or (host[keyword] if keyword in ALWAYS else ())
        lines += [f"  {spelling.get(keyword, keyword)} {_quoted(keyword, value)}" for value in told]
    return "\n".join([*lines, ""])


def _quoted(keyword: str, value: str) -> str:
    """A value as ssh reads it again; `ssh -G` prints paths without the quotes that those with blanks need."""
    if keyword in ONE_PATH:
        paths = [value]
    elif keyword in SEVERAL_PATHS:
        paths = ANOTHER_PATH.split(value)
    else:
        return value
    return " ".join(f'"{path}"' if " " in path else path for path in paths)


def with_block(text: str, alias: str, block: str) -> str:
    """A file of ours with this block in the place of its alias's last one, or at the end."""
    begin, end = f"# {alias}: begin", f"# {alias}: end"
    marked = f"{begin}\n{block}{end}\n"
    there = re.compile(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", re.DOTALL | re.MULTILINE)
    if there.search(text):
        return there.sub(lambda _: marked, text, count=1)
    return f"{text}\n{marked}"
