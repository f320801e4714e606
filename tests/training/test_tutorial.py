"""The commands of the tutorial Train your model, one after the other."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.helpers.pages import ROOT, Lab, blocks

TUTORIAL = ROOT / "docs" / "tutorial" / "train-your-model.md"


def test_tutorial_ends_with_a_report_of_the_new_model(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    for block in blocks(TUTORIAL, "bash"):
        for command in block.commands():
            program, *words = shlex.split(command)
            if program in ("ctcedge-train", "ctcedge"):
                printed = lab.run(command)
            if program == "ctcedge-train":
                assert "\nNext" in printed
            if words[0] == "export":
                assert "\n  ctcedge classify FOLDER --model my-models/mine\n" in printed
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "report.html").is_file()
    assert len(list((tmp_path / "calls").rglob("*.ctc.json"))) == 6 * 40
