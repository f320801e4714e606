"""Update single sections of a Markdown document."""

from __future__ import annotations

import datetime
import os
import platform
import re
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from ctcedge.fs.files import atomic_write

_WIDTH = 100
_HEADING = re.compile(r"^(?=## )", re.MULTILINE)


def put_sections(path: Path, made: Mapping[str, str], order: Sequence[str]) -> None:
    """Write sections of a document, without changing its other sections.

    Args:
        path: of the document, new or not.
        made: the text below each heading of the second level, by heading; the text above the first
            of them by the empty string.
        order: of the headings; others that the document holds follow.
    """
    held = sections(path.read_text(encoding="utf-8")) if path.exists() else {}
    parts = held | {heading: _filled(text) for heading, text in made.items()}
    known = ["", *order]
    headings = [name for name in known if name in parts]
    headings += [name for name in parts if name not in known]
    blocks = [(f"## {name}\n\n" if name else "") + parts[name].strip() for name in headings]
    atomic_write(path, ("\n\n".join(blocks) + "\n").encode())


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading of the second level, as `put_sections` takes it."""
    above, *rest = _HEADING.split(text)
    parts = {"": above} if above.strip() else {}
    for block in rest:
        heading, _, body = block.removeprefix("## ").partition("\n")
        parts[heading.strip()] = body.strip()
    return parts


def _filled(text: str) -> str:
    """Wrap paragraphs; tables, lists and headings stay as they are."""
    blocks = text.strip().split("\n\n")
    return "\n\n".join(
        block
        if block.startswith(("|", "#", "- "))
        else textwrap.fill(block, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for block in blocks
    )


def stamp(command: str) -> str:
    """Return a line with date, command and versions of a section."""
    today = datetime.date.today().isoformat()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "onnx"))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"*Made on {today} by `{command}`: Python {platform.python_version()}, {libraries},"
        f" {os.cpu_count()} CPU cores, {gpu}.*"
    )
