"""Files that are written whole or not at all, whenever the process is killed."""

from __future__ import annotations

from pathlib import Path

from ctcedge.fs.files import replaced


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file, or replace it."""
    with replaced(path, f".{path.name}.part") as file:
        file.write(data)
