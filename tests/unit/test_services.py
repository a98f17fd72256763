"""Services of a host: what it says of them, and how a user gets there."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dlhost.adapters import browser, network, openssh
from dlhost.cli import options
from dlhost.errors import DlhostError, ExitCode, UnreachableError
from dlhost.operations.services import url_through_tunnel
from dlhost.values.inventory import Connection, Host
from dlhost.values.schema import role_schema
from dlhost.values.services import DIRECTORY, Offer, Service, WayIn, offer_from, ways_in
from tests.unit.world import World, write

ADA = {"name": "jupyter", "user": "ada", "port": 8888, "path": "/jupyter/ada/"}
GRACE = {"name": "jupyter", "user": "grace", "port": 8889, "path": "/jupyter/grace/"}
BOARD = {"name": "tensorboard", "user": "ada", "port": 6006, "path": "/tensorboard/ada/"}
DESKTOP = {"name": "portal", "user": "ada", "port": 5901, "path": "/vnc/ada/", "scheme": "vnc"}
FRONT = {"url": "https://192.0.2.1", "paths": ["/jupyter/ada/"]}
ALPHA = Host("alpha", (), Connection(address="192.0.2.1"))


def said(*services: dict[str, Any], **more: Any) -> str:
    return json.dumps({"schema_version": 1, "services": services, **more})


def offered(*services: dict[str, Any], **more: Any) -> Offer:
    return offer_from({"x.json": said(*services, **more)})


def test_the_files_of_all_roles_are_one_offer() -> None:
    offer = offer_from(
        {"nginx_proxy.json": json.dumps({"schema_version": 1, "front": FRONT}), "j.json": said(ADA, BOARD)}
    )

    jupyter, tensorboard = offer.services
    assert jupyter == Service("jupyter", "ada", 8888, "/jupyter/ada/")
    assert (offer.url(jupyter), offer.url(tensorboard)) == ("https://192.0.2.1/jupyter/ada/", "")
    assert offer_from({}) == Offer()


@pytest.mark.parametrize("url", ["https://rig.lab:8443", "https://[2001:db8::1]", "https://127.0.0.1:39211"])
def test_a_front_may_have_any_name_and_port(url: str) -> None:
    offer = offered(ADA, front={"url": url, "paths": ["/jupyter/ada/"]})

    assert offer.url(offer.services[0]) == f"{url}/jupyter/ada/"


def test_what_the_front_alone_serves_is_reached_by_its_port() -> None:
    pages = {"name": "zabbix", "user": "Admin", "port": 443, "path": "/zabbix/", "scheme": "https"}
    schema = role_schema(
        "zabbix_server",
        {
            "argument_specs": {
                "main": {
                    "short_description": "Zabbix",
                    "options": {"zabbix_server_admin_password": {"type": "str", "no_log": True}},
                }
            }
        },
        needed={"zabbix_server_admin_password": {}},
    )
    host = Host("rig", (), Connection(), {"zabbix_server_admin_password": "secret"})

    (way,) = ways_in(host, offered(pages), [schema], "-i lab")

    assert url_through_tunnel(offered(pages).services[0], 8443) == "https://127.0.0.1:8443/zabbix/"
    assert way.password == "dlhost secrets show zabbix_server_admin_password -i lab"  # noqa: S105  a command


STRANGE = [
    "",
    "[" * 100_000,
    "[]",
    "null",
    '{"services": []}',
    '{"schema_version": 2}',
    '{"schema_version": 1, "services": [{}]}',
    '{"schema_version": 1, "services": 7}',
    *(
        said(ADA | {key: value})
        for key, value in (
            ("port", 0),
            ("port", 70000),
            ("port", "8888"),
            ("name", "-x"),
            ("user", "ada; reboot"),
            ("user", "-i"),
            ("user", None),
            ("path", "jupyter"),
            ("path", "/a b"),
            ("path", "/a\n"),
            ("path", "/?next=https://elsewhere.example"),
            ("scheme", "file"),
            ("scheme", "vnc://elsewhere.example"),
        )
    ),
    *(
        said(ADA, front=FRONT | {"url": url})
        for url in ("http://rig", "javascript:alert(1)", "https://rig/x", "https://u@rig", "https://rig@evil", "-x")
    ),
    said(ADA, front={"url": "https://rig"}),
    said(ADA, front={"url": "https://rig", "paths": ["\u202e"]}),
]


@pytest.mark.parametrize("text", STRANGE)
def test_what_is_not_of_the_form_is_not_taken(text: str) -> None:
    with pytest.raises(ValueError, match=r"^/etc/dlhost/services\.d/x\.json is not of a form that this version of"):
        offer_from({"x.json": text})


SCHEMA = role_schema(
    "jupyter",
    {
        "argument_specs": {
            "main": {
                "short_description": "Jupyter",
                "options": {
                    "jupyter_password": {"type": "str", "no_log": True},
                    "jupyter_token": {"type": "str", "no_log": True},
                    "jupyter_users": {
                        "type": "list",
                        "elements": "dict",
                        "options": {"name": {"type": "str"}, "password": {"type": "str", "no_log": True}},
                    },
                },
            }
        }
    },
    needed={"jupyter_password": {}},
)


def test_a_way_in_names_the_commands_that_open_it_and_show_its_password() -> None:
    users = ["{{ eve }}", {"name": "ada"}, {"name": "grace", "password": "her own"}]
    host = Host("rig", (), Connection(), {"jupyter_password": "secret", "jupyter_users": users})

    ada, grace, board = ways_in(host, offered(ADA, GRACE, BOARD, front=FRONT), [SCHEMA], "-i lab")

    show = "dlhost secrets show {} -i lab"
    assert ada == WayIn(
        host="rig",
        service="jupyter",
        user="ada",
        url="https://192.0.2.1/jupyter/ada/",
        command="dlhost open jupyter -i lab --user ada",
        password=show.format("jupyter_password"),
    )
    assert (grace.url, grace.password) == ("", show.format("jupyter_users"))
    assert (board.command, board.password) == ("dlhost open tensorboard -i lab", "")


def test_a_front_behind_a_router_is_where_the_inventory_says() -> None:
    host = Host("rig", (), Connection(), {"dlhost_front": "https://home.example:8443/"})
    offer = offer_from({"x.json": said(ADA, GRACE, front=FRONT)}, host.front)

    assert [offer.url(service) for service in offer.services] == ["https://home.example:8443/jupyter/ada/", ""]
    assert ALPHA.front == ""


# What ssh brings ----------------------------------------------------------------------------------------------------


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A program called ssh that runs the script it is given; hosts keep their services in tmp_path/services.d."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(openssh, "_READ_OFFER", openssh._READ_OFFER.replace(DIRECTORY, str(tmp_path / "services.d")))

    def runs(script: str) -> None:
        (tmp_path / "ssh").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ssh").chmod(0o755)

    return runs


def test_what_a_host_offers_is_read_through_the_runs_connection(tmp_path: Path, ssh: Callable[[str], None]) -> None:
    ssh(f'echo "$*" > {tmp_path}/command; echo Welcome, ada; exec sh')
    (tmp_path / "services.d").mkdir()
    (tmp_path / "services.d" / "jupyter.json").write_text(said(ADA))
    (tmp_path / "services.d" / "notes.txt").write_text("not for us")

    assert openssh.offer(ALPHA, tmp_path).services == (Service("jupyter", "ada", 8888, "/jupyter/ada/"),)
    command = (tmp_path / "command").read_text()
    assert f"ControlMaster=no -o ControlPath={tmp_path}/%C" in command
    assert "BatchMode=yes" in command


@pytest.mark.parametrize("empty", [True, False])
def test_a_host_without_services_offers_none(tmp_path: Path, ssh: Callable[[str], None], empty: bool) -> None:
    ssh("exec sh")
    if empty:
        (tmp_path / "services.d").mkdir()

    assert openssh.offer(ALPHA, tmp_path) == Offer()


@pytest.mark.parametrize(
    ("script", "error", "sentence"),
    [
        (
            "echo 'ssh: connect to host 192.0.2.1 port 22: Connection refused' >&2; exit 255",
            UnreachableError,
            "alpha cannot be reached at 192.0.2.1 port 22: .*Connection refused.$",
        ),
        ("printf '\\0jupyter.json\\n'; exit 255", UnreachableError, "the connection was closed.$"),
        ("printf '\\0x.json\\n{}\\0complete'", DlhostError, r"^alpha: .*/x\.json is not of a form that this version"),
    ],
)
def test_a_host_that_does_not_say_is_told_of(
    tmp_path: Path, ssh: Callable[[str], None], script: str, error: type[DlhostError], sentence: str
) -> None:
    ssh(script)

    with pytest.raises(error) as caught:
        openssh.offer(ALPHA, tmp_path)
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert openssh.offers([ALPHA], tmp_path) == {"alpha": Offer(error=str(caught.value))}


LISTENS = f"""exec {sys.executable} -c '
import socket, sys, time
port = int(sys.argv[sys.argv.index("-L") + 1].split(":")[1])
time.sleep(0.2)
listener = socket.create_server(("127.0.0.1", port))
time.sleep(60)
' "$@"
"""


def test_a_tunnel_is_ready_when_it_takes_connections_and_ends_with_ctrl_c(ssh: Callable[[str], None]) -> None:
    ssh(LISTENS)
    port = network.free_port()

    def interrupt() -> None:
        assert not network.is_free(port)
        raise KeyboardInterrupt

    assert openssh.forward(ALPHA.connection, port, 8888, interrupt) == 0
    assert network.is_free(port)


def test_a_tunnel_that_cannot_be_had_is_never_ready(ssh: Callable[[str], None]) -> None:
    ssh("exit 255")

    assert openssh.forward(ALPHA.connection, network.free_port(), 8888, lambda: pytest.fail("it is not")) == 255


# What the commands do -----------------------------------------------------------------------------------------------


@dataclass
class Way:
    """What a command did: ports that were forwarded, local to remote, and pages that were opened."""

    world: World
    offer: Offer = field(default_factory=Offer)
    unanswered: str = ""
    window: bool = True
    exit_code: int = 0
    forwarded: list[tuple[int, int]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def forward(self, _: Connection, local: int, remote: int, ready: Callable[[], None]) -> int:
        self.forwarded.append((local, remote))
        if self.exit_code == 0:
            ready()
        return self.exit_code

    def open_page(self, url: str) -> bool:
        self.opened.append(url)
        return self.window

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        result = self.world(*arguments, "-i", "rig", "--host", "alpha")
        assert result.exit_code == code, result.output
        return result.stdout, result.stderr


@pytest.fixture
def way(world: World, monkeypatch: pytest.MonkeyPatch) -> Way:
    """A host that offers Jupyter to Ada at its front, until the test says otherwise."""
    found = Way(world, offered(ADA, BOARD, front=FRONT))
    monkeypatch.setattr(openssh, "connection_that_answers", lambda host, _sockets: host.connection)
    monkeypatch.setattr(openssh, "offer", lambda _host, _sockets: found.offer)
    monkeypatch.setattr(openssh, "forward", found.forward)
    monkeypatch.setattr(network, "unanswered", lambda _host, _port: found.unanswered)
    monkeypatch.setattr(browser, "open_page", found.open_page)
    return found


def test_a_service_is_opened_at_the_front(way: Way) -> None:
    assert way("open", "jupyter") == ("https://192.0.2.1/jupyter/ada/\n", "")
    assert (way.opened, way.forwarded) == (["https://192.0.2.1/jupyter/ada/"], [])
    assert way("open", "jupyter", "--print") == ("https://192.0.2.1/jupyter/ada/\n", "")
    assert len(way.opened) == 1


def test_without_a_window_the_address_is_left_to_the_user(way: Way) -> None:
    way.window = False

    assert way("open", "jupyter") == (
        "https://192.0.2.1/jupyter/ada/\n",
        "No browser can be shown here; open the address yourself.\n",
    )


@pytest.mark.parametrize(
    ("service", "unanswered", "why"),
    [
        ("tensorboard", "", "alpha has no web front that serves it; going through SSH."),
        ("jupyter", "timed out", "https://192.0.2.1 cannot be reached from here (timed out); going through SSH."),
    ],
)
def test_what_the_front_does_not_bring_comes_through_ssh(way: Way, service: str, unanswered: str, why: str) -> None:
    way.unanswered = unanswered

    stdout, stderr = way("open", service)

    ((local, remote),) = way.forwarded
    assert remote == {"jupyter": 8888, "tensorboard": 6006}[service]
    assert stdout == f"http://127.0.0.1:{local}/{service}/ada/\n"
    assert way.opened == [stdout.strip()]
    assert stderr == f"{why}\nCtrl-C ends the tunnel.\n"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of this machine that somebody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_tunnel_has_the_services_own_port_where_it_is_free(way: Way, taken: int) -> None:
    port = network.free_port()
    way.offer = offered(ADA | {"port": port})
    assert way("tunnel", "jupyter") == (f"http://127.0.0.1:{port}/jupyter/ada/\n", "Ctrl-C ends the tunnel.\n")

    way.offer = offered(ADA | {"port": taken})
    way("tunnel", "jupyter")
    other, remote = way.forwarded[-1]
    assert remote == taken
    assert other != taken
    assert way("tunnel", "jupyter", "--local-port", str(port))[0] == f"http://127.0.0.1:{port}/jupyter/ada/\n"
    assert f"Port {taken} of this machine is taken" in way("tunnel", "jupyter", "--local-port", str(taken), code=2)[1]
    assert way.opened == []


def test_a_desktop_is_for_a_viewer_which_asks_for_a_password(way: Way, rig: Path) -> None:
    port = network.free_port()
    way.offer = offered(DESKTOP | {"port": port})
    assert way("tunnel", "portal") == (f"vnc://127.0.0.1:{port}/\n", "Ctrl-C ends the tunnel.\n")

    write(rig / "group_vars" / "all.yml", "portal_password: correct horse\n")
    assert way("tunnel", "portal")[1] == (
        "`dlhost secrets show portal_password -i rig --host alpha` shows its password.\nCtrl-C ends the tunnel.\n"
    )


def test_a_desktop_that_the_front_shows_is_opened_there(way: Way) -> None:
    front = {"url": "https://192.0.2.1", "paths": ["/vnc/ada/"]}
    way.offer = offered(DESKTOP, front=front)
    assert way("open", "portal")[0] == "https://192.0.2.1/vnc/ada/\n"


def test_a_tunnel_that_breaks_is_a_lost_host(way: Way) -> None:
    way.exit_code = 255

    assert way("tunnel", "jupyter", code=ExitCode.UNREACHABLE)[0] == ""


@pytest.mark.parametrize("command", ["open", "tunnel"])
def test_which_service_is_meant_is_asked_with_the_choice(way: Way, command: str) -> None:
    way.offer = offered(ADA, GRACE, BOARD)

    assert way(command, "jupyter", code=2) == ("", "Whose? alpha offers jupyter (ada, grace); choose with --user.\n")
    assert "/jupyter/grace/" in way(command, "jupyter", "--user", "grace")[0]
    assert way(command, "jupyter", "--user", "eve", code=2)[1] == (
        "alpha offers no jupyter for eve. It offers jupyter (ada, grace), tensorboard (ada); "
        "`dlhost provision -i rig` sets up what the inventory says.\n"
    )
    way.offer = Offer()
    assert way(command, "jupyter", code=2)[1] == (
        "alpha offers no jupyter. It offers nothing yet; `dlhost provision -i rig` sets up what the inventory says.\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("tunnel",),
        ("tunnel", "jupyter", "-L", "1:h:1"),
        ("tunnel", "-L", "1:h:1", "--user", "ada"),
        ("tunnel", "-L", "1:h:1", "--local-port", "1"),
    ],
)
def test_a_tunnel_is_a_services_or_of_ports(way: Way, arguments: tuple[str, ...]) -> None:
    assert "Name a service, such as jupyter" in way(*arguments, code=2)[1]


def test_names_of_services_are_completed() -> None:
    assert options.complete_service("j") == ["jupyter"]
    assert options.complete_service("") == ["jupyter", "tensorboard", "vnc", "zabbix"]


def test_a_port_answers_or_says_why_not(taken: int) -> None:
    assert network.unanswered("127.0.0.1", taken) == ""
    assert network.unanswered("127.0.0.1", network.free_port()) == "Connection refused"
    assert network.unanswered("nowhere.invalid", 443)


def test_no_browser_is_started_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def start(url: str) -> bool:
        started.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", start)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    assert not browser.open_page("https://rig")
    monkeypatch.setenv("DISPLAY", ":0")
    assert browser.open_page("https://rig")
    assert started == ["https://rig"]
