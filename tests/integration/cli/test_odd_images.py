"""Images that are sound, and not what they seem, as `classify` meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ctcedge.images.sandbox import decode_in_subprocess
from tests.helpers.cli_runner import run
from tests.helpers.drawn_cells import cell, encoded, save
from tests.helpers.tiff_writer import write_tiff


def sidecar(folder: Path, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / f"{name}.ctc.json").read_text())
    return record


def test_overlays_and_montages_go_to_review_and_signed_values_are_a_warning(
    tmp_path: Path, model_folder: Path
) -> None:
    folder = tmp_path / "S1"
    grey = cell(24, 48)
    colours = np.stack([grey, grey, np.maximum(grey, 180)], -1)
    save(folder / "colour_BF.png", colours)
    save(folder / "montage_BF.png", np.tile(grey, (5, 6)))
    save(folder / "signed_BF.png", grey.astype(np.uint16) * 16 + 32768)
    save(folder / "plain_BF.png", grey)
    (folder / "turned_BF.tif").write_bytes(write_tiff(grey, tags={274: (6,), 262: (0,)}))
    result = run("classify", tmp_path, "--model", model_folder, "--um-per-px", "0.5", "--json")
    assert "colour" in sidecar(folder, "colour_BF.png")["reasons"]
    assert "oversized" in sidecar(folder, "montage_BF.png")["reasons"]
    signed = sidecar(folder, "signed_BF.png")
    assert signed["quality"]["offset"] == 32768
    assert not {"colour", "oversized"} & set(signed["reasons"])
    assert "offset" not in sidecar(folder, "plain_BF.png")["quality"]
    assert "All values of 1 crop lie above 32,767" in result.stderr
    (warning,) = json.loads(result.stdout)["warnings"]
    assert "signed values" in warning


def test_a_colour_image_is_one_in_the_sandbox_too() -> None:
    grey = cell(24, 48)
    for pixels, is_colour in ((grey, False), (np.stack([grey, grey, grey // 2], -1), True)):
        decoded = decode_in_subprocess(encoded(pixels))
        assert decoded.is_colour is is_colour
        assert decoded.pixels.shape == grey.shape
