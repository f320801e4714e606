"""Cures of common mistakes in TOML files, in a person's words."""

from __future__ import annotations

import re

from ctcedge.meant import number_to_write

_SETTING = re.compile(r"\s*([\w.\"'-]+)\s*=\s*(.*?)\s*(?:#.*)?")
_SECTION = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_MAX_SHOWN = 80


def toml_hint(text: str, line: str, problem: str) -> str:
    """Return the cure of a mistake, beginning with a semicolon; nothing where it is not known.

    Args:
        text: the whole file, with line feeds as line ends.
        line: the line that the parser names; empty where it names none.
        problem: the parser's message.
    """
    if problem.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        return _repeated(text)
    if problem.startswith(
        ('Expected "\'"', "Expected '\"'", "Unterminated string", "Illegal char")
    ):
        return "; a closing quotation mark is missing" + _open_quote(text)
    plain = all(c in " \t" or not c.isspace() for c in line)  # else the space is what is wrong
    if plain and (setting := _SETTING.fullmatch(line)):
        return _of_value(setting[1], setting[2])
    stripped = line.strip()
    if stripped.startswith("["):
        return "" if "]" in stripped else f"; write {_cut(stripped)}] with both brackets"
    if re.match(r"[\w.-]+\s*:", stripped):
        return "; write = between key and value, not a colon"
    if re.fullmatch(r"[\w.-]+", stripped):
        return f"; write [{_cut(stripped)}] for a section, or {_cut(stripped)} = and its value"
    return ""


def _of_value(key: str, value: str) -> str:
    if value.lower() in ("true", "false"):
        return f"; write {value.lower()} in small letters"
    if number := number_to_write(value[:_MAX_SHOWN]):
        return f"; write numbers with a point: {key} = {float(number):.10g}"
    if re.fullmatch(r"[A-Za-z/~.\\][^\"'\u2018-\u201f]*", value):
        return f"; write texts in quotation marks: {key} = '{_cut(value)}'"
    if value.startswith("[") and re.search(r"[\[,]\s*[^\W\d_]", value):
        return "; write texts in quotation marks, also in a list: ['BF', 'Vis']"
    return ""


def _repeated(text: str) -> str:
    """Where a key or a section is there twice."""
    section, first_line = "", dict[str, int]()
    for number, line in enumerate(text.split("\n"), start=1):
        if found := _SECTION.fullmatch(line):
            section = found[1].strip()
            name = shown = f"[{section}]"
        elif found := _SETTING.fullmatch(line):
            name, shown = f"{section}.{found[1]}", found[1]
        else:
            continue
        if name in first_line:
            lines = f"{first_line[name]} and {number}"
            return f"; {_cut(shown)} is there twice, in lines {lines}: keep one"
        first_line[name] = number
    return "; a key or a section is there twice: keep one"


def _open_quote(text: str) -> str:
    for number, line in enumerate(text.split("\n"), start=1):
        if (setting := _SETTING.fullmatch(line)) and re.fullmatch(r"\"[^\"]*|'[^']*", setting[2]):
            return f" in line {number}"
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
