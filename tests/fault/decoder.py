"""An image decoder that dies of marked images, in every process of ctcedge that a test starts."""

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

import cv2

TOLD = {told!r}
apart = sys.orig_argv[-1:] == ["ctcedge.images.sandbox"]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
imdecode = cv2.imdecode


def tell(what):
    with open(TOLD, "a") as file:
        file.write(what + (" apart\\n" if apart else "\\n"))


def hang():
    while True:
        time.sleep(1)


def hostile(data, flags):
    raw = data.tobytes()
    if b"ABORTS" in raw:
        os.abort()
    if b"SEGFAULTS" in raw:
        os.kill(os.getpid(), signal.SIGSEGV)
        hang()
    if b"EATS MEMORY" in raw:
        if not apart:
            os.kill(os.getpid(), signal.SIGKILL)
        bytearray(1 << 40)
    if b"HANGS" in raw or (b"IS SLOW" in raw and not apart):
        tell("hangs")
        hang()
    if apart:
        tell("decoded")
    return imdecode(data, flags)


cv2.imdecode = hostile
if {time_limit} is not None:
    import ctcedge.images.sandbox

    ctcedge.images.sandbox._TIME = {time_limit}
"""


class Mark(enum.Enum):
    """What the decoder does with an image that bears this mark."""

    ABORTS = b"ABORTS"
    SEGFAULTS = b"SEGFAULTS"
    EATS_MEMORY = b"EATS MEMORY"
    HANGS = b"HANGS"
    IS_SLOW = b"IS SLOW"  # hangs, but not apart


def marked(number: int, mark: Mark) -> bytes:
    """A good crop that bears a mark behind its pixels."""
    return image(number, suffix=".tif") + mark.value


class Decoder:
    """Puts the hostile decoder in place.

    Args:
        root: an existing folder.
        time_limit: seconds for an image that is decoded apart; None for the usual.
    """

    def __init__(self, root: Path, time_limit: float | None = None) -> None:
        self._told = root / "told"
        self._told.touch()
        hooks = root / "hooks"
        hooks.mkdir()
        text = _SITECUSTOMIZE.format(told=str(self._told), time_limit=time_limit)
        (hooks / "sitecustomize.py").write_text(text, encoding="utf-8")
        self.env = {"PYTHONPATH": str(hooks)}
        self.under = ("env", f"PYTHONPATH={hooks}")

    def told(self, what: str) -> int:
        """How often a process said that it hangs, or that it decoded apart."""
        return self._told.read_text(encoding="utf-8").splitlines().count(what)
