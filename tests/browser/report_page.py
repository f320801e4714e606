"""A report page in a browser, with the steps that tests repeat."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
from playwright.sync_api import Page, ViewportSize

import ctcedge
from tests.browser.launch import Recorder

SIZE = ViewportSize(width=1280, height=860)
TIMEOUT_S = 60
SCHEMA = Path(ctcedge.__file__).parent / "sidecars" / "schemas" / "corrections-1.json"

# A busy browser can acknowledge a key before the page has handled it.
_COUNT_KEYS = """
window.keysReleased = 0;
window.addEventListener("keyup", () => window.keysReleased += 1, true);
"""


class ReportPage:
    """A report page.

    Attributes:
        page: the page, for playwright's own methods.
        recorder: what the page has reported and requested since it was opened.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.recorder = Recorder(page)
        page.add_init_script(_COUNT_KEYS)

    def open(self, file: Path) -> None:
        """Open a report and wait until its script has started."""
        self.recorder.clear()
        self.page.goto(file.resolve().as_uri())
        self._wait_until_started()

    def open_address(self, address: str) -> None:
        """Open a report from a server."""
        self.recorder.clear()
        self.page.goto(address)
        self._wait_until_started()

    def reload(self) -> None:
        """Load the page again."""
        self.page.reload()
        self._wait_until_started()

    def forget(self) -> None:
        """Show the page as another browser would: without stored reviews."""
        self.evaluate("localStorage.clear()")
        self.reload()

    def resize(self, width: int, height: int) -> None:
        """Set the window's size."""
        self.page.set_viewport_size({"width": width, "height": height})

    def evaluate(self, script: str) -> Any:
        """The value of an expression."""
        return self.page.evaluate(script)

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        # Not by wait_for_function: the page's policy forbids the 'eval' that it polls with.
        deadline = time.monotonic() + TIMEOUT_S
        while not self.evaluate(script):
            assert time.monotonic() < deadline, f"not true after {TIMEOUT_S} s: {script}"
            self.page.wait_for_timeout(10)

    def show(self, view: str) -> None:
        """Switch to a view."""
        self.page.locator(f"[data-view={view}]").click()

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return self.page.locator(selector).first.inner_text()

    def press(self, *keys: str) -> None:
        """Press keys, each when the page has handled the one before."""
        for key in keys:
            released = self.evaluate("window.keysReleased")
            self.page.keyboard.press(key)
            self.until(f"window.keysReleased > {released}")

    def write(self, text: str) -> None:
        """Type into the focused element."""
        self.page.keyboard.insert_text(text)

    def enter_reviewer(self, name: str = "Ada") -> None:
        """Answer the question of the first decision, and wait until the decision is stored."""
        self.page.locator("#reviewer-dialog[open]").wait_for()
        self.write(name)
        self.press("Enter")
        self.until("document.getElementById('progress').innerText")

    def write_note(self, text: str) -> None:
        """Write a note on the current cell."""
        self.press("n")
        self.write(text)
        self.evaluate("document.activeElement.blur()")

    def filter(self, name: str, value: str) -> None:
        """Set a filter of the gallery."""
        field = self.page.locator(f"#filters [name={name}]")
        if name == "text":
            field.fill(value)
        else:
            field.select_option(value)
        self.page.locator("#scroller").focus()

    def tiles(self) -> list[str]:
        """Labels of the tiles in reading order."""
        places: list[list[Any]] = self.evaluate(
            "[...document.querySelectorAll('.tile')].map((t) =>"
            " [parseFloat(t.style.top), parseFloat(t.style.left), t.getAttribute('aria-label')])"
        )
        return [label for _, _, label in sorted(places)]

    def warns_on_leaving(self) -> bool:
        """Whether the page asks the browser to warn before it is closed."""
        return bool(
            self.evaluate(
                "(() => { const event = new Event('beforeunload', {cancelable: true});"
                " dispatchEvent(event); return event.defaultPrevented; })()"
            )
        )

    def can_save(self) -> bool:
        """Whether there is a review to save."""
        return self.page.locator("#save").is_enabled()

    def save(self, file: Path) -> Any:
        """Save with the key; return the validated content."""
        with self.page.expect_download() as download:
            self.press("s")
        download.value.save_as(file)
        data = file.read_bytes()
        assert data.endswith(b"}\n")
        content = json.loads(data)
        jsonschema.Draft202012Validator(
            json.loads(SCHEMA.read_bytes()),
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        ).validate(content)
        return content

    def load(self, file: Path) -> str:
        """Load a file of corrections; return the page's message."""
        self.evaluate("document.getElementById('status').textContent = ''")
        self.page.locator("#file").set_input_files(file)
        self.until("document.getElementById('status').textContent")
        return str(self.evaluate("document.getElementById('status').textContent"))

    def _wait_until_started(self) -> None:
        self.until("!document.getElementById('loading')")
