"""Files `Parameters.txt`, in which instruments note how they took the images.

What they say is logged and kept beside the sidecars; it decides nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ctcedge.discovery.naming import Found, Skipped
from ctcedge.errors import OutputError
from ctcedge.fs.files import Signature, atomic_write, file_signature, read_limited
from ctcedge.fs.text import TextError, decode_text
from ctcedge.fs.tree import read_beneath
from ctcedge.log import event
from ctcedge.times import now

log = logging.getLogger("ctcedge.sources.parameters")

FILE_NAME = "parameters.txt"
KEPT_AS = "ctcedge-parameters.json"
SCHEMA = "ctcedge/parameters/1"

_MAX_BYTES = 64 * 1024
_MAX_FILES = 10_000
_MAX_KEPT = 256 * 2**20  # bytes of the file in which they are kept
_MAX_LOGGED = 20
_LINE = re.compile(r"\s*([^:=\t]{1,200}?)\s*[:=\t]\s*(.*?)\s*")


class Parameters(NamedTuple):
    """The content of one file.

    Attributes:
        file: path relative to the searched folder.
        sha256: of the file.
        text: the whole file.
        values: of its lines that are a name and a value.
    """

    file: str
    sha256: str
    text: str
    values: dict[str, str]


class ParameterFiles:
    """The files of one folder.

    Args:
        folder: the searched folder.
        root: folder of the sidecars; the same where they are beside the images.

    Attributes:
        found: content by path, as far as it could be read.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.found: dict[str, Parameters] = {}
        self._folder = folder
        self._kept = None if root.resolve() == folder.resolve() else root / KEPT_AS
        self._seen: dict[str, Signature | None] = {}

    def look(self, entries: Iterable[Found]) -> None:
        """Read, log and keep what is new among the entries of a folder.

        Raises:
            OutputError: it cannot be kept.
        """
        paths = [
            entry.path
            for entry in entries
            if isinstance(entry, Skipped)
            and entry.kind == "unmatched"
            and entry.path.rpartition("/")[2].lower() == FILE_NAME
        ]
        new = [found for path in paths if (found := self._read(path)) is not None]
        for found in new:
            self.found[found.file] = found
            shown = list(found.values.items())[:_MAX_LOGGED]
            log.info(
                "%s: %s",
                found.file,
                ", ".join(f"{name} {value}" for name, value in shown),
                extra=event("parameters", file=found.file, values=found.values),
            )
        if new and self._kept is not None:
            self._keep(self._kept, new)

    def _read(self, path: str) -> Parameters | None:
        """The content of a file that changed; None where it did not, or cannot be read."""
        signature = file_signature(f"{self._folder}/{path}")
        if (path in self._seen and self._seen[path] == signature) or len(self._seen) > _MAX_FILES:
            return None
        self._seen[path] = signature
        try:
            data = read_beneath(self._folder, path, _MAX_BYTES)
            text = decode_text(data)
        except (OSError, TextError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            log.warning("%s is not read: %s", path, reason, extra=event("parameters", file=path))
            return None
        matches = (_LINE.fullmatch(line) for line in text.splitlines())
        values = {match[1]: match[2] for match in matches if match}
        return Parameters(path, hashlib.sha256(data).hexdigest(), text, values)

    def _keep(self, path: Path, new: list[Parameters]) -> None:
        """Add what is not kept yet; earlier contents of a file stay."""
        try:
            kept = _kept_entries(path)
            known = {(entry.get("file"), entry.get("sha256")) for entry in kept}
            added = [
                {**found._asdict(), "read": now()}
                for found in new
                if (found.file, found.sha256) not in known
            ]
            if not added:
                return
            content = {"schema": SCHEMA, "files": [*kept, *added]}
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, json.dumps(content, indent=1).encode("ascii"))
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None


def _kept_entries(path: Path) -> list[dict[str, Any]]:
    """What an earlier run kept; nothing where there is no such file, or a damaged one."""
    try:
        content = json.loads(read_limited(path, _MAX_KEPT))
        entries = content["files"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]
