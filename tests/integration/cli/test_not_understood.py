"""Images whose names are not understood are named by every command that counts."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.support import call, cell, run, save

MISSED = ["S1/00007.png", "S1/00008_BF.jpg"]


def with_missed(crops: Path) -> Path:
    save(crops / MISSED[0], cell())
    (crops / MISSED[1]).write_bytes(b"\xff\xd8\xff")
    return crops


def test_classify_and_status_name_them(crops: Path, model_folder: Path, tmp_path: Path) -> None:
    with_missed(crops)
    words = [crops, "--out", tmp_path / "out"]
    for command in (["classify", *words, "--model", model_folder], ["status", *words]):
        text = run(*command, code=3)
        assert "images not understood" in text.stdout
        done = run(*command, "--json", code=3)
        summary = json.loads(done.stdout)
        assert [entry["path"] for entry in summary["not_understood"]] == MISSED
        assert summary["complete"] is False
        for name in MISSED:
            assert name in text.stderr
            assert name in done.stderr


def test_what_the_setting_ignores_is_complete(crops: Path, model_folder: Path) -> None:
    with_missed(crops)
    (crops / "ctcedge.toml").write_text("[images]\nignore = ['0000[78]*']\n")
    done = call("classify", crops, "--model", model_folder, "--json")
    assert json.loads(done.stdout)["complete"] is True
    assert json.loads(call("status", crops, "--json").stdout)["complete"] is True
