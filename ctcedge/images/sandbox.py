"""Decoding in a subprocess, for images that may crash the decoder.

`python -m ctcedge.images.sandbox` is the subprocess: it reads an image file from standard input and
writes a byte (whether it is in colour) and a NumPy array to standard output, within limits of time
and memory.
"""

from __future__ import annotations

import io
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ctcedge.errors import BadImage, SetupError
from ctcedge.images.decode import Decoded, decode
from ctcedge.images.header import read_header
from ctcedge.processes import child_process

CRASHED = "the image decoder crashed on it or did not come back"
"""Error of an image on which the decoder crashed or hung."""

_MAX_SECONDS = 60  # the largest image that is accepted takes well below one
_SECONDS_AFTER_HANG = 10  # for further images, in the minute after one took all of its time
_HANG_COUNTS_S = 60
_MAX_MEMORY = 1 << 30  # bytes; the largest image that is accepted takes a third
_GREY, _COLOUR = b"g", b"c"
_EXIT_BAD_IMAGE = 3  # exit code: the output is status and text of a BadImage, not an array


class _Waits:
    """Waits for subprocesses, each of which is bounded.

    Attributes:
        count: number of waits that have begun or ended.
    """

    def __init__(self) -> None:
        self.count = 0
        self._hung = -math.inf

    def limit(self) -> int:
        """Seconds that the next image may take."""
        lately = time.monotonic() - self._hung < _HANG_COUNTS_S
        return _SECONDS_AFTER_HANG if lately else _MAX_SECONDS

    def note_hang(self) -> None:
        """Note that an image took all of its time."""
        self._hung = time.monotonic()


_waits = _Waits()


def waits() -> int:
    """Return the number of waits for a subprocess that have begun or ended in this process.

    While it rises, the process makes progress, however long a batch of such images takes.
    """
    return _waits.count


def decode_in_subprocess(data: bytes) -> Decoded:
    """Decode as `decode.decode` does, in a subprocess.

    Where one image hangs the decoder, others get less time for a while, so that many of them do not
    hold a watch up.

    Args:
        data: the image file.

    Raises:
        BadImage: as from `decode.decode`; or its text is `CRASHED`.
        SetupError: the subprocess cannot be started.
    """
    words, environment = child_process("-m", "ctcedge.images.sandbox")
    _waits.count += 1
    try:
        process = subprocess.run(
            words,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_waits.limit(),
            start_new_session=True,  # Ctrl-C is meant for the parent only
        )
    except subprocess.TimeoutExpired:
        _waits.note_hang()
        raise BadImage("unreadable", CRASHED) from None
    except OSError as error:
        raise SetupError(
            f"no process can be started for an image on which ctcedge may have crashed:"
            f" {error.strerror}"
        ) from None
    finally:
        _waits.count += 1
    if process.returncode == _EXIT_BAD_IMAGE:
        raise BadImage(*json.loads(process.stdout))
    if process.returncode != 0:
        raise BadImage("unreadable", CRASHED)
    colour, array = process.stdout[:1], process.stdout[1:]
    return Decoded(np.load(io.BytesIO(array)), read_header(data), colour == _COLOUR)


def main() -> None:
    """Decode standard input to standard output."""
    _limit(resource.RLIMIT_CORE, 0)  # a core dump would hold a patient's image
    _limit(resource.RLIMIT_CPU, _MAX_SECONDS)  # should the parent end first
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _MAX_MEMORY)
    output = io.BytesIO()
    try:
        decoded = decode(sys.stdin.buffer.read())
        output.write(_COLOUR if decoded.is_colour else _GREY)
        np.save(output, decoded.pixels)
    except BadImage as error:
        output.write(json.dumps([error.status, str(error)]).encode())
        code = _EXIT_BAD_IMAGE
    else:
        code = 0
    sys.stdout.buffer.write(output.getvalue())
    sys.stdout.buffer.flush()
    sys.exit(code)


def _limit(kind: int, maximum: int) -> None:
    """Lower a resource limit of this process."""
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or maximum < hard:
        resource.setrlimit(kind, (maximum, maximum))


if __name__ == "__main__":
    main()
