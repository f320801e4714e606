"""Tiles and strips of a report, and cells whose image cannot be shown."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np

from ctcedge.report.jpeg import (
    ACROSS,
    TILE,
    bright_field,
    tile,
)
from tests.helpers import report_data
from tests.helpers.drawn_cells import cell, encoded


def blocks(page: Path, kind: str) -> list[np.ndarray]:
    """Pictures of one kind, decoded."""
    text = page.read_text(encoding="utf-8")
    contents = re.findall(rf'data-pictures="{kind}">\n(.*?)\n</script>', text, re.DOTALL)
    lines = [line for content in contents for line in content.split("\n")]
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(line), np.uint8), cv2.IMREAD_UNCHANGED)
        for line in lines
    ]


def test_tiles_and_strips_are_the_cells_pictures(run: Path) -> None:
    page = report_data.write(run)
    data = report_data.data_of(page)
    (sheet,) = blocks(page, "sheets")
    assert sheet.shape == (ACROSS * TILE, ACROSS * TILE)
    for index, path in enumerate(data["cells"]["path"]):
        row, column = divmod(index, ACROSS)
        shown = sheet[row * TILE :, column * TILE :][:TILE, :TILE].astype(float)
        expected = tile(bright_field(cv2.imread(str(run / path), -1)), 72 / 64)
        assert abs(shown - expected).mean() < 4
    stained = data["cells"]["path"].index("S2/00003_BF.png")
    strip_of = data["strips"][data["cells"]["strip"][stained]]
    assert strip_of["channels"] == ["BF", "DAPI", "PE"]
    picture = blocks(page, "strips")[data["cells"]["strip"][stained]]
    assert picture.shape == (64, 3 * 64)
    assert picture[32, 64:128].std() > 30


def test_an_image_that_changed_is_not_shown_nor_reviewed(run: Path) -> None:
    (run / "S1" / "00001_BF.png").write_bytes(encoded(cell(20)))
    (run / "S2" / "00003_BF.png").unlink()
    (run / "S1" / "00002_BF.png").write_bytes(b"")
    data = report_data.data_of(report_data.write(run))
    states = dict(zip(data["cells"]["path"], data["cells"]["image"], strict=True))
    assert states["S1/00001_BF.png"] == 1
    assert data["images"][1].startswith("The image changed since the call")
    changed = data["cells"]["path"].index("S1/00001_BF.png")
    assert changed not in data["list"]
    assert any("2 cells changed since the call" in text for text in data["warnings"])
