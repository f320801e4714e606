"""A FUSE file system that does not tell names apart by case or by the form of accents.

`python3 folding_fs.py SOURCE MOUNT` runs until it is unmounted; it needs fusepy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import unicodedata
from typing import Any

try:
    import fusepy as fuse
except ImportError:
    import fuse


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class FoldingFs(fuse.Operations):  # type: ignore[misc]
    """Passes each call on to a folder, with the name that is there already.

    Args:
        root: the folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def __call__(self, op: str, *arguments: Any) -> Any:
        try:
            return super().__call__(op, *arguments)
        except OSError as error:
            raise fuse.FuseOSError(error.errno or errno.EIO) from None

    def real(self, path: str) -> str:
        found = self.root
        for name in path.strip("/").split("/"):
            names = []
            with contextlib.suppress(OSError):
                names = os.listdir(found)
            same = [other for other in names if _folded(other) == _folded(name)]
            found = os.path.join(found, same[0] if same else name)
        return found if path != "/" else self.root

    def getattr(self, path: str, handle: Any = None) -> dict[str, Any]:
        status = os.lstat(self.real(path))
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino")
        times = {f"st_{kind}time": getattr(status, f"st_{kind}time_ns") / 1e9 for kind in "amc"}
        return {name: getattr(status, name) for name in names} | times

    def readdir(self, path: str, handle: Any) -> list[str]:
        return [".", "..", *os.listdir(self.real(path))]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.real(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.real(path))

    def unlink(self, path: str) -> None:
        os.unlink(self.real(path))

    def rename(self, old: str, new: str) -> None:
        os.replace(self.real(old), self.real(new))

    def link(self, target: str, source: str) -> None:
        os.link(self.real(source), self.real(target))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.real(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self.real(path), uid, gid)

    def utimens(self, path: str, times: Any = None) -> None:
        os.utime(self.real(path), times)

    def create(self, path: str, mode: int, info: Any = None) -> int:
        return os.open(self.real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self.real(path), flags & ~(os.O_CREAT | os.O_EXCL))

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        return os.pread(handle, size, offset)

    def write(self, path: str, data: bytes, offset: int, handle: int) -> int:
        return os.pwrite(handle, data, offset)

    def truncate(self, path: str, length: int, handle: int | None = None) -> None:
        os.truncate(self.real(path), length)

    def fsync(self, path: str, datasync: int, handle: int) -> None:
        os.fsync(handle)

    def release(self, path: str, handle: int) -> None:
        os.close(handle)

    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(self.root)
        names = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree")
        return {name: getattr(status, name) for name in names}


if __name__ == "__main__":
    operations = FoldingFs(os.path.abspath(sys.argv[1]))
    # Nothing is cached: two names may mean one file.
    fuse.FUSE(operations, sys.argv[2], foreground=True, attr_timeout=0, entry_timeout=0)
