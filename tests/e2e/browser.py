"""A headless Chromium that trusts one authority beside its own, as a browser does after `dlhost ca trust`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import BrowserContext, Error, HttpCredentials, Page, Playwright, expect

# Where CI and a developer look at what the browser saw.
SCREENSHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
# A loaded machine starts a browser slowly, and renders JupyterLab slowly.
TIMEOUT_MS = 120_000
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # Chromium wants none as root.
)


@contextlib.contextmanager
def browser(
    playwright: Playwright, home: Path, authority: Path | None, *, names: str = "", login: HttpCredentials | None = None
) -> Iterator[BrowserContext]:
    """A browser with a profile of its own in `home`, that trusts the authority's certificate where one is given.

    `names` says where names lead, in Chromium's words; `login` is what it answers to a site that asks by itself.
    """
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    _certutil(database, "-N", "--empty-password")
    if authority is not None:
        _certutil(database, "-A", "-n", "dlhost", "-t", "C,,", "-i", str(authority))
    context = playwright.chromium.launch_persistent_context(
        home / "profile",
        executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
        args=[*QUIET, f"--host-resolver-rules={names}"],
        http_credentials=login,
        timeout=TIMEOUT_MS,
        env={**os.environ, "HOME": str(home)},
        viewport={"width": 1280, "height": 800},
    )
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    yield context
    context.close()


def picture(page: Page, name: str) -> None:
    """Keep what the page looks like."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


class Lab:
    """One user's JupyterLab in one page, used as a person uses it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def log_in(self, password: str) -> None:
        """Give the password on the login page."""
        # In a place of its own: Lab would open again what was open last time, which a page that closes may save late.
        self.page.goto(f"{self.url}lab/workspaces/{uuid.uuid4().hex}")
        self.page.locator("input[name=password]").fill(password)
        self.page.locator("#login_submit").click()

    def wait_until_ready(self) -> None:
        """Until the launcher can be used."""
        another = self.page.locator('[data-command="launcher:create"]').first
        another.wait_for()
        # On a loaded machine, Lab was seen to begin without one.
        with contextlib.suppress(Error):
            self.page.locator(".jp-LauncherCard").first.wait_for(timeout=20_000)
        if not self.page.locator(".jp-LauncherCard").count():
            another.click()
        self.page.locator(".jp-LauncherCard").first.wait_for()
        # A first visit asks whether news are wanted.
        with contextlib.suppress(Exception):
            self.page.get_by_role("button", name="No", exact=True).click(timeout=2_000)

    def new_notebook(self, kernel: str = "") -> None:
        """Open one with the kernel of that name, or the server's own, and wait until that is idle and stays so.

        Lab may begin with another one.
        """
        self.page.locator(".jp-LauncherCard[data-category=Notebook]", has_text=kernel).first.click()
        self.page.locator(".jp-NotebookPanel .cm-content").first.wait_for()
        for settle_ms in (2_000, 0):
            self.page.locator('.jp-NotebookPanel [data-status="idle"]').first.wait_for()
            self.page.wait_for_timeout(settle_ms)

    def run_cell(self, code: str) -> None:
        """Type code into the cell that is active, and run it."""
        cell = self.page.locator(".jp-Notebook .jp-Cell.jp-mod-active .cm-content")
        cell.click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")

    def reconnect(self) -> None:
        """What a person does who will not wait until Lab tries again by itself, ever more seldom."""
        close = self.page.get_by_role("button", name="Close", exact=True)
        if close.count():  # Where Lab noticed by itself, it has said so.
            close.click()
        self.page.locator(".lm-MenuBar-item", has_text="Kernel").click()
        self.page.locator(".lm-Menu-item", has_text="Reconnect to Kernel").click()

    def expect_output(self, text: str) -> None:
        """Until some cell of the notebook has put this out."""
        expect(self.page.locator(".jp-Notebook .jp-OutputArea-output", has_text=text).first).to_be_visible()

    def new_terminal(self) -> None:
        """Open a terminal from a new launcher."""
        self.page.locator('[data-command="launcher:create"]').first.click()
        self.page.locator(".jp-LauncherCard[data-category=Other]", has_text="Terminal").last.click()
        self.page.locator(".jp-Terminal .xterm-screen").wait_for()

    def type_in_terminal(self, line: str) -> None:
        """One line and Enter."""
        self.page.locator(".jp-Terminal .xterm-screen").click()
        self.page.keyboard.type(f"{line}\n")

    def upload(self, path: Path) -> None:
        """Give a file to the file browser's upload button."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator('[data-command="filebrowser:upload"], [title^="Upload Files"]').first.click()
        chooser.value.set_files(path)
        # Lab asks before it sends a large file.
        self.page.get_by_role("button", name="Upload", exact=True).click()


def _certutil(database: Path, *arguments: str) -> None:
    subprocess.run(["certutil", "-d", f"sql:{database}", *arguments], check=True, capture_output=True)
