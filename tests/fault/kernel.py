"""What the kernel must lend for some faults: mounts, limits, capabilities. Else the test skips."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FILE_RIGHTS = "-dac_override,-dac_read_search"


def without_roots_file_rights() -> tuple[str, ...]:
    """The prefix of a command that obeys permissions even as root."""
    if os.geteuid() != 0:
        return ()
    under = ("setpriv", "--bounding-set", _FILE_RIGHTS, "--inh-caps", _FILE_RIGHTS)
    _need(*under, "true", what="dropping root's file rights")
    return under


def with_inotify_limit(limit: str, value: int) -> tuple[str, ...]:
    """The prefix of a command in its own user namespace, where a limit of inotify is lower."""
    script = f'echo {value} > /proc/sys/user/{limit} && exec "$@"'
    under = ("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    _need(*under, "true", what=f"a user namespace with its own {limit}")
    return under


def as_the_first_process() -> tuple[str, ...]:
    """The prefix of a command that is process 1, as in a container."""
    under = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    _need(*under, "true", what="a process namespace")
    return under


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs of its own at the folder."""
    folder.mkdir(exist_ok=True)
    with mounted("-t", "tmpfs", "-o", options, "tmpfs", str(folder)):
        yield folder


@contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """A mount that ends with the test; the last argument is its place."""
    _need("mount", *arguments, what="a mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=False, capture_output=True)


def unmount(folder: Path) -> None:
    """Take a mount away at once, whoever uses it."""
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def fuse_mount(source: Path, folder: Path) -> Iterator[None]:
    """A mount of the source through FUSE, which tells nothing of what is done to the source."""
    if shutil.which("bindfs") is None or not os.path.exists("/dev/fuse"):
        pytest.skip("needs bindfs and /dev/fuse")
    _need("bindfs", "-o", "attr_timeout=0,entry_timeout=0", str(source), str(folder), what="bindfs")
    try:
        yield
    finally:
        subprocess.run(["fusermount", "-u", "-z", folder], check=True)


def _need(*words: str, what: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, encoding="utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        pytest.skip(f"{what} is not to be had here: {str(reason).strip()}")
