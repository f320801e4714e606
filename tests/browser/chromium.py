"""A headless Chromium, driven by its own DevTools protocol over a pipe; needs no driver."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

_DEADLINE = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",  # tests run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# The browser reads commands from descriptor 3 and answers on 4.
_LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
# A busy browser can acknowledge a key before the page has seen it.
_COUNT_KEYS = """
window.keysReleased = 0;
window.addEventListener("keyup", () => window.keysReleased += 1, true);
"""
_KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Enter": 13,
    "Escape": 27,
    "Delete": 46,
    "End": 35,
}


class BrowserError(AssertionError):
    """The browser, or the page's script, says that something went wrong."""


class Chromium:
    """A browser with one page.

    Attributes:
        problems: what the console said beside plain logs, uncaught errors included.
        requests: addresses that the page asked for, its own file first.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 860) -> None:
        assert PROGRAM is not None
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        words = [PROGRAM, *_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(to_browser), str(from_browser), *words],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = bytearray()
        self._last = 0
        self._session: str | None = None
        self._loaded = False
        self.problems: list[str] = []
        self.requests: list[str] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise
        self.size(width, height)

    def _attach(self) -> None:
        """Make the page, and listen to what it says."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", source=_COUNT_KEYS)

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(Exception):
            self._session = None
            self.send("Browser.close")
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while (answer := self._receive()).get("id") != self._last:
            pass
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def size(self, width: int, height: int, *, dark: bool = False, dense: float = 1) -> None:
        """Set the page's size, light or dark."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=dense,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Open a page and wait until it is loaded."""
        self._loaded = False
        self.send("Page.navigate", url=address)
        self._wait_for_load()

    def reload(self) -> None:
        """Load the page anew."""
        self._loaded = False
        self.send("Page.reload")
        self._wait_for_load()

    def __call__(self, script: str) -> Any:
        """Evaluate an expression in the page; promises are waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true."""
        end = time.monotonic() + _DEADLINE
        while not (value := self(script)):
            if time.monotonic() > end:
                raise BrowserError(f"waited in vain for: {script}")
            time.sleep(0.02)
        return value

    def press(self, *keys: str) -> None:
        """Press keys one after the other, each when the page has handled the one before."""
        for key in keys:
            released = self("window.keysReleased")
            code = _KEYS.get(key, ord(key.upper()[0]))
            event = {"key": key, "windowsVirtualKeyCode": code}
            text = "\r" if key == "Enter" else key if len(key) == 1 else None
            down = event | ({} if text is None else {"text": text})
            self.send("Input.dispatchKeyEvent", type="keyDown", **down)
            self.send("Input.dispatchKeyEvent", type="keyUp", **event)
            self.until(f"window.keysReleased > {released}")

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def picture(self) -> bytes:
        """A screenshot, PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def download_into(self, folder: Path) -> None:
        """Save downloads in a folder."""
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def _wait_for_load(self) -> None:
        while not self._loaded:
            self._receive()

    def _receive(self) -> dict[str, Any]:
        """The next message; events are noted."""
        while (end := self._buffer.find(b"\0")) < 0:
            if not select.select([self._from], [], [], _DEADLINE)[0]:
                raise BrowserError("the browser does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise BrowserError("the browser ended")
            self._buffer += data
        message: dict[str, Any] = json.loads(self._buffer[:end])
        del self._buffer[: end + 1]
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            self.problems.append(event["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and event["type"] != "log":
            self.problems.append(str(event["args"]))


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """A browser that does not outlive its use."""
    browser = Chromium(profile)
    try:
        yield browser
    finally:
        browser.close()
