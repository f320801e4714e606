"""Write a pattern of file names into the settings file of a folder."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from ctcedge.errors import SettingsError
from ctcedge.fs.files import atomic_write
from ctcedge.settings import FOLDER_CONFIG

_IMAGES_TABLE = re.compile(r"^[ \t]*\[[ \t]*images[ \t]*\][ \t]*(?:#.*)?$", re.MULTILINE)


def write_pattern(folder: Path, pattern: str) -> Path:
    """Write a pattern into the settings file of a folder; all else in it stays.

    Returns:
        The settings file.

    Raises:
        SettingsError: the file has a pattern, or cannot be read or written.
    """
    path = folder / FOLDER_CONFIG
    line = f"pattern = {_toml_text(pattern)}"
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        present = tomllib.loads(before)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    images = present.get("images", {})
    if "pattern" in images:
        raise SettingsError(f"{path} has a pattern already; to use another, write there: {line}")
    after, inserted = _IMAGES_TABLE.subn(lambda match: f"{match[0]}\n{line}", before, count=1)
    if not inserted:
        after = f"{before.rstrip()}\n\n[images]\n{line}\n".lstrip()
    if _parsed(after) != {**present, "images": {**images, "pattern": pattern}}:
        raise SettingsError(f"write this line into the images of {path}: {line}")
    try:
        atomic_write(path, after.encode())
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _toml_text(text: str) -> str:
    """Return a text as a TOML string."""
    return json.dumps(text, ensure_ascii=False) if "'" in text else f"'{text}'"
