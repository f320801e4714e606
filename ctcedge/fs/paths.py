"""Folders of the state and the cache that ctcedge keeps outside the export folders."""

from __future__ import annotations

import os
from pathlib import Path

MACHINE_FOLDER = Path("/var/lib/ctcedge")


def state_folder() -> Path:
    """Return the folder of this account's state, such as healthy-donor controls.

    `CTCEDGE_STATE` where that is set; else `MACHINE_FOLDER` for root, and `ctcedge` below the XDG
    state folder for others.
    """
    if chosen := os.environ.get("CTCEDGE_STATE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return MACHINE_FOLDER
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG Base Directory Specification: a relative path must be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "ctcedge"


def cache_folder() -> Path:
    """Return the folder of files that can be recreated.

    systemd's cache folder of a service comes before the account's own state folder, which a service
    may not write.
    """
    chosen = None if os.environ.get("CTCEDGE_STATE") else os.environ.get("CACHE_DIRECTORY")
    return Path(chosen.split(":")[0]) if chosen else state_folder()
