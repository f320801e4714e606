from __future__ import annotations

from pathlib import Path

import pytest

from ctcedge.fs.mounts import file_system, is_remote, remote_below

MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /mnt/share\040one rw - cifs //pc/out rw
31 22 0:41 / /mnt rw master:2 - tmpfs tmpfs rw
32 31 0:42 / /mnt/over rw - ext4 /dev/vdb rw
33 32 0:43 / /mnt/over rw - nfs4 pc:/out rw
a torn line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/data/in", "ext4"),
        ("/mnt", "tmpfs"),
        ("/mnt/share one/run", "cifs"),
        ("/mnt/share onerous", "tmpfs"),
        ("/mnt/over", "nfs4"),
    ],
)
def test_the_deepest_and_latest_mount_is_found(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS, encoding="utf-8")
    assert file_system(Path(folder), str(mounts)) == kind


@pytest.mark.parametrize(
    ("folder", "kinds"),
    [("/mnt", ["cifs", "nfs4"]), ("/", ["cifs", "nfs4"]), ("/mnt/over", []), ("/mnt/ov", [])],
)
def test_shares_below_a_folder_are_found(tmp_path: Path, folder: str, kinds: list[str]) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS, encoding="utf-8")
    assert remote_below(Path(folder), str(mounts)) == kinds


def test_no_list_of_mounts_is_no_error(tmp_path: Path) -> None:
    assert file_system(tmp_path, str(tmp_path / "none")) == ""


@pytest.mark.parametrize(
    ("kind", "remote"),
    [
        ("cifs", True),
        ("nfs4", True),
        ("fuse.sshfs", True),
        ("lustre", True),
        ("virtiofs", True),
        ("gpfs", True),
        ("beegfs", True),
        ("ext4", False),
        ("", False),
    ],
)
def test_shares_are_told_from_disks(kind: str, remote: bool) -> None:
    assert is_remote(kind) is remote
