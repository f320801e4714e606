"""What was probably meant by a wrong word or number, for messages."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_RATIO = re.compile(r"(\d[\d.,]*)\s*(?:/|:|in)\s*(\d[\d.,]*)", re.ASCII)
_WITH_UNIT = re.compile(r"([\d.,]+)\s*(%|[^\W\d_][^\W\d]*(?:/[^\W\d_]+)?)")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean '...'?` where a known word is close, or nothing."""
    from difflib import get_close_matches  # only where something is wrong

    by_form = {_form(name): name for name in known}
    close = get_close_matches(_form(word), by_form, n=1, cutoff=0.6)
    return f"; did you mean '{by_form[close[0]]}'?" if close else ""


def number_to_write(text: str) -> str | None:
    """Return a number as it should be written, or None where it is not clear which is meant.

    Args:
        text: what is no number, such as `0,5`, `1/5000`, `0.02 %` or `0.5 um`.
    """
    text = text.strip()
    if ratio := _RATIO.fullmatch(text):
        part, whole = _plain_number(ratio[1]), _plain_number(ratio[2])
        return f"{part / whole:.6g}" if part is not None and whole else None
    if unit := _WITH_UNIT.fullmatch(text):
        number = _plain_number(unit[1])
        if number is not None:
            return f"{number / 100:.6g}" if unit[2] == "%" else unit[1].replace(",", ".")
    return text.replace(",", ".") if _plain_number(text) is not None else None


def _plain_number(text: str) -> float | None:
    text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def _form(word: str) -> str:
    return word.lower().replace("_", "-")
