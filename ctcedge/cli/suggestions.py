"""What to write instead: wrong options, values and numbers, answered with what was probably meant.

Typer's own messages name the option; here they are completed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from ctcedge.meant import did_you_mean

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
