"""Folders of the state and the cache that ctcedge keeps outside the export folders."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from ctcedge.errors import SetupError

MACHINE_FOLDER = Path("/var/lib/ctcedge")


def state_folder() -> Path:
    """Return the folder of this account's state, such as healthy-donor controls.

    `CTCEDGE_STATE` where that is set; else `MACHINE_FOLDER` for root, and `ctcedge` below the XDG
    state folder for others.

    Raises:
        SetupError: this account has no home folder.
    """
    if chosen := os.environ.get("CTCEDGE_STATE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return MACHINE_FOLDER
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG Base Directory Specification: a relative path must be ignored.
    return (Path(base) if os.path.isabs(base) else _home() / ".local" / "state") / "ctcedge"


def cache_folder() -> Path:
    """Return the folder of files that can be recreated.

    systemd's cache folder of a service comes before the account's own state folder, which a service
    may not write.

    Raises:
        SetupError: this account has no home folder.
    """
    chosen = None if os.environ.get("CTCEDGE_STATE") else os.environ.get("CACHE_DIRECTORY")
    return Path(chosen.split(":")[0]) if chosen else state_folder()


def _home() -> Path:
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            home = ""
    if not os.path.isabs(home):
        raise SetupError(
            "this account has no home folder for the state of ctcedge; set CTCEDGE_STATE to a"
            " folder that it may write to"
        )
    return Path(home)
