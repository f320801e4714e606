"""A pattern of names, from what inspect proposes to a classified folder."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.cli_runner import call
from tests.helpers.drawn_cells import CTC, cell, save


def export(folder: Path, *words: str) -> Path:
    for number in range(4):
        for word in words:
            path = folder / f"P{number % 2}" / word / f"scan {number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, cell(CTC))
    return folder


def test_a_proposed_pattern_is_shown_written_and_used(model_folder: Path, tmp_path: Path) -> None:
    folder = export(tmp_path / "in", "Hellfeld", "DAPI")
    template = "{sample}/{channel}/scan {cell}.png"
    shown = call("inspect", folder).stdout
    assert f"A pattern that reads 8 of 8 images:\n  --pattern '{template}'" in shown
    assert "P0/Hellfeld/scan 0.png: sample P0, cell 0, channel BF" in shown
    assert not (folder / "ctcedge.toml").exists()
    assert json.loads(call("inspect", folder, "--json").stdout)["proposed_pattern"] == template

    assert "Written: " in call("inspect", folder, "--write").stderr
    assert "A pattern" not in call("inspect", folder).stdout
    call("classify", folder, "--model", model_folder, "--um-per-px", 0.5)
    assert len(list(folder.rglob("*.ctc.json"))) == 4


def test_unknown_words_of_channels_come_with_a_hint(tmp_path: Path) -> None:
    folder = export(tmp_path / "in", "Vis", "DAPI")
    shown = call("inspect", folder, "--write").stdout
    assert "{sample}/{channel}/scan {cell}.png" in shown
    hint = 'channels.BF = ["Vis"]'
    assert "Unknown words in the place of the channel: Vis. Name the one" in shown
    assert hint in shown
    with (folder / "ctcedge.toml").open("a") as file:
        file.write(hint)
    found = json.loads(call("inspect", folder, "--json").stdout)
    assert (found["crops"], found["unmatched"], found["proposed_pattern"]) == (4, [], None)


def test_a_given_pattern_is_written(tmp_path: Path) -> None:
    folder = export(tmp_path / "in", "a")
    call("inspect", folder, "--pattern", "{sample}/a/scan {cell}.png", "--write")
    assert "scan {cell}" in (folder / "ctcedge.toml").read_text()
    done = call("inspect", folder, "--pattern", "{cell}.png", "--write", code=2)
    assert "has a pattern already" in done.stderr


def test_nothing_to_write(crops: Path) -> None:
    assert "give one by --pattern" in call("inspect", crops, "--write", code=2).stderr
