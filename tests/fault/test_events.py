"""File events that are missing, are lost, or belong to a folder that no longer exists."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.fault.kernel import fuse_mount, mounted, small_disk, unmount, with_inotify_limit
from tests.fault.service import Service, image, kill
from tests.helpers.cli_runner import Process, run

RARE_RESCANS = ("--rescan-interval", 3600)


def test_a_fuse_mount_gives_no_events(tmp_path: Path, model_folder: Path) -> None:
    """It is polled automatically, and this is logged."""
    server = tmp_path / "server"
    server.mkdir()
    service = Service(tmp_path, model_folder)
    with fuse_mount(server, service.folder):
        path = server / "1_BF.tif"
        path.write_bytes(image(1, suffix=".tif"))
        with service.watching(*RARE_RESCANS) as running:
            running.until(lambda: re.search("fuse.* events", running.stderr), "the message")
            service.wait_until_done(running)
            (server / "deep").mkdir()
            (server / "deep" / "2_BF.png").write_bytes(image(2))
            service.wait_until_done(running, "deep")
            before = path.stat()
            path.write_bytes(image(4, suffix=".tif"))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert path.stat().st_size == before.st_size
            service.wait_until_done(running)
            service.stop(running)
        assert set(service.folder.rglob("*_BF.*")) == {
            service.folder / "1_BF.tif",
            service.folder / "deep" / "2_BF.png",
        }
        service.check_after_restart()


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_events_are_not_available(service: Service, limit: str) -> None:
    with service.watching(*RARE_RESCANS, under=with_inotify_limit(limit, 0)) as running:
        running.until(lambda: "no file events" in running.stderr, "the message")
        service.put_many(5, "deep/er/")
        service.wait_until_done(running)
        service.stop(running)
    service.check_after_restart()


def test_the_limit_of_watches_is_reached_later(service: Service) -> None:
    """Folders that arrive later give no events."""
    under = with_inotify_limit("max_inotify_watches", 3)
    with service.watching(under=under) as running:
        for number in range(3):
            service.put_many(3, f"S{number}/", first=10 * number)
            service.wait_until_done(running, f"S{number}")
            service.put_many(3, f"S{number}/deep/", first=10 * number + 5)
            service.wait_until_done(running, f"S{number}")
        service.stop(running)
    service.check_after_restart()


def overflow(service: Service) -> None:
    """Cause more events than the kernel keeps for a reader that does not read."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 100_000:
        pytest.skip(f"the kernel keeps {most} events; too many to overflow")
    for number in range(most):
        noise = service.folder / f"noise{number % 2}"
        noise.touch()
        noise.unlink()


def test_more_events_than_the_kernel_keeps(service: Service) -> None:
    service.put_many(1)
    with service.watching(*RARE_RESCANS) as running:
        service.wait_until_done(running)
        running.popen.send_signal(signal.SIGSTOP)
        overflow(service)
        service.put_many(200, "lost/", first=100)
        (service.folder / "lost" / "deep").mkdir()
        service.put_many(5, "lost/deep/", first=500)
        running.popen.send_signal(signal.SIGCONT)
        service.wait_until_done(running)
        assert "events were lost" in running.stderr
        service.put_many(5, "later/", first=600)
        service.wait_until_done(running, "later")
        service.put_many(5, "lost/deep/", first=700)
        service.wait_until_done(running, "lost")
        service.stop(running)
    service.check_after_restart()


def waits_for_the_folder(running: Process) -> None:
    running.until(lambda: "cannot be read" in running.stderr, "the message")


def works_again(service: Service, running: Process) -> None:
    """All crops are classified, and there are events again."""
    service.wait_until_done(running)
    running.until(lambda: "working again" in running.stderr, "the message")
    service.put_many(3, "afterwards/", first=900)
    service.wait_until_done(running)


def test_the_folder_is_renamed_away_and_back(service: Service) -> None:
    service.put_many(3, "S/")
    away = service.root / "away"
    with service.watching() as running:
        service.wait_until_done(running)
        service.folder.rename(away)
        waits_for_the_folder(running)
        (away / "S" / "meanwhile_BF.png").write_bytes(image(50))
        away.rename(service.folder)
        works_again(service, running)
        service.stop(running)
    service.check_after_restart()


def test_events_come_again_after_the_folder_was_away_for_an_instant(service: Service) -> None:
    """Too short for a rescan to notice; the folder is the same, but its events may have stopped."""
    service.put_many(3, "S/")
    away = service.root / "away"
    with service.watching("--rescan-interval", 5) as running:
        service.wait_until_done(running)
        service.folder.rename(away)
        away.rename(service.folder)
        service.put_many(3, "S/", first=100)
        service.put_many(3, "T/", first=200)
        service.wait_until_done(running)
        service.stop(running)
    service.check_after_restart()


def test_the_folder_is_removed_and_created_again(service: Service) -> None:
    service.put_many(3, "S/")
    with service.watching() as running:
        service.wait_until_done(running)
        shutil.rmtree(service.folder)
        waits_for_the_folder(running)
        service.put_many(3, "S/", first=100)
        works_again(service, running)
        service.stop(running)
    service.check_after_restart()


def test_a_share_is_unmounted_and_mounted_again(service: Service) -> None:
    with small_disk(service.root / "share", "size=2m") as share:
        with mounted("--bind", str(share), str(service.folder)):
            service.put_many(3, "S/")
            with service.watching() as running:
                service.wait_until_done(running)
                unmount(service.folder)
                (share / "S" / "meanwhile_BF.png").write_bytes(image(50))
                assert list(service.folder.iterdir()) == []
                beneath = service.put("beneath_BF.png", image(60))
                running.until(lambda: service.record(beneath.name), "a look at the empty place")
                with mounted("--bind", str(share), str(service.folder)):
                    service.wait_until_done(running)
                    service.put_many(3, "S/", first=900)
                    service.wait_until_done(running)
                    service.stop(running)
                    assert service.record("S/meanwhile_BF.png") is not None
                    service.check_after_restart()


def test_the_folder_is_not_there_at_the_start(service: Service) -> None:
    """The watch reports it and ends; a service manager starts it again."""
    service.folder.rmdir()
    assert "does not exist" in run("watch", *service.words, code=2).stderr
    service.folder.mkdir()
    service.put_many(1)
    service.check_after_restart()


def test_sub_folders_vanish_amid_the_work(service: Service) -> None:
    with service.watching("--batch-size", 2) as running:
        for number in range(5):
            service.put_many(40, f"S{number}/deep/", first=100 * number)
            shutil.rmtree(service.folder / f"S{number}")
        service.put_many(3, "last/", first=900)
        service.wait_until_done(running)
        assert running.alive()
        service.stop(running)
    service.check_after_restart()


def test_the_output_folder_is_taken_away(service: Service) -> None:
    """Sidecars that were moved away stay there; all are written again, by one process only."""
    service.put_many(3)
    with service.watching() as running:
        service.wait_until_done(running)
        service.out.rename(service.root / "taken")
        service.invariant.forget()
        service.put_many(3, "S/", first=100)
        service.wait_until_done(running)
        run("classify", *service.words, code=2)  # else two ctcedge would write into one folder
        kill(running)
    service.check_after_restart()
