"""Images whose names are not understood are named by every command that counts."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

from tests.helpers.cli_runner import call, command, run
from tests.helpers.drawn_cells import cell, save

MISSED = ["S1/00007.png", "S1/00008_BF.jpg"]


def with_missed(crops: Path) -> Path:
    save(crops / MISSED[0], cell())
    (crops / MISSED[1]).write_bytes(b"\xff\xd8\xff")
    return crops


def test_classify_and_status_name_them(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    with_missed(crops)
    words = [crops, "--out", tmp_path / "out"]
    for each in (["classify", *words, "--model", model_folder], ["status", *words]):
        text = run(*each, code=3)
        assert "images not understood" in text.stdout
        done = run(*each, "--json", code=3)
        summary = json.loads(done.stdout)
        assert [entry["path"] for entry in summary["not_understood"]] == MISSED
        assert summary["complete"] is False
        assert summary["not_understood"][1]["reason"].startswith("of a format that is not read")
        for name in MISSED:
            assert name in text.stderr
            assert name in done.stderr


def test_what_the_setting_ignores_is_complete(crops: Path, model_folder: Path) -> None:
    with_missed(crops)
    (crops / "ctcedge.toml").write_text("[images]\nignore = ['0000[78]*']\n")
    done = call("classify", crops, "--model", model_folder, "--json")
    assert json.loads(done.stdout)["complete"] is True
    assert json.loads(call("status", crops, "--json").stdout)["complete"] is True


def test_status_names_the_unreadable_file(crops: Path, model_folder: Path) -> None:
    (crops / "S1" / "00001_BF.png").write_bytes(b"broken")
    call("classify", crops, "--model", model_folder, code=3)
    assert "S1/00001_BF.png: " in call("status", crops, code=3).stdout
    found = json.loads(call("status", crops, "--json", code=3).stdout)
    assert [each["path"] for each in found["unclassified_examples"]] == ["S1/00001_BF.png"]


def test_names_are_whole_where_the_output_is_a_file(crops: Path) -> None:
    for end in ("one", "two"):
        save(crops / ("long" * 40 + end) / "1_BF.png", cell())
    text = run("inspect", crops).stdout
    assert "long" * 40 + "one" in text
    assert "long" * 40 + "two" in text


def test_a_table_on_a_terminal_holds_no_escape_sequences(crops: Path, model_folder: Path) -> None:
    save(crops / "S\x1b[31m" / "1_BF.png", cell())
    call("classify", crops, "--model", model_folder)
    assert "\x1b[31m" in run("export", crops).stdout  # data are whole
    ours, theirs = pty.openpty()
    done = subprocess.run(command("export", crops), stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        text = terminal.read(65536)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in text
    assert b"\\x1b[31m" in text
