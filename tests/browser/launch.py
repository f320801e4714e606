"""Starts the system's Chromium, headless, under playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; closed at the end."""
    assert PROGRAM is not None, "Chromium is not installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAM,
            chromium_sandbox=False,  # tests run as root
            args=["--disable-gpu", "--disable-dev-shm-usage"],
        )
        with contextlib.closing(browser):
            yield browser
