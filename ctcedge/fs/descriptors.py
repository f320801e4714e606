"""File descriptors of folders and of files that are only read."""

from __future__ import annotations

import contextlib
import os


def close_unwritten(descriptor: int) -> None:
    """Close a descriptor that nothing was written through: an error of that loses nothing."""
    with contextlib.suppress(OSError):
        os.close(descriptor)
