"""A desktop as its user meets it: through a tunnel, with a viewer that shows it, and never from the network."""

from __future__ import annotations

import contextlib
import importlib
import signal
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, expect, sync_playwright

from dlhost.adapters.ansible_env import collections_path
from tests.e2e.browser import SCREENSHOTS, browser, picture
from tests.e2e.conftest import USER, Host, Installed

pytestmark = pytest.mark.e2e

PORT = 5901


class Rig:
    """A host with a desktop for its owner, provisioned by the wrapper."""

    def __init__(self, host: Host, dlhost: Installed) -> None:
        self.host, self.dlhost = host, dlhost

    def require(self, code: int, *command: str) -> str:
        """What a command says about the inventory, and that it ends with this exit code."""
        done = self.dlhost.run(*command, "-i", "rig")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def set(self, text: str) -> None:
        (self.dlhost.inventories / "rig" / "group_vars" / "all" / "test.yml").write_text(f"vnc_web: true\n{text}")

    @property
    def process(self) -> str:
        return self.host.execute(f"systemctl show --property=MainPID --value dlhost-vnc@{USER}.service").strip()

    @contextlib.contextmanager
    def tunnel(self) -> Iterator[tuple[str, list[str]]]:
        """The address that `dlhost tunnel vnc` prints while it lasts; what else it says comes with its end."""
        said: list[str] = []
        tunnel = self.dlhost.start("tunnel", "vnc", "-i", "rig")
        assert tunnel.stdout is not None
        try:
            yield tunnel.stdout.readline().strip(), said
        finally:
            tunnel.send_signal(signal.SIGINT)
            said += tunnel.communicate()[1].splitlines()
        assert tunnel.returncode == 0, said


@pytest.fixture(scope="module")
def rig(program: Path, module_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(module_host("13"), Installed(program, tmp_path_factory.mktemp("owner")))
    hosts = rig.dlhost.begin("rig", rig.host) / "hosts.yml"
    hosts.write_text(f"{hosts.read_text()}  children: {{desktop: {{hosts: {{rig: }}}}, web: {{hosts: {{rig: }}}}}}\n")
    rig.require(0, "secrets", "set", "vnc_password", "--generate")
    rig.set("vnc_geometry: 1280x800\n")
    rig.require(0, "provision", "--yes")
    yield rig


@pytest.fixture(scope="module")
def viewer() -> ModuleType:
    """The collection's own, run on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(collections_path()))
        return importlib.import_module("ansible_collections.dlhost.host.plugins.module_utils.vnc_session")


def keep(picture: Any, name: str) -> None:
    """Keep what the viewer saw, as PNG: a row is a filter, which is none, and red, green and blue of every pixel."""
    width = 4 * picture.width
    rows = bytearray()
    for start in range(0, len(picture.pixels), width):
        row = picture.pixels[start : start + width]
        colours = bytearray(3 * picture.width)
        colours[0::3], colours[1::3], colours[2::3] = row[2::4], row[1::4], row[0::4]
        rows += b"\0" + colours
    head = struct.pack("!IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    chunks = (
        struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data)) for kind, data in parts
    )
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    (SCREENSHOTS / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_a_viewer_sees_xfce_through_the_tunnel_and_a_wrong_password_is_refused(rig: Rig, viewer: ModuleType) -> None:
    with rig.tunnel() as (url, said):
        address = urlsplit(url)
        assert (address.scheme, address.hostname) == ("vnc", "127.0.0.1")
        stranger = viewer.Session("127.0.0.1", address.port)
        assert not stranger.log_in("password of nobody")
        stranger.close()

        password = rig.require(0, "secrets", "show", "vnc_password").strip()
        owner = viewer.Session("127.0.0.1", address.port)
        assert owner.log_in(password)
        # Icons come a moment after the session.
        for _ in range(30):
            picture = owner.picture()
            if picture.colours > 200:
                break
            time.sleep(1)
        keep(picture, "desktop")
        owner.close()
    assert said[0] == "`dlhost secrets show vnc_password -i rig --host rig` shows its password."
    assert (picture.width, picture.height) == (1280, 800)
    # Wallpaper, panels, icons and the text below them; a bare screen of X has one colour or two.
    assert picture.colours > 200
    assert "xfce4-panel" in rig.host.execute(f"ps -u {USER} -o args")


COLOURS = """canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
}"""


def test_a_browser_shows_the_desktop_too(rig: Rig, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    rig.require(0, "ca", "export", str(authority))
    password = rig.require(0, "secrets", "show", "vnc_password").strip()
    url = rig.require(0, "open", "vnc", "--print").splitlines()[-1]
    assert url == f"https://{rig.host.address}/vnc/{USER}/"
    with sync_playwright() as playwright, browser(playwright, tmp_path, authority) as context:
        page = context.new_page()

        def log_in(with_password: str) -> None:
            field = page.locator("#noVNC_password_input")
            for _ in range(3):
                page.goto(url)
                # Where containers come and go, Chromium drops what it fetches; a person loads the page again.
                with contextlib.suppress(Error):
                    field.wait_for(timeout=20_000)
                    break
            field.fill(with_password)
            page.locator("#noVNC_credentials_button").click()

        log_in("nobodys")
        expect(page.locator("#noVNC_status")).to_contain_text("Authentication failed")
        log_in(password)
        screen = page.locator("#noVNC_container canvas")
        screen.wait_for()
        for _ in range(30):
            if screen.evaluate(COLOURS) > 200:
                break
            page.wait_for_timeout(1_000)
        picture(page, "desktop-in-the-browser")
        assert screen.evaluate(COLOURS) > 200


def test_nobody_comes_in_from_the_network(rig: Rig) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((rig.host.address, PORT), 5)
    assert "::" not in rig.host.execute(f"ss -Hltn sport = {PORT} | awk '{{print $4}}' | grep -v ^.::1")


@pytest.mark.long
def test_the_session_survives_every_run_until_its_user_or_force_ends_it(rig: Rig) -> None:
    before = rig.process
    rig.require(0, "provision")
    rig.require(0, "drift")
    rig.require(0, "verify")

    # What a new setting asks for is told, and waits.
    rig.set("vnc_geometry: 1024x768\n")
    assert "vnc_restart" in rig.require(6, "provision")
    assert rig.process == before
    rig.require(3, "drift")

    rig.set("vnc_geometry: 1024x768\nvnc_restart: force\n")
    rig.require(0, "provision")
    assert rig.process != before
    rig.set("vnc_geometry: 1024x768\n")
    rig.require(0, "verify")


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ("vnc_options: {localhost: false}", 5, "not localhost: a desktop listens on loopback alone"),
        ("vnc_users: [{name: nobody-here}]", 1, "vnc_users names nobody-here"),
    ],
)
@pytest.mark.long
def test_what_cannot_be_is_refused_and_the_desktop_goes_on(rig: Rig, values: str, code: int, words: str) -> None:
    before = rig.process
    rig.set(f"{values}\n")
    assert words in rig.require(code, "provision")
    rig.set("vnc_geometry: 1024x768\n")
    assert rig.process == before
    rig.require(0, "drift")


def test_a_desktop_comes_back_with_the_host(rig: Rig, viewer: ModuleType) -> None:
    rig.host.restart()
    password = rig.require(0, "secrets", "show", "vnc_password").strip()
    look = f"ss -Hltn sport = {PORT}"
    for _ in range(300):
        if rig.host.execute(look):
            break
        time.sleep(0.5)
    else:
        pytest.fail("The desktop did not come back.")
    with rig.tunnel() as (url, _):
        owner = viewer.Session("127.0.0.1", urlsplit(url).port)
        assert owner.log_in(password)
        owner.close()
