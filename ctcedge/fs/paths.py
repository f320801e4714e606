"""Where ctcedge keeps what is neither an image nor a sidecar."""

from __future__ import annotations

import os
from pathlib import Path

MACHINE_FOLDER = Path("/var/lib/ctcedge")


def state_folder() -> Path:
    """Where this account keeps what it adds.

    `CTCEDGE_STATE` where that is set; else `MACHINE_FOLDER` for root, and `ctcedge` below the XDG
    state folder for others.
    """
    if chosen := os.environ.get("CTCEDGE_STATE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return MACHINE_FOLDER
    base = os.environ.get("XDG_STATE_HOME", "")
    # A relative one must be ignored, says the XDG Base Directory Specification.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "ctcedge"


def cache_folder() -> Path:
    """Where what can be made anew is kept.

    systemd's cache folder of a service comes before the account's own state folder, which a service
    may not write.
    """
    chosen = None if os.environ.get("CTCEDGE_STATE") else os.environ.get("CACHE_DIRECTORY")
    return Path(chosen.split(":")[0]) if chosen else state_folder()
