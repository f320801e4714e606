"""Decoding in a process of its own, for images that may take the process down.

`python -m ctcedge.images.sandbox` is that process: an image file on standard input, a NumPy array
on
standard output. It may take only so much time and memory.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from ctcedge.errors import BadImage, SetupError
from ctcedge.images.decode import Decoded, decode
from ctcedge.images.header import read_header

CRASHED = "the image decoder crashed on it or did not come back"
"""The error of an image that a decoder died of."""

_TIME = 60  # seconds; the largest image that is accepted takes well below one
_MEMORY = 1 << 30  # bytes; the largest image that is accepted takes a third
_REFUSED = 3  # exit code: not an array but the status and text of a BadImage


def decode_in_subprocess(data: bytes) -> Decoded:
    """Decode as `decode.decode` does, whatever the decoder does.

    Args:
        data: of an image file.

    Raises:
        BadImage: as from `decode.decode`; or its text is `CRASHED`.
        SetupError: no process can be started.
    """
    # The same modules as here, and none from the working directory.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ctcedge.images.sandbox"],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_TIME,
            start_new_session=True,  # a Ctrl-C is for this process alone
        )
    except subprocess.TimeoutExpired:
        raise BadImage("unreadable", CRASHED) from None
    except OSError as error:
        raise SetupError(
            f"no process can be started for an image on which ctcedge may have crashed:"
            f" {error.strerror}"
        ) from None
    if done.returncode == _REFUSED:
        raise BadImage(*json.loads(done.stdout))
    if done.returncode != 0:
        raise BadImage("unreadable", CRASHED)
    return Decoded(np.load(io.BytesIO(done.stdout)), read_header(data))


def main() -> None:
    """Decode standard input to standard output."""
    _limit(resource.RLIMIT_CORE, 0)  # a core dump would hold a patient's image
    _limit(resource.RLIMIT_CPU, _TIME)  # should the other process end first
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _MEMORY)
    answer = io.BytesIO()
    try:
        np.save(answer, decode(sys.stdin.buffer.read()).pixels)
    except BadImage as error:
        answer.write(json.dumps([error.status, str(error)]).encode())
        code = _REFUSED
    else:
        code = 0
    sys.stdout.buffer.write(answer.getvalue())
    sys.stdout.buffer.flush()
    sys.exit(code)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
