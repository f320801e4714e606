"""The report page: one HTML file that holds everything and asks for nothing.

Sheets of small tiles come first, then strips of the cells that matter in full size, then the data,
then the one script. A strict content security policy lets that script run, by its hash, and nothing
else: no other script, no style from elsewhere, no request, no frame, no form. Everything that comes
from outside is data, put into the page as text by the script.
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
    """Writes a page piece by piece, so that its pictures need not be held in memory.

    Args:
        file: opened for writing.
        title: of the page; a name from outside.
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
        self._waiting: dict[str, list[str]] = defaultdict(list)
        self._write("".join(pieces[:pictures]))

    def picture(self, kind: str, line: str) -> None:
        """Add a picture; the page finds it by its place among those of its kind.

        Args:
            kind: `sheets` or `strips`.
            line: base64.
        """
        waiting = self._waiting[kind]
        waiting.append(line)
        if len(waiting) == _LINES_PER_BLOCK:
            self._flush(kind)

    def finish(self, data: dict[str, Any]) -> None:
        """Add the data and the script."""
        for kind in list(self._waiting):
            self._flush(kind)
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
        self._write(self._before_data)
        self._write(text.replace("<", "\\u003c"))
        self._write(self._after_data)

    def _flush(self, kind: str) -> None:
        if lines := self._waiting.pop(kind, []):
            content = "\n".join(lines)
            self._write(
                f'<script type="text/plain" data-pictures="{kind}">\n{content}\n</script>\n'
            )

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "backslashreplace"))
