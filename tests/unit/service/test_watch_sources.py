"""A watch cuts the cells of files of many pages, and of frames with a table."""

from __future__ import annotations

import numpy as np

from ctcedge.fs.files import atomic_write
from tests.helpers import stacks
from tests.helpers.drawn_cells import CTC, LEUKOCYTE, cell, encoded
from tests.unit.service.watches import Place

STAIN = np.full((64, 64), 90, np.uint8)


def pages(diameter: float) -> bytes:
    return stacks.pages([cell(diameter), STAIN], stacks.ome(["BF", "DAPI"]))


def test_files_of_many_pages_that_arrive(place: Place) -> None:
    sample = place.folder / "S1"
    sample.mkdir()
    (sample / "1.ome.tif").write_bytes(pages(CTC))
    with place.watching() as running:
        place.waits_for(running, "ctcedge-crops/S1/1_BF.png", call="CTC")
        (sample / "2.ome.tif").write_bytes(pages(LEUKOCYTE))
        (sample / "3_BF.tif").write_bytes(pages(CTC))
        place.waits_for(running, "ctcedge-crops/S1/2_BF.png", call="leukocyte")
        place.waits_for(running, "ctcedge-crops/S1/3_BF.png", call="CTC")
        (sample / "1.ome.tif").write_bytes(pages(LEUKOCYTE))
        place.waits_for(running, "ctcedge-crops/S1/1_BF.png", call="leukocyte")
        code, _ = running.stop()
    assert code == 0
    assert place.record("S1/3_BF.tif") is None
    assert "not understood" not in running.stderr


def test_a_table_that_grows(place: Place) -> None:
    table = place.folder / "cells.csv"
    table.write_text("cell,sample,BF,x,y\n1,S,f.png,32,32\n")
    frame = np.concatenate([cell(CTC), cell(LEUKOCYTE)], axis=1)
    words = "--index", table
    with place.watching(*words, ready=False) as running:
        (place.folder / "f.png").write_bytes(encoded(frame))
        place.waits_for(running, "ctcedge-crops/S/1_BF.png", call="CTC")
        atomic_write(
            table, b"cell,sample,BF,x,y\n1,S,f.png,32,32\n2,S,f.png,96,32\n3,S,x.png,1,1\n"
        )
        place.waits_for(running, "ctcedge-crops/S/2_BF.png", call="leukocyte")
        running.until(lambda: "S / 3: x.png: does not exist" in running.stderr)
        atomic_write(table, b"cell\n1\n")
        running.until(lambda: "has no column BF" in running.stderr)
        code, _ = running.stop()
    assert code == 0
    assert place.record("f.png") is None
