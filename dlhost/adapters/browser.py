"""The user's web browser."""

from __future__ import annotations

import os
import sys
import webbrowser


def open_page(url: str) -> bool:
    """Open the page where a window can be shown; returns whether there is one.

    Without a display, Python would start a browser in the terminal, which knows no JavaScript.
    """
    shown = sys.platform == "darwin" or any(map(os.environ.get, ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))
    return shown and webbrowser.open(url)
