from __future__ import annotations

import os
from pathlib import Path

from ctcedge.fs.files import file_signature


def test_the_signature_of_what_is_no_plain_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"123")
    status = path.stat()
    expected = (3, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    assert file_signature(str(path)) == expected
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "", "none"):
        assert file_signature(str(tmp_path / name)) is None
