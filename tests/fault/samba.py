"""A private Samba server on the loopback interface, and its client."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.cli_runner import until

_CONFIG = """
[global]
server role = standalone server
smb ports = {port}
interfaces = lo
bind interfaces only = yes
disable netbios = yes
disable spoolss = yes
load printers = no
map to guest = bad user
private dir = {root}
state directory = {root}
cache directory = {root}
lock directory = {root}
pid directory = {root}
ncalrpc dir = {root}/rpc
log file = {root}/log

[crops]
path = {folder}
guest ok = yes
writable = yes
force user = {user}
"""


class Share(NamedTuple):
    """A share of the server."""

    port: int

    def do(self, *commands: str) -> None:
        """Let the client do something, such as `put FILE NAME`."""
        words = ["smbclient", "//127.0.0.1/crops", "-p", str(self.port), "-N"]
        words += ["-s", "/dev/null", "-c", "; ".join(commands)]
        done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def shared(folder: Path, root: Path) -> Iterator[Share]:
    """Share a folder; the test is skipped where there is no Samba."""
    smbd = shutil.which("smbd") or shutil.which("smbd", path="/usr/sbin")
    if smbd is None or shutil.which("smbclient") is None or os.geteuid() != 0:
        pytest.skip("needs smbd, smbclient and root")
    root.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = root / "smb.conf"
    user = subprocess.run(["id", "-un"], capture_output=True, encoding="utf-8").stdout.strip()
    config.write_text(_CONFIG.format(port=port, root=root, folder=folder, user=user), "utf-8")
    with (root / "output").open("wb") as output:
        server = subprocess.Popen(
            [smbd, "--foreground", "--no-process-group", f"--configfile={config}"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # at its end it signals its whole process group
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: server.poll() is not None or _answers(port), "the file server")
        if server.poll() is not None:
            text = (root / "output").read_text(encoding="utf-8", errors="replace")
            pytest.skip(f"smbd does not start here: {text[-300:]}")
        yield Share(port)
    finally:
        server.terminate()
        server.wait(30)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
