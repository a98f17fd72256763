"""What a host offers to its users, as it says in /etc/dlhost/services.d: held to a form, since it is a stranger."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlhost.values.inventory import Host
from dlhost.values.schema import RoleSchema, secrets_in

SCHEMA_VERSION = 1
DIRECTORY = "/etc/dlhost/services.d"
# For the shell's completion; a host may offer others.
NAMES = ("jupyter", "tensorboard", "vnc", "zabbix")

# What may become part of a command or of an address that a browser opens.
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_USER = re.compile(r"\w[\w.@-]*")
# What opens it: a browser, by itself or through the front that alone serves it, or a viewer of desktops.
_SCHEME = re.compile(r"https?|vnc")
_PATH = re.compile(r"(?:/[\w.~%@+-]*)+", re.ASCII)
_FRONT = re.compile(r"https://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Service:
    """One user's service on a port of the host's loopback address; `scheme` says what opens it."""

    name: str
    user: str
    port: int
    path: str
    scheme: str = "http"


@dataclass(frozen=True, slots=True)
class Offer:
    """A host's services, and the address of the web front where it has one that serves some of the paths.

    `error` says why it is not known what a host offers.
    """

    services: tuple[Service, ...] = ()
    front: str = ""
    paths: frozenset[str] = field(default=frozenset())
    error: str = ""

    def url(self, service: Service) -> str:
        """Where a browser reaches the service; empty where only a tunnel does."""
        return f"{self.front}{service.path}" if self.front and service.path in self.paths else ""


def offer_from(documents: Mapping[str, str], front: str = "") -> Offer:
    """A host's files, name to text, as what it offers; `front` is where its web front is where it cannot know.

    Raises:
        ValueError: A file is not of the documented shape; the message names it.
    """
    services: list[Service] = []
    own, paths = "", frozenset[str]()
    for name, text in sorted(documents.items()):
        try:
            document = json.loads(text)
            if document["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"version {document['schema_version']}")
            services += [_service(entry) for entry in document.get("services", ())]
            if given := document.get("front"):
                own, paths = _text(given["url"], _FRONT), frozenset(_text(path, _PATH) for path in given["paths"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{DIRECTORY}/{name} is not of a form that this version of dlhost knows") from None
    return Offer(tuple(services), front or own, paths)


@dataclass(frozen=True, slots=True)
class WayIn:
    """A service as its user gets there: the `url` at the web front, empty where there is none, and two commands.

    `command` opens it, through a tunnel where need be; `password` shows its password, and is empty where it has none.
    """

    host: str
    service: str
    user: str
    url: str
    command: str
    password: str


@dataclass(frozen=True, slots=True)
class Trust:
    """The authority's certificate that browsers have to trust for the ways in, and the command that sees to it."""

    certificate: Path
    command: str


def ways_in(host: Host, offer: Offer, schemas: Iterable[RoleSchema], where: str) -> list[WayIn]:
    """Every service that a host offers; `where` is what names the host in a command: -i INVENTORY --host HOST."""
    roles = {schema.role: schema for schema in schemas}
    found = []
    for service in offer.services:
        several = len(choose(offer.services, service.name, "")) > 1
        user = f" --user {service.user}" if several else ""
        role = roles.get(service.name) or roles.get(f"{service.name}_server")
        variable = _password(service, role, host)
        found.append(
            WayIn(
                host=host.name,
                service=service.name,
                user=service.user,
                url=offer.url(service),
                command=f"dlhost open {service.name} {where}{user}",
                password=f"dlhost secrets show {variable} {where}" if variable else "",
            )
        )
    return found


def _password(service: Service, schema: RoleSchema | None, host: Host) -> str:
    """The variable of the service's role that sets its password: one of the user's own, else the one for all."""
    options = list(schema.options.values()) if schema else []
    for option in options:
        accounts = host.variables.get(option.name)
        for account in accounts if isinstance(accounts, list) else ():
            if isinstance(account, dict) and account.get("name") == service.user and any(secrets_in(option, account)):
                return option.name
    everyone = (option.name for option in options if option.secret and option.required)
    return next((name for name in everyone if name in host.variables), "")


def choose(services: Iterable[Service], name: str, user: str) -> list[Service]:
    """The services of that name, those of one user where one is named."""
    return [service for service in services if service.name == name and user in {"", service.user}]


def listed(services: Iterable[Service]) -> str:
    """The services for a sentence: jupyter (ada, grace), tensorboard (ada)."""
    users: dict[str, list[str]] = {}
    for service in services:
        users.setdefault(service.name, []).append(service.user)
    return ", ".join(f"{name} ({', '.join(of)})" for name, of in users.items())


def _service(entry: Mapping[str, Any]) -> Service:
    port = entry["port"]
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(port)
    return Service(
        _text(entry["name"], _NAME),
        _text(entry["user"], _USER),
        port,
        _text(entry["path"], _PATH),
        _text(entry.get("scheme", "http"), _SCHEME),
    )


def _text(value: str, shape: re.Pattern[str]) -> str:
    if not shape.fullmatch(value):
        raise ValueError(value)
    return value
