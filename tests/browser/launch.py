"""The system's Chromium, headless, under playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

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


class Recorder:
    """Records what a page reports and requests.

    Attributes:
        problems: console messages other than plain logs, and uncaught errors.
        requests: requested addresses, the page's own first.
    """

    def __init__(self, page: Page) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def clear(self) -> None:
        """Start again."""
        self.problems.clear()
        self.requests.clear()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type != "log":
            self.problems.append(message.text)
