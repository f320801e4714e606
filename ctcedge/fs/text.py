"""Text from files that people and other programs write: encodings, JSON and TOML.

UTF-8, UTF-16 and UTF-32 are read, with and without a byte-order mark. Anything else is refused with
the line, what it seems to be, and the cure: no byte is ever guessed.
"""

from __future__ import annotations

import codecs
import json
import re
import tomllib
import unicodedata
from typing import Any

from ctcedge.fs.toml_hints import toml_hint

_MARKS = (  # the mark of UTF-16 LE begins that of UTF-32 LE
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_FILES = (
    (b"PK\x03\x04", "an Excel workbook or another ZIP file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or another Office file"),
    (b"{\\rtf", "a rich-text document"),
    (b"\x1f\x8b", "a gzip file"),
    (b"%PDF", "a PDF file"),
    (b"\x89PNG", "an image"),
)
_CURE = "save the file as UTF-8"
_MAX_SHOWN = 80
_LINE_END = re.compile(r"\r\n?|\n")
_DECIMAL_COMMA = re.compile(r"[=:]\s*[+-]?\d+,\d+\s*([,}\]#].*)?$")
_TYPOGRAPHIC_QUOTES = frozenset("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033")


class TextError(ValueError):
    """A file's text cannot be read; the message has the reason, the line and the cure."""


def decode_text(data: bytes) -> str:
    """Return the text of a file, without a byte-order mark.

    Raises:
        TextError: it is no text, or in an encoding that cannot be told from others.
    """
    for start, what in _OTHER_FILES:
        if data.startswith(start):
            raise TextError(f"it is {what}, not text; save it as text (tables as 'CSV UTF-8')")
    mark, encoding = next(
        ((mark, name) for mark, name in _MARKS if data.startswith(mark)),
        (b"", _encoding_without_mark(data)),
    )
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-8":
            raise TextError(_not_utf8(error)) from None
        name = encoding[:6].upper()
        raise TextError(f"it begins as {name}, but is damaged or cut off; {_CURE}") from None
    text = text.rstrip("\x1a")  # some programs of Windows write it as the end of the file
    if (position := text.find("\0")) >= 0:
        raise TextError(f"line {_line(text, position)} holds a NUL character: it is no text file")
    return text


def load_json(data: bytes) -> Any:
    """Parse a JSON file.

    Raises:
        TextError: it is no text, no JSON, or has a key twice.
        ValueError: it holds a number of thousands of digits.
    """
    text = decode_text(data)
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise TextError("not valid JSON: it is nested too deeply") from None
    except json.JSONDecodeError as error:
        if not text.strip():
            raise TextError("it is empty") from None
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            hint = "; the file is incomplete"
        else:
            hint = _hint(_excerpt(text, error.lineno))
        raise TextError(f"not valid JSON: {error.msg} (at line {error.lineno}){hint}") from None


def load_toml(data: bytes) -> tuple[dict[str, Any], str]:
    """Parse a TOML file.

    Returns:
        Its content, and its text.

    Raises:
        TextError: it is no text, or no TOML.
    """
    try:
        text = _LINE_END.sub("\n", decode_text(data))
    except TextError as error:
        raise TextError(f"not valid TOML: {error}") from None
    try:
        return tomllib.loads(text), text
    except RecursionError:
        raise TextError("not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # also of numbers and times that are impossible
        found = re.search(r"at line (\d+)", str(error))
        line = _excerpt(text, int(found[1])) if found else ""
        shown = f": {_shown(line)}" if line.strip() else ""
        hint = toml_hint(text, line, str(error)) or _hint(line)
        raise TextError(f"not valid TOML: {error}{shown}{hint}") from None


def line_of_key(text: str, key: str) -> int | None:
    """Return the number of the only line of a TOML file that sets a key; None where unknown.

    Args:
        text: the file's text.
        key: the key, perhaps with its tables before it.
    """
    name = re.escape(key.rpartition(".")[2])
    setting = re.compile(rf"\s*(?:[\w.-]+\.)?[\"']?{name}[\"']?\s*[=.]")
    lines = [number for number, line in enumerate(text.split("\n"), start=1) if setting.match(line)]
    return lines[0] if len(lines) == 1 else None


def same_form(text: str) -> str:
    """Return a name in the form in which it is compared: composed (NFC), without outer spaces.

    File systems and programs write `ü` as one character or as two, which look the same.
    """
    text = text.strip().strip("\ufeff").strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise TextError("a table contains a key twice")
    return table


def _encoding_without_mark(data: bytes) -> str:
    """Return the encoding of text without a mark: that of its NUL bytes, or UTF-8."""
    start = data[:4096]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if even == odd == 0:
        return "utf-8"
    if not even and 3 * odd > len(start) // 2:
        return "utf-16-le"
    if not odd and 3 * even > len(start) // 2:
        return "utf-16-be"
    return "utf-8"


def _not_utf8(error: UnicodeDecodeError) -> str:
    data, start = error.object, error.start
    before = data[:start].decode()
    number = _line(before, len(before))
    first = max(data.rfind(b"\n", 0, start), data.rfind(b"\r", 0, start)) + 1
    line = re.split(rb"[\r\n]", data[first : start + _MAX_SHOWN], maxsplit=1)[0]
    try:
        seems = f" (in Windows-1252: {_shown(line.decode('cp1252'))})"
    except UnicodeDecodeError:
        seems = ""
    return f"line {number} is not UTF-8{seems}; {_CURE}"


def _line(text: str, position: int) -> int:
    return 1 + len(_LINE_END.findall(text, 0, position))


def _excerpt(text: str, number: int) -> str:
    lines = _LINE_END.split(text)
    return lines[number - 1] if number <= len(lines) else ""


def _shown(line: str) -> str:
    line = line.strip()
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}..."


def _hint(line: str) -> str:
    """Return the cure of what programs other than editors put into a line, or nothing."""
    if _DECIMAL_COMMA.search(line):
        return "; write numbers with a point: 0.5"
    if _TYPOGRAPHIC_QUOTES & set(line):
        return "; it has typographic quotes: write straight ones (' or \")"
    if any(c.isspace() and c not in " \t" for c in line) or "\ufeff" in line:
        return "; it has a special space, such as a no-break space: write a plain one"
    if re.search(r"\"[^\"]*\\[^\"]*\"", line):
        return "; write texts with a backslash in single quotes"
    return ""
