"""What the front tells a browser beyond the page: never to come without HTTPS again."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright, Response

from tests.e2e.browser import browser
from tests.e2e.conftest import Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.long]

FRONT = "front.example.org"


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
