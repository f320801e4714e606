"""Pieces of Markdown, and the templates that they are put into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


def fill(template: str, **parts: str) -> str:
    """Return a template with every `@name@` in it replaced."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda match: parts[match[1]], text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def cell(text: str) -> str:
    """Return a text for a cell of a table: one line, escaped outside of code."""
    parts = re.split(r"(`[^`]*`)", with_code(" ".join(text.split())))
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"([\[*_])", r"\\\1", parts[index]).replace("<", "&lt;")
        parts[index] = parts[index].replace("|", r"\|")
    return "".join(parts)


def with_code(text: str) -> str:
    """Return a text with words, commands and patterns in single quotes as code."""
    code = r"(?<![\w`(])'((?:ctcedge|python|pip) [^'`]+|[^'` ]+)'(?!\w)"
    return re.sub(code, r"`\1`", text)
