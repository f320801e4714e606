"""What to write instead: wrong options, values and numbers, answered with what was probably meant.

Typer's own messages name the option; here they are completed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_RATIO = re.compile(r"(\d[\d.,]*)\s*(?:/|:|in)\s*(\d[\d.,]*)", re.ASCII)
_WITH_UNIT = re.compile(r"([\d.,]+)\s*(%|[^\W\d_][^\W\d]*(?:/[^\W\d_]+)?)")
_CHOICE = re.compile(
    r"(?:Value error, )?'(?P<value>.*)' is not one of (?P<known>'.*')\.?", re.DOTALL
)
_WHOLE = re.compile(r"Input should be a valid integer.*|.* is not a valid integer.*", re.DOTALL)


class SuggestingGroup(TyperGroup):
    """A command line whose errors of usage suggest what to write instead."""

    def make_context(self, *words: Any, **more: Any) -> Any:
        """Parse the options before the command."""
        with _completed():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        """Parse and run the command."""
        with _completed():
            return super().invoke(ctx)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean '...'?` where a known word is close, or nothing."""
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


@contextmanager
def _completed() -> Iterator[None]:
    try:
        yield
    except typer.BadParameter as error:
        if found := _CHOICE.fullmatch(error.message):
            known = re.findall(r"'([^']*)'", found["known"])
            error.message = (
                f"'{found['value']}' is not one of {found['known']}"
                f"{did_you_mean(found['value'], known)}"
            )
        elif _WHOLE.fullmatch(error.message):
            error.message = "must be a whole number, such as 32, without comma, point or unit"
        raise
    except Exception as error:
        name = getattr(error, "option_name", None)
        if isinstance(name, str) and hasattr(error, "possibilities"):
            error.possibilities = None
            error.message = f"No such option: {name}{did_you_mean(name, _options(error))}"  # type: ignore[attr-defined]
        raise


def _options(error: Exception) -> list[str]:
    command = getattr(getattr(error, "ctx", None), "command", None)
    parameters = getattr(command, "params", ())
    shown = (each for each in parameters if not getattr(each, "hidden", False))
    return [
        *(option for each in shown for option in each.opts if option.startswith("--")),
        "--help",
    ]
