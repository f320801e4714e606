"""Mounts, limits and capabilities for some faults; a test is skipped where they are unavailable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_FILE_CAPABILITIES = "-dac_override,-dac_read_search"


def without_file_capabilities() -> tuple[str, ...]:
    """Prefix of a command that obeys permissions even as root."""
    if os.geteuid() != 0:
        return ()
    under = ("setpriv", "--bounding-set", _FILE_CAPABILITIES, "--inh-caps", _FILE_CAPABILITIES)
    _require(*under, "true", what="dropping root's file rights")
    return under


def with_inotify_limit(limit: str, value: int) -> tuple[str, ...]:
    """Prefix of a command in its own user namespace, with a lower limit of inotify."""
    script = f'echo {value} > /proc/sys/user/{limit} && exec "$@"'
    under = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    _require(*under, "true", what=f"a user namespace with its own {limit}")
    return under


def as_process_1() -> tuple[str, ...]:
    """Prefix of a command that runs as process 1, as in a container."""
    under = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    _require(*under, "true", what="a process namespace")
    return under


def with_threads(count: int) -> tuple[str, ...]:
    """Prefix of a command whose process can have so many threads; RLIMIT_NPROC spares root."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become an account without other processes")
    rights = "-all,+dac_override,+dac_read_search"
    under: tuple[str, ...] = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups")
    for kind in ("bounding-set", "inh-caps", "ambient-caps"):
        under += (f"--{kind}", rights)
    under += ("prlimit", f"--nproc={count}")
    _require(*under, "true", what="a process with few threads")
    return under


@contextmanager
def memory_limit(size: int) -> Iterator[tuple[str, ...]]:
    """Prefix of a command whose processes get so much memory, in bytes, by a control group."""
    for parent, name in (("/sys/fs/cgroup/memory", "limit_in_bytes"), ("/sys/fs/cgroup", "max")):
        group = Path(parent, f"ctcedge-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for limit in (f"memory.{name}", "memory.memsw.limit_in_bytes", "memory.swap.max"):
                with suppress(OSError):
                    (group / limit).write_text("0" if limit.endswith("swap.max") else str(size))
            if (group / f"memory.{name}").exists():
                yield "sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"
                return
        finally:
            group.rmdir()
    pytest.skip("no control group with a memory limit can be made here")


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A small tmpfs, mounted at the folder."""
    folder.mkdir(exist_ok=True)
    with mounted("-t", "tmpfs", "-o", options, "tmpfs", str(folder)):
        yield folder


@contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """A mount for the time of the context; the last argument is the mount point."""
    _require("mount", *arguments, what="a mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=False, capture_output=True)


def unmount(folder: Path) -> None:
    """Unmount at once, even where the mount is in use."""
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def fuse_mount(source: Path, folder: Path) -> Iterator[None]:
    """A FUSE mount of the source, which gives no events of changes to the source."""
    if shutil.which("bindfs") is None or not os.path.exists("/dev/fuse"):
        pytest.skip("needs bindfs and /dev/fuse")
    _require(
        "bindfs", "-o", "attr_timeout=0,entry_timeout=0", str(source), str(folder), what="bindfs"
    )
    try:
        yield
    finally:
        subprocess.run(["fusermount", "-u", "-z", folder], check=True)


def _require(*words: str, what: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, encoding="utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        pytest.skip(f"{what} is not available here: {str(reason).strip()}")
