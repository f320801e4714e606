"""Writes the report page: one self-contained HTML file that makes no requests.

It contains sheets of small tiles, strips of pictures in full size, the data, and one script. A
strict content security policy permits that script and the style sheet, by their hashes, and nothing
else: no other script or style, no request, no frame, no form. Names and notes from outside are
data; the script inserts them as text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, BinaryIO

from ctcedge.log import escape_control_chars
from ctcedge.report.bundle import bundle

_FOLDER = Path(__file__).parent / "web"
_STYLES = ("base", "summary", "gallery", "cell", "review", "narrow", "print")
_LINES_PER_BLOCK = 16


def _script() -> str:
    files = (_FOLDER / "js").glob("*.js")
    return bundle({file.stem: file.read_text(encoding="utf-8") for file in files}, "main")


def _style() -> str:
    files = (_FOLDER / "css" / f"{name}.css" for name in _STYLES)
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _policy(script: str, style: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


class PageWriter:
    """Writes a page in pieces, so that not all pictures are in memory at once.

    Args:
        file: open for writing.
        title: the page's title; may contain a name from outside.
    """

    def __init__(self, file: BinaryIO, title: str) -> None:
        style = _style()
        script = _script()
        parts = {
            "csp": _policy(script, style),
            "title": html.escape(escape_control_chars(title)),
            "style": style,
            "script": script,
        }
        template = (_FOLDER / "page.html").read_text(encoding="utf-8")
        pieces = re.split("@([a-z]+)@", template)
        pieces[1::2] = [parts.get(name, f"@{name}@") for name in pieces[1::2]]
        pictures, data = pieces.index("@pictures@"), pieces.index("@data@")
        self._before_data = "".join(pieces[pictures + 1 : data])
        self._after_data = "".join(pieces[data + 1 :])
        self._file = file
        self._pending: dict[str, list[str]] = defaultdict(list)
        self._write("".join(pieces[:pictures]))

    def picture(self, kind: str, line: str) -> None:
        """Add a picture; the page refers to it by its index among the pictures of its kind.

        Args:
            kind: `sheets` or `strips`.
            line: JPEG in base64.
        """
        pending = self._pending[kind]
        pending.append(line)
        if len(pending) == _LINES_PER_BLOCK:
            self._flush(kind)

    def finish(self, data: dict[str, Any]) -> None:
        """Write the data and the script."""
        for kind in list(self._pending):
            self._flush(kind)
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
        self._write(self._before_data)
        self._write(text.replace("<", "\\u003c"))
        self._write(self._after_data)

    def _flush(self, kind: str) -> None:
        if lines := self._pending.pop(kind, []):
            content = "\n".join(lines)
            self._write(
                f'<script type="text/plain" data-pictures="{kind}">\n{content}\n</script>\n'
            )

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "backslashreplace"))
