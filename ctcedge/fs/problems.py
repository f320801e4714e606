"""Texts on paths that a user named and the system refuses: the path, the reason and the remedy."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_CURES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file; check the path",
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.ELOOP: "its symbolic links lead in a circle; check the path",
    errno.ENAMETOOLONG: "check the path",
    errno.EROFS: "give a folder that can be written",
    errno.ENOSPC: "make room, or give another folder",
    errno.EDQUOT: "make room, or give another folder",
    errno.ESTALE: "mount the share again",
    errno.ENOTCONN: "mount the share again",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def path_problem(path: str | os.PathLike[str], error: OSError) -> str:
    """Return the message on a path that is refused.

    Args:
        path: as the user named it.
        error: of the operation on it.
    """
    reason = error.strerror or str(error)
    return f"{os.fsdecode(path)}: {reason}; {_cure(path, error.errno)}"


def unexpected_problem(error: BaseException) -> str | None:
    """Return the message on an error of a path that no command expected; None for other errors.

    Args:
        error: an exception that would end a command.
    """
    if not isinstance(error, OSError) or error.errno is None:
        return None
    path = error.filename
    if not isinstance(path, (str, bytes)) or not path:
        return None
    name = os.path.abspath(os.fsdecode(path))
    own = (str(Path(__file__).resolve().parents[1]), sys.prefix)
    if any(name.startswith(folder + os.sep) for folder in own):
        return None  # of an installation that is damaged
    return path_problem(os.fsdecode(path), error)


def _cure(path: str | os.PathLike[str], number: int | None) -> str:
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"give the account with uid {os.geteuid()} permission for it, and to enter every folder"
            f" above it ('namei -l {os.fsdecode(path)}' shows which one refuses)"
        )
    return _CURES.get(number or 0, "check the path, and the disk or share that it is on")
