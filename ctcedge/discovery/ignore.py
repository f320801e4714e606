"""Entries that are passed over by name: recycle bins and snapshots, and what the user names."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence

BIN_REASON = "recycle bin or snapshots of a file server"
IGNORE_REASON = "named by the setting 'ignore'"

_BINS = frozenset(
    {
        "#recycle",  # Synology
        "#snapshot",
        "@eadir",
        "@tmp",
        "@recently-snapshot",  # QNAP
        "@recycle",
        "@snapshot",
        "$recycle.bin",  # Windows
        "dfsrprivate",
        "found.000",
        "recycled",
        "recycler",
        "system volume information",
        "~snapshot",  # NetApp
        "~snapshots",
        "network trash folder",  # netatalk, macOS
        "temporary items",
        "files_trashbin",  # Nextcloud
        "files_versions",
        "lost+found",
        "trashbox",  # Buffalo
    }
)
_SHADOW_COPY = "@gmt-"  # of Samba: @GMT-2026.11.30-12.00.00


def is_bin(name: str) -> bool:
    """Whether a folder of this name holds deleted files, or older copies of others."""
    folded = name.casefold()
    return folded in _BINS or folded.startswith(_SHADOW_COPY)


class IgnoreRules:
    """What is passed over by name.

    Args:
        globs: patterns such as `*_thumb.png`, of the name of a file or folder; where they contain a
            `/`, of its path relative to the searched folder.
    """

    def __init__(self, globs: Sequence[str] = ()) -> None:
        self._names = _joined([glob for glob in globs if "/" not in glob])
        self._paths = _joined([glob.strip("/") for glob in globs if "/" in glob])

    def reason(self, path: str, *, folder: bool) -> str | None:
        """Return why an entry is passed over, or None.

        Args:
            path: relative to the searched folder. Its parents are not looked at.
            folder: whether it is a folder.
        """
        if not folder and self._names is None and self._paths is None:
            return None
        path = _composed(path)
        name = path.rpartition("/")[2]
        if folder and is_bin(name):
            return BIN_REASON
        if self._names is not None and self._names.match(name):
            return IGNORE_REASON
        if self._paths is not None and self._paths.match(path):
            return IGNORE_REASON
        return None

    def hides(self, path: str) -> bool:
        """Whether a file, or any folder above it, is passed over."""
        parts = path.split("/")
        parents = ("/".join(parts[:end]) for end in range(1, len(parts)))
        return self.reason(path, folder=False) is not None or any(
            self.reason(parent, folder=True) is not None for parent in parents
        )


def _joined(globs: list[str]) -> re.Pattern[str] | None:
    patterns = [fnmatch.translate(_composed(glob)) for glob in globs]
    return re.compile("|".join(patterns)) if patterns else None


def _composed(text: str) -> str:
    # File systems write letters with accents as one character or as two.
    return text if text.isascii() else unicodedata.normalize("NFC", text)
