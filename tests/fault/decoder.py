"""An image decoder that crashes on marked images, in each process of ctcedge that a test starts."""

from __future__ import annotations

import enum
from pathlib import Path

from tests.fault.service import image

_SITECUSTOMIZE = """
import os
import resource
import signal
import sys
import time

import ctcedge.images.decode as images

LOG = {log!r}
in_sandbox = sys.orig_argv[-1:] == ["ctcedge.images.sandbox"]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
decode = images.decode


def log(event):
    with open(LOG, "a") as file:
        file.write(event + (" in sandbox\\n" if in_sandbox else "\\n"))


def hang():
    while True:
        time.sleep(1)


def hostile(data):
    raw = bytes(data)
    if b"ABORTS" in raw:
        os.abort()
    if b"SEGFAULTS" in raw:
        os.kill(os.getpid(), signal.SIGSEGV)
        hang()
    if b"EATS MEMORY" in raw:
        if not in_sandbox:
            os.kill(os.getpid(), signal.SIGKILL)
        bytearray(1 << 40)
    if b"HANGS" in raw or (b"IS SLOW" in raw and not in_sandbox):
        log("hangs")
        hang()
    if in_sandbox:
        log("decoded")
    return decode(data)


images.decode = hostile
if {time_limit} is not None:
    import ctcedge.images.sandbox

    ctcedge.images.sandbox._MAX_SECONDS = {time_limit}
    ctcedge.images.sandbox._SECONDS_AFTER_HANG = {time_limit}
"""


class Mark(enum.Enum):
    """What the decoder does with an image that contains this mark."""

    ABORTS = b"ABORTS"
    SEGFAULTS = b"SEGFAULTS"
    EATS_MEMORY = b"EATS MEMORY"
    HANGS = b"HANGS"
    IS_SLOW = b"IS SLOW"  # hangs, but not in the sandbox


def marked(number: int, mark: Mark) -> bytes:
    """A valid crop with a mark after its pixels."""
    return image(number, suffix=".tif") + mark.value


class Decoder:
    """Installs the hostile decoder.

    Args:
        root: an existing folder.
        time_limit: timeout of the sandbox in seconds; None for the default.
    """

    def __init__(self, root: Path, time_limit: float | None = None) -> None:
        self._log = root / "decoder-log"
        self._log.touch()
        hooks = root / "hooks"
        hooks.mkdir()
        text = _SITECUSTOMIZE.format(log=str(self._log), time_limit=time_limit)
        (hooks / "sitecustomize.py").write_text(text, encoding="utf-8")
        self.env = {"PYTHONPATH": str(hooks)}
        self.under = ("env", f"PYTHONPATH={hooks}")

    def count(self, event: str) -> int:
        """Number of times that a process has logged an event."""
        return self._log.read_text(encoding="utf-8").splitlines().count(event)
