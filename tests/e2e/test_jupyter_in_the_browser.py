"""Jupyter as its users meet it: over HTTPS, in a browser that trusts nothing new but the inventory's own authority."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Error, Playwright, expect

from tests.e2e.browser import Lab, browser, picture
from tests.e2e.conftest import OTHER, USER, Workspace

pytestmark = pytest.mark.e2e

UPLOAD_MIB = 200


@pytest.fixture
def lab(workspace: Workspace, playwright: Playwright, tmp_path: Path) -> Iterator[Lab]:
    """The first user's JupyterLab, logged in."""
    with browser(playwright, tmp_path, workspace.authority) as context:
        lab = Lab(context.new_page(), workspace.url(USER))
        lab.log_in(workspace.password)
        lab.wait_until_ready()
        yield lab


def test_a_browser_without_the_authority_is_warned(
    workspace: Workspace, playwright: Playwright, tmp_path: Path
) -> None:
    with browser(playwright, tmp_path, None) as context, pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        context.new_page().goto(workspace.url(USER))


def test_the_chain_is_the_local_authoritys_alone(workspace: Workspace) -> None:
    trusting = ssl.create_default_context(cafile=str(workspace.authority))
    with urllib.request.urlopen(workspace.url(USER), context=trusting) as answer:  # noqa: S310
        assert answer.status == 200
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(workspace.url(USER), context=ssl.create_default_context())  # noqa: S310


def test_a_wrong_password_is_refused(workspace: Workspace, playwright: Playwright, tmp_path: Path) -> None:
    with browser(playwright, tmp_path, workspace.authority) as context:
        page = context.new_page()
        Lab(page, workspace.url(USER)).log_in("not the password")
        expect(page.get_by_text("Invalid credentials")).to_be_visible()
        picture(page, "wrong-password")


def test_a_cell_computes_and_a_terminal_answers(lab: Lab, workspace: Workspace) -> None:
    lab.new_notebook()
    lab.run_cell("print(6 * 7, 'computed')")
    lab.expect_output("42 computed")
    picture(lab.page, "notebook")
    lab.new_terminal()
    lab.type_in_terminal("id --user --name > who; echo done")
    picture(lab.page, "terminal")
    for _ in range(60):
        if workspace.host.execute(f"cat /home/{USER}/notebooks/who 2>/dev/null || true").strip() == USER:
            break
        lab.page.wait_for_timeout(500)
    else:
        pytest.fail("The terminal ran nothing.")


@pytest.mark.long
def test_extensions_are_those_of_the_inventory(workspace: Workspace, playwright: Playwright, tmp_path: Path) -> None:
    def tabs(name: str) -> set[str]:
        """What stands beside the notebooks."""
        with browser(playwright, tmp_path / name, workspace.authority) as context:
            lab = Lab(context.new_page(), workspace.url(USER))
            lab.log_in(workspace.password)
            lab.wait_until_ready()
            picture(lab.page, f"extensions-{name}")
            found: list[str] = lab.page.locator(".jp-SideBar .lm-TabBar-tab").evaluate_all(
                "tabs => tabs.map(tab => tab.dataset.id)"
            )
            return set(found)

    everything = tabs("all")
    workspace.set(jupyter_extensions=["jupyter-resource-usage", "variable-inspector"])
    try:
        workspace.require(0, "provision", "--roles", "jupyter")
        workspace.require(0, "verify", "--roles", "jupyter")
        assert everything - tabs("without-git") == {"jp-git-sessions"}
    finally:
        workspace.set()
        workspace.require(0, "provision", "--roles", "jupyter")


@pytest.mark.long
def test_a_large_file_is_uploaded_whole(lab: Lab, workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(UPLOAD_MIB):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    lab.upload(path)
    expect(lab.page.locator(".jp-DirListing-item", has_text="large.bin")).to_be_visible()
    uploaded = looks = 0
    while uploaded < UPLOAD_MIB << 20 and looks < 120:
        lab.page.wait_for_timeout(500)
        before = uploaded
        uploaded = int(workspace.host.execute(f"stat -c %s /home/{USER}/notebooks/large.bin 2>/dev/null || echo 0"))
        looks = 0 if uploaded > before else looks + 1
    picture(lab.page, "upload")
    found = workspace.host.execute(f"sha256sum /home/{USER}/notebooks/large.bin; rm /home/{USER}/notebooks/large.bin")
    assert found.split()[0] == digest.hexdigest()


COUNTING = "import time\nfor n in range(12):\n    time.sleep(1)\nprint('counted to', n)"


def test_a_reload_of_nginx_loses_nothing_of_a_cell(lab: Lab, workspace: Workspace) -> None:
    lab.new_notebook()
    lab.run_cell(COUNTING)
    lab.page.wait_for_timeout(3_000)
    workspace.host.execute("systemctl reload nginx")
    lab.expect_output("counted to 11")


@pytest.mark.long
def test_a_cell_outlives_a_restart_of_nginx(lab: Lab, workspace: Workspace) -> None:
    """The kernel computes on and the page comes back to it; what was printed in between, Lab may not show."""
    lab.new_notebook()
    lab.run_cell(COUNTING)
    lab.page.wait_for_timeout(3_000)
    workspace.host.execute("systemctl restart nginx")
    lab.page.wait_for_timeout(12_000)
    lab.reconnect()
    lab.run_cell("print('the kernel had counted to', n)")
    lab.expect_output("the kernel had counted to 11")
    picture(lab.page, "after-nginx-restart")


def test_two_users_work_at_once_and_apart(
    lab: Lab, workspace: Workspace, playwright: Playwright, tmp_path: Path
) -> None:
    with browser(playwright, tmp_path / "other", workspace.authority) as context:
        other = Lab(context.new_page(), workspace.url(OTHER))
        assert other.url != lab.url
        other.log_in(workspace.password)
        other.wait_until_ready()
        for one in (lab, other):
            one.new_notebook()
            one.run_cell("import getpass, os\nprint(getpass.getuser(), os.getcwd())")
        lab.expect_output(f"{USER} /home/{USER}/notebooks")
        other.expect_output(f"{OTHER} /home/{OTHER}/notebooks")
        picture(other.page, "second-user")


def test_the_servers_own_port_is_the_hosts_alone(workspace: Workspace) -> None:
    assert not re.search(r"(?:0\.0\.0\.0|\*|\[::\]):88\d\d", workspace.host.execute("ss -Hltn"))
