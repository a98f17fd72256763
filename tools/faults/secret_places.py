"""The secrets of an inventory, as they would be found, and where on a host one is at home."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from shlex import quote

from dlhost.adapters import content, inventory_source, monitoring, vault
from dlhost.operations.run import secret_texts

SEARCHED = "/etc /home /opt/dlhost /root /run /tmp /usr/local /var"
# An agent reads its key, and a server those of its hosts; both have nothing else to prove themselves with.
KEY_FILE, KEY_FOLDERS = "/etc/dlhost/zabbix_agent/psk", ("/var/lib/postgresql/", "/var/backups/dlhost-zabbix/")
# What is shorter is found everywhere.
SHORTEST = 8


@dataclass(frozen=True, slots=True)
class Secrets:
    """Texts that give something away; `keys` are those of agents, which have a home on hosts, the rest has none."""

    texts: frozenset[str]
    keys: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.texts | self.keys

    def __or__(self, other: Secrets) -> Secrets:
        return Secrets(self.texts | other.texts, self.keys | other.keys)


def secrets_of(inventory: str) -> Secrets:
    """What is a secret in the inventory of this name, by its vault or its role's word, and the vault's password."""
    location = inventory_source.find(inventory)
    password = vault.find_password(location, None)
    loaded = inventory_source.load(location, password)
    keys = frozenset(filter(None, map(monitoring.derived_key, loaded.hosts)))
    texts = secret_texts(loaded, {}, content.role_schemas()) | {password.text}
    return Secrets(frozenset(line for text in texts - keys for line in _lines(text)), keys)


def _lines(text: str) -> Iterator[str]:
    """What tells of a secret: a line alone does, but for a key's frame and a mention of another variable."""
    for line in map(str.strip, text.splitlines()):
        if len(line) >= SHORTEST and not line.startswith("-----") and "{{" not in line:
            yield line


def search(texts: Iterable[str]) -> str:
    """A shell line that names the files of a host that hold one of them, and its journal."""
    patterns = " ".join(f"-e {quote(text)}" for text in sorted(texts))
    return (
        f"grep -rslF {patterns} --devices=skip {SEARCHED} || true;"
        f"journalctl | grep -qF {patterns} && echo journal || true"
    )


def strangers(places: Iterable[str]) -> list[str]:
    """Of the places that hold an agent's key, those where it is not at home."""
    return [place for place in places if place != KEY_FILE and not place.startswith(KEY_FOLDERS)]
