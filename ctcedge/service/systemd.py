"""The watch of one folder as a systemd service of this machine.

The service is an instance of the shipped unit template, which is the same everywhere, and a drop-in
with what is specific to this machine: the path of ctcedge, the account, the writable folders. All
steps are planned before the first is applied, so that a dry run can show them.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ctcedge.errors import SetupError
from ctcedge.fs.files import atomic_write
from ctcedge.settings import LAB_VARIABLE

ACCOUNT = "ctcedge"
UNITS = Path("/etc/systemd/system")
SYSUSERS = Path("/etc/sysusers.d/ctcedge.conf")
RUNNING = Path("/run/systemd/system")  # exists while systemd runs, see sd_booted(3)
TEMPLATE = "ctcedge@.service"

_STATE = "/var/lib/ctcedge"
_MAX_UNIT_NAME = 255
_PLAIN_WORD = re.compile(r"[\w@:,./=+-]+", re.ASCII)
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")
_BACK_OFF_VERSION = 254  # of systemd, the first with RestartSteps=


@dataclass(frozen=True, slots=True)
class Write:
    """Write a file."""

    path: Path
    text: str

    def __str__(self) -> str:
        """Description for a dry run."""
        return f"write {self.path}\n" + "".join(f"    {line}\n" for line in self.text.splitlines())

    def apply(self) -> None:
        """Apply the step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path, self.text.encode(), world_readable=True)


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file or folder, if it exists."""

    path: Path

    def __str__(self) -> str:
        """Description for a dry run."""
        return f"remove {self.path}\n"

    def apply(self) -> None:
        """Apply the step."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        """Description for a dry run."""
        return f"run {shlex.join(self.words)}\n"

    def apply(self) -> None:
        """Apply the step."""
        process = subprocess.run(self.words, capture_output=True, text=True, errors="replace")
        if process.returncode != 0:
            raise SetupError(f"{shlex.join(self.words)} failed: {process.stderr.strip()}")


Step = Write | Remove | Run


@dataclass(frozen=True, slots=True)
class Service:
    """Configuration of the service of one folder.

    Attributes:
        folder: the watched folder.
        options: further arguments of `ctcedge watch` with absolute paths; without `--out`.
        out: folder of the sidecars; None for the service's own, in /var/lib.
        writable: other folders that the service writes to.
        user: account that the service runs as.
        cpu_only: whether access to the GPU is denied.
        lab: the lab's settings file that CTCEDGE_CONFIG names; None for none, or that in /etc.
        readable: files and folders that the settings name and the service reads.
    """

    folder: Path
    options: tuple[str, ...] = ()
    out: Path | None = None
    writable: tuple[Path, ...] = ()
    user: str = ACCOUNT
    cpu_only: bool = False
    lab: Path | None = None
    readable: tuple[Path, ...] = ()

    def install(self) -> list[Step]:
        """Steps that install or update the service and start it.

        Raises:
            SetupError: the service could not run, or cannot be described by a unit file.
        """
        program = Path(sys.executable).with_name("ctcedge")
        if not program.exists():
            raise SetupError(f"there is no {program}; install ctcedge into a virtual environment")
        for path in self._writable():
            if path.is_mount():
                raise SetupError(
                    f"{path} is a mount point: while nothing is mounted, sidecars would be written"
                    " elsewhere; give a folder below it"
                )
        owner = _account(self.user)
        _require_access(owner, program, Path(sys.executable).resolve(), Path(__file__))
        for path in self.readable:
            _require_readable(owner, path)
        unit = unit_name(self.folder)
        drop_ins = _drop_ins(unit)
        steps: list[Step] = [
            Write(UNITS / TEMPLATE, shipped(TEMPLATE)),
            Write(drop_ins / "machine.conf", self._drop_in(unit, program, owner.group)),
            *_optional(drop_ins / "cpu-only.conf", self.cpu_only),
            *_optional(drop_ins / "back-off.conf", _systemd_version() >= _BACK_OFF_VERSION),
        ]
        if self.user == ACCOUNT:
            steps += [
                Write(SYSUSERS, shipped("sysusers.d/ctcedge.conf")),
                Run(("systemd-sysusers", str(SYSUSERS))),
            ]
        ownership = f"--owner={self.user}", f"--group={owner.group}", "--mode=0750"
        steps += [
            Run(("install", "--directory", *ownership, str(path)))
            for path in self._writable()
            if not path.exists()
        ]
        steps += [
            Run(("systemctl", "daemon-reload")),
            Run(("systemctl", "enable", unit)),
            Run(("systemctl", "restart", unit)),
        ]
        return steps

    def _writable(self) -> tuple[Path, ...]:
        return (*([] if self.out is None else [self.out]), *self.writable)

    def _drop_in(self, unit: str, program: Path, group: str) -> str:
        out = self.out or Path(_STATE, unit.removeprefix("ctcedge@").removesuffix(".service"))
        # With ':' systemd does not expand variables.
        words = [f":{program}", "watch", str(self.folder), "--out", str(out), *self.options]
        lines = [
            "# Written by 'ctcedge service install'.",
            "[Service]",
            f"User={self.user}",
            f"Group={group}",
            "EnvironmentFile=",
            *([] if self.lab is None else [f"Environment={quoted(f'{LAB_VARIABLE}={self.lab}')}"]),
            "ExecStart=",
            "ExecStart=" + " ".join(map(quoted, words)),
            *(f"ReadWritePaths={quoted(path)}" for path in self._writable()),
        ]
        in_options = (Path(word) for word in self.options if word.startswith("/"))
        given = [self.folder, *self._writable(), *self.readable, *in_options]
        paths = [*given, program, Path(sys.base_prefix)]
        if any(_is_below(path, _HOMES) for path in paths):
            lines.append("ProtectHome=read-only")
        if any(_is_below(path, _TEMPORARY) for path in paths):
            lines.append("PrivateTmp=no")
        return "\n".join(lines) + "\n"


def uninstall(folder: Path) -> list[Step]:
    """Steps that stop and remove the service of a folder; sidecars and account are kept."""
    unit = unit_name(folder)
    drop_ins = _drop_ins(unit)
    steps: list[Step] = [Run(("systemctl", "disable", "--now", unit)), Remove(drop_ins)]
    others = [
        path for path in UNITS.glob("ctcedge@?*.service.d/machine.conf") if path.parent != drop_ins
    ]
    if not others:
        steps += [Remove(UNITS / TEMPLATE), Remove(SYSUSERS)]
    return [*steps, Run(("systemctl", "daemon-reload"))]


def apply(steps: Iterable[Step]) -> None:
    """Apply the steps, up to the first that fails.

    Raises:
        SetupError: not root, no systemd, or a step failed.
    """
    _require_systemd()
    if os.geteuid() != 0:
        program = Path(sys.executable).with_name("ctcedge")
        raise SetupError(f"only root may change services: sudo {program} service ...")
    for step in steps:
        try:
            step.apply()
        except OSError as error:
            raise SetupError(f"{error.filename}: {error.strerror}") from None


def state(folder: Path) -> dict[str, str]:
    """State of the service of a folder, by the names of systemd's properties.

    Raises:
        SetupError: systemd does not run here.
    """
    _require_systemd()
    keys = "ActiveState,SubState,UnitFileState,StatusText,NRestarts,ActiveEnterTimestamp"
    words = ["systemctl", "show", f"--property={keys}", unit_name(folder)]
    process = subprocess.run(words, capture_output=True, text=True, errors="replace")
    if process.returncode != 0:
        raise SetupError(f"{shlex.join(words)} failed: {process.stderr.strip()}")
    return dict(line.split("=", 1) for line in process.stdout.splitlines())


def unit_name(folder: Path) -> str:
    """Name of the unit of a folder, as systemd-escape(1) prints it.

    Raises:
        SetupError: the path is too long for a unit.
    """
    name = TEMPLATE.replace("@", f"@{_escaped(os.path.abspath(folder))}")
    if len(name) > _MAX_UNIT_NAME:
        raise SetupError(
            f"{folder}: too long for the name of a systemd unit; mount the folder at a shorter path"
        )
    return name


def quoted(word: str | Path) -> str:
    """A word with the quotes and escapes of a unit file.

    Raises:
        SetupError: a unit file cannot contain it.
    """
    text = str(word)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise SetupError(
            f"{text!r} cannot be written to a unit file: it contains control characters or is not"
            " UTF-8; rename it"
        )
    text = text.replace("%", "%%")
    if _PLAIN_WORD.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(path: str) -> str:
    """An absolute path as an instance name; see systemd-escape(1), --path."""
    parts = "/".join(part for part in path.split("/") if part)
    if not parts:
        return "-"
    escaped = ""
    for position, byte in enumerate(os.fsencode(parts)):
        character = chr(byte)
        if character == "/":
            escaped += "-"
        elif re.fullmatch(r"[A-Za-z0-9:_.]", character) and (position or character != "."):
            escaped += character
        else:
            escaped += f"\\x{byte:02x}"
    return escaped


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int | None
    group: str
    gids: frozenset[int]

    def has_access(self, path: Path, bit: int = 0o1) -> bool:
        """Whether a folder may be entered, or with bit 4, a file read."""
        status = path.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & bit << 6)
        return bool(status.st_mode & (bit << 3 if status.st_gid in self.gids else bit))


def _account(user: str) -> _Account:
    try:
        entry = pwd.getpwnam(user)
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        if user == ACCOUNT:  # created by the installation
            return _Account(user, None, ACCOUNT, frozenset())
        raise SetupError(f"there is no account '{user}' with a group; create it first") from None
    if entry.pw_uid == 0:
        raise SetupError("a service that reads foreign images must not run as root")
    return _Account(user, entry.pw_uid, group, frozenset(os.getgrouplist(user, entry.pw_gid)))


def _require_access(account: _Account, *programs: Path) -> None:
    for path in programs:
        for folder in reversed(path.parents):
            if not account.has_access(folder):
                raise SetupError(
                    f"account '{account.name}' has no access to {folder}, which contains ctcedge"
                    f" ({path}); install it into a virtual environment in /opt/ctcedge"
                )


def _require_readable(account: _Account, path: Path) -> None:
    for place in (*reversed(path.parents), path):
        if not account.has_access(place, 0o4 if place.is_file() else 0o1):
            raise SetupError(
                f"account '{account.name}' cannot read {path}, which the service needs;"
                f" sudo chmod o+{'r' if place.is_file() else 'x'} {shlex.quote(str(place))}"
            )


def _require_systemd() -> None:
    if not RUNNING.is_dir():
        raise SetupError("systemd does not run on this machine; run 'ctcedge watch' by other means")


def _systemd_version() -> int:
    """Major version of systemd; 0 where there is none."""
    with contextlib.suppress(OSError):
        text = subprocess.run(["systemctl", "--version"], capture_output=True, text=True).stdout
        if match := re.match(r"systemd (\d+)", text):
            return int(match[1])
    return 0


def shipped(name: str) -> str:
    """The text of a file of the folder systemd/, which the package carries."""
    package = Path(__file__).parents[1]
    installed = package / "systemd"
    folder = installed if installed.is_dir() else package.parent / "systemd"
    return (folder / name).read_text(encoding="utf-8")


def _optional(path: Path, wanted: bool) -> Iterator[Step]:
    """Write the shipped drop-in of that name if it is wanted; else remove an existing one."""
    if wanted:
        yield Write(path, shipped(f"drop-ins/{path.name}"))
    elif path.exists():
        yield Remove(path)


def _drop_ins(unit: str) -> Path:
    return UNITS / f"{unit}.d"


def _is_below(path: Path, roots: Iterable[str]) -> bool:
    return any(path.is_relative_to(root) for root in roots)
