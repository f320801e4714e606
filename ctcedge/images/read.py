"""Bounded read of an image file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ctcedge.errors import BadImage
from ctcedge.fs.files import FileTooLargeError, NotRegularFileError
from ctcedge.fs.tree import Tree
from ctcedge.images.types import MAX_BYTES


def read_file(tree: Tree, path: str) -> bytes:
    """Read an image file, without following a link or blocking on what replaced it.

    Args:
        tree: the searched folder.
        path: path of the image below it.

    Raises:
        BadImage: larger than any image that is accepted.
        FolderLostError: the searched folder itself cannot be opened.
        FileNotFoundError: gone, or no longer a regular file.
        OSError: any other failure.
    """
    try:
        return tree.read(path, MAX_BYTES)
    except NotRegularFileError:
        raise _gone(path) from None
    except FileTooLargeError as error:
        raise BadImage(
            "unsupported", f"too large: {error.size:,} bytes (at most {MAX_BYTES:,})"
        ) from None
    except OSError:
        if tree.is_gone(path):
            raise _gone(path) from None
        raise


def read_named_file(path: Path) -> bytes:
    """Read an image file that a person named, as `read_file` does."""
    with Tree(path.parent) as tree:
        return read_file(tree, path.name)


def _gone(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
