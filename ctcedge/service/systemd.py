"""The watch of one folder as a systemd service of this machine.

An instance of the shipped unit template, which holds what is the same everywhere, and a drop-in for
what only this machine knows: where ctcedge lies, who runs it, what it may write. Everything is
planned first, so that it can be shown before it is done.
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

ACCOUNT = "ctcedge"
UNITS = Path("/etc/systemd/system")
SYSUSERS = Path("/etc/sysusers.d/ctcedge.conf")
RUNNING = Path("/run/systemd/system")  # there while systemd runs the machine, see sd_booted(3)
TEMPLATE = "ctcedge@.service"

_STATE = "/var/lib/ctcedge"
_LONGEST_NAME = 255
_PLAIN_WORD = re.compile(r"[\w@:,./=+-]+", re.ASCII)
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")
_BACK_OFF_SINCE = 254


@dataclass(frozen=True, slots=True)
class Write:
    """Write a file."""

    path: Path
    text: str

    def __str__(self) -> str:
        """What a dry run shows."""
        return f"write {self.path}\n" + "".join(f"    {line}\n" for line in self.text.splitlines())

    def do(self) -> None:
        """Do it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a file or folder, where it is there."""

    path: Path

    def __str__(self) -> str:
        """What a dry run shows."""
        return f"remove {self.path}\n"

    def do(self) -> None:
        """Do it."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        """What a dry run shows."""
        return f"run {shlex.join(self.words)}\n"

    def do(self) -> None:
        """Do it."""
        done = subprocess.run(self.words, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise SetupError(f"{shlex.join(self.words)} failed: {done.stderr.strip()}")


Step = Write | Remove | Run


@dataclass(frozen=True, slots=True)
class Service:
    """What the service of one folder is to be.

    Attributes:
        folder: the watched folder.
        options: further words of `ctcedge watch`, paths absolute; without `--out`.
        out: folder of the sidecars; None for the service's own, below /var/lib.
        writes: other folders that it writes into.
        user: account that it runs as.
        cpu_only: whether nothing but the CPU shall be reached.
    """

    folder: Path
    options: tuple[str, ...] = ()
    out: Path | None = None
    writes: tuple[Path, ...] = ()
    user: str = ACCOUNT
    cpu_only: bool = False

    def install(self) -> list[Step]:
        """What sets the service up, or up to date, and starts it.

        Raises:
            SetupError: it could not run, or cannot be written into a unit file.
        """
        program = Path(sys.executable).with_name("ctcedge")
        if not program.exists():
            raise SetupError(f"there is no {program}; install ctcedge into a virtual environment")
        for path in self._writable():
            if path.is_mount():
                raise SetupError(
                    f"{path} is where a file system is mounted, and while it is not, sidecars would"
                    " go elsewhere; give a folder below it"
                )
        owner = _account(self.user)
        _need_entry(owner, program, Path(sys.executable).resolve(), Path(__file__))
        unit = unit_name(self.folder)
        drop_ins = _drop_ins(unit)
        steps: list[Step] = [
            Write(UNITS / TEMPLATE, _shipped(TEMPLATE)),
            Write(drop_ins / "machine.conf", self._drop_in(unit, program, owner.group)),
            *_optional(drop_ins / "cpu-only.conf", self.cpu_only),
            *_optional(drop_ins / "back-off.conf", _systemd_version() >= _BACK_OFF_SINCE),
        ]
        if self.user == ACCOUNT:
            steps += [
                Write(SYSUSERS, _shipped("sysusers.d/ctcedge.conf")),
                Run(("systemd-sysusers", str(SYSUSERS))),
            ]
        owning = f"--owner={self.user}", f"--group={owner.group}", "--mode=0750"
        steps += [
            Run(("install", "--directory", *owning, str(path)))
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
        return (*([] if self.out is None else [self.out]), *self.writes)

    def _drop_in(self, unit: str, program: Path, group: str) -> str:
        out = self.out or Path(_STATE, unit.removeprefix("ctcedge@").removesuffix(".service"))
        # ':' keeps systemd from replacing what looks like a variable.
        words = [f":{program}", "watch", str(self.folder), "--out", str(out), *self.options]
        lines = [
            "# Written by 'ctcedge service install'.",
            "[Service]",
            f"User={self.user}",
            f"Group={group}",
            "EnvironmentFile=",
            "ExecStart=",
            "ExecStart=" + " ".join(map(quoted, words)),
            *(f"ReadWritePaths={quoted(path)}" for path in self._writable()),
        ]
        given = (Path(word) for word in self.options if word.startswith("/"))
        places = [self.folder, *self._writable(), *given, program, Path(sys.base_prefix)]
        if any(_below(path, _HOMES) for path in places):
            lines.append("ProtectHome=read-only")
        if any(_below(path, _TEMPORARY) for path in places):
            lines.append("PrivateTmp=no")
        return "\n".join(lines) + "\n"


def uninstall(folder: Path) -> list[Step]:
    """What stops the service of a folder and takes it away; sidecars and account stay."""
    unit = unit_name(folder)
    own = _drop_ins(unit)
    steps: list[Step] = [Run(("systemctl", "disable", "--now", unit)), Remove(own)]
    others = [
        path for path in UNITS.glob("ctcedge@?*.service.d/machine.conf") if path.parent != own
    ]
    if not others:
        steps += [Remove(UNITS / TEMPLATE), Remove(SYSUSERS)]
    return [*steps, Run(("systemctl", "daemon-reload"))]


def carry_out(steps: Iterable[Step]) -> None:
    """Do all steps, up to the first that fails.

    Raises:
        SetupError: without root or systemd, or of the step that failed.
    """
    _need_systemd()
    if os.geteuid() != 0:
        program = Path(sys.executable).with_name("ctcedge")
        raise SetupError(f"only root may change services: sudo {program} service ...")
    for step in steps:
        try:
            step.do()
        except OSError as error:
            raise SetupError(f"{error.filename}: {error.strerror}") from None


def state(folder: Path) -> dict[str, str]:
    """How the service of a folder stands, by systemd's names of properties.

    Raises:
        SetupError: systemd does not run here.
    """
    _need_systemd()
    keys = "ActiveState,SubState,UnitFileState,StatusText,NRestarts,ActiveEnterTimestamp"
    words = ["systemctl", "show", f"--property={keys}", unit_name(folder)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise SetupError(f"{shlex.join(words)} failed: {done.stderr.strip()}")
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def unit_name(folder: Path) -> str:
    """The unit of a folder, as systemd-escape names it.

    Raises:
        SetupError: the path is too long for a unit.
    """
    name = TEMPLATE.replace("@", f"@{_escaped(os.path.abspath(folder))}")
    if len(name) > _LONGEST_NAME:
        raise SetupError(
            f"{folder}: too long for the name of a unit; mount the folder at a shorter path"
        )
    return name


def quoted(word: str | Path) -> str:
    """A word as a unit file takes it, whatever it holds.

    Raises:
        SetupError: it holds what no unit file can.
    """
    text = str(word)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise SetupError(
            f"{text!r} cannot be written into a unit file: it holds control characters or is not"
            " UTF-8; rename it"
        )
    text = text.replace("%", "%%")
    if _PLAIN_WORD.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(path: str) -> str:
    """An absolute path as the instance of a unit; see systemd-escape(1), --path."""
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

    def may_enter(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        return bool(status.st_mode & (0o010 if status.st_gid in self.gids else 0o001))


def _account(user: str) -> _Account:
    try:
        entry = pwd.getpwnam(user)
        group = grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        if user == ACCOUNT:  # made on installation
            return _Account(user, None, ACCOUNT, frozenset())
        raise SetupError(f"there is no account '{user}' with a group; make it first") from None
    if entry.pw_uid == 0:
        raise SetupError("a service that reads images from outside must not run as root")
    return _Account(user, entry.pw_uid, group, frozenset(os.getgrouplist(user, entry.pw_gid)))


def _need_entry(account: _Account, *programs: Path) -> None:
    for path in programs:
        for folder in reversed(path.parents):
            if not account.may_enter(folder):
                raise SetupError(
                    f"account '{account.name}' may not enter {folder}, below which ctcedge lies"
                    f" ({path}); install it in a virtual environment in /opt/ctcedge"
                )


def _need_systemd() -> None:
    if not RUNNING.is_dir():
        raise SetupError("systemd does not run on this machine; run 'ctcedge watch' another way")


def _systemd_version() -> int:
    """Major version, 0 where there is none."""
    with contextlib.suppress(OSError):
        told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True).stdout
        if match := re.match(r"systemd (\d+)", told):
            return int(match[1])
    return 0


def _shipped(name: str) -> str:
    package = Path(__file__).parents[1]
    installed = package / "systemd"
    folder = installed if installed.is_dir() else package.parent / "systemd"
    return (folder / name).read_text(encoding="utf-8")


def _optional(path: Path, wanted: bool) -> Iterator[Step]:
    """The shipped drop-in of that name where it is wanted; an earlier one is removed elsewhere."""
    if wanted:
        yield Write(path, _shipped(f"drop-ins/{path.name}"))
    elif path.exists():
        yield Remove(path)


def _drop_ins(unit: str) -> Path:
    return UNITS / f"{unit}.d"


def _below(path: Path, roots: Iterable[str]) -> bool:
    return any(path.is_relative_to(root) for root in roots)
