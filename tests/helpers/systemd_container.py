"""A machine of its own: a real systemd that boots in a container, in seconds, from this one's /usr.

It has an empty /etc, an empty /var and no network; ctcedge is in /opt/ctcedge, as it would on a
laboratory's PC, and runs on this Python and its packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ctcedge
from ctcedge.model.folder import models_folder
from tests.helpers import cli_runner

_COMMAND = """#!/opt/ctcedge/bin/python
import sys
sys.path.insert(0, "/opt/ctcedge/source")
from ctcedge.cli.app import main
main()
"""


class CannotBootError(Exception):
    """No container boots here, for instance because this is one without the rights."""


def missing() -> str | None:
    """Why no machine can be booted here, or None where one can."""
    if os.geteuid() != 0:
        return "only root may boot a container"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed (Debian: systemd-container)"
    if not Path("/usr/lib/systemd/systemd").exists():
        return "there is no systemd in /usr"
    return None


class Machine:
    """A booted machine.

    Attributes:
        root: its file system, seen from outside.
    """

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self._enter = ["nsenter", "--all", f"--target={leader}"]

    def run(self, *words: object, check: bool = True) -> str:
        """Run a command as root and return its output."""
        done = subprocess.run(
            [*self._enter, *map(str, words)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=180,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0 or not check, f"{words}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def show(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={key}", unit).strip()

    def journal(self, unit: str) -> str:
        """What a unit logged, newest last."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boot a machine on an empty folder; it does not outlive the context.

    Raises:
        CannotBootError: with what systemd-nspawn said.
    """
    binds = _furnish(root)
    log = root.with_name(root.name + ".log")
    with open(log, "wb") as console:
        nspawn = subprocess.Popen(
            [
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--private-network",
                "--link-journal=no",
                "--console=pipe",
                f"--machine=ctcedge-{os.getpid()}",
                f"--directory={root}",
                *(f"--bind-ro={here}:{there}" for here, there in binds.items()),
                "--boot",
                "systemd.unit=basic.target",
                "systemd.mask=systemd-firstboot.service",
            ],
            env={**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
    try:
        leader = _leader(nspawn, log)
        machine = Machine(root, leader)
        cli_runner.until(
            lambda: (
                "running" in machine.run("systemctl", "is-system-running", check=False)
                or "degraded" in machine.run("systemctl", "is-system-running", check=False)
            ),
            f"boot:\n{log.read_text(errors='replace')}",
        )
        yield machine
    finally:
        nspawn.terminate()
        try:
            nspawn.wait(timeout=cli_runner.DEADLINE)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()


def _furnish(root: Path) -> dict[Path, str]:
    """Lay out the file system; return what is bound into it, by its place here."""
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for name in ("etc", "usr", "var", "opt/ctcedge/bin", "opt/ctcedge/source", "opt/python"):
        (root / name).mkdir(parents=True)
    shutil.copy("/usr/lib/os-release", root / "etc")
    home = root / "opt" / "ctcedge"
    shutil.copytree(Path(ctcedge.__file__).parent, home / "source" / "ctcedge")
    shutil.copytree(Path(__file__).parents[2] / "systemd", home / "source" / "systemd")
    shutil.copytree(models_folder(), home / "source" / "models", dirs_exist_ok=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (home / "bin" / "python").symlink_to(f"/opt/python/bin/{version}")
    (home / "pyvenv.cfg").write_text("home = /opt/python/bin\n", encoding="utf-8")
    script = home / "bin" / "ctcedge"
    script.write_text(_COMMAND, encoding="utf-8")
    script.chmod(0o755)
    return {
        Path("/usr"): "/usr",
        Path(sys.base_prefix): "/opt/python",
        Path(sysconfig.get_path("purelib")): f"/opt/ctcedge/lib/{version}/site-packages",
    }


def _leader(nspawn: subprocess.Popen[bytes], log: Path) -> int:
    """Process number, here, of the machine's first process."""
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")

    def first() -> list[str]:
        if nspawn.poll() is not None:
            raise CannotBootError(log.read_text(errors="replace").strip())
        pids = children.read_text().split()
        return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"]

    cli_runner.until(first, "the machine's first process")
    return int(first()[0])
