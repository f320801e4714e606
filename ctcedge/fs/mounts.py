"""File system of a folder, and whether it is a network or FUSE mount."""

from __future__ import annotations

import os
from pathlib import Path

_REMOTE = {"9p", "afs", "ceph", "cifs", "davfs", "nfs", "nfs4", "prl_fs", "smb3", "smbfs", "vboxsf"}


def file_system(folder: Path, mounts: str = "/proc/self/mountinfo") -> str:
    """Return the type of a folder's file system, such as `ext4`; empty where unknown.

    Args:
        folder: an existing directory.
        mounts: the kernel's list of mounts, see proc(5).
    """
    try:
        lines = Path(mounts).read_bytes().decode("utf-8", "surrogateescape").splitlines()
        place = os.path.realpath(folder)
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = _unescaped(fields[4])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # a later mount hides an earlier one
            best, kind = point, after.split(" ")[0]
    return kind


def is_remote(kind: str) -> bool:
    """Whether another machine or a program serves the file system, so that changes come late."""
    return kind in _REMOTE or kind.startswith("fuse")


def _unescaped(field: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(code, character)
    return field
