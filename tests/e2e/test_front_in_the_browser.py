"""What the front tells a browser beyond the page: names of their own, passwords of its own, and never without HTTPS."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Error, HttpCredentials, Page, Playwright, Response, expect

from tests.e2e.browser import browser, picture
from tests.e2e.conftest import USER, Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.long]

FRONT = "front.example.org"
BOARD = "board.example.org"
BOARD_PATH = f"/tensorboard/{USER}/"
# A run as a training script writes it.
TRAINING = f"""
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

writer = EventFileWriter("/home/{USER}/notebooks/logs/first-try")
for step in range(3):
    loss = summary_pb2.Summary.Value(tag="loss", simple_value=1 / (step + 1))
    writer.add_event(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[loss])))
writer.close()
"""


def arrival(page: Page) -> Response:
    """What a browser that is told to come without HTTPS meets first."""
    landed = page.goto(f"http://{FRONT}/")
    assert landed is not None and (landed.status, landed.url) == (200, f"https://{FRONT}/")
    request = landed.request
    while request.redirected_from:
        request = request.redirected_from
    met = request.response()
    assert met is not None
    return met


def plainly_asked(chosen: Workspace) -> int:
    """How often the front had to send somebody from port 80 to HTTPS."""
    return int(chosen.host.execute("grep -c ' 301 ' /var/log/nginx/access.log || true"))


def test_a_browser_never_comes_without_https_again_once_every_browser_trusts_it(
    chosen: Workspace, playwright: Playwright, tmp_path: Path
) -> None:
    common = {"nginx_proxy_hsts_max_age_s": 86400}
    chosen.set(tls_names=[chosen.host.address, FRONT], **common)
    chosen.require(0, "provision")
    names = f"MAP {FRONT} {chosen.host.address}"
    with browser(playwright, tmp_path / "told", chosen.authority, names=names) as context:
        page = context.new_page()
        # This browser was told to trust the authority, others were not: so nobody is told to remember anything.
        for _ in range(2):
            assert arrival(page).status == 301

    # The same certificate as one that was bought of an authority that is every browser's.
    certificate, key = (chosen.host.execute(f"cat /etc/dlhost/tls/{name}.pem") for name in ("cert", "key"))
    chosen.set(tls_mode="provided", tls_certificate=certificate, tls_certificate_key=key, **common)
    chosen.require(0, "provision")
    with browser(playwright, tmp_path / "born", chosen.authority, names=names) as context:
        page = context.new_page()
        assert arrival(page).status == 301
        before = plainly_asked(chosen)
        met = arrival(page)
        assert (met.status, met.headers["non-authoritative-reason"]) == (307, "HSTS")
        assert plainly_asked(chosen) == before > 0
        # It is the name's own affair, not that of others in the certificate.
        assert page.goto(f"http://{chosen.host.address}/") is not None
        assert plainly_asked(chosen) == before + 1


def test_a_tensorboard_has_a_name_and_passwords_of_its_own_or_a_tunnel(
    chosen: Workspace, playwright: Playwright, tmp_path: Path
) -> None:
    site = {
        "path": BOARD_PATH,
        "upstream": "http://127.0.0.1:6006",
        "server_names": [BOARD],
        "basic_auth": [{"name": "grace", "password": "{{ board_password }}"}],
    }
    chosen.require(0, "secrets", "set", "board_password", "--generate")
    password = chosen.require(0, "secrets", "show", "board_password").strip()
    chosen.set(jupyter_tensorboard=True, nginx_proxy_sites=[site], tls_names=[chosen.host.address, BOARD])
    chosen.require(0, "provision")
    checks = chosen.checks("verify", "--roles", "jupyter,nginx_proxy", code=0)
    assert {checks[f"nginx_proxy.{name}"] for name in ("paths", "passwords", "names")} == {"pass"}
    chosen.host.execute(f"runuser -u {USER} -- /opt/dlhost/tensorboard/bin/python -c '{TRAINING}'")

    names, url = f"MAP {BOARD} {chosen.host.address}", f"https://{BOARD}{BOARD_PATH}"
    with (
        browser(playwright, tmp_path / "nobody", chosen.authority, names=names) as context,
        pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"),
    ):
        context.new_page().goto(url)
    guess: HttpCredentials = {"username": "grace", "password": "a guess"}
    with browser(playwright, tmp_path / "guess", chosen.authority, names=names, login=guess) as context:
        answer = context.new_page().goto(url)
        assert answer is not None and answer.status == 401
    grace: HttpCredentials = {"username": "grace", "password": password}
    with browser(playwright, tmp_path / "grace", chosen.authority, names=names, login=grace) as context:
        page = context.new_page()
        page.goto(url)
        expect_run(page)
        picture(page, "tensorboard-at-the-front")

    tunnel = chosen.dlhost.start("tunnel", "tensorboard", "-i", chosen.inventory, "--user", USER)
    assert tunnel.stdout is not None
    try:
        with browser(playwright, tmp_path / "tunnel", None) as context:
            page = context.new_page()
            page.goto(tunnel.stdout.readline().strip())
            expect_run(page)
            picture(page, "tensorboard-through-a-tunnel")
    finally:
        tunnel.send_signal(signal.SIGINT)
        tunnel.communicate()

    for path in chosen.dlhost.runs.rglob("*"):
        assert not path.is_file() or password.encode() not in path.read_bytes(), path


def expect_run(page: Page) -> None:
    """Until TensorBoard shows the run and its last value; it looks for new ones now and then, its page does not."""
    run = page.get_by_text("first-try").first
    for _ in range(20):
        with contextlib.suppress(Error):
            run.wait_for(timeout=5_000)
            break
        page.reload()
    expect(run).to_be_visible()
    expect(page.get_by_text("loss").first).to_be_visible()
    expect(page.get_by_text("0.3333").first).to_be_visible()
