from __future__ import annotations

import io

import pytest

from ctcedge.cli import console
from ctcedge.cli.console import plural, print_list


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("crop",), "0 crops"),
        (1, ("crop",), "1 crop"),
        (1200, ("crop",), "1,200 crops"),
        (1, ("entry", "entries"), "1 entry"),
        (2, ("entry", "entries"), "2 entries"),
    ],
)
def test_a_number_agrees_with_its_noun(count: int, words: tuple[str, ...], text: str) -> None:
    assert plural(count, *words) == text


def test_a_long_list_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_list("crop differs", "crops differ", (f"crop {n}" for n in range(25)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "25 crops differ:"
    assert lines[1] == "  crop 0"
    assert lines[-1] == "  and 5 more; --json lists all"
    assert len(lines) == 22


def test_an_empty_list_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_list("crop differs", "crops differ", [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_lines_wrap_on_a_terminal_only_and_between_words_only(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    screen = console._Console()
    screen.file = io.StringIO()
    monkeypatch.setattr(type(screen), "is_terminal", terminal)
    screen.width = 20
    screen.print("several words that need two lines")
    screen.print("a path /with/more/than/twenty/characters")
    lines = [line.rstrip() for line in screen.file.getvalue().splitlines()]
    text = (
        ["several words that", "need two lines"]
        if terminal
        else ["several words that need two lines"]
    )
    assert lines == [*text, "a path /with/more/than/twenty/characters"]
