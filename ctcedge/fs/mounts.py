"""File system of a folder, and whether it is a network or FUSE mount."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ctcedge.fs.descriptors import close_unwritten

_REMOTE = frozenset(
    "9p afs beegfs beegfs_nodev ceph cifs coda davfs gfs gfs2 glusterfs gpfs kafs lustre mmfs ncpfs"
    " nfs nfs4 ocfs2 orangefs panfs prl_fs pvfs2 smb3 smbfs vboxsf virtiofs vmhgfs wekafs".split()
)


def file_system(folder: Path, mounts: str = "/proc/self/mountinfo") -> str:
    """Return the type of a folder's file system, such as `ext4`; empty where unknown.

    Args:
        folder: an existing directory.
        mounts: the kernel's list of mounts, see proc(5).
    """
    place = os.path.realpath(folder)
    best, kind = "", ""
    for point, its_kind in _mounted(mounts):
        if _is_inside(place, point) and len(point) >= len(best):  # a later mount hides an earlier
            best, kind = point, its_kind
    return kind


def remote_below(folder: Path, mounts: str = "/proc/self/mountinfo") -> list[str]:
    """Types of the remote file systems that are mounted below a folder; sorted.

    Args:
        folder: an existing directory.
        mounts: the kernel's list, see proc(5).
    """
    place = os.path.realpath(folder)
    kind_at = dict(_mounted(mounts))  # a later mount hides an earlier one
    return sorted(
        {
            kind
            for point, kind in kind_at.items()
            if point != place and _is_inside(point, place) and is_remote(kind)
        }
    )


def _mounted(mounts: str) -> Iterator[tuple[str, str]]:
    """Yield the place and type of each mounted file system, in the order of mounting."""
    try:
        lines = Path(mounts).read_bytes().decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) >= 5 and after:
            yield _unescaped(fields[4]), after.split(" ")[0]


def _is_inside(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip("/") + "/")


def is_remote(kind: str) -> bool:
    """Whether another machine or a program serves the file system, so that changes come late."""
    return kind in _REMOTE or kind.startswith("fuse")


def _unescaped(field: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(code, character)
    return field


def sync_file_systems(folders: Iterable[Path]) -> None:
    """Sync the file systems of these folders to disk.

    Raises:
        OSError: it failed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for folder in {os.stat(folder).st_dev: folder for folder in folders}.values():
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if library.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            close_unwritten(descriptor)
