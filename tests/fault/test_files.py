"""Files as instruments and copy tools write them, one test each.

One watch processes all of them, so that the files of one test remain for the next.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.service import Service, image
from tests.fault.workbench import Workbench
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, encoded
from tests.helpers.sidecar_files import sidecars


def test_half_written_and_finished_later(bench: Workbench) -> None:
    data = image(1, CTC)
    path = bench.put("1_BF.png", data[: len(data) // 2])
    bench.wait()
    assert bench.calls("1_BF.png") == []
    with path.open("ab") as file:
        file.write(data[len(data) // 2 :])
    bench.wait()
    assert bench.calls("1_BF.png") == ["CTC"]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_growing(bench: Workbench, suffix: str) -> None:
    data, name = image(1, CTC, suffix), f"1_BF{suffix}"
    with (bench.folder / name).open("wb", buffering=0) as file:
        for start in range(0, len(data), len(data) // 3 + 1):
            assert bench.calls(name) == []
            file.write(data[start : start + len(data) // 3 + 1])
            if start + len(data) // 3 + 1 < len(data):
                bench.wait()
    bench.wait()
    assert bench.calls(name) == ["CTC"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("1_BF.png", image(1)),
        ("directory last_BF.tif", encoded(cell(), ".tif")),
        ("pixels last_BF.tif", image(1, suffix=".tif")),
    ],
    ids=["PNG", "TIFF with its directory last", "TIFF with its pixels last"],
)
def test_pre_allocated_with_a_tail_of_zeros(bench: Workbench, name: str, data: bytes) -> None:
    """Full size at once while its writer pauses; an uncompressed TIFF would decode nevertheless."""
    with (bench.folder / name).open("w+b", buffering=0) as file:
        file.truncate(len(data))
        bench.wait()
        file.write(data[: len(data) // 2 + 5])
        bench.wait()
        assert bench.calls(name) == []
        file.write(data[len(data) // 2 + 5 :])
    bench.wait()
    assert len(bench.calls(name)) == 1


@pytest.mark.parametrize("part", ["1_BF.png.part", ".1_BF.png.x7Qa", "tmp1.png", "~1_BF.tmp"])
def test_written_under_another_name_and_renamed(bench: Workbench, part: str) -> None:
    path = bench.put(part, image(1, CTC)[:99])
    bench.service.wait_for_unchanged_files(bench.running)
    path.write_bytes(image(1, CTC))
    path.rename(bench.folder / "1_BF.png")
    bench.wait()
    assert bench.calls("1_BF.png") == ["CTC"]


@pytest.mark.parametrize("restored", [False, True], ids=["", "mtime restored"])
def test_rewritten_in_place_with_the_same_size(bench: Workbench, restored: bool) -> None:
    first, second = (image(1, diameter, ".tif") for diameter in (CTC, LEUKOCYTE))
    assert len(first) == len(second)
    path = bench.put("1_BF.tif", first)
    bench.wait()
    before = path.stat()
    with path.open("r+b") as file:
        file.write(second)
    if restored:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    bench.wait()
    assert bench.calls("1_BF.tif") == ["CTC", "leukocyte"]


def test_replaced(bench: Workbench) -> None:
    for number, diameter in enumerate((CTC, LEUKOCYTE, CTC)):
        bench.put("new", image(number, diameter)).rename(bench.folder / "1_BF.png")
        bench.wait()
    assert bench.calls("1_BF.png") == ["CTC", "leukocyte", "CTC"]


def test_replaced_by_the_same_content(bench: Workbench) -> None:
    for _ in range(3):
        bench.put("new", image(1, CTC)).rename(bench.folder / "1_BF.png")
        bench.wait()
        bench.put("1_BF.png", image(1, CTC))
        bench.wait()
    assert bench.calls("1_BF.png") == ["CTC"]


def test_changed_and_changed_back(bench: Workbench) -> None:
    for diameter in (CTC, LEUKOCYTE, CTC):
        bench.put("1_BF.png", image(1, diameter))
        bench.wait()
    assert bench.calls("1_BF.png") == ["CTC", "leukocyte", "CTC"]


def test_deleted_while_queued(bench: Workbench) -> None:
    bench.running.popen.send_signal(signal.SIGSTOP)
    for number in range(100):
        bench.put(f"{number}_BF.png", image(number))
    for number in range(0, 100, 2):
        (bench.folder / f"{number}_BF.png").unlink()
    bench.running.popen.send_signal(signal.SIGCONT)
    bench.wait()
    assert bench.calls("0_BF.png") == []
    assert len(list((bench.service.out / bench.below).iterdir())) == 50


def test_deleted_and_made_again_while_queued(bench: Workbench) -> None:
    bench.running.popen.send_signal(signal.SIGSTOP)
    for diameter in (CTC, LEUKOCYTE, CTC):
        bench.put("1_BF.png", image(1, diameter))
        (bench.folder / "1_BF.png").unlink()
    bench.put("1_BF.png", image(2, LEUKOCYTE))
    bench.running.popen.send_signal(signal.SIGCONT)
    bench.wait()
    assert bench.calls("1_BF.png") == ["leukocyte"]


def test_copied_back_with_an_old_mtime(bench: Workbench) -> None:
    path = bench.put("1_BF.tif", image(1, CTC, ".tif"))
    bench.wait()
    path.unlink()
    bench.wait()
    backup = bench.service.root / "backup.tif"
    backup.write_bytes(image(2, LEUKOCYTE, ".tif"))
    os.utime(backup, (1_000_000_000, 1_000_000_000))
    shutil.copy2(backup, path)
    bench.wait()
    assert bench.calls("1_BF.tif") == ["CTC", "leukocyte"]


@pytest.mark.parametrize("seconds", [-1, 0, 1, 4_000_000_000])
def test_an_odd_mtime(bench: Workbench, seconds: int) -> None:
    os.utime(bench.put("1_BF.png", image(1, CTC)), (seconds, seconds))
    bench.wait()
    assert bench.calls("1_BF.png") == ["CTC"]


def test_touched_without_a_change(bench: Workbench) -> None:
    path = bench.put("1_BF.png", image(1, CTC))
    bench.wait()
    for seconds in (0, 1_000_000_000):
        os.utime(path, (seconds, seconds))
        path.chmod(0o600)
        bench.wait()
    assert bench.calls("1_BF.png") == ["CTC"]


def test_a_folder_moved_in_whole(bench: Workbench) -> None:
    elsewhere = bench.service.root / "elsewhere"
    for number in range(20):
        path = elsewhere / f"P{number % 3}" / "deep" / f"{number}_BF.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(number))
    elsewhere.rename(bench.folder / "P")
    bench.wait()
    assert len(sidecars(bench.service.out / bench.below)) == 20


def test_a_folder_renamed(bench: Workbench) -> None:
    """Another sample: crops are classified again at the new path; nothing is lost at the old."""
    bench.put("old/1_BF.png", image(1, CTC))
    bench.wait()
    (bench.folder / "old").rename(bench.folder / "new")
    bench.wait()
    bench.put("new/2_BF.png", image(2, CTC))
    bench.wait()
    assert [bench.calls(f"{name}_BF.png") for name in ("old/1", "new/1", "new/2")] == [["CTC"]] * 3


def test_thousands_at_once(bench: Workbench) -> None:
    making = bench.service.root / "making"
    making.mkdir()
    for number in range(2000):
        (making / f"{number}_BF.png").write_bytes(image(number))
    making.rename(bench.folder / "all")
    bench.wait()
    assert len(list((bench.service.out / bench.below / "all").iterdir())) == 2000


def a_symbolic_link(path: Path) -> None:
    path.symlink_to(crop_elsewhere(path))


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_loop_of_links(path: Path) -> None:
    path.symlink_to(path.name)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{parent}/{path.name}")  # an address has 107 bytes at most
    finally:
        os.close(parent)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero never ends
    except PermissionError:
        pytest.skip("only root may make devices")


def a_folder_with_an_images_name(path: Path) -> None:
    path.mkdir()
    (path / "2_BF.png").write_bytes(image(2))


def a_link_to_a_folder(path: Path) -> None:
    path.with_name("linked").symlink_to(crop_elsewhere(path).parent)


def crop_elsewhere(path: Path) -> Path:
    folder = path.parents[2] / "linked to"
    folder.mkdir(exist_ok=True)
    (folder / "9_BF.png").write_bytes(image(9))
    return folder / "9_BF.png"


NOT_FILES = [
    a_symbolic_link,
    a_dangling_link,
    a_loop_of_links,
    a_fifo,
    a_socket,
    a_device,
    a_folder_with_an_images_name,
    a_link_to_a_folder,
]


@pytest.mark.parametrize("make", NOT_FILES)
def test_never_opened(bench: Workbench, make: Callable[[Path], None]) -> None:
    make(bench.folder / "1_BF.png")
    bench.wait()
    assert not (bench.service.out / bench.below).exists()


@pytest.mark.parametrize("make", NOT_FILES[:-1])
def test_takes_the_place_of_a_queued_crop(bench: Workbench, make: Callable[[Path], None]) -> None:
    bench.running.popen.send_signal(signal.SIGSTOP)
    bench.put("1_BF.png", image(1)).unlink()
    make(bench.folder / "1_BF.png")
    bench.running.popen.send_signal(signal.SIGCONT)
    bench.wait()
    assert not (bench.service.out / bench.below).exists()


def test_an_empty_file_that_is_filled_later(bench: Workbench) -> None:
    path = bench.put("1_BF.png", b"")
    bench.wait()
    assert bench.calls("1_BF.png") == []
    path.write_bytes(image(1, CTC))
    bench.wait()
    assert bench.calls("1_BF.png") == ["CTC"]


def test_hard_links(bench: Workbench) -> None:
    os.link(bench.put("1_BF.png", image(1, CTC)), bench.folder / "2_BF.png")
    bench.wait()
    assert bench.calls("1_BF.png") == bench.calls("2_BF.png") == ["CTC"]


def test_damaged_for_good(tmp_path: Path, model_folder: Path) -> None:
    """Recorded as unreadable after the timeout, and classified again once it is replaced."""
    service = Service(tmp_path, model_folder)
    damaged = {"empty": b"", "torn": image(1)[:200], "text": b"cell 7", "zeros": b"\0" * 999}
    with service.watching("--decode-timeout", 0.5) as running:
        for name, data in damaged.items():
            service.put(f"{name}_BF.png", data)
        running.until(lambda: len(sidecars(service.out)) == len(damaged), "the sidecars")
        assert {r["status"] for r in sidecars(service.out).values()} == {"unreadable"}
        for name in damaged:
            service.put(f"{name}_BF.png", image(3))
        service.wait_until_done(running)
        service.stop(running)
    assert all(record["history"] == [] for record in sidecars(service.out).values())
    service.check_after_restart()
