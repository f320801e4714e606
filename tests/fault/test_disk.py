"""Full disks, lost permissions, and folders that cannot be written or read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.kernel import small_disk, without_file_capabilities
from tests.fault.service import Service, image, kill
from tests.helpers.cli_runner import Process, run

PAGE = 4096


def fill_with_data(disk: Path) -> None:
    with (disk / "filler").open("wb") as file:
        while os.statvfs(disk).f_bavail > 5:
            file.write(b"\0" * PAGE)
            file.flush()


def fill_with_files(disk: Path) -> None:
    (disk / "filler").mkdir()
    for number in range(os.statvfs(disk).f_favail - 5):
        (disk / "filler" / str(number)).touch()


def make_room(disk: Path) -> None:
    subprocess.run(["rm", "-r", disk / "filler"], check=True)


@pytest.mark.parametrize("fill", [fill_with_data, fill_with_files])
def test_a_full_disk_is_waited_out_without_a_restart(
    service: Service, fill: Callable[[Path], None]
) -> None:
    with small_disk(service.out, "size=2m,nr_inodes=400"):
        service.put_many(5, "before/")
        with service.watching() as running:
            service.wait_until_done(running)
            fill(service.out)
            service.put_many(60, "amid/", first=100)
            running.until(lambda: "No space left" in running.stderr, "the message")
            assert running.alive()
            assert service.invariant.missing()
            make_room(service.out)
            service.wait_until_done(running)
            service.stop(running)
        service.check_after_restart()


def test_a_crash_on_a_full_disk_loses_nothing(service: Service) -> None:
    with small_disk(service.out, "size=2m"):
        names = service.put_many(5)
        with service.watching() as running:
            service.wait_until_done(running)
            fill_with_data(service.out)
            service.put_many(60, "amid/", first=100)
            running.until(lambda: "No space left" in running.stderr, "the message")
            kill(running)
        assert all(service.record(name) for name in names)
        with service.watching() as running:
            running.until(lambda: "trying again" in running.stderr, "the message")
            make_room(service.out)
            service.wait_until_done(running)
            service.stop(running)
        service.check_after_restart()


def test_permission_to_write_lost_and_regained(service: Service) -> None:
    """To one folder, to a folder that cannot be entered, and to the whole output."""
    closed = {"S": 0o555, "T": 0o000, ".": 0o555}
    for folder in ("S", "T"):
        service.put_many(3, f"{folder}/")
    with service.watching(under=without_file_capabilities()) as running:
        service.wait_until_done(running)
        for folder, mode in closed.items():
            (service.out / folder).chmod(mode)
            service.put_many(20, f"{folder}/", first=100)
        service.put_many(3, "new/", first=200)
        running.until(lambda: reports_the_reason(running), "the message")
        for folder in closed:
            (service.out / folder).chmod(0o755)
        service.wait_until_done(running)
        service.stop(running)
    service.check_after_restart()


def reports_the_reason(running: Process) -> bool:
    return "not-written" in running.stderr or "Permission denied" in running.stderr


def test_permission_to_read_images_lost_and_regained(service: Service) -> None:
    with service.watching("--decode-timeout", 0, under=without_file_capabilities()) as running:
        name = service.put_many(1, "S/")[0]
        service.wait_until_done(running)
        closed = service.put("S/closed_BF.png", image(7))
        closed.chmod(0)
        hidden = service.root / "hidden"
        hidden.mkdir()
        (hidden / "1_BF.png").write_bytes(image(8))
        hidden.chmod(0)
        hidden.rename(service.folder / "hidden")
        running.until(lambda: service.record("S/closed_BF.png"), "its sidecar")
        record = service.record("S/closed_BF.png")
        assert record is not None
        assert (record["status"], record["call"]) == ("unreadable", None)
        closed.chmod(0o644)
        (service.folder / "hidden").chmod(0o755)
        service.wait_until_done(running)
        assert service.record(name) is not None
        service.stop(running)
    service.check_after_restart()


def test_a_read_only_export(service: Service) -> None:
    with small_disk(service.folder, "size=2m"):
        service.put_many(5)
        remount(service.folder, "ro")
        refused = run("watch", service.folder, "--model", service.model, code=2)
        assert "--out" in refused.stderr
        with service.watching() as running:
            service.wait_until_done(running)
            remount(service.folder, "rw")
            service.put_many(5, first=10)
            service.wait_until_done(running)
            remount(service.folder, "ro")
            service.stop(running)
        assert all(path.name.endswith("_BF.png") for path in service.folder.rglob("*"))
        service.check_after_restart()


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)
