"""What file system a folder lies on, and whether another machine or program serves it."""

from __future__ import annotations

import os
from pathlib import Path

_REMOTE = {"9p", "afs", "ceph", "cifs", "davfs", "nfs", "nfs4", "prl_fs", "smb3", "smbfs", "vboxsf"}


def file_system(folder: Path, mounts: str = "/proc/self/mountinfo") -> str:
    """Type of the file system that a folder lies on, such as `ext4`; empty where unknown.

    Args:
        folder: an existing directory.
        mounts: the kernel's list, see proc(5).
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
    """Whether files of this type of file system come through a server or a program, and so late."""
    return kind in _REMOTE or kind.startswith("fuse")


def _unescaped(field: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(code, character)
    return field
