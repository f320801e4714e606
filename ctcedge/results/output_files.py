"""Places that results are written to: a file that is replaced whole, or standard output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ctcedge import streams
from ctcedge.errors import OutputError
from ctcedge.fs.files import atomic_writer
from ctcedge.log import escape_control_chars


@contextlib.contextmanager
def replacing(path: Path, *, follow: bool = False) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` on success and is deleted on failure.

    Args:
        path: the file to write.
        follow: whether a symbolic link is kept, and the file replaced to which it leads; only for
            a path that the user named. Otherwise the link itself is replaced.

    Raises:
        OutputError: `path` cannot be written, or is no regular file.
    """
    target = followed(path) if follow else path
    if target.exists() and not target.is_file() and not target.is_symlink():
        raise OutputError(f"{path} is no regular file; give the name of a file")
    try:
        with atomic_writer(target) as file:
            yield file
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; give another --out"
        ) from None


def followed(path: Path) -> Path:
    """Return the file to which a path leads through symbolic links."""
    return Path(os.path.realpath(path))


@contextlib.contextmanager
def standard_output(*, required: bool = True) -> Iterator[BinaryIO]:
    """Open standard output for bytes.

    Args:
        required: whether it is an error that it cannot be written.

    Raises:
        OutputError: it cannot be written.
        BrokenPipeError: the reader has closed it.
    """
    try:
        with streams.strict() if required else contextlib.nullcontext():
            if sys.stdout.isatty():
                # A name or an error may hold escape sequences, which a terminal would obey.
                text = io.BytesIO()
                yield text
                sys.stdout.buffer.write(_harmless(text.getvalue()))
            else:
                yield sys.stdout.buffer
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from None


def _harmless(data: bytes) -> bytes:
    """Escape control characters other than line feeds and tabs."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    cells = ["\t".join(map(escape_control_chars, line.rstrip("\r").split("\t"))) for line in lines]
    return "\n".join(cells).encode("utf-8", "backslashreplace")
